"""Room on the home's disk for what comes from others, beside a reserve for the own log and its state.

An institution that fills its disk with other people's packages can no longer write its own log, nor take
its promise back. So what comes from peers is compared with the free room less a reserve, by the size that was
signed, before the first byte; own deposits and the log may use the reserve.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from heritage_ledger.errors import DiskProblem

if TYPE_CHECKING:
    from pathlib import Path

MIB: Final = 1 << 20
ROUNDING: Final = 4_096
"""Bytes that a file or folder takes on a disk beside its own."""
LEAST_RESERVE: Final = 4 * MIB
"""Bytes of the reserve on the smallest disk: some appends, and the databases' journals."""
MOST_RESERVE: Final = 1 << 30
"""Bytes of the reserve on the largest disk."""
SHARE: Final = 100
"""Otherwise the reserve is one in so many of the disk's bytes, and of its inodes."""
MOST_RESERVED_FILES: Final = 10_000


@dataclass(frozen=True, slots=True)
class Room:
    """What may be written: bytes, and files and folders."""

    bytes: int
    files: int


ENDLESS: Final = Room(1 << 63, 1 << 63)
"""Room where nothing is written, or what is written was counted before."""


def free_room(path: Path) -> Room:
    """What this user may still write on the disk that holds `path`; no number of files where it has none."""
    found = os.statvfs(path)
    return Room(found.f_bavail * found.f_frsize, found.f_favail if found.f_files else ENDLESS.files)


def reserve_of(path: Path, reserve_mib: int | None) -> Room:
    """The reserve of the disk that holds `path`: `reserve_mib` where it is set, else a share of the disk."""
    found = os.statvfs(path)
    size = min(max(found.f_blocks * found.f_frsize // SHARE, LEAST_RESERVE), MOST_RESERVE)
    return Room(
        size if reserve_mib is None else reserve_mib * MIB,
        min(found.f_files // SHARE, MOST_RESERVED_FILES),
    )


def room_for_others(path: Path, reserve_mib: int | None) -> Room:
    """What may be written for others on the disk that holds `path`; never less than nothing."""
    free, reserve = free_room(path), reserve_of(path, reserve_mib)
    return Room(max(0, free.bytes - reserve.bytes), max(0, free.files - reserve.files))


def fits(needed: Room, room: Room) -> bool:
    """Say whether there is room for what is needed."""
    return needed.bytes <= room.bytes and needed.files <= room.files


def used_room(folder: Path) -> Room:
    """What the files and folders below `folder` take on the disk; nothing where there is none.

    What vanishes or cannot be read meanwhile is not counted.
    """
    size = files = 0
    for name, _, names in os.walk(folder):
        for one in (name, *(f"{name}/{file}" for file in names)):
            with contextlib.suppress(OSError):
                size += os.lstat(one).st_blocks * 512
                files += 1
    return Room(size, files)


def check_room(needed: Room, room: Room, *, what: str, path: Path, advice: str) -> None:
    """Raise `DiskProblem` (`disk-full`) unless `needed` fits into `room`; nothing was written then."""
    if not fits(needed, room):
        raise DiskProblem(
            "disk-full",
            f"{what} does not fit into the room that there is for it",
            path=str(path),
            expected=f"room for {needed.bytes} bytes and {needed.files} files",
            found=f"room for {room.bytes} bytes"
            + (f" and {room.files} files" if room.files < ENDLESS.files else ""),
            advice=advice,
        )
