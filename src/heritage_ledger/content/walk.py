"""Reading a DAG: find paths, walk trees, and say which blocks a file's bytes lie in.

Blocks come from `get`, which may be anything: each is hashed before it is believed, so what is said here
about a tree follows from its root CID alone. Sizes are checked against each other on the way
(`specs/addresses.md`); reading is lazy and holds one branch at a time, never a whole tree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from heritage_ledger.content.cid import DAG_PB, RAW, Cid, codec_of
from heritage_ledger.content.dagpb import Node, parse_node
from heritage_ledger.content.directory import Get, find_child, list_children, read_block, read_node
from heritage_ledger.content.message import Kind, Message, malformed
from heritage_ledger.errors import OperationFailed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MAX_FILE_DEPTH = 32
"""Levels of nodes in a file: 1024 links a node would pass 2^64 bytes at 5; trickle trees are deeper."""
MAX_WAITING = 65_536
"""Chunks of a file that are known to come, on all levels together: five levels of 1024, and far beyond."""
MAX_PATH_PARTS = 2048
"""Names in a path: a path of 4,096 bytes holds no more."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """A piece of a file: `length` bytes at `offset`.

    `data` holds the bytes where they came with a node that was read anyway; where it is None, the raw block
    `cid` is the bytes.
    """

    cid: Cid
    offset: int
    length: int
    data: bytes | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """What a path leads to.

    `kind` is `FILE`, `DIRECTORY` or `SYMLINK`; `size` in file bytes, None for what is no file. `blocks` are
    the nodes on the way from the root, the target not included: with the target's own blocks they prove the
    path. `roots` has what each part of the path leads to, the root first and the target last.
    """

    cid: Cid
    kind: Kind
    size: int | None
    blocks: tuple[Cid, ...]
    roots: tuple[Cid, ...]


@dataclass(frozen=True, slots=True)
class Visit:
    """One file, directory or symlink of a tree, with its path from the root (empty for the root)."""

    path: tuple[bytes, ...]
    cid: Cid
    kind: Kind
    size: int | None


def read_leaf(get: Get, leaf: Leaf) -> bytes:
    """Return the file bytes of `leaf`.

    Raises:
        EvidenceInvalid: `block-damaged`; `unixfs-malformed`, the block is not as long as its file says.
    """
    if leaf.data is not None:
        return leaf.data
    block = read_block(get, leaf.cid)
    if len(block) != leaf.length:
        raise malformed(
            "a chunk is not as long as its file says",
            expected=f"{leaf.length} bytes",
            found=f"{len(block)} bytes",
        )
    return block


def file_leaves(get: Get, root: Cid, *, start: int = 0, stop: int | None = None) -> Iterator[Leaf]:
    """Yield in order the leaves of the file `root` that hold bytes from `start` up to, not including, `stop`.

    Nodes that hold none of them are not read. An empty file has one empty leaf.

    Raises:
        EvidenceInvalid: `block-damaged`, `dagpb-malformed`; `unixfs-malformed`, no file, or sizes that do
            not agree.
    """
    if codec_of(root) == RAW:
        block = read_block(get, root)
        if not block or _overlaps(0, len(block), start, stop):
            yield Leaf(root, 0, len(block), block)
        return
    todo: list[tuple[Cid, int, int | None, int]] = [(root, 0, None, 0)]
    while todo:
        cid, offset, size, depth = todo.pop()
        if codec_of(cid) == RAW:
            assert size is not None
            yield Leaf(cid, offset, size)
            continue
        if depth == MAX_FILE_DEPTH:
            raise malformed("a file with too many levels", expected=f"≤ {MAX_FILE_DEPTH}", found="more")
        node, message = read_node(get, cid)
        inline = _check_file(node, message, size)
        if not message.filesize or _overlaps(offset, len(inline), start, stop):
            yield Leaf(cid, offset, len(inline), inline)
        offset += len(inline)
        children = []
        for link, length in zip(node.links, message.blocksizes, strict=True):
            if _overlaps(offset, length, start, stop):
                children.append((link.cid, offset, length, depth + 1))
            offset += length
        todo.extend(reversed(children))
        if len(todo) > MAX_WAITING:
            raise malformed("a file whose nodes have too many links", expected=f"≤ {MAX_WAITING} at once")


def _overlaps(offset: int, size: int, start: int, stop: int | None) -> bool:
    return size > 0 and offset + size > start and (stop is None or offset < stop)


def resolve(get: Get, root: Cid, path: str | Sequence[bytes]) -> Found:
    """Return what `path` leads to from the directory `root`; the empty path leads to `root`.

    A path is text with `/` between its parts, or byte names. No symlink is followed.

    Raises:
        OperationFailed: `path-not-found`: the tree has no such path, or goes on below a file.
        EvidenceInvalid: as `list_directory`.
    """
    parts = _parts(path) if isinstance(path, str) else list(path)
    if len(parts) > MAX_PATH_PARTS:
        raise _not_found(parts[:MAX_PATH_PARTS])
    cid = root
    blocks: list[Cid] = []
    roots = [root]
    for at, name in enumerate(parts):
        found = find_child(get, cid, name, blocks)
        if found is None:
            raise _not_found(parts[: at + 1])
        cid = found
        roots.append(cid)
    if codec_of(cid) == RAW:
        return Found(cid, Kind.FILE, len(read_block(get, cid)), tuple(blocks), tuple(roots))
    node, message = read_node(get, cid)
    return Found(cid, *_kind_and_size(node, message), tuple(blocks), tuple(roots))


def walk(get: Get, root: Cid) -> Iterator[Visit]:
    """Yield everything below and with `root`, each folder before what is in it, in the order of its entries.

    The size of a file of one raw block is what its link says, unproved until the block is read. A tree made
    to deceive can be longer to walk than its blocks are many: stop when it passes what was expected.

    Raises:
        EvidenceInvalid: as `list_directory`; `unixfs-malformed`, a path of more than `MAX_PATH_PARTS` names.
    """
    todo: list[tuple[tuple[bytes, ...], Cid, int | None]] = [((), root, None)]
    while todo:
        path, cid, tsize = todo.pop()
        if codec_of(cid) == RAW:
            yield Visit(path, cid, Kind.FILE, len(read_block(get, cid)) if tsize is None else tsize)
            continue
        node, message = read_node(get, cid)
        kind, size = _kind_and_size(node, message)
        yield Visit(path, cid, kind, size)
        if kind is not Kind.DIRECTORY:
            continue
        if len(path) == MAX_PATH_PARTS:
            raise malformed("a tree with too many levels", expected=f"≤ {MAX_PATH_PARTS}", found="more")
        children = [
            ((*path, child.name), child.cid, child.tsize) for child in list_children(get, node, message)
        ]
        todo.extend(reversed(children))


def block_cids(get: Get, root: Cid) -> Iterator[Cid]:
    """Yield the CID of every block of the DAG once, depth first, parents first; raw blocks are not read.

    Memory: 36 bytes and the set's overhead for each block.

    Raises:
        EvidenceInvalid: `block-damaged`, `dagpb-malformed`, `cid-unsupported`.
    """
    seen: set[Cid] = set()
    todo = [root]
    while todo:
        cid = todo.pop()
        if cid in seen:
            continue
        seen.add(cid)
        yield cid
        if codec_of(cid) == DAG_PB:
            node = parse_node(read_block(get, cid))
            todo.extend(link.cid for link in reversed(node.links))


def _kind_and_size(node: Node, message: Message) -> tuple[Kind, int | None]:
    if message.kind in {Kind.DIRECTORY, Kind.SHARD}:
        return Kind.DIRECTORY, None
    if message.kind is Kind.SYMLINK:
        return Kind.SYMLINK, None
    _check_file(node, message, None)
    return Kind.FILE, message.filesize or 0


def _check_file(node: Node, message: Message, size: int | None) -> bytes:
    """Check a file node's sizes against each other and its parent's claim; return its inline bytes."""
    if message.kind not in {Kind.FILE, Kind.RAW}:
        raise malformed("not a file", expected="File", found=message.kind.name)
    inline = message.data or b""
    filesize = message.filesize or 0
    if len(node.links) != len(message.blocksizes):
        raise malformed(
            "a file names another number of chunks than of sizes",
            expected=f"{len(node.links)} sizes",
            found=f"{len(message.blocksizes)} sizes",
        )
    if any(link.name for link in node.links):
        raise malformed("a chunk with a name")
    if 0 in message.blocksizes:
        raise malformed("a chunk of no bytes")
    total = len(inline) + sum(message.blocksizes)
    if total != filesize or (size is not None and filesize != size):
        raise malformed(
            "a file's sizes do not agree",
            expected=f"{filesize if size is None else size} bytes",
            found=f"{total} bytes",
        )
    return inline


def _parts(path: str) -> list[bytes]:
    try:
        return [part.encode() for part in path.split("/") if part]
    except UnicodeEncodeError:
        raise _not_found([path.encode(errors="backslashreplace")]) from None


def _not_found(parts: Sequence[bytes]) -> OperationFailed:
    return OperationFailed(
        "path-not-found",
        "there is nothing at this path",
        path=b"/".join(parts).decode(errors="backslashreplace"),
    )
