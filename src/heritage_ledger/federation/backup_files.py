"""What a backup consists of: its note, its own files, and copies that are whole or not there."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from heritage_ledger.errors import EvidenceInvalid, EvidenceMissing
from heritage_ledger.home.durable import link_file, writing
from heritage_ledger.home.layout import BACKUP_NOTE
from heritage_ledger.home.sqlite import sidecars

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heritage_ledger.progress import Progress

VERSION: Final = 1
INCOMING: Final = ".incoming"
LOCK: Final = ".backup.lock"
HEADS: Final = ".copied.db"
"""How far log and mirrors in the backup have come; not the home's heads, which lie in `state.db`."""


@dataclass(frozen=True, slots=True)
class BackupNote:
    """What `backup.json` says of the last backup that was finished."""

    origin: str
    size: int
    root: str
    finished: str


def read_note(folder: Path) -> BackupNote:
    """Return what a backup says of itself.

    Raises:
        EvidenceMissing: there is no finished backup in the folder (`backup-missing`).
        EvidenceInvalid: what it says cannot be read (`backup-damaged`).
    """
    path = folder / BACKUP_NOTE
    try:
        document = json.loads(path.read_bytes())
        note = BackupNote(
            str(document["origin"]), int(document["size"]), str(document["root"]), str(document["finished"])
        )
        is_known = document["version"] == VERSION
    except (FileNotFoundError, NotADirectoryError) as error:
        raise EvidenceMissing(
            "backup-missing",
            "there is no finished backup in this folder",
            path=str(folder),
            expected=BACKUP_NOTE,
            advice="name the folder that `heritage backup` was given",
        ) from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(path) from error
    if not is_known:
        raise _damaged(path)
    return note


def _damaged(path: Path) -> EvidenceInvalid:
    return EvidenceInvalid(
        "backup-damaged",
        "what the backup says of itself cannot be read",
        path=str(path),
        expected=f"a note of version {VERSION}",
    )


def forget(path: Path) -> None:
    """Remove a database, with what SQLite keeps beside it."""
    for one in (path, *sidecars(path)):
        one.unlink(missing_ok=True)


def copy_small(source: Path, target: Path) -> None:
    """Copy a file whole or not at all; one that is the same already stays."""
    with writing(target):
        found = source.stat()
        if target.is_file() and (target.stat().st_size, target.stat().st_mtime_ns) == (
            found.st_size,
            found.st_mtime_ns,
        ):
            return
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
        shutil.copy2(source, temporary, follow_symlinks=False)
        temporary.replace(target)


def copy_tree(source: Path, target: Path, place: Path, progress: Progress) -> int:
    """Copy a bag with its times and modes; a file shared with an earlier version is shared there, too.

    `place` is where the bag will lie: its neighbours are the versions before it. Returns the bytes.
    """
    size = 0
    folders = []
    with writing(target):
        target.mkdir(mode=0o700)
        for at, names, files in os.walk(source):
            here = Path(at)
            there = target / here.relative_to(source)
            folders.append((here, there))
            for name in names:
                (there / name).mkdir(mode=0o700)
            for name in files:
                found = (here / name).lstat()
                if found.st_nlink == 1 or not _link(here / name, found, there / name, source, place):
                    shutil.copy2(here / name, there / name, follow_symlinks=False)
                size += found.st_size
                progress.advance(files=1, size=found.st_size)
        for here, there in reversed(folders):
            shutil.copystat(here, there)
    return size


def _link(path: Path, found: os.stat_result, target: Path, source: Path, place: Path) -> bool:
    """Share a file with the version before, where the home does and the backup has it."""
    if not source.name.isdecimal() or source.name == "1":
        return False
    before = str(int(source.name) - 1)
    relative = path.relative_to(source)
    try:
        other = (source.with_name(before) / relative).lstat()
        if (other.st_dev, other.st_ino) != (found.st_dev, found.st_ino):
            return False
        return link_file(place.with_name(before) / relative, target)
    except OSError:
        return False


def copied_files(folder: Path) -> Iterator[Path]:
    """Yield what of a backup belongs into a home, relative to it: everything but what is the backup's own."""
    for path in sorted(folder.iterdir()):
        if path.name not in {BACKUP_NOTE, INCOMING, LOCK} and not path.name.startswith((HEADS, ".new-")):
            yield path.relative_to(folder)
