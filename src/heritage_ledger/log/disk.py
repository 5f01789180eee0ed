"""The changes that an append makes to a log's folder: one small class, so that tests can stop it at each.

Bundles and tiles are written under their own names, without a temporary file: they lie beyond the head until
the append is committed, where no reader looks and a torn file does no harm. The checkpoint is written as a
file without a name, which a crash takes away, and gets its name only when the head has moved.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self, TypeVar

from heritage_ledger.home.durable import SEALED_FILE, sync_descriptor, sync_folder, write_all, writing
from heritage_ledger.log.tiles import Bundle, Tile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

PUBLISHED_FILE: Final = 0o644
"""Mode of the checkpoint, the only file of a log that is replaced."""
SYNC_THREADS: Final = 4
"""Threads that wait for the disk: most appends write one bundle, one tile, and their two folders."""
FILES_AT_ONCE: Final = 64
"""Files of one append that are open at once; a larger append writes them in turns."""

_T = TypeVar("_T")


@dataclass(slots=True)
class Unpublished:
    """A checkpoint that waits for its name: in a file without a name, or in memory where there are none."""

    data: bytes
    descriptor: int | None = None
    synced: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.synced is not None:
            self.synced.exception()  # the disk must be done with the descriptor
        if self.descriptor is not None:
            os.close(self.descriptor)
        self.descriptor = None


class LogDisk:
    """Writes below one log's folder. Paths are those of `log/tiles.py`. Not for two threads at once.

    Raises:
        DiskProblem: from every method that writes: the disk is full, read-only, refusing or failing.
    """

    def __init__(self, folder: Path, *, threads: int = SYNC_THREADS) -> None:
        """Write below `folder`, which exists; with 0 threads every call waits for the disk by itself."""
        self._folder = folder
        self._made: set[str] = set()
        self._threads, self._process = threads, os.getpid()
        self._pool = ThreadPoolExecutor(threads, "log-sync") if threads else None

    def _own_pool(self) -> ThreadPoolExecutor | None:
        """The threads of this process: a fork has none of those of the other one, and would wait for them."""
        if self._pool is not None and self._process != os.getpid():
            self._process, self._pool = os.getpid(), ThreadPoolExecutor(self._threads, "log-sync")
        return self._pool

    def close(self) -> None:
        """End the threads; closing twice is nothing."""
        if self._pool is not None:
            self._pool.shutdown()

    def make_folder(self, path: str) -> None:
        """Make the folders that the file `path` needs, their names on the disk."""
        parent = path.rpartition("/")[0]
        if parent in self._made:
            return
        missing = []
        folder = self._folder / parent
        while not folder.is_dir():
            missing.append(folder)
            folder = folder.parent
        for new in reversed(missing):
            with writing(new):
                new.mkdir()
            sync_folder(new.parent)
        self._made.add(parent)

    def write(self, files: Sequence[tuple[str, bytes]], meanwhile: Callable[[], _T]) -> _T:
        """Write bundles and tiles, replacing what an append that was cut short left in their places.

        Returns:
            What `meanwhile` gives, which runs while the disk works on the last of them. All files are on
            the disk by then.
        """
        groups = [files[at : at + FILES_AT_ONCE] for at in range(0, len(files), FILES_AT_ONCE)]
        for group in groups[:-1]:
            self._write_group(group, lambda: None)
        return self._write_group(groups[-1], meanwhile)

    def _write_group(self, files: Sequence[tuple[str, bytes]], meanwhile: Callable[[], _T]) -> _T:
        with contextlib.ExitStack() as stack:
            opened = []
            for path, data in files:
                descriptor = self.create_file(path, data)
                stack.callback(os.close, descriptor)
                opened.append((descriptor, path))
            for parent in dict.fromkeys(path.rpartition("/")[0] for path, _ in files):
                with writing(self._folder / parent):
                    descriptor = os.open(self._folder / parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                stack.callback(os.close, descriptor)
                opened.append((descriptor, parent))
            return self._sync(opened, meanwhile)

    def _sync(self, opened: Sequence[tuple[int, str]], meanwhile: Callable[[], _T]) -> _T:
        pool = self._own_pool()
        if pool is None:
            for descriptor, path in opened:
                self.sync_file(descriptor, path)
            return meanwhile()
        waits = [pool.submit(self.sync_file, descriptor, path) for descriptor, path in opened]
        try:
            result = meanwhile()
        finally:  # no fsync may go on behind the back of a caller who sees an error and lets go of the lock
            errors = [error for wait in waits if (error := wait.exception()) is not None]
        for error in errors:
            raise error
        return result

    def create_file(self, path: str, data: bytes) -> int:
        """Write a sealed file in the place of any other; return its open descriptor, not yet synced."""
        place = self._folder / path
        with writing(place):
            place.unlink(missing_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            descriptor = os.open(place, flags, SEALED_FILE)
            try:
                write_all(descriptor, data)
                os.fchmod(descriptor, SEALED_FILE)
            except BaseException:
                os.close(descriptor)
                raise
        return descriptor

    def sync_file(self, descriptor: int, path: str) -> None:
        """Wait until the file or folder is on the disk."""
        sync_descriptor(descriptor, self._folder / path)

    def read(self, path: str, size: int) -> bytes:
        """Return up to `size` bytes, and one more if there are more, of a file just written."""
        place = self._folder / path
        with writing(place):
            descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                parts = []
                while part := os.read(descriptor, size + 1):
                    parts.append(part)
                return b"".join(parts)
            finally:
                os.close(descriptor)

    def prepare(self, data: bytes) -> Unpublished:
        """Bring a checkpoint to the disk without giving it a name; leave the context to forget it."""
        try:
            descriptor = os.open(self._folder, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, PUBLISHED_FILE)
        except (AttributeError, OSError):  # no such files in this system or file system
            return Unpublished(data)
        unpublished = Unpublished(data, descriptor)
        with contextlib.ExitStack() as stack, writing(self._folder):
            stack.callback(unpublished.__exit__)
            write_all(descriptor, data)
            os.fchmod(descriptor, PUBLISHED_FILE)
            if self._pool is not None:
                unpublished.synced = self._pool.submit(self.sync_file, descriptor, "")
            else:
                self.sync_file(descriptor, "")
            stack.pop_all()
        return unpublished

    def publish(self, path: str, unpublished: Unpublished) -> None:
        """Replace the file `path` by the checkpoint, in one step.

        The name may come back as the old one after a crash: the old checkpoint is still true, and the head
        says that a newer one waits.
        """
        if unpublished.synced is not None:
            unpublished.synced.result()
        target = self._folder / path
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(6)}.tmp")
        with writing(target):
            try:
                if not self._give_name(unpublished.descriptor, temporary):
                    descriptor = self.create_file(temporary.name, unpublished.data)
                    try:
                        os.fchmod(descriptor, PUBLISHED_FILE)
                        sync_descriptor(descriptor, target)
                    finally:
                        os.close(descriptor)
                temporary.replace(target)
            except BaseException:
                with contextlib.suppress(OSError):
                    temporary.unlink(missing_ok=True)
                raise

    def _give_name(self, descriptor: int | None, target: Path) -> bool:
        """Name a file without a name (linkat(2), AT_SYMLINK_FOLLOW); False where that cannot be done."""
        if descriptor is None:
            return False
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.link(f"/proc/self/fd/{descriptor}", target.name, dst_dir_fd=folder, follow_symlinks=True)
        except OSError:
            return False
        finally:
            os.close(folder)
        return True

    def remove_partials(self, place: Tile | Bundle, widths: Iterable[int]) -> None:
        """Remove partial files of a tile or bundle."""
        folder = self._folder / _partials_path(place)
        with writing(folder):
            for width in widths:
                (folder / str(width)).unlink(missing_ok=True)

    def remove_folder(self, place: Tile | Bundle) -> None:
        """Remove the empty folder of a finished tile's or bundle's partial files."""
        path = _partials_path(place)
        self._made.discard(path)
        with writing(self._folder / path), contextlib.suppress(FileNotFoundError):
            (self._folder / path).rmdir()

    def sweep(self) -> None:
        """Remove what a crash left beside the checkpoint: temporary files, which no reader knows."""
        with contextlib.suppress(OSError):
            for left in self._folder.glob(".*.tmp"):
                left.unlink(missing_ok=True)


def _partials_path(place: Tile | Bundle) -> str:
    full = Tile(place.level, place.index) if isinstance(place, Tile) else Bundle(place.index)
    return f"{full.path}.p"
