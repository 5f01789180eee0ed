"""The embedded engine hands out whole blocks only, from whatever copy is whole."""

from __future__ import annotations

import hashlib
import os

import pytest

from heritage_ledger.content.blocks import Engine, PackageKey, State
from heritage_ledger.content.cid import RAW, block_cid, digest_of
from heritage_ledger.content.dagpb import MAX_BLOCK
from heritage_ledger.content.embedded import BlockRows, Copies, EmbeddedEngine, Reference
from heritage_ledger.content.unixfs import CHUNK_SIZE, Entry, directory, file_graph
from heritage_ledger.errors import EvidenceInvalid, EvidenceMissing

KEY = PackageKey("urn:example:1", 1)


class Rows:
    """Rows in dictionaries."""

    def __init__(self):
        self.nodes = {}
        self.references = {}

    def lookup(self, digest):
        return Copies(self.nodes.get(digest), self.references.get(digest, ()))

    def node(self, cid, block):
        self.nodes[digest_of(cid)] = block

    def refer(self, digest, *reference):
        self.references.setdefault(digest, []).append(Reference(*reference))


@pytest.fixture
def home(tmp_path):
    """A home with one bag of a two-chunk file, a small one, an empty one."""
    rows = Rows()
    contents = {"big": os.urandom(CHUNK_SIZE) + b"rest", "small": b"small", "empty": b""}
    entries = []
    (tmp_path / "bag").mkdir()
    for name, content in contents.items():
        (tmp_path / "bag" / name).write_bytes(content)
        digests = []
        for at in range(0, len(content) or 1, CHUNK_SIZE):
            piece = content[at : at + CHUNK_SIZE]
            digests.append(hashlib.sha256(piece).digest())
            rows.refer(digests[-1], f"bag/{name}", at, len(piece))
        entries.append((name.encode(), file_graph(b"".join(digests), len(content), rows.node)))
    root = directory(entries, rows.node)
    return EmbeddedEngine(tmp_path, rows), rows, root.cid, tmp_path


def test_it_is_an_engine_over_rows():
    rows: BlockRows = Rows()
    engine: Engine = EmbeddedEngine(None, rows)
    assert not engine.has(block_cid(RAW, b"x"))


def test_every_block_of_a_package_is_there_and_whole(home):
    engine, _, root, _ = home

    assert list(engine.damaged(root)) == []
    assert engine.get(block_cid(RAW, b"small")) == b"small"
    assert engine.get(block_cid(RAW, b"")) == b""
    assert engine.get(block_cid(RAW, b"rest")) == b"rest"
    assert engine.state(root) is State.OK
    engine.add_package(KEY, root, "bag", None)


def test_what_is_not_known_is_missing(home):
    engine, _, _, _ = home
    cid = block_cid(RAW, b"unknown")

    assert not engine.has(cid)
    assert engine.state(cid) is State.MISSING
    for call in (lambda: engine.get(cid), lambda: engine.add_package(KEY, cid, "bag", None)):
        with pytest.raises(EvidenceMissing) as caught:
            call()
        assert caught.value.code == "block-missing"


@pytest.mark.parametrize("change", [b"smalk", b"smal", b""])
def test_a_changed_file_is_told_and_its_bytes_are_not_handed_out(home, change):
    engine, _, root, folder = home
    cid = block_cid(RAW, b"small")
    (folder / "bag" / "small").write_bytes(change)

    assert engine.has(cid)
    assert engine.state(cid) is State.CHANGED
    with pytest.raises(EvidenceInvalid) as caught:
        engine.get(cid)
    assert caught.value.code == "block-damaged"
    assert list(engine.damaged(root)) == [(cid, State.CHANGED)]


def test_bytes_behind_the_referenced_ones_do_not_matter(home):
    engine, _, _, folder = home
    with (folder / "bag" / "small").open("ab") as file:
        file.write(b"more")
    assert engine.get(block_cid(RAW, b"small")) == b"small"


@pytest.mark.parametrize("how", ["gone", "link", "folder"])
def test_a_file_that_cannot_be_read_is_missing(home, how):
    engine, _, root, folder = home
    path = folder / "bag" / "small"
    path.unlink()
    if how == "link":
        (folder / "elsewhere").write_bytes(b"small")
        path.symlink_to(folder / "elsewhere")
    elif how == "folder":
        path.mkdir()

    assert engine.state(block_cid(RAW, b"small")) is State.MISSING
    assert list(engine.damaged(root)) == [(block_cid(RAW, b"small"), State.MISSING)]


def test_another_copy_is_used_when_one_is_damaged(home):
    engine, rows, root, folder = home
    cid = block_cid(RAW, b"small")
    (folder / "copy").write_bytes(b"??small")
    rows.refer(digest_of(cid), "copy", 2, 5)
    (folder / "bag" / "small").write_bytes(b"smalk")

    assert engine.get(cid) == b"small"
    assert list(engine.damaged(root)) == []
    assert [state for _, state in engine.states(cid)] == [State.CHANGED, State.OK]


def test_a_damaged_node_is_told_once_for_all_below_it(home):
    engine, rows, root, _ = home
    rows.nodes[digest_of(root)] += b"\0"

    assert list(engine.damaged(root)) == [(root, State.CHANGED)]
    with pytest.raises(EvidenceInvalid):
        engine.get(root)


def test_a_damaged_block_is_told_once_wherever_it_is_linked(home):
    engine, rows, _, folder = home
    cid = block_cid(RAW, b"small")
    file = Entry(cid, 5, 5)
    inner = [directory([(name, file), (b"twin", file)], rows.node) for name in (b"a", b"b")]
    root = directory([(b"one", inner[0]), (b"two", inner[1])], rows.node)
    (folder / "bag" / "small").unlink()

    assert list(engine.damaged(root.cid)) == [(cid, State.MISSING)]


def test_a_node_that_a_file_holds_too_is_read_from_there(home):
    engine, rows, root, folder = home
    node = rows.nodes[digest_of(root)]
    (folder / "exported").write_bytes(node)
    rows.refer(digest_of(root), "exported", 0, len(node))
    rows.nodes[digest_of(root)] = b"damaged"

    assert engine.get(root) == node


def test_a_reference_above_the_block_limit_is_not_read(home):
    engine, rows, _, folder = home
    for name, size, state in (("at", MAX_BLOCK, State.OK), ("above", MAX_BLOCK + 1, State.MISSING)):
        content = name[:1].encode() * size
        (folder / name).write_bytes(content)
        digest = hashlib.sha256(content).digest()
        rows.refer(digest, name, 0, size)
        assert engine.state(block_cid(RAW, content)) is state


def test_removing_a_package_touches_no_file(home):
    engine, _, root, folder = home
    engine.remove_package(KEY, root)
    assert sorted(path.name for path in (folder / "bag").iterdir()) == ["big", "empty", "small"]
