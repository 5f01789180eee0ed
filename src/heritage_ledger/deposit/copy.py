"""Copy a surveyed source into a bag's payload: one read of each byte, and the copy is what was hashed.

A file that differs from what the survey saw, or that changes while it is read, refuses the deposit. With
`link` (for `--move` within one file system) the payload file is a second name of the source file instead of
a copy; a file that other names point at is copied all the same, so that nothing outside can change the bag.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from typing import TYPE_CHECKING

from heritage_ledger.content.reading import SPLIT_FROM, FileDigests, read_descriptor, spread
from heritage_ledger.errors import OperationFailed
from heritage_ledger.home.durable import SEALED_FILE, disk_error, link_file, write_all, writing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import ThreadPoolExecutor
    from pathlib import Path

    from heritage_ledger.deposit.survey import SourceFile, Survey
    from heritage_ledger.errors import HeritageError
    from heritage_ledger.progress import Progress

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NO_NAME = frozenset({errno.EINVAL, errno.EILSEQ, errno.ENAMETOOLONG, errno.ENOENT})
"""What file systems say of a name that they cannot have: exFAT of `?`, ZFS with utf8only of other bytes."""
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def copy_files(
    found: Survey,
    payload: Path,
    algorithms: Sequence[str],
    *,
    link: bool = False,
    progress: Progress,
) -> Iterator[tuple[SourceFile, FileDigests]]:
    """Copy every surveyed file below `payload`, and yield each with its digests, in the survey's order.

    Raises:
        OperationFailed: a file changed since the survey, or while it was read (`source-changed`); or it
            cannot be read any more (`source-unreadable`).
        DiskProblem: the copy cannot be written.
    """
    copier = _Copier(found.source, os.fsencode(payload), tuple(algorithms), progress, link=link)
    progress.begin("copy", files=found.files, size=found.size)
    for file, digests in spread(
        copier.in_folders(found), copier.take, is_large=lambda file: file.size >= SPLIT_FROM
    ):
        progress.advance(files=1)
        yield file, digests


class _Copier:
    def __init__(
        self, source: bytes, target: bytes, algorithms: tuple[str, ...], progress: Progress, *, link: bool
    ) -> None:
        self.source = source
        self.target = target
        self.algorithms = algorithms
        self.progress = progress
        self.link = link

    def in_folders(self, found: Survey) -> Iterator[SourceFile]:
        """Make each file's folder before the file is copied; a folder's files come one after the other."""
        made = None
        for file in found:
            folder = file.path.rpartition("/")[0]
            if folder != made:
                path = os.path.join(self.target, folder.encode())  # noqa: PTH118 - bytes paths
                try:
                    os.makedirs(path, exist_ok=True)  # noqa: PTH103 - bytes paths
                except OSError as error:
                    raise _not_made(error, folder, path) from error
                made = folder
            yield file

    def take(self, file: SourceFile, helper: ThreadPoolExecutor | None) -> FileDigests:
        """Read one file, write its copy, and make sure that it stood still meanwhile."""
        name = file.path.encode()
        source = self._open(file, name)
        try:
            before = os.fstat(source)
            is_file = stat.S_ISREG(before.st_mode)  # a pipe may have taken its place
            # no inode number: network and union file systems give another one at each look
            if not is_file or (before.st_size, before.st_mtime_ns) != (file.size, file.modified):
                raise _changed(file, before.st_size)
            target = self.target + b"/" + name
            is_linked = self.link and before.st_nlink == 1 and self._linked(name, target, source)
            before = os.fstat(source)  # a link changes the time of change
            if is_linked:
                digests = self._read(file, source, None, helper)
            else:
                digests = self._copy(file, source, target, before, helper)
            after = os.fstat(source)
        finally:
            os.close(source)
        still = (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
        if is_linked:  # what is written to it now is written into the bag; some systems' reads set this time
            still = still and after.st_ctime_ns == before.st_ctime_ns
        if not still or digests.size != before.st_size:
            raise _changed(file, digests.size)
        return digests

    def _open(self, file: SourceFile, name: bytes) -> int:
        try:
            return os.open(self.source + b"/" + name, _READ)
        except OSError as error:
            raise _unreadable(file, error) from error

    def _linked(self, name: bytes, target: bytes, source: int) -> bool:
        """Give the source file a second name in the payload; False where the file system cannot.

        The name may stand for another file by now: what was linked has to be the file that is open, whose
        bytes are read and recorded. Else the link goes, and the open file is copied.
        """
        try:
            if not link_file(self.source + b"/" + name, target):
                return False
        except OSError:
            return False
        with writing(os.fsdecode(target)):
            if os.path.samestat(os.lstat(target), os.fstat(source)):
                return True
            os.unlink(target)  # noqa: PTH108 - bytes paths
        return False

    def _copy(
        self,
        file: SourceFile,
        source: int,
        target: bytes,
        status: os.stat_result,
        helper: ThreadPoolExecutor | None,
    ) -> FileDigests:
        try:
            copy = os.open(target, _CREATE, 0o600)
        except OSError as error:
            raise _not_made(error, file.path, target) from error
        try:
            digests = self._read(file, source, copy, helper)
            os.utime(copy, ns=(status.st_atime_ns, status.st_mtime_ns))
            os.fchmod(copy, SEALED_FILE)
        except OSError as error:
            raise disk_error(error, os.fsdecode(target)) from error
        finally:
            os.close(copy)
        return digests

    def _read(
        self, file: SourceFile, source: int, copy: int | None, helper: ThreadPoolExecutor | None
    ) -> FileDigests:
        def write(piece: bytes, offset: int) -> None:
            try:
                write_all(copy, piece, offset)  # type: ignore[arg-type] # only called when there is a copy
            except OSError as error:
                raise disk_error(error, os.fsdecode(self.target)) from error

        try:
            return read_descriptor(
                source,
                self.algorithms,
                write=None if copy is None else write,
                progress=self._tell,
                helper=helper,
            )
        except OSError as error:
            raise _unreadable(file, error) from error

    def _tell(self, size: int) -> None:
        self.progress.advance(size=size)


def _not_made(error: OSError, path: str, target: bytes) -> HeritageError:
    """The error of ours for a copy that cannot be made: some disks cannot have every name."""
    if error.errno not in _NO_NAME:
        return disk_error(error, os.fsdecode(target))
    return OperationFailed(
        "source-name-refused",
        "the home's disk refuses to make a file or folder of this name",
        path=path,
        expected="a name that the file system of the home can have",
        found=error.strerror,
        advice="rename it, or put the home on a file system that takes every name, such as ext4 or XFS",
    )


def _changed(file: SourceFile, size: int) -> OperationFailed:
    return OperationFailed(
        "source-changed",
        "the file changed while it was taken in",
        path=file.path,
        expected=f"{file.size} bytes, unchanged since the survey",
        found=f"{size} bytes" if size != file.size else "another time of change",
        advice="stop whatever writes to the source and run the same command again; nothing was kept",
    )


def _unreadable(file: SourceFile, error: OSError) -> OperationFailed:
    return OperationFailed(
        "source-unreadable",
        "the file cannot be read",
        path=file.path,
        found=error.strerror,
        advice="check the file and the disk it lies on; nothing was kept",
    )


def is_same_file(path: Path | bytes, digests: FileDigests) -> bool:
    """Say whether the bytes of `path` are those of `digests`, by reading them all."""
    held = _read_again(path)
    return held is not None and (held.size, held.leaves) == (digests.size, digests.leaves)


def have_same_bytes(one: Path | bytes, other: Path | bytes) -> bool:
    """Say whether two files have the same bytes, by reading all of both; False where one cannot be read."""
    digests = _read_again(one)
    return digests is not None and is_same_file(other, digests)


def _read_again(path: Path | bytes) -> FileDigests | None:
    try:
        descriptor = os.open(path, _READ)
    except OSError:
        return None
    try:
        return read_descriptor(descriptor, ())
    except OSError:
        return None
    finally:
        os.close(descriptor)


def share(staged: Path, held: Path, digests: FileDigests) -> bool:
    """Make `staged` a second name of `held` when both have the same bytes, read anew; say whether it is.

    Bytes that were recorded once may be damaged by now, so `held` is read before the fresh copy goes.
    """
    if not is_same_file(held, digests):
        return False
    temporary = staged.with_name(f".{secrets.token_hex(12)}")
    try:
        if not link_file(held, temporary):
            return False
    except OSError:
        return False
    with writing(staged):
        temporary.replace(staged)
    return True
