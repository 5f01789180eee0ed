"""SQLite as this project opens it, and the one table that turns its result codes into errors of ours.

Nothing here creates a database: whoever makes one makes the empty file first.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from typing import TYPE_CHECKING, Final

from heritage_ledger.errors import DiskProblem, HeritageError, HomeLocked, OperationFailed, TemporaryFailure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    Damaged = Callable[[str, str], HeritageError]
    """Makes the error for content that cannot be trusted, from the path and what SQLite said."""

BUSY_SECONDS: Final = 30.0
"""How long SQLite waits for another writer: a package of a million files takes a quarter of it to index."""
_SIDECARS: Final = ("-wal", "-shm", "-journal")
_PRIMARY: Final = 0xFF
"""The bits of an extended result code that hold the primary one."""
_UNSYNCED: Final = frozenset({sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC})
_BUSY: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_REFUSED: Final = frozenset({sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH})
# our statements are fixed: a generic SQLITE_ERROR means that a table or column is not as it was made
_DAMAGED: Final = frozenset(
    {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT, sqlite3.SQLITE_ERROR}
)
_PASSING: Final = frozenset(
    {sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_SCHEMA}
)


def sidecars(path: Path) -> tuple[Path, ...]:
    """The files that SQLite keeps beside the database `path` while it is open or after a crash."""
    return tuple(path.with_name(path.name + suffix) for suffix in _SIDECARS)


def copy_database(source: Path, target: Path) -> None:
    """Copy a database that may be in use, as it is at one moment, into the new file `target`.

    Raises:
        DiskProblem, OperationFailed, TemporaryFailure: one of them cannot be read or written.
    """
    try:
        with (
            contextlib.closing(connect(source, ())) as old,
            contextlib.closing(sqlite3.connect(target)) as new,
        ):
            old.backup(new)
    except sqlite3.Error as error:
        raise sqlite_error(error, str(target), _uncopied) from error


def _uncopied(path: str, said: str) -> HeritageError:
    return OperationFailed("database-copy", f"the database cannot be copied: {said}", path=path)


def connect(path: Path, pragmas: Sequence[str]) -> sqlite3.Connection:
    """Return a connection to the existing file `path` that has run `pragmas` and begins nothing by itself.

    On a read-only file system the file is read as it lies and every write is refused.

    Raises:
        sqlite3.Error: to be turned by `sqlite_error`.
    """
    # immutable: no -shm file can be made there, and nobody can write; a -wal left behind needs a writer first
    frozen = not os.access(path.parent, os.W_OK) and not sidecars(path)[0].exists()
    address = path.absolute().as_uri() + ("?mode=ro&immutable=1" if frozen else "?mode=rw")
    connection = sqlite3.connect(
        address, uri=True, isolation_level=None, timeout=BUSY_SECONDS, check_same_thread=False
    )
    try:
        for pragma in () if frozen else pragmas:
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
    return connection


def sqlite_error(error: sqlite3.Error, path: str, damaged: Damaged) -> HeritageError:
    """Return the error of ours for `error` (sqlite.org/rescode.html).

    `disk-…`: full, read-only, refused or failing; `database-locked`: another process kept the write lock;
    `database-unavailable`: a passing cause; `database-failed`: anything else; and what `damaged` makes.
    """
    code = getattr(error, "sqlite_errorcode", None)
    said = str(error)
    if code is None:  # raised by the driver: text that is not UTF-8, or a connection already closed
        undecoded = isinstance(error, sqlite3.OperationalError)
        return damaged(path, said) if undecoded else _failed(path, said)
    primary = code & _PRIMARY
    if primary in _DAMAGED:
        return damaged(path, said)
    if primary in _BUSY:
        return HomeLocked(
            "database-locked",
            "another process is writing to the database",
            path=path,
            advice="wait for it to finish, then run the same command again",
        )
    if primary in _PASSING:
        return TemporaryFailure("database-unavailable", f"the database gave up: {said}", path=path)
    return _disk_problem(code, said, path) or _failed(path, said)


def _failed(path: str, said: str) -> OperationFailed:
    return OperationFailed("database-failed", f"the database refused: {said}", path=path)


def _disk_problem(code: int, said: str, path: str) -> DiskProblem | None:
    primary = code & _PRIMARY
    if primary == sqlite3.SQLITE_FULL or (primary == sqlite3.SQLITE_IOERR and _is_full(path)):
        return DiskProblem(
            "disk-full",
            "there is no room left to write",
            path=path,
            advice="free space (or inodes, or quota) and run the same command again",
        )
    if primary == sqlite3.SQLITE_READONLY:
        return DiskProblem(
            "disk-read-only", "the database cannot be written", path=path, advice="remount it writable"
        )
    if primary in _REFUSED:
        return _not_opened(said, path)
    if code in _UNSYNCED:
        return DiskProblem(
            "disk-sync-failed",
            f"the disk did not confirm a write: {said}",
            path=path,
            advice="check the disk and its logs; nothing was acknowledged",
        )
    if primary == sqlite3.SQLITE_IOERR:
        return DiskProblem(
            "disk-failing",
            f"the disk reports an error: {said}",
            path=path,
            advice="check the disk and its logs",
        )
    return None


def _not_opened(said: str, path: str) -> DiskProblem:
    if _is_snapshot(path):
        return DiskProblem(
            "disk-read-only",
            "the database was copied while it was in use, and cannot be read where nothing can be written",
            path=path,
            expected="a disk that can be written, where SQLite takes in what lies in the -wal file beside it",
            found="a read-only file system",
            advice="copy the home from the snapshot to a disk that can be written, and read the copy; "
            "`heritage verify --deep` needs no database",
        )
    return DiskProblem(
        "disk-refused",
        "the file system refuses to open the database",
        path=path,
        found=said,
        advice="check owner and permissions of the file and its folder",
    )


def _is_snapshot(path: str) -> bool:
    """Say whether a -wal file lies there that nobody could take in."""
    return os.path.exists(f"{path}-wal") and not os.access(os.path.dirname(path), os.W_OK)  # noqa: PTH110, PTH120 - text


def _is_full(path: str) -> bool:
    """SQLite reports a -shm file that cannot grow as an I/O error, not as a full disk."""
    with contextlib.suppress(OSError):
        return os.statvfs(os.path.dirname(path)).f_bavail == 0  # noqa: PTH120 - text in, text asked
    return False
