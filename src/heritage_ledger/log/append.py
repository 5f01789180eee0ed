"""Appending: the critical section that makes a log grow (`specs/log.md`, "Write ordering").

1. The new entries' bundles and tiles are written, put on the disk, read back and hashed again.
2. The new checkpoint is signed, and the head moves in `state.db` by compare-and-swap. From here on the
   entries are in the log.
3. The caller writes its index rows.
4. The checkpoint is published by rename; partial files that nobody needs any more are removed.

A crash before the swap leaves files beyond the head, which nobody reads and the next append replaces; a crash
after it leaves a checkpoint to publish, which `recover` does. No file below the head is ever written again.
The signature is computed while the disk works, after the files were read back, and is not used before they
are on the disk. On the disk the signed checkpoint has no name before the head has moved.

The caller holds the home's append lock around `recover` and `append`.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from heritage_ledger.errors import EvidenceInvalid, EvidenceMissing, HeritageError, UsageError
from heritage_ledger.home.state import Head
from heritage_ledger.log.checkpoint import Checkpoint, check_origin, read_unverified, sign_checkpoint
from heritage_ledger.log.disk import LogDisk
from heritage_ledger.log.edge import Edge, check_piece
from heritage_ledger.log.files import CHECKPOINT, LogFiles
from heritage_ledger.log.merkle import EMPTY_ROOT
from heritage_ledger.log.tiles import TILE_WIDTH, Tile, width_at

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from types import TracebackType

    from heritage_ledger.home.state import StateStore
    from heritage_ledger.log.edge import Piece
    from heritage_ledger.log.note import NoteSigner
    from heritage_ledger.log.tiles import Bundle

KEPT_PARTIALS: Final = 16
"""Widths of an unfinished tile or bundle that stay beside the newest at least, for readers of the checkpoints
before it, and twice as many at most. Older ones are the beginning of the newest one."""


@dataclass(frozen=True, slots=True)
class Appended:
    """What an append did: the index of its first entry, the log's size and root after it, the checkpoint."""

    first_index: int
    size: int
    root: bytes
    checkpoint: bytes


@dataclass(frozen=True, slots=True)
class Recovered:
    """What `recover` found: the log's size and root, and whether the checkpoint had to be published."""

    size: int
    root: bytes
    published: bool


