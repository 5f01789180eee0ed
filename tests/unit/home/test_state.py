"""`state.db`: heads move by compare-and-swap, never shrink, and are never believed when damaged."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import sqlite3
import subprocess
import threading
import time
from typing import TYPE_CHECKING

import pytest

from heritage_ledger.errors import (
    DiskProblem,
    EvidenceInvalid,
    EvidenceMissing,
    HeritageError,
    HomeLocked,
    OperationFailed,
    TemporaryFailure,
    UsageError,
)
from heritage_ledger.home import sqlite as sqlite_home
from heritage_ledger.home.heads import MAX_SIZE
from heritage_ledger.home.seal import Seal, row_digest
from heritage_ledger.home.sqlite import sqlite_error
from heritage_ledger.home.state import Head, StateStore
from heritage_testkit.dying import Child

if TYPE_CHECKING:
    from pathlib import Path

OWN = "museum.example/ledger/1"
OTHER = "archive.example/ledger/1"


def head(size: int, *, note: bytes = b"") -> Head:
    return Head(size, hashlib.sha256(b"%d" % size).digest(), note or b"checkpoint of size %d\n" % size)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.db"


@pytest.fixture
def store(path):
    with StateStore.create(path) as made:
        yield made


def at_size(path: Path, size: int) -> None:
    with StateStore.create(path) as made:
        made.create_head(OWN, head(0))
        if size:
            made.swap_head(OWN, 0, head(size))


def test_the_digests_of_the_worked_example():
    """`specs/index.md`, "Worked example"."""
    digest = row_digest(OWN, 0, hashlib.sha256().digest(), b"checkpoint\n")
    assert digest.hex() == "89b4da46787ee1a966a8fdadb24795198d3cfc81e349c3237420c4e68a1e99e5"
    seal = Seal(1).with_row(digest)
    assert (seal.heads, seal.mix) == (1, digest)
    assert seal.digest().hex() == "2464d47862b84259a69c1fae3a192597f6222a223f1c575fc37438587ee5683a"


def test_no_part_of_a_row_can_pass_for_another():
    assert (
        row_digest("ab", 1, b"c", b"d") != row_digest("a", 1, b"bc", b"d") != row_digest("a", 1, b"b", b"cd")
    )


def test_a_missing_file_is_refused_and_none_is_made(path):
    with pytest.raises(EvidenceMissing) as refused:
        StateStore.open(path)
    assert refused.value.code == "state-missing"
    assert not list(path.parent.iterdir())


def test_create_refuses_an_existing_file_and_keeps_its_heads(path):
    at_size(path, 7)
    with pytest.raises(OperationFailed) as refused:
        StateStore.create(path)
    assert refused.value.code == "state-exists"
    with StateStore.open(path) as store:
        assert store.head(OWN) == head(7)


@pytest.mark.parametrize("suffix", ["-wal", "-journal"])
def test_create_refuses_what_is_left_of_a_lost_file(path, suffix):
    path.with_name(path.name + suffix).write_bytes(b"left")
    with pytest.raises(OperationFailed) as refused:
        StateStore.create(path)
    assert refused.value.code == "state-exists"


def test_create_leaves_one_private_file_and_no_temporary_ones(path):
    at_size(path, 3)
    assert [entry.name for entry in path.parent.iterdir()] == ["state.db"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_heads_survive_closing(path):
    with StateStore.create(path) as store:
        assert store.head(OWN) is None
        store.create_head(OWN, head(0))
        store.create_head(OTHER, head(5))
        store.swap_head(OWN, 0, head(1))
    with StateStore.open(path) as store:
        assert store.heads() == {OTHER: head(5), OWN: head(1)}
        assert store.head("unseen.example/ledger/1") is None


def test_closing_twice_is_nothing(path):
    store = StateStore.create(path)
    store.close()
    store.close()


def test_a_head_is_created_once(store):
    store.create_head(OWN, head(0))
    with pytest.raises(TemporaryFailure) as refused:
        store.create_head(OWN, head(9))
    assert refused.value.code == "state-conflict"
    assert store.head(OWN) == head(0)


@pytest.mark.parametrize("old", [0, 4, 6, -1])
def test_a_swap_from_another_size_is_a_conflict_and_changes_nothing(store, old):
    store.create_head(OWN, head(5))
    with pytest.raises(TemporaryFailure) as refused:
        store.swap_head(OWN, old, head(8))
    assert refused.value.code == "state-conflict"
    assert store.heads() == {OWN: head(5)}


def test_a_head_never_shrinks(store):
    store.create_head(OWN, head(5))
    with pytest.raises(EvidenceInvalid) as refused:
        store.swap_head(OWN, 5, head(4))
    assert refused.value.code == "state-rollback"
    assert store.heads() == {OWN: head(5)}


def test_the_same_size_needs_the_same_root(store):
    store.create_head(OWN, head(5))
    cosigned = head(5, note=b"the same checkpoint with one more cosignature\n")
    store.swap_head(OWN, 5, cosigned)
    assert store.head(OWN) == cosigned
    with pytest.raises(EvidenceInvalid) as refused:
        store.swap_head(OWN, 5, Head(5, bytes(32), b"fork"))
    assert refused.value.code == "state-fork"
    assert store.head(OWN) == cosigned


def test_a_swap_needs_a_head(store):
    with pytest.raises(EvidenceMissing) as refused:
        store.swap_head(OWN, 0, head(1))
    assert refused.value.code == "state-origin"


def test_sizes_up_to_the_largest_integer_are_kept(store):
    store.create_head(OWN, head(0))
    store.swap_head(OWN, 0, head(MAX_SIZE))
    assert store.head(OWN) == head(MAX_SIZE)


@pytest.mark.parametrize(
    ("origin", "wrong"),
    [
        (OWN, Head(MAX_SIZE + 1, bytes(32), b"")),
        (OWN, Head(-1, bytes(32), b"")),
        (OWN, Head(1, bytes(31), b"")),
        (OWN, Head(1, bytes(33), b"")),
        ("", Head(1, bytes(32), b"")),
        ("a\nb", Head(1, bytes(32), b"")),
        ("a\ud800b", Head(1, bytes(32), b"")),
    ],
)
def test_what_is_no_head_is_refused(store, origin, wrong):
    with pytest.raises(UsageError) as refused:
        store.create_head(origin, wrong)
    assert refused.value.code == "state-head"
    assert store.heads() == {}
    assert store.head("a\ud800b") is None


@pytest.mark.parametrize(
    "statement",
    [
        f"UPDATE heads SET size = 4 WHERE origin = '{OWN}'",
        f"UPDATE heads SET origin = 'x' WHERE origin = '{OWN}'",
        "DELETE FROM heads",
        "INSERT INTO heads VALUES ('x', -1, zeroblob(32), x'', x'')",
        "INSERT INTO heads VALUES ('x', 1, zeroblob(31), x'', x'')",
        "INSERT INTO seal VALUES (2, 1, 0, x'', x'')",
    ],
)
def test_the_file_itself_guards_against_other_programs(path, statement):
    at_size(path, 5)
    with sqlite3.connect(path) as other, pytest.raises(sqlite3.IntegrityError):
        other.execute(statement)
    other.close()
    with StateStore.open(path) as store:
        assert store.head(OWN) == head(5)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE heads SET size = size + 1",
        "UPDATE heads SET root = zeroblob(32)",
        "UPDATE heads SET checkpoint = x'00'",
        "UPDATE heads SET checkpoint = 'text'",
        "UPDATE heads SET checkpoint = 1000000000000",
        "UPDATE heads SET digest = zeroblob(32)",
        "UPDATE seal SET heads = 2",
        "UPDATE seal SET heads = 'x'",
        "UPDATE seal SET mix = zeroblob(32)",
        "UPDATE seal SET mix = 7",
        "UPDATE seal SET digest = x''",
        "UPDATE seal SET version = 2",
        "UPDATE seal SET version = 'x'",
        "DELETE FROM seal",
        "DROP TABLE heads",
        "DROP TABLE seal",
        "DROP TRIGGER heads_stay; DELETE FROM heads",
        "DROP TRIGGER heads_never_shrink; UPDATE heads SET origin = 'a.example/b/1'",
        "DROP TRIGGER heads_never_shrink; UPDATE heads SET origin = CAST(x'ff' AS TEXT)",
        f"INSERT INTO heads SELECT '{OTHER}', size, root, checkpoint, digest FROM heads",
    ],
)
def test_a_row_that_is_not_what_was_written_is_found_when_the_file_is_opened(path, statement):
    at_size(path, 5)
    other = sqlite3.connect(path)
    other.executescript(statement)
    other.close()
    with pytest.raises(EvidenceInvalid) as refused:
        StateStore.open(path)
    assert refused.value.code == "state-damaged"
    assert refused.value.path == str(path)


@pytest.mark.parametrize("ask", [StateStore.head, lambda store, at: store.swap_head(at, 5, head(6))])
def test_damage_after_opening_is_found_when_the_row_is_read(path, ask):
    at_size(path, 5)
    with StateStore.open(path) as store:
        other = sqlite3.connect(path)
        other.execute("UPDATE heads SET size = 9")
        other.commit()
        other.close()
        with pytest.raises(EvidenceInvalid) as refused:
            ask(store, OWN)
        assert refused.value.code == "state-damaged"


def test_a_row_lost_after_opening_is_not_taken_for_a_log_never_seen(path):
    at_size(path, 5)
    with StateStore.open(path) as store:
        other = sqlite3.connect(path)
        other.executescript("DROP TRIGGER heads_stay; DELETE FROM heads")
        other.close()
        for ask in (
            lambda: store.head(OWN),
            lambda: store.create_head(OWN, head(0)),
            lambda: store.swap_head(OWN, 5, head(6)),
        ):
            with pytest.raises(EvidenceInvalid) as refused:
                ask()
            assert refused.value.code == "state-damaged"


def test_a_file_of_another_release_is_refused(path):
    at_size(path, 5)
    seal = Seal(2, 1, row_digest(OWN, 5, head(5).root, head(5).checkpoint))
    other = sqlite3.connect(path)
    other.execute("UPDATE seal SET version = 2, mix = ?, digest = ?", (seal.mix, seal.digest()))
    other.commit()
    other.close()
    with pytest.raises(OperationFailed) as refused:
        StateStore.open(path)
    assert refused.value.code == "state-version"


def test_no_flipped_bit_changes_what_is_read(path, tmp_path):
    """Each flip either is reported or touches nothing that is ever said (free space, page headers)."""
    with StateStore.create(path) as made:
        for number in range(20):
            made.create_head(f"log{number}.example/ledger/1", head(number, note=os.urandom(300)))
        written = made.heads()
    sound = path.read_bytes()
    seed = random.randrange(1 << 32)
    dice = random.Random(seed)
    copy = tmp_path / "copy" / "state.db"
    copy.parent.mkdir()
    found = 0
    for _ in range(400):
        bit = dice.randrange(len(sound) * 8)
        flipped = bytearray(sound)
        flipped[bit // 8] ^= 1 << bit % 8
        copy.write_bytes(flipped)
        try:
            with StateStore.open(copy) as store:
                assert store.heads() == written, f"seed {seed}, bit {bit}: wrong heads were believed"
        except HeritageError:
            found += 1
        finally:
            shutil.rmtree(copy.parent)
            copy.parent.mkdir()
    assert found


def test_every_flipped_bit_of_a_stored_head_is_found(path, tmp_path):
    note = os.urandom(64)
    with StateStore.create(path) as made:
        made.create_head(OWN, Head(5, head(5).root, note))
    sound = path.read_bytes()
    digest = row_digest(OWN, 5, head(5).root, note)
    for part in (OWN.encode() + b"\x05" + head(5).root + note + digest,):
        start = sound.index(part)  # the row lies in one piece: origin, size, root, checkpoint, digest
        for place in range(start, start + len(part)):
            flipped = bytearray(sound)
            flipped[place] ^= 1 << place % 8
            copy = tmp_path / f"flip-{place}.db"
            copy.write_bytes(flipped)
            with pytest.raises(EvidenceInvalid) as refused:
                StateStore.open(copy)
            assert refused.value.code == "state-damaged"


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\x00" + bytes(84), bytes(4096)])
def test_what_is_no_state_file_is_damage(path, content):
    path.write_bytes(content)
    with pytest.raises(EvidenceInvalid) as refused:
        StateStore.open(path)
    assert refused.value.code == "state-damaged"


def test_a_folder_of_that_name_is_no_state_file(path):
    path.mkdir()
    with pytest.raises(EvidenceMissing):
        StateStore.open(path)


def swap_up(path: Path, count: int, told) -> None:
    """Move the head up `count` times by whoever wins, and tell of each own success."""
    with StateStore.open(path) as store:
        for _ in range(count):
            size = store.head(OWN).size
            try:
                store.swap_head(OWN, size, head(size + 1))
            except TemporaryFailure as lost:
                if lost.code != "state-conflict":
                    raise
            else:
                told(str(size + 1))


def test_of_two_processes_one_wins_each_size(path):
    at_size(path, 0)
    children = [Child(lambda told: swap_up(path, 100, told)) for _ in range(2)]
    ended = [child.wait() for child in children]
    assert [status for status, _ in ended] == [0, 0]
    won = [int(line) for _, lines in ended for line in lines]
    with StateStore.open(path) as store:
        assert sorted(won) == list(range(1, store.head(OWN).size + 1))


def test_two_stores_from_the_same_size(path):
    at_size(path, 5)
    with StateStore.open(path) as one, StateStore.open(path) as other:
        seen = one.head(OWN).size, other.head(OWN).size
        one.swap_head(OWN, seen[0], head(6))
        with pytest.raises(TemporaryFailure) as refused:
            other.swap_head(OWN, seen[1], Head(6, bytes(32), b"another history"))
        assert refused.value.code == "state-conflict"
        assert other.head(OWN) == head(6)


def test_any_thread_may_use_one_store(store):
    store.create_head(OWN, head(0))
    won: list[int] = []

    def work() -> None:
        for _ in range(50):
            size = store.head(OWN).size
            try:
                store.swap_head(OWN, size, head(size + 1))
            except TemporaryFailure:
                continue
            won.append(size + 1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == list(range(1, store.head(OWN).size + 1))


def test_no_acknowledged_swap_is_lost_by_a_kill(path):
    at_size(path, 0)
    acknowledged = 0
    for number in range(25):
        child = Child(lambda told: swap_up(path, 1_000_000, told))
        child.kill_after(0.01 + 0.004 * number)
        _, lines = child.wait()
        acknowledged = max([acknowledged, *map(int, lines)])
        with StateStore.open(path) as store:
            reached = store.head(OWN)
            assert reached == head(reached.size)
            assert reached.size >= acknowledged
            assert reached.size <= acknowledged + 1, "more was written than one unacknowledged swap"
            acknowledged = reached.size
    assert acknowledged > 25


def test_a_writer_that_does_not_let_go_is_named_as_a_lock(path, monkeypatch):
    monkeypatch.setattr(sqlite_home, "BUSY_SECONDS", 0.05)
    at_size(path, 5)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        with StateStore.open(path) as store:
            assert store.head(OWN) == head(5)
            with pytest.raises(HomeLocked) as refused:
                store.swap_head(OWN, 5, head(6))
            assert refused.value.code == "database-locked"
            other.execute("ROLLBACK")
            store.swap_head(OWN, 5, head(6))
    finally:
        other.close()


def test_after_a_failed_fsync_nothing_more_is_written(path, monkeypatch):
    at_size(path, 5)
    with StateStore.open(path) as store:
        failed = sqlite3.OperationalError("disk I/O error")
        failed.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
        with monkeypatch.context() as patch:
            patch.setattr(store, "_reseal", lambda *_: (_ for _ in ()).throw(failed))
            with pytest.raises(DiskProblem) as refused:
                store.swap_head(OWN, 5, head(6))
        assert refused.value.code == "disk-sync-failed"
        with pytest.raises(DiskProblem) as refused:
            store.swap_head(OWN, 5, head(6))
        assert refused.value.code == "disk-sync-stopped"
        assert store.head(OWN) == head(5)


def mounted(folder: Path, size: str) -> None:
    """A small file system of its own, or a skip."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("needs root and mount for a small file system")
    if subprocess.run(command, check=False).returncode:
        pytest.skip("this system lets nobody mount")


