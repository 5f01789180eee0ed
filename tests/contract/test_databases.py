"""One contract for both databases: heads, index, and the main job over them."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from heritage_ledger import Ledger
from heritage_ledger.deposit.record import Unfinished
from heritage_ledger.errors import (
    DiskProblem,
    EvidenceInvalid,
    EvidenceMissing,
    HeritageError,
    OperationFailed,
    TemporaryFailure,
)
from heritage_ledger.fixity.verdict import Outcome
from heritage_ledger.home.state import Head, StateStore
from heritage_ledger.index.tables import META
from heritage_ledger.index.writer import IndexWriter

ORIGIN = "museum.example/ledger/1"
OTHER = "archive.example/ledger/1"


def head(size: int, note: bytes = b"") -> Head:
    return Head(size, hashlib.sha256(b"%d" % size).digest(), note or b"checkpoint %d\n\xff" % size)


@pytest.fixture
def target(database, tmp_path):
    return database or tmp_path / "state.db"


@pytest.fixture
def folder(tmp_path):
    source = tmp_path / "scans"
    (source / "pages").mkdir(parents=True)
    noise = random.Random(4)
    for name, size in {
        "index.xml": 900,
        "pages/1.tif": 3_000_000,
        "pages/2.tif": 40,
        "pages/ä.txt": 0,
    }.items():
        (source / name).write_bytes(noise.randbytes(size))
    return source


@pytest.fixture
def home(database, tmp_path):
    place = tmp_path / "home"
    Ledger.init(place, institution="Museum", origin=ORIGIN, passphrase=None, database=database).close()
    return place


# heads


def test_heads_move_by_compare_and_swap(target):
    with StateStore.create(target) as store:
        store.create_head(ORIGIN, head(0))
        store.create_head(OTHER, head(7))
        store.swap_head(ORIGIN, 0, head(3))
        with pytest.raises(TemporaryFailure, match="moved this head first"):
            store.swap_head(ORIGIN, 0, head(4))
        with pytest.raises(EvidenceInvalid, match="never shrinks"):
            store.swap_head(ORIGIN, 3, head(2))
        with pytest.raises(EvidenceInvalid, match="two histories"):
            store.swap_head(ORIGIN, 3, Head(3, bytes(32), b"x"))
        with pytest.raises(TemporaryFailure):
            store.create_head(ORIGIN, head(0))
        store.swap_head(ORIGIN, 3, head(3, b"with a cosignature\n"))
    with StateStore.open(target) as store:
        assert store.heads() == {OTHER: head(7), ORIGIN: head(3, b"with a cosignature\n")}
        assert store.head("unknown.example/ledger/1") is None


def test_heads_are_not_made_twice_and_never_by_opening(target):
    with pytest.raises(EvidenceMissing) as error:
        StateStore.open(target)
    assert error.value.code == "state-missing"
    StateStore.create(target).close()
    with pytest.raises(OperationFailed) as error:
        StateStore.create(target)
    assert error.value.code == "state-exists"


def test_of_many_swappers_one_wins(target):
    with StateStore.create(target) as store:
        store.create_head(ORIGIN, head(0))
    won, lost = [], []

    def swap(size: int) -> None:
        with StateStore.open(target) as own:
            try:
                own.swap_head(ORIGIN, 0, head(size))
            except TemporaryFailure as error:
                lost.append(error.code)
            else:
                won.append(size)

    threads = [threading.Thread(target=swap, args=[size]) for size in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), lost) == (1, ["state-conflict"] * 7)
    with StateStore.open(target) as store:
        assert store.head(ORIGIN) == head(won[0])


# the main job


def test_main_job(home, folder, tmp_path):
    with Ledger.open(home) as ledger:
        first = ledger.ingest(folder, asset="urn:example:scan", title="A scan", agent="Ada Example")
        (folder / "pages" / "2.tif").write_bytes(b"corrected")
        second = ledger.ingest(folder, asset="urn:example:scan")
        adopted = ledger.adopt(first.bag_path, asset="urn:example:adopted")
        assert (second.version, second.log_index, adopted.log_index) == (2, 2, 3)
        assert [event.log_index for event in ledger.events()] == [0, 1, 2, 3]
        assert ledger.show("data/pages/ä.txt").files
        assert ledger.trace(first.package_cid).steps
        assert ledger.prove("urn:example:scan")
        before = ledger.index.rows_digest()
        for deep in (False, True):
            verdicts = list(ledger.verify(deep=deep))
            assert {verdict.outcome for verdict in verdicts} == {Outcome.PASS}
        rebuilt = ledger.rebuild_index()
        assert (rebuilt.events, rebuilt.packages, rebuilt.findings) == (4, 3, ())
        assert ledger.index.rows_digest() == before
        assert all(stage.outcome is not Outcome.FAIL for stage in ledger.doctor())
    assert (home / "state.db").exists() is (home / "index.db").exists()


def test_a_bag_that_came_back_is_read_into_the_index(home, folder, tmp_path):
    with Ledger.open(home) as ledger:
        done = ledger.ingest(folder, asset="urn:example:scan")
        done.bag_path.rename(tmp_path / "elsewhere")
        ledger.rebuild_index()
        assert [row.log_index for row in ledger.index.unread_packages()] == [done.log_index]
        (tmp_path / "elsewhere").rename(done.bag_path)
        assert [one.findings for one in ledger.federation.repairs.run()] == [()]
        assert list(ledger.index.unread_packages()) == []
        assert {verdict.outcome.value for verdict in ledger.verify(deep=True)} == {"pass"}


def test_rows_are_the_same_on_both(postgres, folder, tmp_path):
    digests = []
    for url in (None, postgres.database()):
        place = tmp_path / ("server" if url else "file")
        Ledger.init(place, institution="M", origin=ORIGIN, passphrase=None, database=url).close()
        with Ledger.open(place) as ledger:
            ledger.ingest(folder, asset="urn:example:scan")
            rows = list(ledger.index.dump())
            digests.append([row for table, row in rows if table in {"files", "blocks", "nodes"}])
    assert digests[0] == digests[1]


APPEND = """
import sys
from pathlib import Path
from heritage_ledger import Ledger
from heritage_ledger.home import lock
import contextlib
if sys.argv[3] == "no file locks":
    lock.hold = lambda path, **more: contextlib.nullcontext()
    lock.is_held = lambda path: True
