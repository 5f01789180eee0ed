"""Heads and index move to a server and back with equal rows; an interrupted move changes nothing."""

from __future__ import annotations

import threading

import pytest

from heritage_ledger import Ledger
from heritage_ledger.errors import (
    EvidenceInvalid,
    EvidenceMissing,
    HeritageError,
    OperationFailed,
    UsageError,
)
from heritage_ledger.fixity.verdict import Outcome
from heritage_ledger.home.settings import read_settings
from heritage_ledger.home.state import Head, StateStore
from heritage_ledger.index.writer import IndexWriter

pytestmark = pytest.mark.external
ORIGIN = "museum.example/ledger/1"


@pytest.fixture
def folder(tmp_path):
    source = tmp_path / "scans"
    source.mkdir()
    (source / "large.tif").write_bytes(bytes(range(256)) * 9000)
    (source / "ä b.txt").write_bytes(b"")
    return source


@pytest.fixture
def ledger(tmp_path, folder):
    Ledger.init(tmp_path / "home", institution="Museum", origin=ORIGIN, passphrase=None).close()
    with Ledger.open(tmp_path / "home") as opened:
        for asset in ("urn:example:1", "urn:example:2", "urn:example:1"):
            opened.ingest(folder, asset=asset, title="Ünïcode \N{SNOWMAN}")
        yield opened


def is_whole(ledger: Ledger) -> bool:
    return {verdict.outcome for verdict in ledger.verify(deep=True)} == {Outcome.PASS}


def heads(ledger: Ledger) -> dict[str, Head]:
    with StateStore.open(ledger.settings.kept_in(ledger.home.state)) as store:
        return store.heads()


def test_there_and_back_and_there_again(ledger, folder, postgres):
    url = postgres.database()
    rows, before = ledger.index.rows_digest(), heads(ledger)
    moved = ledger.move_databases(url)
    assert (moved.database, moved.heads, moved.entries, moved.rows_digest) == (url, 1, 4, rows.hex())
    assert read_settings(ledger.home.settings).database == url
    assert (ledger.index.rows_digest(), heads(ledger)) == (rows, before)
    ledger.ingest(folder, asset="urn:example:3")
    assert is_whole(ledger)
    ledger.rebuild_index()
    rows = ledger.index.rows_digest()
    assert ledger.move_databases("sqlite").rows_digest == rows.hex()
    assert read_settings(ledger.home.settings).database is None
    ledger.ingest(folder, asset="urn:example:4")
    assert is_whole(ledger)
    assert ledger.move_databases(url).entries == 6
    assert is_whole(ledger)
    with pytest.raises(UsageError) as error:
        ledger.move_databases(url)
    assert error.value.code == "database-same"


def test_another_homes_database_is_refused(ledger, postgres, tmp_path):
    url = postgres.database()
    other = Ledger.init(
        tmp_path / "other", institution="O", origin="other.example/ledger/1", passphrase=None, database=url
    )
    other.close()
    with pytest.raises(UsageError) as error:
        ledger.move_databases(url)
    assert error.value.code == "database-foreign"
    assert read_settings(ledger.home.settings).database is None
    with Ledger.open(tmp_path / "other") as untouched:
        assert is_whole(untouched)


def test_heads_that_are_ahead_are_not_taken_back(ledger, folder, postgres):
    """A home restored from a backup must not overwrite what the server knows."""
    url = postgres.database()
    with StateStore.create(url) as store:
        store.create_head(ORIGIN, Head(99, bytes(32), b"later"))
    with pytest.raises(EvidenceInvalid) as error:
        ledger.move_databases(url)
    assert error.value.code == "state-rollback"
    assert ledger.ingest(folder, asset="urn:example:5").log_index == 4


def test_settings_set_back_by_hand_cannot_fork(ledger, folder, postgres):
    url = postgres.database()
    ledger.move_databases(url)
    ledger.ingest(folder, asset="urn:example:3")
    settings = ledger.home.settings
    settings.write_text(
        "".join(line for line in settings.read_text().splitlines(True) if "database" not in line)
    )
    with Ledger.open(ledger.home.root) as old, pytest.raises(EvidenceMissing) as error:
        old.ingest(folder)
    assert error.value.code == "log-unsure"  # the heads there are older than the marks


def test_a_process_with_the_old_settings_stops(ledger, folder, postgres):
    with Ledger.open(ledger.home.root) as running:
        running.ingest(folder, asset="urn:example:running")
        ledger.move_databases(postgres.database())
        with pytest.raises(OperationFailed) as error:
            running.ingest(folder, asset="urn:example:running")
        assert error.value.code == "database-moved"
    assert is_whole(ledger)


def test_a_copy_that_differs_is_refused_and_the_call_repeated(ledger, postgres, monkeypatch):
    url = postgres.database()
    replacing = IndexWriter.replace

    def losing(self, absorbed, rows):
        replacing(self, absorbed, (row for row in rows if row[0] != "nodes"))

    monkeypatch.setattr(IndexWriter, "replace", losing)
    with pytest.raises(EvidenceInvalid) as error:
        ledger.move_databases(url)
    assert error.value.code == "database-copy"
    assert read_settings(ledger.home.settings).database is None
    monkeypatch.undo()
    assert ledger.move_databases(url).entries == 4
    assert is_whole(ledger)


def test_a_server_that_ends_the_session_in_between(ledger, postgres, monkeypatch):
    url = postgres.database()
    replacing = IndexWriter.replace

    def ended(self, absorbed, rows):
        replacing(self, absorbed, rows)
        postgres.end_sessions(url.rpartition("/")[2])

    monkeypatch.setattr(IndexWriter, "replace", ended)
    with pytest.raises(HeritageError) as error:
        ledger.move_databases(url)
    assert error.value.code == "database-unavailable"
    monkeypatch.undo()
    ledger.move_databases(url)
    assert is_whole(ledger)


def test_others_wait_while_it_moves(ledger, folder, postgres):
    url = postgres.database()
    done = []

    def ingest() -> None:
        for _ in range(6):
            try:
                with Ledger.open(ledger.home.root) as other:
                    done.append(other.ingest(folder, asset="urn:example:other").log_index)
            except OperationFailed as error:
                done.append(error.code)

    thread = threading.Thread(target=ingest)
    thread.start()
    ledger.move_databases(url)
    thread.join()
    assert [one for one in done if one != "database-moved"] == list(
        range(4, 4 + len(done) - done.count("database-moved"))
    )
    assert is_whole(ledger)