@pytest.fixture
def small(tmp_path):
    folder = tmp_path / "small"
    mounted(folder, "512k")
    yield folder
    for _ in range(20):
        if subprocess.run(["umount", folder], check=False).returncode == 0:
            return
        time.sleep(0.05)


def test_a_full_disk_is_named_and_the_head_stays(small):
    path = small / "state.db"
    at_size(path, 5)
    with StateStore.open(path) as store:
        store.swap_head(OWN, 5, head(6))
        filler = small / "filler"
        with filler.open("wb", buffering=0) as out, pytest.raises(OSError):  # noqa: PT012 - until it is full
            while True:
                out.write(bytes(4096))
        size = 6
        with pytest.raises(DiskProblem) as refused:  # noqa: PT012 - the room in the -wal file is used up first
            while True:
                store.swap_head(OWN, size, head(size + 1, note=os.urandom(4000)))
                size += 1
        assert refused.value.code == "disk-full"
        assert store.head(OWN).size == size
        filler.unlink()
        store.swap_head(OWN, size, head(size + 1))
    with StateStore.open(path) as store:
        assert store.head(OWN) == head(size + 1)


def test_no_file_is_left_where_there_is_no_room_to_create_one(small):
    with (small / "filler").open("wb", buffering=0) as out, pytest.raises(OSError):  # noqa: PT012 - until full
        while True:
            out.write(bytes(4096))
    with pytest.raises(DiskProblem) as refused:
        StateStore.create(small / "state.db")
    assert refused.value.code == "disk-full"
    assert [entry.name for entry in small.iterdir()] == ["filler"]


