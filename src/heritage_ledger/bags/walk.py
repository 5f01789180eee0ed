"""Read every file of a bag once, in the order of the package's graph, whatever lies among them.

The order is that of `heritage_ledger.content.package.walk_package`: depth first, a folder's files before its
folders, both sorted by name. Links and special files are told, never opened; a folder that cannot be read is
told and the walk goes on.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from heritage_ledger.content.reading import FileDigests, is_large, read_below, spread
from heritage_ledger.home.deep import list_below, lstat_below

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


@dataclass(frozen=True, slots=True)
class UnreadFile:
    """Something of which the system does not say what it is, and what it said instead."""

    reason: str


Trouble: TypeAlias = SpecialFile | EmptyFolder | UnreadFolder | UnreadFile
Outcome: TypeAlias = FileDigests | OSError | Trouble


class _Met(NamedTuple):
    path: str
    trouble: Trouble | None


def read_bag(
    root: Path, algorithms: tuple[str, ...], threads: int, progress: Progress
) -> Iterator[tuple[str, Outcome]]:
    """Yield each path below `root` with its digests, or with what stood in the way of reading it."""

    def work(item: _Met, helper: ThreadPoolExecutor | None) -> Outcome:
        if item.trouble is not None:
            return item.trouble
        try:
            return read_below(
                root, item.path, algorithms, helper=helper, progress=lambda size: progress.advance(size=size)
            )
        except OSError as error:
            return error

    met = spread(
        _walk(root),
        work,
        is_large=lambda item: item.trouble is None and is_large(root, item.path),
        threads=threads,
    )
    for item, outcome in met:
        yield item.path, outcome


def _walk(root: Path) -> Iterator[_Met]:
    pending = [""]
    while pending:
        prefix = pending.pop()
        try:
            met = list_below(root, prefix[:-1])
        except OSError as error:
            yield _Met(prefix[:-1] or ".", UnreadFolder(error.strerror or str(error)))
            continue
        if not met and prefix:
            yield _Met(prefix[:-1], EmptyFolder())
        folders = sorted((one.name for one in met if one.is_folder), reverse=True)
        files = sorted(((one.name, one.is_file) for one in met if not one.is_folder), reverse=True)
        del met
        while files:
            name, is_file = files.pop()  # lets go of each name of a million once it was told
            yield _Met(prefix + name, None if is_file else _special(root, prefix + name))
        pending.extend(f"{prefix}{name}/" for name in folders)


def _special(root: Path, path: str) -> SpecialFile | UnreadFile:
    try:
        kind = stat.S_IFMT(lstat_below(root, path).st_mode)
    except OSError as error:
        return UnreadFile(error.strerror or str(error))
    return SpecialFile(_KINDS.get(kind, "a special file"), is_link=kind == stat.S_IFLNK)
