"""Files below a folder, however deep: what is kept can be read where it lies.

The system takes names of at most `PATH_MAX` bytes (4,096 on Linux), and the same file may have a shorter name
in one place than in another: in `staging/`, in its package, in a replica, on a disk that is mounted elsewhere
by now. So a path is given as a folder and what is below it. Where both together are too long, the way is gone
in steps, each from the descriptor of the one before.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

PATH_MAX: Final = 4_096
"""Bytes of a path with the NUL at its end, as Linux and most others have it."""
_STEP: Final = 2_048
"""Bytes of a step; a name has 255 at most."""
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Met(NamedTuple):
    """One name in a folder, and what it stands for; a link is neither folder nor file."""

    name: str
    is_folder: bool
    is_file: bool


def open_below(folder: str | os.PathLike[str], path: str, flags: int, mode: int = 0o600) -> int:
    """Open `path` below `folder` as `os.open` does, and return the descriptor.

    Raises:
        OSError: as `os.open`.
    """
    try:
        return os.open(f"{os.fspath(folder)}/{path}", flags, mode)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
    with _parent(folder, path) as (parent, name):
        return os.open(name, flags, mode, dir_fd=parent)


def lstat_below(folder: str | os.PathLike[str], path: str) -> os.stat_result:
    """What lies at `path` below `folder`; a link is not followed.

    Raises:
        OSError: as `os.lstat`.
    """
    try:
        return os.lstat(f"{os.fspath(folder)}/{path}")
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
    with _parent(folder, path) as (parent, name):
        return os.lstat(name, dir_fd=parent)


def list_below(folder: str | os.PathLike[str], path: str) -> list[Met]:
    """The names in the folder `path` below `folder`, in no order; `path` is empty for `folder` itself.

    Raises:
        OSError: it cannot be read to its end.
    """
    try:
        return _listed(f"{os.fspath(folder)}/{path}")
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
    with _parent(folder, path) as (parent, name):
        descriptor = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=parent)
    try:
        return _listed(descriptor)
    finally:
        os.close(descriptor)


def open_regular(folder: str | os.PathLike[str], path: str) -> int:
    """Open the regular file `path` below `folder` for reading: no link, and nothing that could block.

    Raises:
        OSError: it cannot be opened, or is something else (`EINVAL`).
    """
    descriptor = open_below(folder, path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        is_regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
    except OSError:
        os.close(descriptor)
        raise
    if not is_regular:
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", path)
    return descriptor


def read_small(path: str | os.PathLike[str], limit: int) -> bytes:
    """Return the bytes of a regular file, one more than `limit` at most; nothing that could block is opened.

    Raises:
        OSError: it cannot be read, or is something else (`EINVAL`).
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
        return file.read(limit + 1)


def _listed(folder: str | int) -> list[Met]:
    with os.scandir(folder) as entries:
        return [
            Met(entry.name, entry.is_dir(follow_symlinks=False), entry.is_file(follow_symlinks=False))
            for entry in entries
        ]


@contextlib.contextmanager
def _parent(folder: str | os.PathLike[str], path: str) -> Iterator[tuple[int, str]]:
    """Give a descriptor of the folder that holds the last part of `path`, and that part."""
    *parts, name = path.split("/")
    descriptor = os.open(folder, _FOLDER)
    try:
        for step in _steps(parts):
            below = os.open(step, _FOLDER, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
        yield descriptor, name
    finally:
        os.close(descriptor)


def _steps(parts: list[str]) -> Iterator[str]:
    """Join parts to steps that the system takes."""
    step: list[str] = []
    size = 0
    for part in parts:
        length = len(os.fsencode(part)) + 1
        if step and size + length > _STEP:
            yield "/".join(step)
            step, size = [], 0
        step.append(part)
        size += length
    if step:
        yield "/".join(step)
