"""Who asks, and how often: the address that a request came from, and a bucket of units for each."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

MAX_ADDRESSES: Final = 20_000
"""Addresses whose rate is remembered; those that were silent longest are forgotten first."""
SITE_BITS: Final = 64
"""Bits of an IPv6 address that name one customer: whoever has one has 2^64 addresses."""
_Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


def parse_networks(names: Iterable[str]) -> tuple[_Network, ...]:
    """Return the networks that settings name."""
    return tuple(map(ipaddress.ip_network, names))


def client_address(peer: str, forwarded: Sequence[str], trusted: Sequence[_Network]) -> str:
    """Return the address that a request came from: the nearest one that is not a trusted proxy.

    Args:
        peer: the other end of the connection.
        forwarded: the X-Forwarded-For headers in their order; each proxy adds at the right end whom it heard.
        trusted: proxies whose word counts.

    >>> client_address("10.0.0.1", ["6.6.6.6, 192.0.2.7"], parse_networks(["10.0.0.0/8"]))
    '192.0.2.7'
    """
    found = peer
    hops = [hop.strip() for line in forwarded for hop in line.split(",")]
    while _is_among(found, trusted) and hops:
        named = _address(hops.pop())
        if named is None:
            break  # who wrote this is not to be believed further
        found = named
    return found


def site_of(address: str) -> str:
    """Return what an address is counted as: itself, the IPv4 address it stands for, or its /64.

    >>> site_of("::ffff:192.0.2.7"), site_of("2001:db8::17")
    ('192.0.2.7', '2001:db8::/64')
    """
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, SITE_BITS), strict=False))
    return str(found)


def _address(text: str) -> str | None:
    """An address as proxies write it: bare, with a port, or in brackets."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None


def _is_among(address: str, networks: Sequence[_Network]) -> bool:
    try:
        found = ipaddress.ip_address(site_of(address) if address.startswith("::ffff:") else address)
    except ValueError:
        return False
    return any(found in network for network in networks if network.version == found.version)


class Rates:
    """A token bucket for each address: `rate` units a second, `burst` at once. For one event loop."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, address: str, units: float, *, pace: float = 0.0) -> float:
        """Take units, and return how many seconds to wait before they are there; 0 for none.

        When that would be more than `pace`, nothing is taken.
        """
        now = self._clock()
        left, at = self._buckets.pop(address, (self._burst, now))
        left = min(self._burst, left + (now - at) * self._rate)
        wait = max(0.0, (units - left) / self._rate)
        self._buckets[address] = (left if wait > pace else left - units, now)
        if len(self._buckets) > MAX_ADDRESSES:
            self._buckets.popitem(last=False)
        return wait

    def __len__(self) -> int:
        return len(self._buckets)
