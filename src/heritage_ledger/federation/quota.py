"""The quota of one mirror: entries and bytes, asked before they are fetched or written.

A log of 2^40 equal entries is signed as cheaply as one of ten: a checkpoint is one line. Whoever mirrors it
to the last byte would fetch for ever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from heritage_ledger.errors import OperationFailed
from heritage_ledger.home.room import MIB, ROUNDING, Room, check_room, room_for_others, used_room
from heritage_ledger.log.tiles import MAX_ENTRY_SIZE

if TYPE_CHECKING:
    from heritage_ledger.home.layout import Home
    from heritage_ledger.home.node_settings import NodeSettings

ROW_BYTES = 1_024
"""Bytes of index rows and tiles that each entry takes beside itself, about."""


class MirrorQuota:
    """What the mirror of one log may still take, by the settings and the disk. For one pull."""

    def __init__(self, home: Home, settings: NodeSettings, origin: str) -> None:
        """Nothing is measured before there is something new."""
        self._home = home
        self._settings = settings
        self._origin = origin
        self._left: int | None = None

    def check_entries(self, old_size: int, size: int) -> None:
        """Ask before anything is fetched.

        Raises:
            OperationFailed: more entries than a mirror may have, or no bytes are left (`mirror-quota`).
            DiskProblem: the disk has no room beside its reserve (`disk-full`).
        """
        most = self._settings.peer_mirror_entries
        if size > most:
            raise self._over(f"{most} entries", f"{size} entries", "peer_mirror_entries")
        new = size - old_size
        check_room(
            Room(new * ROW_BYTES, 2 * (new // 256 + 8)),
            room_for_others(self._home.root, self._settings.reserve_mib),
            what="what is new in the log",
            path=self._home.mirror_of(self._origin).log,
            advice="free space; the log is asked again at the next look",
        )
        if size * (MAX_ENTRY_SIZE + ROW_BYTES) > self._settings.peer_mirror_mib * MIB:
            self._measure()

    def charge(self, size: int, files: int) -> None:
        """Ask before a batch is written.

        Raises:
            OperationFailed: the mirror, or all of them, would take more bytes than they may (`mirror-quota`).
            DiskProblem: the disk has no room beside its reserve (`disk-full`).
        """
        needed = Room(size + files * ROUNDING, files)
        check_room(
            needed,
            room_for_others(self._home.root, self._settings.reserve_mib),
            what="what is new in the log",
            path=self._home.mirror_of(self._origin).log,
            advice="free space; the log is asked again at the next look",
        )
        if self._left is not None:
            self._left -= needed.bytes
            if self._left < 0:
                self._refuse_bytes()

    def _measure(self) -> None:
        """Measure what is taken: only for a log that could pass its quota with what is new."""
        own = self._settings.peer_mirror_mib * MIB - used_room(self._home.mirror_of(self._origin).log).bytes
        every = self._settings.mirrors_mib * MIB - used_room(self._home.mirrors).bytes
        self._left = min(own, every)
        if self._left <= 0:
            self._refuse_bytes()

    def _refuse_bytes(self) -> None:
        settings = self._settings
        raise self._over(
            f"{settings.peer_mirror_mib} MiB, and {settings.mirrors_mib} MiB of all mirrors",
            "more",
            "peer_mirror_mib or mirrors_mib",
        )

    def _over(self, expected: str, found: str, name: str) -> OperationFailed:
        return OperationFailed(
            "mirror-quota",
            "the log is larger than its mirror here may be; what is mirrored stays",
            path=self._origin,
            expected=f"at most {expected}",
            found=found,
            advice=f"ask the institution what it writes; or raise {name} under [node] in heritage.toml",
        )
