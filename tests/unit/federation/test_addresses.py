"""Whom the way out may dial: every spelling of an address that is not another institution's."""

from __future__ import annotations

import ipaddress
import socket

import pytest

from heritage_ledger.errors import UsageError
from heritage_ledger.federation.addresses import GLOBAL_6, check_address, special_networks

OWN = ["127.0.0.1", "10.0.0.1", "192.168.1.1", "172.16.3.4", "169.254.169.254", "100.64.0.1", "0.0.0.0"]


def _spellings(four: str) -> dict[str, str]:
    """The IPv6 addresses that carry an IPv4 one, by form."""
    number = int(ipaddress.IPv4Address(four))
    high, low = number >> 16, number & 0xFFFF
    pair = f"{high:x}:{low:x}"
    return {
        "mapped": f"::ffff:{four}",
        "mapped, hexadecimal": f"::ffff:{pair}",
        "compatible": f"::{four}",
        "translated": f"::ffff:0:{four}",
        "NAT64": f"64:ff9b::{four}",
        "local NAT64 /96": f"64:ff9b:1::{four}",
        "local NAT64 /48": f"64:ff9b:1:{high:x}:{low >> 8:x}:{(low & 0xFF) << 8:x}::",
        "6to4": f"2002:{pair}::1",
        "Teredo": f"2001:0:4136:e378:8000:63bf:{high ^ 0xFFFF:x}:{low ^ 0xFFFF:x}",
        "Teredo server": f"2001:0:{pair}::1",
    }


EMBEDDED = {f"{form} of {four}": text for four in OWN for form, text in _spellings(four).items()}
OTHERS = [
    *OWN,
    "127.8.9.10",
    "172.31.255.255",
    "192.0.0.8",
    "192.0.0.170",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "100::1",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "2001:db8::1",
    "2001:2::1",
    "2001:20::1",
    "3fff::1",
    "3fff:fff::1",
    "4000::1",
    "5f00::1",
    "2606:4700::1111%eth0",
]
PUBLIC = ["8.8.8.8", "2606:4700::1111", "2a00:1450::1", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"]


@pytest.mark.parametrize("address", [*EMBEDDED.values(), *OTHERS], ids=[*EMBEDDED, *OTHERS])
def test_no_address_of_ones_own_network(address):
    with pytest.raises(UsageError) as caught:
        check_address(address, allow_private=False)
    assert caught.value.code == "peer-address"


@pytest.mark.parametrize("network", list(special_networks()), ids=str)
def test_first_and_last_address_of_every_special_network(network):
    for address in (network[0], network[-1]):
        with pytest.raises(UsageError):
            check_address(str(address), allow_private=False)


MAY = {"127.0.0.1", "10.0.0.1", "192.168.1.1", "172.16.3.4"}


@pytest.mark.parametrize("four", OWN)
def test_allow_private_opens_ones_own_network_and_no_relay_to_it(four):
    """Only the address itself and its mapped form; a translator is not one's own network."""
    spellings = {"plain": four, **_spellings(four)}
    taken = set()
    for form, text in spellings.items():
        try:
            check_address(text, allow_private=True)
        except UsageError:
            continue
        taken.add(form)
    assert taken == ({"plain", "mapped", "mapped, hexadecimal"} if four in MAY else set())


@pytest.mark.parametrize(
    "address", ["224.0.0.1", "::", "ff02::1", "fe80::1", "fec0::1", "5f00::1", "3fff::1"]
)
def test_some_addresses_never(address):
    with pytest.raises(UsageError):
        check_address(address, allow_private=True)


@pytest.mark.parametrize("address", ["::1", "fd00::1"])
def test_private_v6_may_be_allowed(address):
    check_address(address, allow_private=True)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_may_be_dialled(address):
    check_address(address, allow_private=False)
    check_address(address, allow_private=True)


@pytest.mark.parametrize(
    "text", ["", "localhost", "0x7f000001", "0177.0.0.1", "2130706433", "127.1", "1.2.3.4 "]
)
def test_what_is_no_plain_address_is_refused(text):
    with pytest.raises(UsageError):
        check_address(text, allow_private=True)


@pytest.mark.parametrize(
    "text",
    ["0x7f000001", "0177.0.0.1", "2130706433", "127.1", "0", "0x7f.1", "017700000001", "00000177.0x0.0.01"],
)
def test_spellings_that_the_resolver_takes_are_refused_as_it_gives_them(text):
    try:
        found = socket.getaddrinfo(text, 80, type=socket.SOCK_STREAM)
    except socket.gaierror:
        return  # this resolver does not take it
    for entry in found:
        with pytest.raises(UsageError):
            check_address(str(entry[4][0]), allow_private=False)


def test_only_global_unicast_of_v6_is_ever_public():
    """Each /8 of the whole space outside 2000::/3 is refused, whatever is registered there one day."""
    for top in range(256):
        address = ipaddress.IPv6Address((top << 120) + 1)
        if address not in GLOBAL_6:
            with pytest.raises(UsageError):
                check_address(str(address), allow_private=False)
