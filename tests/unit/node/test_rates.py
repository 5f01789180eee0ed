"""Whose request it is, and how many of them an address may make."""

import ipaddress

import pytest

from heritage_node import rates
from heritage_node.rates import Rates, client_address, parse_networks, site_of

PROXY = parse_networks(["10.0.0.0/8", "::1", "192.0.2.1"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("198.51.100.7", [], "198.51.100.7"),
        ("198.51.100.7", ["203.0.113.9"], "198.51.100.7"),  # nobody whom we trust says so
        ("10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["6.6.6.6, 203.0.113.9"], "203.0.113.9"),  # the left one is the client's own word
        ("10.0.0.1", ["6.6.6.6", "203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["203.0.113.9, 10.2.3.4, 192.0.2.1"], "203.0.113.9"),  # proxies in a row
        ("10.0.0.1", ["10.2.3.4"], "10.2.3.4"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["6.6.6.6, rubbish"], "10.0.0.1"),
        ("10.0.0.1", ["6.6.6.6, unknown, 10.2.3.4"], "10.2.3.4"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.9:5123"], "203.0.113.9"),
        ("10.0.0.1", ["[2001:db8::9]:5123"], "2001:db8::9"),
        ("10.0.0.1", ["2001:db8::9"], "2001:db8::9"),
        ("::1", ["203.0.113.9"], "203.0.113.9"),
        ("::ffff:10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("local", ["203.0.113.9"], "local"),
    ],
)
def test_the_nearest_address_that_is_no_proxy_asks(peer, forwarded, client):
    assert client_address(peer, forwarded, PROXY) == client


def test_whoever_has_a_network_is_one():
    one, other = (site_of(f"2001:db8:0:1::{at:x}") for at in (1, 0xFFFF))
    assert one == other == "2001:db8:0:1::/64"
    assert site_of("2001:db8:0:2::1") != one
    assert site_of("::ffff:198.51.100.7") == site_of("198.51.100.7") == "198.51.100.7"
    assert site_of("fe80::1%eth0") == "fe80::/64"
    assert site_of("local") == "local"


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_a_bucket_gives_its_burst_and_then_its_rate():
    clock = Clock()
    bucket = Rates(2.0, 10.0, clock)
    assert [bucket.take("a", 1) for _ in range(10)] == [0.0] * 10
    assert bucket.take("a", 1) == 0.5
    assert bucket.take("a", 1) == 0.5  # a refusal takes nothing
    assert bucket.take("b", 10) == 0.0
    clock.now = 0.5
    assert bucket.take("a", 1) == 0.0
    assert bucket.take("a", 1) == 0.5
    clock.now = 1_000.0
    assert bucket.take("a", 10) == 0.0
    assert bucket.take("a", 1) == 0.5


def test_a_pace_lets_wait_what_does_not_fit_at_once():
    clock = Clock()
    bucket = Rates(10.0, 1.0, clock)
    assert [round(bucket.take("a", 1, pace=0.25), 3) for _ in range(5)] == [0.0, 0.1, 0.2, 0.3, 0.3]
    clock.now = 0.3
    assert round(bucket.take("a", 1, pace=0.25), 3) == 0.0


def test_memory_of_addresses_is_bounded(monkeypatch):
    monkeypatch.setattr(rates, "MAX_ADDRESSES", 100)
    bucket = Rates(1.0, 1.0, Clock())
    first = ipaddress.ip_address("198.51.100.0")
    for at in range(1_000):
        bucket.take(str(first + at), 1)
    assert len(bucket) == 100
    assert bucket.take(str(first + 999), 1) > 0
