"""Commands about all peers or packages: one that is slow delays nobody, one that is unlisted is told of."""

import contextlib
import sqlite3
import time

import pytest

from heritage_ledger import Ledger
from heritage_ledger.content.exchange import Waits
from heritage_ledger.errors import EvidenceInvalid
from heritage_ledger.federation.client import Client
from heritage_testkit.hostile import SHAPES, hostile
from heritage_testkit.peers import peer
from heritage_testkit.running import make_home, running

WAITS = Waits(connect=3.0, headers=3.0, silent=3.0, slowest=1 << 20, whole=3.0)


def test_peers_are_looked_at_at_once(tmp_path):
    museum, archive = (make_home(tmp_path, name) for name in ("museum", "archive"))
    with contextlib.ExitStack() as held:
        good = held.enter_context(running(archive))
        ledger = held.enter_context(Ledger.open(museum))
        ledger.federation.client = Client(allow_private=True, waits=WAITS)
        for number in range(6):
            url = held.enter_context(hostile(SHAPES["silent after accept"]))
            ledger.federation.peers.add(peer(f"a{number}", url=url))  # before the honest one by name
        ledger.federation.peers.add(ledger.federation.discover(good.url))
        began, first, done = time.monotonic(), None, []
        for one in ledger.federation.sync():
            first = first or one
            done.append((one.origin, [finding.code for finding in one.findings]))
        took = time.monotonic() - began
    assert first.origin == "archive.example/ledger/1"
    assert sorted(done) == [
        *((f"a{number}.example/ledger/1", ["peer-silent"]) for number in range(6)),
        ("archive.example/ledger/1", []),
    ]
    assert took < 6 * WAITS.whole  # one after the other would have taken as much at least


def test_a_fault_of_one_look_is_told_and_the_others_go_on(tmp_path, monkeypatch):
    museum, archive = (make_home(tmp_path, name) for name in ("museum", "archive"))
    with running(archive) as good, Ledger.open(museum) as ledger:
        ledger.federation.peers.add(peer("aaa", url="http://127.0.0.1:1"))
        ledger.federation.peers.add(ledger.federation.discover(good.url))
        look = ledger.federation.sync_peer

        def broken(one, **words):
            if one.origin.startswith("aaa"):
                raise RecursionError
            return look(one, **words)

        monkeypatch.setattr(ledger.federation, "sync_peer", broken)
        done = {one.origin: one for one in ledger.federation.sync()}
    assert [one.code for one in done["aaa.example/ledger/1"].findings] == ["internal-error"]
    assert done["archive.example/ledger/1"].size == 1


def test_a_repair_of_everything_says_when_the_index_does_not_list_everything(tmp_path):
    home = make_home(tmp_path, "museum")
    folder = tmp_path / "scan"
    folder.mkdir()
    (folder / "page.txt").write_text("page")
    with Ledger.open(home) as ledger:
        for number in range(2):
            ledger.ingest(folder, asset=f"urn:example:{number}")
        assert len(list(ledger.federation.repairs.run())) == 2
    with contextlib.closing(sqlite3.connect(home / "index.db")) as connection, connection:
        connection.execute("DELETE FROM packages WHERE asset = 'urn:example:1'")
    with Ledger.open(home) as ledger:
        done = []
        with pytest.raises(EvidenceInvalid) as caught:
            done.extend(ledger.federation.repairs.run())
        assert (len(done), caught.value.code) in {(1, "index-package-missing"), (0, "index-package-missing")}
        assert "index rebuild" in caught.value.advice