class Appender:
    """Appends to one log; a context, or to be closed. Not for two threads at once.

    The log's edge stays in memory between appends and is read anew whenever another process moved the head.
    """

    def __init__(
        self,
        folder: Path,
        state: StateStore,
        origin: str,
        signers: Sequence[NoteSigner],
        *,
        disk: LogDisk | None = None,
    ) -> None:
        """Append to the log `origin` in `folder`.

        Args:
            folder: holds `checkpoint` and `tile/`; it exists.
            state: keeps the log's head.
            origin: the log's name.
            signers: the log's keys; every checkpoint bears a signature by each, in this order.
            disk: makes the changes below `folder`; another one in tests.
        """
        if not signers:
            raise UsageError("log-signers", "a log's checkpoint needs at least one signature")
        self._files = LogFiles(folder)
        self._state = state
        self._origin = origin
        self._signers = tuple(signers)
        self._disk = disk or LogDisk(folder)
        self._edge: Edge | None = None
        self._settled = False  # no partial file beyond the head can lie at the edge

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the threads that wait for the disk; closing twice is nothing."""
        self._disk.close()

    def create(self, *, time: int) -> Appended:
        """Begin the log: sign and publish its checkpoint of size 0. For `init` alone.

        Raises:
            TemporaryFailure: `state-conflict`, the log was begun before.
            UsageError: `log-exists`, the folder holds a checkpoint already.
        """
        if self._published() is not None:
            raise UsageError("log-exists", "a log lies in this folder already", path=CHECKPOINT)
        data = sign_checkpoint(Checkpoint(self._origin, 0, EMPTY_ROOT), self._signers, time=time)
        self._state.create_head(self._origin, Head(0, EMPTY_ROOT, data))
        self._publish(data)
        return Appended(0, 0, EMPTY_ROOT, data)

    def append(
        self,
        entries: Sequence[bytes],
        *,
        time: int,
        before_publish: Callable[[Appended], None] | None = None,
    ) -> Appended:
        """Add `entries` to the log, all or none; they are on the disk and published when this returns.

        Args:
            entries: one or more, each of at most 65,535 bytes.
            time: POSIX seconds, for the signatures that bear a time.
            before_publish: called with the result when the entries are in the log and not yet published.

        Raises:
            UsageError: `log-append-empty`, `log-entry-size`; nothing was written.
            EvidenceInvalid: `log-readback`, `log-memory`, or what `recover` raises; nothing was signed.
            DiskProblem: the disk is full, read-only or failing.
            TemporaryFailure: `state-conflict`, another process appended without the lock.

        After an error other than `UsageError` the entries are in the log or they are not: `recover` and the
        head tell.
        """
        if not entries:
            raise UsageError("log-append-empty", "there is nothing to append")
        edge = self._current_edge()
        grown, pieces = edge.extend(entries)
        settled, self._edge, self._settled = self._settled, None, False  # read anew unless all goes well
        for piece in pieces:
            self._prepare(piece.place, edge.size, settled=settled)
        data = self._disk.write(
            [(piece.place.path, piece.data) for piece in pieces], lambda: self._sign(grown, pieces, time)
        )
        appended = Appended(edge.size, grown.size, grown.root, data)
        with self._disk.prepare(data) as unpublished:
            self._state.swap_head(self._origin, edge.size, Head(grown.size, grown.root, data))
            if before_publish is not None:
                before_publish(appended)
            self._disk.publish(CHECKPOINT, unpublished)
        self._edge, self._settled = grown, True
        self._remove_partials(pieces, edge.size)
        return appended

    def recover(self) -> Recovered:
        """Bring the files to the head after an unclean stop, and check the log's edge against it.

        Raises:
            EvidenceMissing: `log-head-missing`, `state.db` knows no such log; a file of the edge is missing.
            EvidenceInvalid: `log-state-behind`, the published checkpoint is beyond the head: `state.db` is
                older than the log; `log-fork`, both have one size and two roots; `log-head-damaged`; what
                `Edge.load` raises.
            DiskProblem: the checkpoint cannot be published.
        """
        head = self._head()
        published = self._published()
        if published is not None:
            self._compare(published, head)
        self._edge, self._settled = self._load(head), False
        behind = published is None or published.size < head.size
        if behind:
            self._publish(head.checkpoint)
        self._disk.sweep()
        return Recovered(head.size, head.root, behind)

    def _current_edge(self) -> Edge:
        if self._edge is not None:
            head = self._state.head(self._origin)
            if head is not None and (head.size, head.root) == (self._edge.size, self._edge.root):
                return self._edge
        self.recover()
        assert self._edge is not None
        return self._edge

    def _head(self) -> Head:
        head = self._state.head(self._origin)
        if head is None:
            raise EvidenceMissing(
                "log-head-missing",
                "state.db holds no head of this log",
                path=self._origin,
                advice="restore state.db from a backup; a log is never begun twice",
            )
        try:
            checkpoint = read_unverified(head.checkpoint)
            check_origin(checkpoint, self._origin)
        except EvidenceInvalid as error:
            raise _head_damaged(self._origin, error.message) from error
        if (checkpoint.size, checkpoint.root) != (head.size, head.root):
            raise _head_damaged(self._origin, "its checkpoint is of another size or root")
        return head

    def _published(self) -> Checkpoint | None:
        """Return what the published checkpoint says; a damaged one counts as none, the head replaces it."""
        with contextlib.suppress(EvidenceMissing, EvidenceInvalid):
            return read_unverified(self._files.read_checkpoint())
        return None

    def _compare(self, published: Checkpoint, head: Head) -> None:
        check_origin(published, self._origin)
        if published.size > head.size:
            raise EvidenceInvalid(
                "log-state-behind",
                "the published checkpoint is beyond the head in state.db",
                path=CHECKPOINT,
                expected=f"at most {head.size} entries",
                found=f"{published.size} entries",
                advice="state.db is older than the log: do not append; restore the state.db of the same time",
            )
        if published.size == head.size and published.root != head.root:
            raise EvidenceInvalid(
                "log-fork",
                "the published checkpoint and the head in state.db have one size and two roots",
                path=CHECKPOINT,
                expected=head.root.hex(),
                found=published.root.hex(),
                advice="do not append; keep both and compare them with the witnesses and mirrors",
            )

    def _load(self, head: Head) -> Edge:
        return Edge.load(
            head.size, head.root, read_tile=self._files.read_tile, read_bundle=self._files.read_bundle
        )

    def _prepare(self, place: Tile | Bundle, size: int, *, settled: bool) -> None:
        """Make a file's folder, and remove partial files beyond the head that a crash left there.

        A later append may jump over their widths, and they would stay, with other entries in them.
        """
        self._disk.make_folder(place.path)
        level = place.level if isinstance(place, Tile) else 0
        old_width = width_at(level, place.index, size)
        if not settled or old_width == 0:
            left = [width for width in self._files.partial_widths(place) if width > old_width]
            if left:
                self._disk.remove_partials(place, left)

    def _sign(self, grown: Edge, pieces: Sequence[Piece], time: int) -> bytes:
        """Read the new files back and check them, while they go to the disk; then sign."""
        for piece in pieces:
            check_piece(piece, self._disk.read(piece.place.path, len(piece.data)))
        checkpoint = Checkpoint(self._origin, grown.size, grown.root)
        return sign_checkpoint(checkpoint, self._signers, time=time)

    def _publish(self, data: bytes) -> None:
        with self._disk.prepare(data) as unpublished:
            self._disk.publish(CHECKPOINT, unpublished)

    def _remove_partials(self, pieces: Sequence[Piece], old_size: int) -> None:
        """Remove partial files that the new checkpoint outdates; what cannot be removed does no harm."""
        for piece in pieces:
            place = piece.place
            level = place.level if isinstance(place, Tile) else 0
            old_width = width_at(level, place.index, old_size)
            if place.width == TILE_WIDTH or old_width // KEPT_PARTIALS != place.width // KEPT_PARTIALS:
                with contextlib.suppress(HeritageError):
                    self._remove_older(place)

    def _remove_older(self, place: Tile | Bundle) -> None:
        widths = self._files.partial_widths(place)
        if place.width < TILE_WIDTH:
            self._disk.remove_partials(place, widths[: -KEPT_PARTIALS - 1])
        elif widths:
            self._disk.remove_partials(place, widths)
            self._disk.remove_folder(place)


def publish_cosigned(folder: Path, state: StateStore, checkpoint: Checkpoint, data: bytes) -> bool:
    """Publish the log's checkpoint once more, as `data` with cosignatures of others.

    The caller holds the append lock.

    Returns:
        False where the log has grown since: then nothing is changed.
    """
    head = state.head(checkpoint.origin)
    if head is None or (head.size, head.root) != (checkpoint.size, checkpoint.root):
        return False
    state.swap_head(checkpoint.origin, head.size, Head(head.size, head.root, data))
    with contextlib.closing(LogDisk(folder, threads=0)) as disk, disk.prepare(data) as unpublished:
        disk.publish(CHECKPOINT, unpublished)
    return True


def _head_damaged(origin: str, message: str) -> EvidenceInvalid:
    return EvidenceInvalid(
        "log-head-damaged",
        f"the head in state.db cannot be used: {message}",
        path=origin,
        advice="restore state.db from a backup",
    )
