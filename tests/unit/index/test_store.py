"""The index: rows go in together, come out by every question, and say how far they reach."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from dataclasses import replace

import pytest
from sqlalchemy import create_mock_engine

from heritage_ledger.content.cid import DAG_PB, RAW, block_cid, digest_of, make_cid
from heritage_ledger.content.embedded import EmbeddedEngine
from heritage_ledger.content.package import FileRow
from heritage_ledger.content.unixfs import CHUNK_SIZE
from heritage_ledger.errors import HomeLocked, OperationFailed, UsageError
from heritage_ledger.home import sqlite as sqlite_home
from heritage_ledger.index import writer as writer_module
from heritage_ledger.index.database import erase
from heritage_ledger.index.rows import AssetRow, EventRow, PackageRow
from heritage_ledger.index.store import MAX_CANDIDATES, MAX_REFERENCES, Index, IndexStale
from heritage_ledger.index.tables import METADATA
from heritage_testkit.dying import Child

ORIGIN = "museum.example/ledger/1"
SCAN = "https://museum.example/object/1887.12"
VASE = "urn:uuid:6f9619ff-8b86-4d01-b42d-00cf4fc964ff"


def event(number: int, asset: str | None = None, version: int | None = None, **more: object) -> EventRow:
    row = EventRow(
        number,
        ORIGIN,
        f"urn:uuid:00000000-0000-4000-8000-{number:012x}",
        ("ingestion", "metadataModification"),
        "2026-11-23T09:00:00Z",
        "A. Archivist <https://museum.example/people/a>",
        "did:key:z6Mk",
        asset=asset,
        version=version,
    )
    return replace(row, **more)


def package(number: int, asset: str, version: int, **more: object) -> PackageRow:
    row = PackageRow(
        number,
        asset,
        version,
        make_cid(DAG_PB, hashlib.sha256(b"package %d" % number).digest()),
        make_cid(DAG_PB, hashlib.sha256(b"payload %d" % number).digest()),
        f"packages/p{number}/{version}",
        "1.0",
        2,
        20,
        5,
        "ingest",
    )
    return replace(row, **more)


def small(path: str, content: bytes) -> FileRow:
    return FileRow(path, len(content), block_cid(RAW, content), b"")


def large(path: str, content: bytes) -> FileRow:
    """A file of several blocks; its CID is here that of a made-up node."""
    pieces = [content[at : at + CHUNK_SIZE] for at in range(0, len(content), CHUNK_SIZE)]
    leaves = b"".join(hashlib.sha256(piece).digest() for piece in pieces)
    return FileRow(path, len(content), block_cid(DAG_PB, leaves), leaves)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "index.db"


@pytest.fixture
def index(path):
    with Index.open(path, origin=ORIGIN) as opened:
        yield opened


def add(index: Index, row: PackageRow, files: list[FileRow], *, title: str | None = None) -> None:
    """Take in a package as the next entry of the log."""
    with index.begin() as writer:
        writer.add_event(event(row.log_index, row.asset, row.version, package_cid=row.package_cid))
        writer.add_package(row, title=title)
        writer.add_files(row.log_index, files)
        writer.set_absorbed(row.log_index + 1)


def filled(index: Index) -> None:
    with index.begin() as writer:
        writer.add_event(event(0, types=("genesis",)))
        writer.set_absorbed(1)
    add(index, package(1, SCAN, 1), [small("bagit.txt", b"b"), small("data/a.tif", b"one")], title="Scans")
    add(index, package(2, VASE, 1, kind="adopt"), [small("data/a.tif", b"one"), small("data/b.tif", b"two")])
    add(index, package(3, SCAN, 2), [small("data/a.tif", b"new"), small("data/copy/é.tif", b"one")])


def test_a_new_index_is_empty_and_has_absorbed_nothing(index, path):
    assert index.absorbed() == 0
    assert list(index.assets()) == list(index.packages()) == list(index.events()) == []
    assert path.stat().st_mode & 0o777 == 0o600


def test_rows_come_out_as_they_went_in(index):
    filled(index)
    assert [row.asset for row in index.assets()] == [SCAN, VASE]
    assert index.asset(SCAN) == AssetRow(SCAN, "Scans", 1, 2)
    assert index.asset(VASE) == AssetRow(VASE, None, 2, 1)
    assert index.asset("urn:x") is None
    assert list(index.packages()) == [
        package(1, SCAN, 1),
        package(2, VASE, 1, kind="adopt"),
        package(3, SCAN, 2),
    ]
    assert [row.version for row in index.packages(SCAN)] == [1, 2]
    assert index.package(SCAN) == index.package(SCAN, 2) == index.package_at(3) == package(3, SCAN, 2)
    assert index.package(SCAN, 3) is None
    assert index.event(0) == event(0, types=("genesis",))
    assert index.event(event(2).event_id) == index.event(2)
    assert index.event(4) is None


def test_every_column_of_an_event_is_kept(index):
    row = event(
        0,
        SCAN,
        3,
        started="2026-11-23T08:00:00Z",
        ended="2026-11-23T09:00:00Z",
        outcome="success",
        package_cid=package(0, SCAN, 3).package_cid,
    )
    with index.begin() as writer:
        writer.add_event(row)
        writer.set_absorbed(1)
    assert list(index.events()) == [row]


def test_events_are_asked_for_by_asset_version_and_place(index):
    filled(index)
    assert [row.log_index for row in index.events()] == [0, 1, 2, 3]
    assert [row.log_index for row in index.events(SCAN)] == [1, 3]
    assert [row.log_index for row in index.events(SCAN, version=2)] == [3]
    assert [row.log_index for row in index.events(after=1)] == [2, 3]
    assert [row.log_index for row in index.events(after=0, limit=2)] == [1, 2]


def test_the_title_given_last_stays(index):
    filled(index)
    add(index, package(4, SCAN, 3), [small("data/a", b"")])
    assert index.asset(SCAN).title == "Scans"
    add(index, package(5, SCAN, 4), [small("data/a", b"")], title="Scans of the east wing")
    assert index.asset(SCAN) == AssetRow(SCAN, "Scans of the east wing", 1, 4)


def test_a_package_is_found_by_its_own_and_its_payloads_address(index):
    filled(index)
    row = package(2, VASE, 1, kind="adopt")
    assert index.package_by_cid(row.package_cid) == index.package_by_cid(row.payload_cid) == row
    assert index.package_by_cid(block_cid(RAW, b"one")) is None


def test_the_same_bag_taken_in_twice_is_found_where_it_came_first(index):
    filled(index)
    again = package(4, "urn:again", 1, package_cid=package(1, SCAN, 1).package_cid)
    add(index, again, [small("data/a.tif", b"one")])
    assert index.package_by_cid(again.package_cid) == package(1, SCAN, 1)


def test_files_are_listed_in_byte_order_and_by_prefix(index):
    names = [
        "data/Z",
        "data/a/1",
        "data/a/2",
        "data/a.b",
        "data/ab",
        "data/é",
        "data/\U0010ffff",
        "bagit.txt",
    ]
    add(index, package(0, SCAN, 1), [small(name, name.encode()) for name in names])
    assert [row.path for row in index.files(0)] == sorted(names, key=str.encode)
    assert [row.path for row in index.files(0, "data/a/")] == ["data/a/1", "data/a/2"]
    assert [row.path for row in index.files(0, "data/a")] == ["data/a.b", "data/a/1", "data/a/2", "data/ab"]
    assert [row.path for row in index.files(0, "data/\U0010ffff")] == ["data/\U0010ffff"]
    assert list(index.files(0, "data/a_")) == list(index.files(0, "DATA/")) == list(index.files(1)) == []


def test_a_name_in_two_unicode_forms_is_two_files(index):
    composed, decomposed = "data/\u00e9", "data/e\u0301"
    add(index, package(0, SCAN, 1), [small(composed, b"1"), small(decomposed, b"2")])
    assert index.file(0, composed).cid == block_cid(RAW, b"1")
    assert index.file(0, decomposed).cid == block_cid(RAW, b"2")


def test_a_file_is_found_in_every_package(index):
    filled(index)
    cid = block_cid(RAW, b"one")
    places = [(place.package.log_index, place.file.path) for place in index.find_file(cid)]
    assert places == [(1, "data/a.tif"), (2, "data/a.tif"), (3, "data/copy/é.tif")]
    assert [place.package.version for place in index.find_file(cid, asset=SCAN)] == [1, 2]
    assert [place.package.log_index for place in index.find_files_by_path("data/a.tif")] == [1, 2, 3]
    assert [place.package.log_index for place in index.find_files_by_path("data/a.tif", asset=VASE)] == [2]
    assert list(index.find_file(block_cid(DAG_PB, b"one"))) == []


def test_a_cid_that_shares_only_its_lookup_key_is_not_found(index):
    filled(index)
    digest = digest_of(block_cid(RAW, b"one"))
    twin = make_cid(RAW, digest[:8] + bytes(24))
    assert list(index.find_file(twin)) == []
    assert index.candidates(SCAN, twin, 3) == []
    assert not index.lookup(digest_of(twin)).references


def test_candidates_are_files_of_the_same_asset_with_the_same_bytes(index):
    filled(index)
    cid = block_cid(RAW, b"one")
    assert index.candidates(SCAN, cid, 3) == ["packages/p3/2/data/copy/é.tif", "packages/p1/1/data/a.tif"]
    assert index.candidates(VASE, cid, 3) == ["packages/p2/1/data/a.tif"]
    assert index.candidates(SCAN, cid, 4) == index.candidates("urn:x", cid, 3) == []


@pytest.mark.parametrize("count", [MAX_CANDIDATES, MAX_CANDIDATES + 1])
def test_candidates_are_no_more_than_the_limit(index, count):
    add(index, package(0, SCAN, 1), [small(f"data/{number}", b"same") for number in range(count)])
    assert len(index.candidates(SCAN, block_cid(RAW, b"same"), 4)) == MAX_CANDIDATES


@pytest.mark.parametrize("count", [MAX_REFERENCES, MAX_REFERENCES + 1])
def test_references_are_no_more_than_the_limit(index, count):
    add(index, package(0, SCAN, 1), [small(f"data/{number}", b"") for number in range(count)])
    assert len(index.lookup(hashlib.sha256().digest()).references) == MAX_REFERENCES


def test_a_block_is_found_as_a_whole_file_as_a_piece_and_as_a_node(index):
    first, last = bytes(CHUNK_SIZE), b"the end"
    node = b"a node"
    add(index, package(0, SCAN, 1), [large("data/big", first + last), small("data/small", last)])
    with index.begin() as writer:
        writer.add_nodes(0, [(block_cid(DAG_PB, node), node)] * 2)
    assert index.lookup(hashlib.sha256(first).digest()).references[0].length == CHUNK_SIZE
    found = {(at.path, at.offset, at.length) for at in index.lookup(hashlib.sha256(last).digest()).references}
    assert found == {
        ("packages/p0/1/data/small", 0, len(last)),
        ("packages/p0/1/data/big", CHUNK_SIZE, len(last)),
    }
    assert index.lookup(hashlib.sha256(node).digest()).node == node
    nothing = index.lookup(bytes(32))
    assert nothing.node is None
    assert not nothing.references


@pytest.mark.parametrize("size", [CHUNK_SIZE + 1, 2 * CHUNK_SIZE, 2 * CHUNK_SIZE + 1])
def test_the_pieces_of_a_file_cover_it_exactly(index, size):
    content = os.urandom(size)
    row = large("data/big", content)
    add(index, package(0, SCAN, 1), [row])
    rebuilt = b""
    for at in range(0, len(row.leaves), 32):
        (place,) = index.lookup(row.leaves[at : at + 32]).references
        assert place.offset == len(rebuilt)
        rebuilt += content[place.offset : place.offset + place.length]
    assert rebuilt == content


def test_the_embedded_engine_serves_blocks_through_the_index(index, tmp_path):
    content = os.urandom(CHUNK_SIZE + 10)
    folder = tmp_path / "packages/p0/1/data"
    folder.mkdir(parents=True)
    (folder / "big").write_bytes(content)
    (folder / "empty").write_bytes(b"")
    add(index, package(0, SCAN, 1), [large("data/big", content), small("data/empty", b"")])
    engine = EmbeddedEngine(tmp_path, index)
    for piece in (content[:CHUNK_SIZE], content[CHUNK_SIZE:], b""):
        assert engine.get(block_cid(RAW, piece)) == piece


@pytest.mark.parametrize("count", [writer_module.BATCH_ROWS, writer_module.BATCH_ROWS + 1])
def test_more_rows_than_one_batch_are_all_kept(index, count):
    add(index, package(0, SCAN, 1), [small(f"data/{number:06}", b"%d" % number) for number in range(count)])
    assert sum(1 for _ in index.files(0)) == count


@pytest.mark.parametrize("count", [writer_module.NODE_BATCH_ROWS, writer_module.NODE_BATCH_ROWS + 1])
def test_nodes_that_come_again_in_a_later_batch_are_kept_once(index, count):
    nodes = [(block_cid(DAG_PB, b"%d" % number), b"%d" % number) for number in range(count)]
    with index.begin() as writer:
        writer.add_nodes(7, [*nodes, *nodes])
    assert sum(name == "nodes" for name, _ in index.dump()) == count


def test_many_events_at_once_are_all_kept(index):
    count = writer_module.BATCH_ROWS + 1
    with index.begin() as writer:
        for number in range(count):
            writer.add_event(event(number))
        writer.set_absorbed(count)
    assert [row.log_index for row in index.events(after=count - 3)] == [count - 2, count - 1]
    assert index.absorbed() == count


def test_what_raises_leaves_nothing_behind(index):
    filled(index)
    before = index.rows_digest()
    with pytest.raises(KeyError), index.begin() as writer:  # noqa: PT012 - all of it is to be taken back
        writer.add_event(event(4, SCAN, 3))
        writer.add_package(package(4, SCAN, 3), title="half")
        writer.add_files(4, [small("data/a", b"")])
        writer.set_absorbed(5)
        raise KeyError
    assert index.rows_digest() == before


def test_an_error_of_the_callers_rows_stays_its_own(index):
    def rows():
        yield small("data/a", b"")
        raise KeyError

    with pytest.raises(KeyError), index.begin() as writer:
        writer.add_files(0, rows())


def not_the_next(writer):
    writer.add_event(event(5))


def of_another_log(writer):
    writer.add_event(event(4, origin="archive.example/ledger/1"))


def the_same_id(writer):
    writer.add_event(event(4, event_id=event(1).event_id))
    writer.set_absorbed(5)


def a_type_of_two_words(writer):
    writer.add_event(event(4, types=("two words",)))


def an_empty_type(writer):
    writer.add_event(event(4, types=("",)))


def the_same_version(writer):
    writer.add_package(package(4, SCAN, 2))


def the_same_package(writer):
    writer.add_package(package(3, SCAN, 3))


def an_unknown_kind(writer):
    writer.add_package(package(4, SCAN, 3, kind="found"))


def the_same_file(writer):
    writer.add_files(3, [small("data/a.tif", b"other")])


def absorbed_too_far(writer):
    writer.add_event(event(4))
    writer.set_absorbed(6)


def absorbed_backwards(writer):
    writer.set_absorbed(3)


def absorbed_not_told(writer):
    writer.add_event(event(4))


@pytest.mark.parametrize(
    "wrong",
    [
        not_the_next,
        of_another_log,
        the_same_id,
        a_type_of_two_words,
        an_empty_type,
        the_same_version,
        the_same_package,
        an_unknown_kind,
        the_same_file,
        absorbed_too_far,
        absorbed_backwards,
        absorbed_not_told,
    ],
)
def test_rows_that_cannot_belong_to_the_log_are_refused(index, wrong):
    filled(index)
    before = index.rows_digest()
    with pytest.raises(OperationFailed) as refused, index.begin() as writer:
        wrong(writer)
    assert refused.value.code == "index-conflict"
    assert index.rows_digest() == before


@pytest.mark.parametrize("size", [0, 3, 5])
def test_an_index_that_is_not_where_the_log_is_is_stale(index, size):
    filled(index)
    index.check_absorbed(4)
    with pytest.raises(IndexStale) as stale:
        index.check_absorbed(size)
    assert stale.value.code == "index-stale"
    assert (stale.value.expected, stale.value.found) == (f"{size} entries", "4 entries")


def test_clearing_and_filling_again_gives_the_same_rows(index, path):
    filled(index)
    first = list(index.dump()), index.rows_digest()
    with index.begin() as writer:
        writer.clear()
    assert index.absorbed() == 0
    assert [name for name, _ in index.dump()] == ["index_meta"]
    filled(index)
    assert (list(index.dump()), index.rows_digest()) == first


def test_the_order_of_adding_files_leaves_no_trace(tmp_path):
    rows = [small(f"data/{number}", b"%d" % number) for number in range(50)]
    digests = set()
    for name, files in (("a", rows), ("b", rows[::-1])):
        with Index.open(tmp_path / name, origin=ORIGIN) as index:
            add(index, package(0, SCAN, 1), files)
            digests.add(index.rows_digest())
    assert len(digests) == 1


def test_an_index_stays_when_it_is_opened_again(path):
    with Index.open(path, origin=ORIGIN) as index:
        filled(index)
        before = index.rows_digest()
    with Index.open(str(path), origin=ORIGIN) as index:
        assert index.rows_digest() == before


def test_of_many_processes_that_open_a_new_index_one_makes_it(path):
    children = [Child(lambda _: Index.open(path, origin=ORIGIN).close()) for _ in range(8)]
    assert [child.wait()[0] for child in children] == [0] * 8
    with Index.open(path, origin=ORIGIN) as index:
        assert index.absorbed() == 0
    assert [entry.name for entry in path.parent.iterdir()] == ["index.db"]


def test_an_empty_file_becomes_an_index(path):
    path.touch()
    with Index.open(path, origin=ORIGIN) as index:
        filled(index)
        assert index.absorbed() == 4


def test_the_index_of_another_log_is_refused(index, path):
    with pytest.raises(OperationFailed) as refused:
        Index.open(path, origin="archive.example/ledger/1")
    assert refused.value.code == "index-origin"


def test_the_index_of_another_release_is_refused(index, path):
    index.close()
    with sqlite3.connect(path) as other:
        other.execute("UPDATE index_meta SET version = 2")
    other.close()
    with pytest.raises(OperationFailed) as refused:
        Index.open(path, origin=ORIGIN)
    assert refused.value.code == "index-version"


@pytest.mark.parametrize(
    "url", ["nonsense://x", "sqlite://", "postgresql+nodriver://u:secret@h/d", "sqlite+nodriver:///x"]
)
def test_a_url_that_cannot_be_used_is_named_without_its_password(url):
    with pytest.raises(UsageError) as refused:
        Index.open(url, origin=ORIGIN)
    assert refused.value.code == "database-url"
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("text", ["\ud800", "a\udcffb", "\x00"])
def test_names_that_no_row_can_have_are_simply_not_there(index, text):
    filled(index)
    assert index.asset(text) is index.event(text) is index.file(1, text) is index.package(text) is None
    assert list(index.packages(text)) == list(index.events(text)) == []
    assert list(index.find_files_by_path(text)) == list(index.files(1, text)) == []
    assert index.event(1 << 63) is None
    assert index.package_at(1 << 63) is None


def test_erasing_removes_what_sqlite_keeps_beside_the_file(path):
    with Index.open(path, origin=ORIGIN) as index:
        filled(index)
        assert len(list(path.parent.iterdir())) > 1
        erase(path)
    assert not list(path.parent.iterdir())
    erase(path)


def test_a_reader_sees_one_state_while_a_writer_commits(index, path):
    filled(index)
    with Index.open(path, origin=ORIGIN) as reader:
        assert reader.absorbed() == 4
        with index.begin() as writer:
            writer.add_event(event(4, SCAN))
            writer.set_absorbed(5)
            assert reader.absorbed() == 4
            assert [row.log_index for row in reader.events(SCAN)] == [1, 3]
        assert reader.absorbed() == 5
        assert [row.log_index for row in reader.events(SCAN)] == [1, 3, 4]


def test_a_stream_goes_on_over_what_it_began_with(index):
    add(index, package(0, SCAN, 1), [small(f"data/{number:05}", b"") for number in range(3000)])
    stream = index.files(0)
    first = next(stream)
    with index.begin() as writer:
        writer.clear()
    assert [first.path, *(row.path for row in stream)] == [f"data/{number:05}" for number in range(3000)]
    assert list(index.files(0)) == []


def test_a_second_writer_waits_and_then_says_who_is_in_the_way(index, path, monkeypatch):
    monkeypatch.setattr(sqlite_home, "BUSY_SECONDS", 0.05)
    filled(index)
    with Index.open(path, origin=ORIGIN) as other, index.begin():
        with pytest.raises(HomeLocked) as refused, other.begin():
            pass
        assert refused.value.code == "database-locked"


def test_the_tables_are_made_of_sql_that_postgresql_speaks():
    said: list[str] = []
    engine = create_mock_engine(
        "postgresql+psycopg://", lambda made, *_, **__: said.append(str(made.compile(dialect=engine.dialect)))
    )
    METADATA.create_all(engine, checkfirst=False)
    text = "\n".join(said)
    assert text.count("CREATE TABLE") == len(METADATA.tables)
    assert "BYTEA" in text
    assert "BLOB" not in text
    assert "SERIAL" not in text
