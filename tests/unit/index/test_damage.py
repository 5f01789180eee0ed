"""A damaged index says so, never with a foreign error, and a rebuild can replace it."""

from __future__ import annotations

import random
import sqlite3

import pytest

from heritage_ledger.content.cid import DAG_PB, RAW, block_cid
from heritage_ledger.content.package import FileRow
from heritage_ledger.errors import HeritageError, OperationFailed
from heritage_ledger.index.database import erase
from heritage_ledger.index.rows import EventRow, PackageRow
from heritage_ledger.index.store import Index

ORIGIN = "museum.example/ledger/1"
SCAN = "https://museum.example/object/1887.12"


def filled(index: Index) -> None:
    """Three versions of an asset, each with a file that stays and one that changes."""
    with index.begin() as writer:
        for number in range(3):
            asset, version = SCAN, number + 1
            row = EventRow(
                number, ORIGIN, f"urn:x:{number}", ("ingestion",), "t", "a", "k", asset=asset, version=version
            )
            writer.add_event(row)
            cid = block_cid(DAG_PB, b"%d" % number)
            writer.add_package(
                PackageRow(number, asset, version, cid, cid, f"packages/p{number}", "1.0", 2, 4, 0, "ingest")
            )
            files = [("data/a.tif", b"one"), ("data/b.tif", b"%d" % number)]
            writer.add_files(
                number, [FileRow(at, len(data), block_cid(RAW, data), b"") for at, data in files]
            )
            writer.add_nodes(number, [(cid, b"%d" % number)])
        writer.set_absorbed(3)


@pytest.fixture
def path(tmp_path):
    place = tmp_path / "index.db"
    with Index.open(place, origin=ORIGIN) as index:
        filled(index)
    return place


def ask_everything(path) -> bytes:
    """Every question once; the digest of all rows when none was refused."""
    with Index.open(path, origin=ORIGIN) as index:
        list(index.assets())
        list(index.packages(SCAN))
        list(index.events(SCAN))
        list(index.files(1))
        list(index.find_files_by_path("data/a.tif"))
        list(index.find_file(block_cid(RAW, b"one")))
        index.candidates(SCAN, block_cid(RAW, b"one"), 3)
        index.check_intact()
        return index.rows_digest()


@pytest.mark.parametrize("content", [b"no database at all", b"SQLite format 3\x00" + bytes(100), bytes(8192)])
def test_a_file_that_is_no_database_is_damage(path, content):
    path.write_bytes(content)
    with pytest.raises(OperationFailed) as refused:
        Index.open(path, origin=ORIGIN)
    assert refused.value.code == "index-damaged"
    assert "rebuild" in refused.value.advice


def test_an_erased_index_is_made_again(path):
    path.write_bytes(b"no database at all")
    erase(path)
    with Index.open(path, origin=ORIGIN) as index:
        assert index.absorbed() == 0


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET agent = x'00' WHERE log_index = 1",
        "UPDATE packages SET payload_cid = 'text'",
        "UPDATE assets SET title = x'00'",
        "UPDATE events SET types = x'00' WHERE log_index = 1",
        "UPDATE events SET types = CAST(x'ff' AS TEXT) WHERE log_index = 1",
        "UPDATE packages SET folder = CAST(x'ff' AS TEXT)",
        "UPDATE files SET path = x'ff' WHERE package = 1 AND path = CAST('data/b.tif' AS BLOB)",
        "UPDATE files SET path = 12 WHERE size = 1",
        "UPDATE files SET size = 'many'",
        "UPDATE files SET cid = 'text' WHERE package = 1",
        "DROP TABLE files",
        "ALTER TABLE files RENAME COLUMN size TO length",
    ],
)
def test_rows_that_were_not_written_so_are_damage(path, statement):
    with sqlite3.connect(path) as other:
        other.execute(statement)
    other.close()
    with pytest.raises(OperationFailed) as refused:
        ask_everything(path)
    assert refused.value.code == "index-damaged"


def test_a_lost_row_of_an_index_tree_is_found_by_the_databases_own_check(path):
    with sqlite3.connect(path) as other:
        other.execute("PRAGMA writable_schema = ON")
        other.execute(
            "UPDATE sqlite_schema SET sql = 'CREATE INDEX ix_files_cid_key ON files (size)'"
            " WHERE name = 'ix_files_cid_key'"
        )
    other.close()
    with Index.open(path, origin=ORIGIN) as index, pytest.raises(OperationFailed) as refused:
        index.check_intact()
    assert refused.value.code == "index-damaged"


def test_no_flipped_bit_raises_anything_foreign_or_hides_in_the_rows(path, tmp_path):
    """A flip is refused, or changes the digest of the rows, or touches nothing that any answer is made of."""
    sound = path.read_bytes()
    digest = ask_everything(path)
    seed = random.randrange(1 << 32)
    dice = random.Random(seed)
    outcomes = {"refused": 0, "changed": 0, "untouched": 0}
    for number in range(300):
        flipped = bytearray(sound)
        bit = dice.randrange(len(sound) * 8)
        flipped[bit // 8] ^= 1 << bit % 8
        copy = tmp_path / f"copy-{number}.db"
        copy.write_bytes(flipped)
        try:
            outcomes["untouched" if ask_everything(copy) == digest else "changed"] += 1
        except HeritageError:
            outcomes["refused"] += 1
        except Exception as error:
            error.add_note(f"seed {seed}, bit {bit}")
            raise
        erase(copy)
    assert outcomes["refused"]
