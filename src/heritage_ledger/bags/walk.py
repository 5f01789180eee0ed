"""Read every file of a bag once, in the order of the package's graph, whatever lies among them.

The order is that of `heritage_ledger.content.package.walk_package`: depth first, a folder's files before its
folders, both sorted by name. Links and special files are told, never opened; a folder that cannot be read is
told and the walk goes on.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from heritage_ledger.content.reading import FileDigests, is_large, read_file, spread

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import ThreadPoolExecutor
    from pathlib import Path

    from heritage_ledger.progress import Progress

_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a block device",
    stat.S_IFCHR: "a character device",
}


@dataclass(frozen=True, slots=True)
class SpecialFile:
    """Something in a bag that is neither a file nor a folder; `kind` says in words what it is."""

    kind: str
    is_link: bool


@dataclass(frozen=True, slots=True)
class EmptyFolder:
    """A folder with nothing in it."""


@dataclass(frozen=True, slots=True)
class UnreadFolder:
    """A folder that cannot be listed, and what the system said."""

    reason: str


Trouble: TypeAlias = SpecialFile | EmptyFolder | UnreadFolder
Outcome: TypeAlias = FileDigests | OSError | Trouble


class _Met(NamedTuple):
    path: str
    full: str
    trouble: Trouble | None


def read_bag(
    root: Path, algorithms: tuple[str, ...], threads: int, progress: Progress
) -> Iterator[tuple[str, Outcome]]:
    """Yield each path below `root` with its digests, or with what stood in the way of reading it."""

    def work(item: _Met, helper: ThreadPoolExecutor | None) -> Outcome:
        if item.trouble is not None:
            return item.trouble
        try:
            return read_file(
                item.full, algorithms, helper=helper, progress=lambda size: progress.advance(size=size)
            )
        except OSError as error:
            return error

    met = spread(
        _walk(str(root)),
        work,
        is_large=lambda item: item.trouble is None and is_large(item.full),
        threads=threads,
    )
    for item, outcome in met:
        yield item.path, outcome


def _walk(root: str) -> Iterator[_Met]:
    pending = [(root, "")]
    while pending:
        folder, prefix = pending.pop()
        files: list[str] = []
        folders: list[str] = []
        special: set[str] = set()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.name)
                        continue
                    files.append(entry.name)
                    if not entry.is_file(follow_symlinks=False):
                        special.add(entry.name)
        except OSError as error:
            yield _Met(prefix[:-1] or ".", folder, UnreadFolder(error.strerror or str(error)))
            continue
        if not files and not folders and prefix:
            yield _Met(prefix[:-1], folder, EmptyFolder())
        files.sort(reverse=True)
        while files:
            name = files.pop()  # lets go of each name of a million once it was told
            full = f"{folder}/{name}"
            yield _Met(prefix + name, full, _special(full) if name in special else None)
        pending.extend((f"{folder}/{name}", f"{prefix}{name}/") for name in sorted(folders, reverse=True))


def _special(full: str) -> SpecialFile:
    try:
        kind = stat.S_IFMT(os.lstat(full).st_mode)
    except OSError as error:
        return SpecialFile(error.strerror or str(error), is_link=False)
    return SpecialFile(_KINDS.get(kind, "a special file"), is_link=kind == stat.S_IFLNK)
