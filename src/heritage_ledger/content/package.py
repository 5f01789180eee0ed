"""A package's graph while its files are read: the tree's CIDs, and rows for the index, in bounded memory.

Files are added as they are read. What the index will want later (each file's address and chunk digests, each
dag-pb node) is spooled to a temporary file, since a package may hold a million files.
"""

from __future__ import annotations

import struct
import tempfile
from typing import TYPE_CHECKING, NamedTuple, Self

from heritage_ledger.content.cid import Cid
from heritage_ledger.content.reading import is_large, read_below, spread
from heritage_ledger.content.tree import TreeBuilder
from heritage_ledger.content.unixfs import CHUNK_SIZE, Entry, file_graph
from heritage_ledger.home.deep import list_below

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import ThreadPoolExecutor
    from pathlib import Path

    from heritage_ledger.content.reading import FileDigests
    from heritage_ledger.progress import Progress

_FILE = struct.Struct(">IQI36s")
_NODE = struct.Struct(">I36s")
_MEMORY = 4 << 20
"""Bytes of rows kept in memory before they go to a temporary file."""


class FileRow(NamedTuple):
    """One file of a package: its path in the bag, bytes, address and chunk digests.

    `leaves` is empty where the file is one block (its CID is the leaf).
    """

    path: str
    size: int
    cid: Cid
    leaves: bytes


class PackageGraph:
    """The graph of one bag directory, profile `unixfs-v1-2025`, built in one pass.

    Add every file of the bag; the files below one folder come in one piece, folders not nested in one
    another in any order.
    """

    def __init__(self, *, folder: Path | None = None) -> None:
        self._files = tempfile.SpooledTemporaryFile(_MEMORY, dir=None if folder is None else str(folder))  # noqa: SIM115 - closed in close()
        self._nodes = tempfile.SpooledTemporaryFile(_MEMORY, dir=None if folder is None else str(folder))  # noqa: SIM115 - closed in close()
        self._tree = TreeBuilder(self._keep)
        self._finished = False
        self.count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()
        self._nodes.close()

    def _keep(self, cid: Cid, block: bytes) -> None:
        self._nodes.write(_NODE.pack(len(block), cid))
        self._nodes.write(block)

    def add(self, path: str, digests: FileDigests) -> Entry:
        """Add the file `path`, and return its address, size in bytes and total size of its blocks."""
        entry = file_graph(digests.leaves, digests.size, self._keep)
        self._tree.add(path, entry)
        name = path.encode()
        leaves = digests.leaves if digests.size > CHUNK_SIZE else b""
        self._files.write(_FILE.pack(len(name), digests.size, len(leaves), entry.cid) + name + leaves)
        self.count += 1
        return entry

    def add_folder(self, path: str) -> None:
        """Add a folder that holds nothing."""
        self._tree.add_directory(path)

    def folder(self, name: str) -> Entry:
        """Leave the top folder `name`, such as `data`, and return its entry.

        Raises:
            UsageError: there is no such folder (`tree-folder`).
        """
        if not self._finished:
            self._tree.add_directory(())
        return self._tree.first_level(name)

    def finish(self) -> Entry:
        """Return the entry of the bag directory itself; nothing can be added after it."""
        self._finished = True
        return self._tree.finish()

    def files(self) -> Iterator[FileRow]:
        """Yield the rows of all files, in the order in which they were added."""
        self._files.seek(0)
        while head := self._files.read(_FILE.size):
            name, size, leaves, cid = _FILE.unpack(head)
            path = self._files.read(name).decode()
            yield FileRow(path, size, Cid(cid), self._files.read(leaves))

    def nodes(self) -> Iterator[tuple[Cid, bytes]]:
        """Yield each dag-pb node with its CID."""
        self._nodes.seek(0)
        while head := self._nodes.read(_NODE.size):
            size, cid = _NODE.unpack(head)
            yield Cid(cid), self._nodes.read(size)


def walk_package(root: Path) -> Iterator[tuple[str, bool]]:
    """Yield the path below `root` of each file, with True, and of each empty folder, with False.

    Depth first, a folder's files before its folders, both in the order of their names; links are not
    followed, they come as files.

    Raises:
        OSError: a folder cannot be read.
    """
    pending = [""]
    while pending:
        prefix = pending.pop()
        listed = sorted(list_below(root, prefix[:-1]))
        if not listed and prefix:
            yield prefix[:-1], False
        for met in listed:
            if not met.is_folder:
                yield prefix + met.name, True
        pending.extend(f"{prefix}{met.name}/" for met in reversed(listed) if met.is_folder)


def read_package(root: Path, graph: PackageGraph, progress: Progress) -> None:
    """Read every file of the package in `root`, once, into `graph`.

    Raises:
        OSError: a file or folder cannot be read, or is a link.
    """

    def work(item: tuple[str, bool], helper: ThreadPoolExecutor | None) -> FileDigests | None:
        path, is_file = item
        if not is_file:
            return None
        return read_below(root, path, (), helper=helper, progress=lambda size: progress.advance(size=size))

    walked = spread(walk_package(root), work, is_large=lambda item: item[1] and is_large(root, item[0]))
    for (path, _), digests in walked:
        if digests is None:
            graph.add_folder(path)
        else:
            graph.add(path, digests)
            progress.advance(files=1)
