"""Writes that are on the disk when they return (`specs/home.md`, "Write ordering").

The recipe is always: open the folder, write a temporary file beside the target, fsync it, rename it, fsync
the folder. The folder is opened before the rename, so that an error met while it is written back is reported
here. The first fsync that fails stops every later one in this process: after a failed fsync the kernel may
have dropped the pages, so a second try that succeeds proves nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import secrets
import shutil
import sys
from typing import TYPE_CHECKING, Self

from heritage_ledger.errors import DiskProblem, HeritageError, OperationFailed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SEALED_FILE = 0o444
SEALED_FOLDER = 0o555
SECRET_FILE = 0o600
SHARED_FOLDER = 0o755
"""A folder whose own names matter to nobody: the home above it says who may come so far."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_REFUSED = frozenset({errno.EACCES, errno.EPERM})
_NO_LINKS = frozenset({errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV})
"""What a file system says that has no hard links, no more for this file, or none to there (link(2))."""
_NO_FLAGS = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})
"""What it says when it knows no flags of renameat2(2)."""
_RENAME_NOREPLACE = 1
_AT_FDCWD = -100


class _SyncLatch:
    """Remembers the first failed fsync of the process."""

    def __init__(self) -> None:
        self.failure: str | None = None

    def check(self) -> None:
        if self.failure is not None:
            raise DiskProblem(
                "disk-sync-stopped",
                f"an earlier write was not confirmed by the disk, nothing more is written ({self.failure})",
                advice="check the disk and its logs, then start again and run `heritage doctor`",
            )

    def trip(self, path: str, error: OSError) -> DiskProblem:
        self.failure = f"{path}: {error.strerror}"
        return DiskProblem(
            "disk-sync-failed",
            f"the disk did not confirm a write: {error.strerror}",
            path=path,
            advice="check the disk and its logs; nothing was acknowledged",
        )


_LATCH = _SyncLatch()


def disk_error(error: OSError, path: str | os.PathLike[str]) -> HeritageError:
    """Return the error of ours for a failed call on `path`: full, read-only, refused or failing."""
    name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else os.fspath(path)
    if error.errno in _FULL:
        return DiskProblem(
            "disk-full",
            "there is no room left to write",
            path=name,
            advice="free space (or inodes, or quota) and run the same command again",
        )
    if error.errno == errno.EROFS:
        return DiskProblem(
            "disk-read-only", "the file system is read-only", path=name, advice="remount it writable"
        )
    if error.errno in _REFUSED:
        return DiskProblem(
            "disk-refused",
            "the file system refuses this write",
            path=name,
            expected="a folder that this user may write to",
            found=error.strerror,
            advice="check owner and permissions",
        )
    if error.errno == errno.EIO:
        return DiskProblem(
            "disk-failing", "the disk reports an error", path=name, advice="check the disk and its logs"
        )
    return OperationFailed("file-system", f"the file system refused: {error.strerror}", path=name)


