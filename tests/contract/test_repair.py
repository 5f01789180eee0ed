"""A repair says no more than it saw: what nobody gave leaves no folder for a bag, and no event."""

import secrets
import shutil
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from heritage_ledger import Ledger
from heritage_ledger.content.cid import parse_cid
from heritage_ledger.federation.checks import is_noted_damaged
from heritage_testkit.running import make_home, running

MUSEUM, ARCHIVE = "museum.example/ledger/1", "archive.example/ledger/1"


@pytest.fixture
def lost(tmp_path):
    """A museum whose bag is not there, and an archive that holds it and is away."""
    museum, archive = (make_home(tmp_path, name) for name in ("museum", "archive"))
    folder = tmp_path / "scan"
    folder.mkdir()
    for number, size in enumerate((10, 2_500_000)):
        (folder / f"{number}.tif").write_bytes(secrets.token_bytes(size))
    with running(archive) as other, running(museum) as node:
        for home, url in ((museum, other.url), (archive, node.url)):
            with Ledger.open(home) as ledger:
                ledger.federation.trust(ledger.federation.discover(url))
        with Ledger.open(museum) as ledger:
            done = ledger.ingest(folder, asset="urn:example:1")
        with Ledger.open(archive) as ledger:
            ledger.federation.pledge(MUSEUM, datetime(2099, 1, 1, tzinfo=UTC), max_bytes=1 << 40)
            list(ledger.federation.sync())
            assert [one.findings for one in ledger.federation.replicate()] == [()]
        with Ledger.open(museum) as ledger:
            list(ledger.federation.sync())
    shutil.move(done.bag_path, tmp_path / "kept")
    return museum, archive, done


def size(home):
    with Ledger.open(home) as ledger:
        return ledger.log_size()


def test_a_repair_that_nobody_helps_leaves_nothing_and_states_nothing(lost):
    museum, _archive, done = lost
    before = size(museum)
    with Ledger.open(museum) as ledger:
        (one,) = ledger.federation.repairs.run()
        assert {finding.code for finding in one.findings} >= {"repair-lost", "peer-unreachable"}
    assert not done.bag_path.exists()
    assert size(museum) == before
    with Ledger.open(museum) as ledger:
        assert is_noted_damaged(ledger.home, parse_cid(done.package_cid))


def test_when_somebody_helps_it_is_whole_and_stated_once(lost):
    museum, archive, done = lost
    before = size(museum)
    with Ledger.open(museum) as ledger:
        list(ledger.federation.repairs.run())
    with running(archive) as other, Ledger.open(museum) as ledger:
        peers = ledger.federation.peers
        peers.add(replace(peers.get(ARCHIVE), url=other.url))
        (one,) = ledger.federation.repairs.run()
        assert (one.findings, one.helpers) == ((), (ARCHIVE,))
        assert ledger.log_size() == before + 1
        assert ledger.index.event(before).outcome == "success"
        assert not is_noted_damaged(ledger.home, parse_cid(done.package_cid))
        assert {verdict.outcome.value for verdict in ledger.verify(deep=True)} == {"pass"}


def unread(home, done):
    """Make the index one that was made while the bag was not there."""
    (home / "index.db").unlink()
    with Ledger.open(home) as ledger:
        ledger.rebuild_index()
        assert [row.log_index for row in ledger.index.unread_packages()] == [done.log_index]


def test_a_bag_that_came_back_is_given_to_others(lost):
    museum, archive, done = lost
    unread(museum, done)
    with running(archive) as other, Ledger.open(museum) as ledger:
        peers = ledger.federation.peers
        peers.add(replace(peers.get(ARCHIVE), url=other.url))
        (one,) = ledger.federation.repairs.run()
        assert one.findings == ()
        assert list(ledger.index.unread_packages()) == []
        assert {verdict.outcome.value for verdict in ledger.verify(deep=True)} == {"pass"}
    shutil.rmtree(archive / "replicas")
    with running(museum) as node, Ledger.open(archive) as ledger:
        peers = ledger.federation.peers
        peers.add(replace(peers.get(MUSEUM), url=node.url))
        assert [one.findings for one in ledger.federation.replicate()] == [()]


def test_a_bag_that_was_brought_back_by_hand_is_due_at_once(lost):
    museum, _archive, done = lost
    unread(museum, done)
    settings = museum / "heritage.toml"
    settings.write_text(settings.read_text().replace("check_days = 0", "check_days = 30"))
    shutil.move(museum.parent / "kept", done.bag_path)
    with Ledger.open(museum) as ledger:
        (cid,) = ledger.federation.repairs.due(ledger.index)[:1]
        assert cid == parse_cid(done.package_cid)
        assert [one.was_damaged for one in ledger.federation.repairs.check(cid)] == [False]
        assert list(ledger.index.unread_packages()) == []
        assert {verdict.outcome.value for verdict in ledger.verify(deep=True)} == {"pass"}


def test_an_empty_folder_is_no_bag(lost):
    """Earlier releases left one, and a copy that was cut off does."""
    museum, archive, done = lost
    done.bag_path.mkdir()
    settings = museum / "heritage.toml"
    settings.write_text(settings.read_text().replace("check_days = 0", "check_days = 30"))
    with running(archive), Ledger.open(museum) as ledger:
        assert ledger.federation.repairs.due(ledger.index)[:1] == [parse_cid(done.package_cid)]


def test_what_came_in_part_is_no_success(lost):
    """The peer gives one file and not the other."""
    museum, archive, _done = lost
    before = size(museum)
    with running(archive) as other, Ledger.open(museum) as ledger:
        peers = ledger.federation.peers
        peers.add(replace(peers.get(ARCHIVE), url=other.url))
        big = next(path for path in (archive / "replicas").rglob("1.tif"))
        big.chmod(0o600)
        big.write_bytes(b"rotten")
        (one,) = ledger.federation.repairs.run()
        assert "repair-lost" in {finding.code for finding in one.findings}
        assert one.files
        assert ledger.log_size() == before + 1
        assert ledger.index.event(before).outcome == "warning"