def test_a_read_only_disk_can_be_read_and_says_so_when_written(small):
    path = small / "state.db"
    at_size(path, 5)
    subprocess.run(["mount", "-o", "remount,ro", small], check=True)
    with StateStore.open(path) as store:
        assert store.head(OWN) == head(5)
        with pytest.raises(DiskProblem) as refused:
            store.swap_head(OWN, 5, head(6))
        assert refused.value.code == "disk-read-only"
    with pytest.raises(DiskProblem) as refused:
        StateStore.create(small / "second.db")
    assert refused.value.code == "disk-read-only"


@pytest.mark.parametrize(
    ("code", "expected", "exit_code"),
    [
        (sqlite3.SQLITE_FULL, "disk-full", 13),
        (sqlite3.SQLITE_IOERR_WRITE, "disk-failing", 13),
        (sqlite3.SQLITE_IOERR_FSYNC, "disk-sync-failed", 13),
        (sqlite3.SQLITE_READONLY_DBMOVED, "disk-read-only", 13),
        (sqlite3.SQLITE_CANTOPEN, "disk-refused", 13),
        (sqlite3.SQLITE_PERM, "disk-refused", 13),
        (sqlite3.SQLITE_CORRUPT_VTAB, "damaged", 4),
        (sqlite3.SQLITE_NOTADB, "damaged", 4),
        (sqlite3.SQLITE_ERROR, "damaged", 4),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, "database-locked", 11),
        (sqlite3.SQLITE_LOCKED, "database-locked", 11),
        (sqlite3.SQLITE_NOMEM, "database-unavailable", 6),
        (sqlite3.SQLITE_INTERRUPT, "database-unavailable", 6),
        (sqlite3.SQLITE_CONSTRAINT, "database-failed", 2),
        (sqlite3.SQLITE_MISUSE, "database-failed", 2),
    ],
)
def test_every_result_code_of_sqlite_has_its_place(tmp_path, code, expected, exit_code):
    error = sqlite3.OperationalError("said")
    error.sqlite_errorcode = code
    made = sqlite_error(error, str(tmp_path / "x.db"), lambda path, said: EvidenceInvalid("damaged", said))
    assert (made.code, made.exit_code) == (expected, exit_code)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (sqlite3.OperationalError("Could not decode to UTF-8 column"), "damaged"),
        (sqlite3.ProgrammingError("Cannot operate on a closed database."), "database-failed"),
    ],
)
def test_errors_of_the_driver_itself_have_their_place(error, expected):
    made = sqlite_error(error, "x.db", lambda path, said: EvidenceInvalid("damaged", said))
    assert made.code == expected
