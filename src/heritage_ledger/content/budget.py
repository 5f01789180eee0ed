"""How much a tree of files that somebody else gives may hold: charged before the work is done.

A few blocks can name a tree without end: forty folders, each twice the next, are 2^40 folders; seven nodes
are a file of 2^50 bytes. What a signed event says of the package, and the room that there is, bound every
walk over a foreign tree: files, folders, bytes, nodes that are asked for, and names that wait in memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from heritage_ledger.content.unixfs import CHUNK_SIZE
from heritage_ledger.errors import DiskProblem, EvidenceInvalid
from heritage_ledger.home.room import ENDLESS, ROUNDING, Room

if TYPE_CHECKING:
    from collections.abc import Callable

    from heritage_ledger.content.cid import Cid

SPARE_BYTES: Final = 256 << 20
"""Bytes of tag files that a package may have beside the payload that its event states."""
SPARE_BYTES_A_FILE: Final = 1 << 10
"""And for each payload file: its lines in the manifests."""
SPARE_FILES: Final = 4_096
"""Tag files that a package may have beside its payload."""
FOLDERS_A_FILE: Final = 4
"""Folders that a package may have for each of its files, on average."""
SPARE_FOLDERS: Final = 8_192
"""And beside those: a small package may be deep, or hold empty folders."""
MAX_WAITING: Final = 131_072
"""Names of opened folders that are in memory at once: a folder beyond 5,800 is sharded by the profile."""


def tag_bytes(files: int) -> int:
    """The most bytes of tag files that a package of so many payload files may have."""
    return SPARE_BYTES + SPARE_BYTES_A_FILE * files


class TreeBudget:
    """What may still come of one package. Each charge raises before anything is done for it.

    `replica-too-large` (EvidenceInvalid): the tree holds more than the package's signed event says.
    `disk-full` (DiskProblem): it holds more than there is room for.
    """

    def __init__(self, name: str, *, files: int, size: int, room: Room = ENDLESS) -> None:
        """Bound the package `name` by the payload `files` and bytes (`size`) of its event, and by `room`."""
        self._name = name
        self._said = f"{files} files and {size} bytes of payload"
        self._files = files + SPARE_FILES
        self._folders = FOLDERS_A_FILE * files + SPARE_FOLDERS
        self._bytes = size + tag_bytes(files)
        self._nodes = 2 * (self._files + self._folders + self._bytes // CHUNK_SIZE) + 1_024
        self._room = room
        self._waiting = 0

    def counted(self, get: Callable[[Cid], bytes]) -> Callable[[Cid], bytes]:
        """Return `get` with every block that is asked for charged."""

        def counting(cid: Cid) -> bytes:
            self._nodes -= 1
            if self._nodes < 0:
                raise self._too_large("more nodes than such a package has")
            return get(cid)

        return counting

    def file(self, size: int) -> None:
        """Charge one file of `size` bytes."""
        self._files -= 1
        self._bytes -= size
        if self._files < 0:
            raise self._too_large("more files")
        if self._bytes < 0:
            raise self._too_large("more bytes")
        self._write(size)

    def folder(self) -> None:
        """Charge one folder."""
        self._folders -= 1
        if self._folders < 0:
            raise self._too_large("more folders than such a package has")
        self._write(0)

    def _write(self, size: int) -> None:
        self._room = Room(self._room.bytes - size - ROUNDING, self._room.files - 1)
        if self._room.bytes < 0 or self._room.files < 0:
            raise DiskProblem(
                "disk-full",
                "the package does not fit beside what stays reserved of the disk",
                path=self._name,
                advice="free space, or raise the quota; it is asked for again when there is room",
            )

    def opened(self, names: int) -> None:
        """Charge the names of a folder while it is being listed."""
        self._waiting += names
        if self._waiting > MAX_WAITING:
            raise self._too_large(f"more than {MAX_WAITING} names in the folders of one path")

    def closed(self, names: int) -> None:
        """Give back the names of a folder that was listed."""
        self._waiting -= names

    def _too_large(self, found: str) -> EvidenceInvalid:
        return EvidenceInvalid(
            "replica-too-large",
            "the package is larger than its signed event says",
            path=self._name,
            expected=self._said,
            found=found,
            advice="nothing of it was kept; ask the institution what it signed",
        )
