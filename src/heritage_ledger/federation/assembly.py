"""Making a folder hold what a CID names: what is there is compared piece by piece, the rest is fetched.

A new replica and a damaged bag are the same work: the tree is read from its root CID, every file's pieces are
hashed where they lie, and only those that are missing or changed are asked for. So a fetch that was cut off
goes on where it was, and a flipped bit costs one block.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from heritage_ledger.content.cid import RAW, codec_of, digest_of
from heritage_ledger.content.directory import list_children, read_node
from heritage_ledger.content.message import Kind, malformed
from heritage_ledger.content.unixfs import CHUNK_SIZE
from heritage_ledger.content.walk import Leaf, file_leaves
from heritage_ledger.errors import EvidenceInvalid
from heritage_ledger.federation.source import BATCH_BYTES, MAX_BATCH
from heritage_ledger.home.deep import open_below
from heritage_ledger.home.durable import disk_error, writing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future
    from pathlib import Path
    from typing import TypeAlias

    from heritage_ledger.content.budget import TreeBudget
    from heritage_ledger.content.cid import Cid
    from heritage_ledger.content.dagpb import Node
    from heritage_ledger.content.directory import Child
    from heritage_ledger.content.message import Message
    from heritage_ledger.progress import Progress

    Get: TypeAlias = Callable[[Cid], bytes]
    GetMany: TypeAlias = Callable[[list[Cid], int], dict[Cid, bytes]]

AHEAD: Final = 2
"""Batches that are on their way while one is written."""
_ABOUT_US: Final = frozenset(
    {errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENAMETOOLONG}
)
"""What says that this process cannot read a file, and not that the file is damaged."""
MAX_MISSING: Final = 4_096
"""Pieces that are named when nobody gives them."""
MAX_PATH: Final = 4_096
"""Bytes of a path in a bag."""


@dataclass(frozen=True, slots=True)
class Piece:
    """`length` bytes at `offset` of the file `path`, whose block is `cid`; `data` where a node holds them."""

    path: str
    cid: Cid
    offset: int
    length: int
    data: bytes | None = None


@dataclass(frozen=True, slots=True)
class TreeFile:
    """One file of a tree, its pieces not read yet; a folder has the cid None and no bytes."""

    path: str
    cid: Cid | None
    size: int


def tree_files(get: Get, root: Cid, budget: TreeBudget) -> Iterator[TreeFile]:
    """Yield every folder and file below `root`, a folder before what is in it, each charged before.

    Raises:
        EvidenceInvalid: it is no tree of files (`unixfs-malformed`, `dagpb-malformed`), a path has no place
            on a disk (`replica-path`), or there is more than `budget` has (`replica-too-large`).
        DiskProblem: there is no room for it (`disk-full`).
        EvidenceMissing: nobody gives a node of it.
    """
    read = budget.counted(get)
    levels = [_open_folder(read, "", *read_node(read, root), budget)]
    while levels:
        level = levels[-1]
        child = next(level.children, None)
        if child is None:
            budget.closed(level.names)
            levels.pop()
            continue
        path = _path(level.path, child.name)
        if codec_of(child.cid) == RAW:
            if child.tsize is None or child.tsize > CHUNK_SIZE:
                raise malformed("a file of one block is larger than a block", found=f"{child.tsize} bytes")
            budget.file(child.tsize)
            yield TreeFile(path, child.cid, child.tsize)
            continue
        node, message = read_node(read, child.cid)
        if message.kind is Kind.FILE:
            size = message.filesize or 0
            budget.file(size)
            yield TreeFile(path, child.cid, size)
        else:
            budget.folder()
            yield TreeFile(path, None, 0)
            levels.append(_open_folder(read, path, node, message, budget))


@dataclass(frozen=True, slots=True)
class _Level:
    """A folder that is being listed: its path, how many names its node has, those that come yet."""

    path: str
    names: int
    children: Iterator[Child]


def _open_folder(get: Get, path: str, node: Node, message: Message, budget: TreeBudget) -> _Level:
    if message.kind not in {Kind.DIRECTORY, Kind.SHARD}:
        raise malformed("not a directory", expected="Directory or HAMTShard", found=message.kind.name)
    budget.opened(len(node.links))
    return _Level(path, len(node.links), list_children(get, node, message))


def pieces(get: Get, file: TreeFile) -> Iterator[Piece]:
    """Yield the pieces of a file in order; an empty file has one empty piece.

    Raises:
        EvidenceInvalid: it is cut otherwise than every package is (`unixfs-malformed`): a piece is larger
            than `CHUNK_SIZE`, or there are more of them than its size takes.
    """
    if file.cid is None:
        return
    if codec_of(file.cid) == RAW:
        yield Piece(file.path, file.cid, 0, file.size)
        return
    most = max(1, -(-file.size // CHUNK_SIZE))
    leaf: Leaf
    for number, leaf in enumerate(file_leaves(get, file.cid)):
        if leaf.length > CHUNK_SIZE or number >= most:
            raise malformed("a file is not cut into chunks of the profile", expected=f"{most} chunks")
        yield Piece(file.path, leaf.cid, leaf.offset, leaf.length, leaf.data)


def bad_pieces(folder: Path, get: Get, file: TreeFile) -> Iterator[Piece]:
    """Yield the pieces of a file that are not whole in `folder`, one in memory at a time.

    Raises:
        DiskProblem, OperationFailed: this process may not or cannot look, which says nothing of the bytes.
    """
    return (piece for piece, data in read_pieces(folder, get, file) if data is None)


def read_pieces(folder: Path, get: Get, file: TreeFile) -> Iterator[tuple[Piece, bytes | None]]:
    """Yield every piece of a file with its bytes as they lie in `folder`; None where they are not whole."""
    try:
        descriptor = open_below(folder, file.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in _ABOUT_US:
            raise disk_error(error, folder / file.path) from error
        descriptor = None
    try:
        for piece in pieces(get, file):
            yield piece, None if descriptor is None else _whole(descriptor, piece)
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _whole(descriptor: int, piece: Piece) -> bytes | None:
    try:
        data = os.pread(descriptor, piece.length, piece.offset)
    except OSError:
        return None
    if piece.data is not None:
        return data if data == piece.data else None
    is_whole = len(data) == piece.length and hashlib.sha256(data).digest() == digest_of(piece.cid)
    return data if is_whole else None


def fetch(
    wanted: Iterable[Piece], get_many: GetMany, write: Callable[[Piece, bytes], None], progress: Progress
) -> list[Piece]:
    """Fetch pieces in batches and hand each to `write`, in order; return those that nobody gave.

    At most `MAX_MISSING` of them are named: what is missing of a large file must not fill the memory.

    While one batch is written the next ones are on their way: `get_many` is called from threads, with the
    CIDs and the bytes that they have together.
    """
    missing: list[Piece] = []

    def take(batch: list[Piece], found: dict[Cid, bytes]) -> None:
        for piece in batch:
            data = piece.data if piece.data is not None else found.get(piece.cid)
            if data is None or len(data) != piece.length:
                if len(missing) < MAX_MISSING:
                    missing.append(piece)
                continue
            write(piece, data)
            progress.advance(size=len(data))

    waiting: deque[tuple[list[Piece], Future[dict[Cid, bytes]]]] = deque()
    with ThreadPoolExecutor(AHEAD, "fetch") as pool:
        try:
            for batch in _batches(wanted):
                asked = [piece for piece in batch if piece.data is None]
                most = sum(piece.length for piece in asked)
                waiting.append((batch, pool.submit(get_many, [piece.cid for piece in asked], most)))
                if len(waiting) > AHEAD:
                    first, future = waiting.popleft()
                    take(first, future.result())
            while waiting:
                first, future = waiting.popleft()
                take(first, future.result())
        finally:
            for _, future in waiting:
                future.cancel()
    return missing


def _batches(wanted: Iterable[Piece]) -> Iterator[list[Piece]]:
    batch: list[Piece] = []
    size = 0
    for piece in wanted:
        batch.append(piece)
        size += piece.length
        if size >= BATCH_BYTES or len(batch) >= MAX_BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


class Writer:
    """Writes pieces into files below a folder; one file is open at a time. A context."""

    def __init__(self, folder: Path) -> None:
        """Write below `folder`, which exists."""
        self._folder = folder
        self._path: str | None = None
        self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def __call__(self, piece: Piece, data: bytes) -> None:
        """Write one piece into its place; its folder exists.

        Raises:
            DiskProblem: the disk is full or failing.
        """
        with writing(self._folder / piece.path):
            if piece.path != self._path:
                self._close()
                flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
                self._descriptor = os.open(self._folder / piece.path, flags, 0o600)
                self._path = piece.path
            view = memoryview(data)
            offset = piece.offset
            while view:
                written = os.pwrite(self._descriptor, view, offset)
                offset, view = offset + written, view[written:]

    def _close(self) -> None:
        if self._path is not None:
            os.close(self._descriptor)
            self._path = None


def _path(folder: str, name: bytes) -> str:
    try:
        text = name.decode()
    except UnicodeDecodeError:
        text = ""
    path = f"{folder}/{text}" if folder else text
    if not text or text in {".", ".."} or "/" in text or "\0" in text or len(path.encode()) > MAX_PATH:
        raise EvidenceInvalid(
            "replica-path",
            "the tree has a name that has no place on a disk",
            found=repr(name[:80]),
            advice="the package was not made by this software; nothing of it was kept",
        )
    return path
