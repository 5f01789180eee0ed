"""Which IP addresses another institution's node may have (`specs/federation.md`, "The way out").

The table is our own, so that the answer does not change with the Python version. Sources, as of 2025:
IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890, RFC 8190), IANA Multicast registries, and
for addresses that carry an IPv4 address the page of each form below.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, Final

from heritage_ledger.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

NEVER: Final = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # "this network", RFC 791
            "100.64.0.0/10",  # shared by carriers, RFC 6598
            "169.254.0.0/16",  # link-local, and clouds' metadata, RFC 3927
            "192.0.0.0/24",  # IETF protocol assignments: DS-Lite, the dummy 192.0.0.8, RFC 6890
            "192.0.2.0/24",  # documentation, RFC 5737
            "192.31.196.0/24",  # AS112, RFC 7535
            "192.52.193.0/24",  # AMT, RFC 7450
            "192.88.99.0/24",  # 6to4 relays, RFC 7526
            "192.175.48.0/24",  # AS112, RFC 7534
            "198.18.0.0/15",  # benchmarks, RFC 2544
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/3",  # multicast RFC 5771, reserved RFC 1112, broadcast RFC 919
        ),
    )
)
"""IPv4 addresses that are nobody's node."""
PRIVATE: Final = tuple(
    map(
        IPv4Network,
        (
            "10.0.0.0/8",  # RFC 1918
            "127.0.0.0/8",  # loopback, RFC 1122
            "172.16.0.0/12",
            "192.168.0.0/16",
        ),
    )
)
"""IPv4 addresses of one's own machine or network."""
GLOBAL_6: Final = IPv6Network("2000::/3")
"""What IANA gives out as global unicast (RFC 4291); all else is special or unassigned."""
NEVER_6: Final = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # IETF protocol assignments: Teredo, benchmarks, ORCHID, AMT, RFC 2928
            "2001:db8::/32",  # documentation, RFC 3849
            "2002::/16",  # 6to4: another protocol's tunnel, RFC 3056, RFC 7526
            "2620:4f:8000::/48",  # AS112, RFC 7534
            "3fff::/20",  # documentation, RFC 9637
        ),
    )
)
"""Parts of `GLOBAL_6` that are nobody's node."""
PRIVATE_6: Final = tuple(map(IPv6Network, ("::1/128", "fc00::/7")))  # RFC 4291; RFC 4193
"""IPv6 addresses of one's own machine or network."""
MAPPED: Final = IPv6Network("::ffff:0:0/96")
"""IPv4-mapped (RFC 4291): the system dials the IPv4 address itself, which is judged."""
TRANSLATED: Final = IPv6Network("64:ff9b::/96")
"""NAT64 (RFC 6052): how a network without IPv4 reaches public IPv4 hosts; private ones MUST NOT be there.

Every other address that carries an IPv4 one is refused whatever it carries, with `allow_private` too, since
a relay may stand anywhere: compatible `::/96` (RFC 4291), translated `::ffff:0:0:0/96` (RFC 2765), local
NAT64 `64:ff9b:1::/48` (RFC 8215), Teredo (RFC 4380) and 6to4 (RFC 3056).
"""


def check_address(address: str, *, allow_private: bool) -> None:
    """Raise `UsageError` (`peer-address`) unless `address`, as a resolver spells it, may be dialled.

    With `allow_private` loopback and private addresses may be dialled too. What is no numeric address at all
    is refused; `getaddrinfo` has turned octal, hexadecimal and short spellings into the usual one before.
    """
    try:
        found = ip_address(address)
    except ValueError:
        found = None
    if found is None or not _may_dial(found, allow_private=allow_private):
        raise UsageError(
            "peer-address",
            "this address is not one of another institution",
            expected="a public address",
            found=address[:80],
            advice="a peer in one's own network needs allow_private = true under [node] in heritage.toml",
        )


def _may_dial(found: IPv4Address | IPv6Address, *, allow_private: bool) -> bool:
    if isinstance(found, IPv6Address):
        if found.scope_id is not None:  # only link-local addresses need one
            return False
        if found not in MAPPED and found not in TRANSLATED:
            if any(found in network for network in PRIVATE_6):
                return allow_private
            return found in GLOBAL_6 and not any(found in network for network in NEVER_6)
        allow_private = allow_private and found in MAPPED
        found = IPv4Address(int(found) & 0xFFFF_FFFF)
    if any(found in network for network in NEVER):
        return False
    return allow_private or not any(found in network for network in PRIVATE)


def special_networks() -> Iterator[IPv4Network | IPv6Network]:
    """Yield every network of the tables here, for tests that walk them."""
    yield from (*NEVER, *PRIVATE)
    yield from (*NEVER_6, *PRIVATE_6)