@contextlib.contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn an `OSError` raised inside into the error of ours that says what to do.

    Raises:
        DiskProblem: the disk is full, read-only, refusing or failing.
        OperationFailed: any other refusal by the file system.
    """
    try:
        yield
    except OSError as error:
        raise disk_error(error, path) from error


def sync_descriptor(descriptor: int, path: str | os.PathLike[str]) -> None:
    """Wait until what was written to `descriptor` is on the disk.

    Raises:
        DiskProblem: this fsync, or an earlier one of the process, failed.
    """
    _LATCH.check()
    try:
        os.fsync(descriptor)
    except OSError as error:
        raise _LATCH.trip(os.fspath(path), error) from error


def sync_folder(folder: Path) -> None:
    """Put the names in `folder` on the disk."""
    with writing(folder):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        sync_descriptor(descriptor, folder)
    finally:
        os.close(descriptor)


def make_folder(folder: Path, *, mode: int = SHARED_FOLDER) -> None:
    """Make `folder` with exactly this mode, whatever the umask is; one that is there stays as it is.

    Raises:
        FileNotFoundError: the folder above is missing; any other `OSError` as the system says.
    """
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        return
    folder.chmod(mode)


def write_file(path: Path, data: bytes, *, mode: int = SEALED_FILE, replace: bool = False) -> None:
    """Write `data` to `path`, whole or not at all, and wait until it is on the disk.

    With `replace` an existing file is replaced in one step; without it an existing file is refused.

    Raises:
        DiskProblem: the disk is full, read-only or failing.
        OperationFailed: `path` exists and `replace` is not set (`file-exists`).
    """
    _LATCH.check()
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    with writing(path):
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            _write_and_rename(path, temporary, data, mode=mode, replace=replace)
            sync_descriptor(folder, path.parent)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        finally:
            os.close(folder)


def _write_and_rename(path: Path, temporary: Path, data: bytes, *, mode: int, replace: bool) -> None:
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, SECRET_FILE)
    try:
        write_all(descriptor, data)
        os.fchmod(descriptor, mode)
        sync_descriptor(descriptor, path)
    finally:
        os.close(descriptor)
    if replace:
        temporary.replace(path)
        return
    try:
        name_new(temporary, path)
    except FileExistsError as error:
        raise OperationFailed(
            "file-exists", "a file of this name is already there", path=str(path)
        ) from error


def link_file(source: str | bytes | Path, target: str | bytes | Path) -> bool:
    """Give the file `source` a second name; False where the file system has no hard links, or none there.

    Raises:
        FileExistsError: `target` is there; any other `OSError` as the system says.
    """
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno in _NO_LINKS:
            return False
        raise
    return True


def name_new(source: str | bytes | Path, target: str | bytes | Path) -> None:
    """Rename the file `source` to `target`, a name that nobody has, on file systems of every kind.

    link(2) and renameat2(2) refuse a name that is taken. Where the file system has neither (exFAT and SMB by
    FUSE, shared folders of virtual machines), the folder is locked while the name is looked at, which keeps
    out whoever names files in this way.

    Raises:
        FileExistsError: `target` is there; any other `OSError` as the system says.
    """
    if link_file(source, target):
        os.unlink(source)  # noqa: PTH108 - bytes paths too
        return
    code = _rename_no_replace(source, target)
    if code == 0:
        return
    if code not in _NO_FLAGS:
        raise OSError(code, os.strerror(code), os.fsdecode(target))
    folder = os.open(os.path.dirname(target) or ".", os.O_RDONLY | os.O_DIRECTORY)  # noqa: PTH120 - bytes too
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fsdecode(target))
        os.rename(source, target)  # noqa: PTH104 - bytes paths too
    finally:
        os.close(folder)


def write_all(descriptor: int, data: bytes, offset: int = 0) -> None:
    """Write all of `data` at `offset`; a short write goes on where it stopped."""
    done = os.pwrite(descriptor, data, offset)
    while done < len(data):
        done += os.pwrite(descriptor, memoryview(data)[done:], offset + done)


def remove_tree(root: Path) -> None:
    """Remove `root` and all below it, sealed folders too; what is already gone is no error."""

    def tolerate(_: object, path: str, info: tuple[type[BaseException], BaseException, object]) -> None:
        if not isinstance(info[1], FileNotFoundError):
            raise disk_error(info[1], path) if isinstance(info[1], OSError) else info[1]

    for folder, _, _ in os.walk(root):
        with writing(folder), contextlib.suppress(FileNotFoundError):
            os.chmod(folder, 0o700)  # noqa: PTH101 - os.walk yields str
    shutil.rmtree(root, onerror=tolerate)


def move_folder(source: Path, target: Path) -> None:
    """Rename the folder `source` to `target`, which must not exist, and put both parents on the disk.

    Raises:
        OperationFailed: `target` exists (`file-exists`).
        DiskProblem: the rename or an fsync failed.
    """
    _LATCH.check()
    with writing(target):
        parents = [os.open(parent, os.O_RDONLY | os.O_DIRECTORY) for parent in (target.parent, source.parent)]
        try:
            _rename_to_new(source, target)
            for descriptor, parent in zip(parents, (target.parent, source.parent), strict=True):
                sync_descriptor(descriptor, parent)
        finally:
            for descriptor in parents:
                os.close(descriptor)


def _rename_to_new(source: Path, target: Path) -> None:
    code = _rename_no_replace(source, target)
    if code == 0:
        return
    if code == errno.EEXIST or (code in _NO_FLAGS and target.exists()):
        raise OperationFailed("file-exists", "a folder of this name is already there", path=str(target))
    if code not in _NO_FLAGS:
        raise OSError(code, os.strerror(code), os.fspath(target))
    source.rename(target)  # rename() itself refuses a target folder that is not empty


def _rename_no_replace(source: str | bytes | Path, target: str | bytes | Path) -> int:
    """Rename to a name that nobody has; return 0, or why not (ENOSYS where it cannot be asked for)."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return errno.ENOSYS
    if rename(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), _RENAME_NOREPLACE) == 0:
        return 0
    return ctypes.get_errno()


class TreeSync:
    """Puts a whole tree on the disk at once: `syncfs` where the system has it, else file by file.

    Open it before the first write: the kernel then reports every write-back error that happens from here
    on to `sync`. (Linux 5.8 and later; `syncfs(2)`, "Errors".)
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        with writing(root):
            self._descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        self._syncfs = (
            getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None) if sys.platform == "linux" else None
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def sync(self) -> None:
        """Wait until every byte and name below the root is on the disk.

        Raises:
            DiskProblem: the disk did not confirm; nothing more is written by this process.
        """
        _LATCH.check()
        if self._syncfs is None:
            self._sync_each()
        elif self._syncfs(self._descriptor) != 0:
            code = ctypes.get_errno()
            raise _LATCH.trip(str(self._root), OSError(code, os.strerror(code)))

    def _sync_each(self) -> None:
        for folder, _, names in os.walk(self._root, topdown=False):
            for name in [*names, "."]:
                path = os.path.join(folder, name)  # noqa: PTH118 - os.walk yields str, millions of them
                with writing(path):
                    descriptor = os.open(path, os.O_RDONLY)
                try:
                    sync_descriptor(descriptor, path)
                finally:
                    os.close(descriptor)
