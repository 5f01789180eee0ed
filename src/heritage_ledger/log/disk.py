"""The changes that an append makes to a log's folder, each on the disk when it returns.

One small class, so that tests can stop an append at every one of them.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from typing import TYPE_CHECKING, Final

from heritage_ledger.home.durable import (
    SEALED_FILE,
    sync_descriptor,
    sync_folder,
    write_all,
    write_file,
    writing,
)
from heritage_ledger.log.tiles import Bundle, Tile

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

PUBLISHED_FILE: Final = 0o644
"""Mode of the checkpoint, the only file of a log that is replaced."""


class LogDisk:
    """Writes below one log's folder. Paths are those of `log/tiles.py`. Any thread may call it.

    Raises:
        DiskProblem: from every method that writes: the disk is full, read-only, refusing or failing.
    """

    def __init__(self, folder: Path) -> None:
        """Write below `folder`, which exists."""
        self._folder = folder
        self._made: set[str] = set()

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

    def write(self, path: str, data: bytes) -> None:
        """Write a bundle or tile; what an append that was cut short left in its place is replaced."""
        write_file(self._folder / path, data, mode=SEALED_FILE, replace=True)

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

    def publish(self, path: str, data: bytes) -> None:
        """Replace the file `path` in one step.

        Its bytes are on the disk before its name is. The name may come back as the old one after a crash:
        the old checkpoint is still true, and the head says that a newer one waits.
        """
        target = self._folder / path
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(6)}.tmp")
        with writing(target):
            descriptor = os.open(
                temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PUBLISHED_FILE
            )
            try:
                write_all(descriptor, data)
                os.fchmod(descriptor, PUBLISHED_FILE)
                sync_descriptor(descriptor, target)
                temporary.replace(target)
            except BaseException:
                with contextlib.suppress(OSError):
                    temporary.unlink(missing_ok=True)
                raise
            finally:
                os.close(descriptor)

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