with Ledger.open(Path(sys.argv[1])) as ledger:
    for _ in range(8):
        print(ledger.ingest(Path(sys.argv[2]), asset=sys.argv[4]).log_index, flush=True)
"""


def _appenders(home: Path, folder: Path, locks: str) -> list[int]:
    running = [
        subprocess.Popen(
            [sys.executable, "-c", APPEND, home, folder, locks, f"urn:example:{number}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(3)
    ]
    said = [process.communicate(timeout=240) for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], [err for _, err in said]
    return sorted(int(line) for out, _ in said for line in out.splitlines())


def test_processes_append_side_by_side(home, folder):
    assert _appenders(home, folder, "file locks") == list(range(1, 25))
    with Ledger.open(home) as ledger:
        assert {verdict.outcome for verdict in ledger.verify(deep=True)} == {Outcome.PASS}


@pytest.mark.external
def test_machines_without_common_file_locks_append_side_by_side(postgres, folder, tmp_path):
    """The critical section is held in the database: file locks, which need not cross machines, are off."""
    place = tmp_path / "home"
    url = postgres.database()
    Ledger.init(place, institution="Museum", origin=ORIGIN, passphrase=None, database=url).close()
    assert _appenders(place, folder, "no file locks") == list(range(1, 25))
    with Ledger.open(place) as ledger:
        assert {verdict.outcome for verdict in ledger.verify(deep=True)} == {Outcome.PASS}


def test_missing_databases_are_named_and_not_made(home, folder, database, tmp_path, request):
    with Ledger.open(home) as ledger:
        ledger.ingest(folder, asset="urn:example:scan")
    if database is None:
        (home / "index.db").unlink()
        (home / "state.db").unlink()
    else:
        with request.getfixturevalue("postgres").connect(database.rpartition("/")[2]) as connection:
            connection.execute(f"DROP TABLE {META.name}, heads, seal")
    with Ledger.open(home) as ledger:
        codes = {finding.code for verdict in ledger.verify(deep=True) for finding in verdict.findings}
        assert {"state-missing", "index-missing"} <= codes
        codes = {finding.code for verdict in ledger.verify(deep=True) for finding in verdict.findings}
        assert {"state-missing", "index-missing"} <= codes
        with pytest.raises(HeritageError, match="how far the log has come"):
            ledger.ingest(folder)


# a step after the event that fails


@pytest.mark.parametrize("times", [1, 2])
def test_index_that_fails_after_the_head_moved(home, folder, monkeypatch, times):
    """Once: the same steps again succeed. Twice: the deposit is said to be recorded."""
    failures = iter([True] * times)
    adding = IndexWriter.add_event

    def failing(self, row):
        if next(failures, False):
            raise DiskProblem("disk-failing", "the disk reports an error")
        adding(self, row)

    monkeypatch.setattr(IndexWriter, "add_event", failing)
    with Ledger.open(home) as ledger:
        if times == 1:
            assert ledger.ingest(folder, asset="urn:example:scan").log_index == 1
        else:
            with pytest.raises(Unfinished) as error:
                ledger.ingest(folder, asset="urn:example:scan")
            assert error.value.code == "deposit-unfinished"
            assert (error.value.found or "").startswith("disk-failing")
    with Ledger.open(home) as ledger:
        assert ledger.ingest(folder, asset="urn:example:next").log_index == 2
        assert len(list(ledger.index.packages("urn:example:scan"))) == 1
        assert {verdict.outcome for verdict in ledger.verify(deep=True)} == {Outcome.PASS}
        assert not list((home / "quarantine").iterdir())
