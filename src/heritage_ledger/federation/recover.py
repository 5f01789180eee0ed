"""Recover: bring heads and log files of one home into step again (`specs/home.md`, "Back from a copy").

A home that was copied file by file, or lost one, has heads that are older or newer than its log, or none that
can be read. What brings it back is what this log itself has signed: the checkpoint that lies beside the
files, which are checked against it, and what mirrors hold. A head only rises. The witnesses are asked before
anything may be signed again; where they cannot say, a person may.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from heritage_ledger.deposit.stores import open_state, rebuild_index
from heritage_ledger.errors import EvidenceInvalid, EvidenceMissing, HeritageError, TemporaryFailure
from heritage_ledger.events.timestamps import format_timestamp
from heritage_ledger.federation.backup_files import HEADS, LOCK
from heritage_ledger.federation.forks import keep_fork
from heritage_ledger.federation.freshness import Claimed
from heritage_ledger.federation.guard import check_not_frozen
from heritage_ledger.federation.peers import peer_fetch
from heritage_ledger.home import lock
from heritage_ledger.home.append_lock import hold_append
from heritage_ledger.home.durable import move_folder, writing
from heritage_ledger.home.heads import put_aside
from heritage_ledger.home.layout import BACKUP_NOTE
from heritage_ledger.home.marks import Unsure, keep_unsure, read_unsure
from heritage_ledger.home.state import Head, StateStore
from heritage_ledger.index.absorb import absorb, complete
from heritage_ledger.index.store import Index
from heritage_ledger.log.checkpoint import open_checkpoint
from heritage_ledger.log.edge import Edge
from heritage_ledger.log.files import CHECKPOINT, LogFiles
from heritage_ledger.log.mirror import FetchedLog, ForkFound, Mirror, mirrored_name
from heritage_ledger.log.note import MAX_NOTE_SIZE
from heritage_ledger.progress import SILENT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from heritage_ledger.federation.federation import Federation
    from heritage_ledger.home.layout import Home
    from heritage_ledger.log.checkpoint import Checkpoint
    from heritage_ledger.progress import Progress

_OPEN: Final = frozenset({"log-unsure", "witnesses-silent"})
"""What a person's word settles; a proof that there is more is settled by nobody's."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a recovery did: the head before (None where none could be read) and after it, in entries.

    `basis` says why this home is believed to be the newest copy of its log; `aside` where heads that could
    not be used were put: relative to the home, or the names of the tables.
    """

    origin: str
    old_size: int | None
    size: int
    basis: str
    aside: str | None


def recover(federation: Federation, *, newest: bool = False, progress: Progress = SILENT) -> Recovered:
    """Bring heads and log files into step, and make sure that this home is the newest copy.

    With `newest` a person says that it is, where witnesses and marks leave that open; the first event after
    it notes it.

    Raises:
        EvidenceMissing: entries that this log signed are nowhere to be had (`log-tail-missing`); there is
            nothing to recover from (`log-checkpoint-missing`); it is not known whether this home is the
            newest copy (`log-unsure`).
        TemporaryFailure: too few witnesses answer (`witnesses-silent`).
        OperationFailed: the log has shown two histories (`log-frozen`).
        EvidenceInvalid: the files of the log are damaged and no mirror has them.
    """
    work = _Recovery(federation, progress)
    check_not_frozen(federation.home, work.origin)
    work.leave_backup()
    old_size, aside = work.open_heads()
    work.raise_head()
    try:
        work.fill()
    except EvidenceMissing as error:
        if not newest or error.code != "log-tail-missing":
            raise
        work.check_unseen()
        federation.close()
        aside = work.begin_heads()  # nobody else has them: only a person may give entries up
    work.settle_index()
    return Recovered(work.origin, old_size, work.size(), work.settle(newest=newest), aside)


def set_aside_unrecorded(home: Home, index: Index, place: Path) -> None:
    """Move bags that no event records out of the way of the deposits to come; nothing is thrown away.

    They come into the folder `place`, if there is one, else into `quarantine/`; `index` is up to the log.

    Raises:
        DiskProblem: they cannot be moved.
    """
    known = {home.root / row.folder for row in index.packages()}
    for folder in sorted(home.packages.glob("*/*")):
        if not folder.is_dir() or folder in known:
            continue
        name = f"given-up-{folder.parent.name}-{folder.name}"
        target = (place if place.is_dir() else home.quarantine) / name
        if target.exists():
            target = target.with_name(f"{name}-{secrets.token_hex(4)}")
        mode = folder.stat().st_mode & 0o777
        with writing(folder):
            target.parent.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)
        move_folder(folder, target)
        target.chmod(mode)


class _Recovery:
    def __init__(self, federation: Federation, progress: Progress) -> None:
        self.federation = federation
        self.home = federation.home
        self.origin = federation.settings.origin
        self.files = LogFiles(self.home.log)
        self.progress = progress
        self.began = datetime.now(UTC)
        self.aside = self.home.quarantine / f"state-{format_timestamp(self.began).replace(':', '')}"

    @property
    def mirror(self) -> Mirror:
        """The own log as the mirror of itself that it is brought back as."""
        return Mirror(
            self.home.log, self.federation.state, self.origin, self.federation.verifiers, name=self.origin
        )

    def size(self) -> int:
        head = self.mirror.head()
        return 0 if head is None else head.size

    def open_heads(self) -> tuple[int | None, str | None]:
        """Open the heads; where they are lost or damaged, begin them anew from what is signed here."""
        try:
            head = self.mirror.head()
            if head is not None:
                return head.size, None
        except (EvidenceInvalid, EvidenceMissing) as error:
            if error.code not in {"state-damaged", "state-missing"}:
                raise
        self.federation.close()
        return None, self.begin_heads()

    def begin_heads(self) -> str | None:
        """Put the heads aside and make new ones, from the checkpoints that lie beside log and mirrors.

        Nothing is known then of what was cosigned: a floor is taken of every log.
        """
        published, data = self.published()
        settings = self.federation.settings
        with hold_append(self.home.lock, settings.database):
            keep_unsure(self.home, Unsure(int(time.time()), "the heads were lost or given up"))
            aside = self._put_aside()
            with StateStore.create(settings.kept_in(self.home.state), own=self.origin) as state:
                state.create_head(self.origin, Head(published.size, published.root, data))
                for peer in self.federation.peers:
                    mirror = LogFiles(self.home.mirror_of(peer.origin).log)
                    with contextlib.suppress(HeritageError):
                        note = mirror.read_checkpoint()
                        found, _ = open_checkpoint(note, peer.verifiers, peer.origin)
                        if mirror.root(found.size) == found.root:
                            state.create_head(mirrored_name(peer.origin), Head(found.size, found.root, note))
        with open_state(self.home, settings) as state:
            state.look()
        return aside

    def leave_backup(self) -> None:
        """A home over which a backup was copied is a home that may be old, and no backup.

        A folder of a backup has no `staging/`; one that has is told from it by that.
        """
        note = self.home.root / BACKUP_NOTE
        if note.exists() and self.home.staging.is_dir():
            keep_unsure(self.home, Unsure(int(time.time()), "a backup was copied over the home"))
            with writing(note):
                for path in (*self.home.root.glob(f"{HEADS}*"), self.home.root / LOCK, note):
                    path.unlink(missing_ok=True)

    def check_unseen(self) -> None:
        """Refuse to give entries up that somebody may have seen: a log that goes on without them is a fork.

        Raises:
            EvidenceMissing: a witness has cosigned them, by its own word or by the files of this home.
        """
        published, data = self.published()
        head = self.mirror.head()
        policy = self.federation.peers.policy()
        seen = []
        if head is not None:
            verifiers = self.federation.verifiers
            _, note = open_checkpoint(head.checkpoint, verifiers, self.origin, witnesses=policy.verifiers)
            seen += sorted(policy.cosigned(note))
        for url, said in self.federation.guard.ask_about(data).items():
            size = said.size if isinstance(said, Claimed) else None
            if isinstance(said, Claimed) and (size is None or (head is not None and size <= head.size)):
                seen.append(f"{url}: {said.said}")
        if seen:
            raise EvidenceMissing(
                "log-tail-missing",
                "entries that are missing here were cosigned, so nobody can say that they were never shown",
                path=self.origin,
                expected=f"the entries beyond {published.size}",
                found=", ".join(seen),
                advice="bring back the log/ of the same time, or wait for the peer that mirrors it",
            )

    def settle_index(self) -> None:
        """Bring the index to where the log is; set bags aside that no event records."""
        settings, size = self.federation.settings, self.size()
        place = settings.kept_in(self.home.index)
        try:
            with Index.open(place, origin=self.origin) as index:
                absorbed = index.absorbed()
        except (EvidenceInvalid, EvidenceMissing):
            return  # a rebuild is asked for where it is used
        if absorbed > size:
            rebuild_index(self.home, settings, size, self.progress)
        with (
            hold_append(self.home.lock, settings.database),
            Index.open(place, origin=self.origin) as index,
        ):
            if absorbed < size:
                absorb(index, self.files, self.home, size)
            elif any(self.home.staging.glob("*")):
                return  # a deposit that was cut off is finished first
            complete(index, self.home, self.progress)
            set_aside_unrecorded(self.home, index, self.aside)

    def _put_aside(self) -> str | None:
        settings, mark = self.federation.settings, f"{self.began:aside_%Y%m%d_%H%M%S}"
        aside = put_aside(settings.kept_in(self.home.state), self.aside, mark)
        return aside if aside is None or settings.database else str(self.aside.relative_to(self.home.root))

    def published(self) -> tuple[Checkpoint, bytes]:
        """The checkpoint beside the log, signed by every key of it, with files that come to its root.

        Raises:
            EvidenceMissing, EvidenceInvalid: there is none.
        """
        data = self.files.read_checkpoint()
        checkpoint, _ = open_checkpoint(data, self.federation.verifiers, self.origin)
        self._edge(checkpoint.size, checkpoint.root)
        return checkpoint, data

    def _edge(self, size: int, root: bytes) -> Edge:
        return Edge.load(size, root, read_tile=self.files.read_tile, read_bundle=self.files.read_bundle)

    def raise_head(self) -> None:
        """Raise the head to the published checkpoint, where that is ahead of it and the files prove it."""
        with contextlib.suppress(EvidenceMissing, EvidenceInvalid):
            checkpoint, data = self.published()
            if checkpoint.size > self.size():
                with self._locked():
                    self._take(self.files, data)

    def fill(self) -> None:
        """Bring back what is missing below the head, from the mirrors.

        Raises:
            EvidenceMissing: no mirror has it (`log-tail-missing`).
        """
        head = self.mirror.head()
        assert head is not None
        with contextlib.suppress(EvidenceMissing, EvidenceInvalid):
            self._edge(head.size, head.root)
            return
        client = self.federation.client
        for peer in self.federation.peers:
            prefix = f"{peer.url}/mirrors/{self.origin}"
            with contextlib.suppress(EvidenceMissing, EvidenceInvalid, TemporaryFailure), self._locked():
                data = client.get(f"{prefix}/{CHECKPOINT}", limit=MAX_NOTE_SIZE)
                if data is not None:
                    self._take(FetchedLog(self.home.log, peer_fetch(client, prefix)), data)
                    return
        raise EvidenceMissing(
            "log-tail-missing",
            "the log had more entries than lie here, and no mirror gives them",
            path=self.origin,
            expected=f"{head.size} entries",
            found="files that do not come to their root",
            advice="bring back the log/ of the same time, or wait for the peer that mirrors it; with "
            "--newest you say that they are lost for good and were never shown to anyone",
        )

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with lock.hold(self.home.lock, passing=True), self.federation.state.hold():
            yield

    def _take(self, source: LogFiles, data: bytes) -> None:
        try:
            self.mirror.refill(source, data, progress=self.progress)
        except ForkFound as error:
            keep_fork(self.home, error.proof, self.federation.verifiers, self.origin)
            check_not_frozen(self.home, self.origin)

    def settle(self, *, newest: bool) -> str:
        """Ask the witnesses, and settle what is open by their word, or by a person's."""
        guard = self.federation.guard
        try:
            guard.ensure()
        except HeritageError as error:
            if not newest or error.code not in _OPEN:
                raise
        else:
            basis = guard.basis
            return "the marks of this home" if basis is None else basis.value
        unsure = read_unsure(self.home) or Unsure(int(time.time()), "a person was asked")
        day = format_timestamp(datetime.now(UTC))
        said = (
            f"On {day} the institution declared this home the newest copy of its log, at {self.size()} "
            f"entries; before it was open because {unsure.why}."
        )
        keep_unsure(self.home, replace(unsure, own=False, all_floors=True, newest=said))
        self.federation.state.mark()
        return "the word of a person"
