"""How many requests institutions make of each other: counts; `make bench ONLY=idle` has the table."""

import time

import pytest

from heritage_testkit.nodes import federation
from heritage_testkit.traffic import deposit, fresh, requests, settle

MOST = 80
"""Requests for one deposit among five institutions, four of which hold a replica."""
PAUSE = 2
"""Seconds between two looks at a peer, instead of sixty."""


def pledged(tmp_path, count):
    """The requests for one deposit among `count` institutions, held by all others."""
    folder = tmp_path / f"of-{count}"
    source = folder / "scan"
    source.mkdir(parents=True)
    (source / "page.txt").write_text("page")
    names = ("museum", "archive", "library", "gallery", "college")[:count]
    with federation(folder, *names, sync=600) as nodes:
        for other in nodes[1:]:
            other.run("pledge", nodes[0].origin, "--until", "2099-12-31")
        fresh(nodes)
        found = deposit(nodes, source, "urn:example:1")
        assert all(status.startswith("2") for _, status in found), found  # nobody asks twice
        for one in nodes:
            one.stop()
        assert not [path for one in nodes for path in one.home.rglob("*.lock")]
    return found


def test_a_deposit_takes_few_requests_and_they_grow_with_the_pairs_of_members(tmp_path):
    of_three, of_five = pledged(tmp_path, 3), pledged(tmp_path, 5)
    assert of_five.total() <= MOST, of_five
    pairs = (5 * 4) / (3 * 2)
    assert of_five.total() / of_three.total() <= pairs * 1.25, (of_three, of_five)


@pytest.mark.timeout(600)
def test_idle_nodes_ask_each_peer_once_in_a_while(tmp_path):
    with federation(tmp_path, "museum", "archive", "library", sync=PAUSE) as nodes:
        settle(nodes)
        time.sleep(2 * PAUSE)
        before, began = requests(nodes), time.monotonic()
        time.sleep(10 * PAUSE)
        found = requests(nodes) - before
        looks = (time.monotonic() - began) / PAUSE + 1
    pairs = len(nodes) * (len(nodes) - 1)
    assert set(found) == {("/log/{path}", "304")}, found  # nothing is new, and nothing is sent
    assert found.total() <= looks * pairs
