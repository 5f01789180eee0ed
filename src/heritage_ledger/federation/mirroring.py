"""Keeping mirrors of the peers' logs, with an index each (`specs/federation.md`, "Mirrors").

Every entry that comes in is opened as an event: its signature, its log and the authority of its key are
checked before it is shown to anyone. An entry that is none ends what is shown of that log, with a finding;
the mirror itself goes on, because the log has signed it.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from heritage_ledger.errors import (
    EvidenceInvalid,
    EvidenceMissing,
    Finding,
    HeritageError,
    OperationFailed,
)
from heritage_ledger.federation.client import check_status
from heritage_ledger.federation.forks import FORKS_HEADER, NO_FORKS, is_frozen, keep_fork, stored_forks
from heritage_ledger.federation.peers import peer_fetch
from heritage_ledger.federation.quota import MirrorQuota
from heritage_ledger.fixity.evidence import LogEvidence, open_evidence, open_recorded
from heritage_ledger.home import lock
from heritage_ledger.home.durable import writing
from heritage_ledger.index.absorb import absorb
from heritage_ledger.index.store import Index
from heritage_ledger.log.files import CHECKPOINT, LogFiles
from heritage_ledger.log.merkle import leaf_hash
from heritage_ledger.log.mirror import FetchedLog, ForkFound, Mirror
from heritage_ledger.log.note import MAX_NOTE_SIZE
from heritage_ledger.log.tiles import TILE_WIDTH, Bundle
from heritage_ledger.progress import SILENT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heritage_ledger.federation.client import Client
    from heritage_ledger.federation.forks import StoredFork
    from heritage_ledger.federation.peers import Peer
    from heritage_ledger.home.layout import Home, MirrorHome
    from heritage_ledger.home.node_settings import NodeSettings
    from heritage_ledger.home.state import StateStore
    from heritage_ledger.log.mirror import Pulled
    from heritage_ledger.progress import Progress

GONE: Final = frozenset({404, 410, 412})
NOT_MODIFIED: Final = 304


@dataclass(frozen=True, slots=True)
class Synced:
    """What one look at a peer's log did: its size here before and after, a fork if one was found."""

    origin: str
    old_size: int
    size: int
    fork: StoredFork | None
    findings: tuple[Finding, ...]


@dataclass(slots=True)
class Known:
    """What the last look of this process left of a peer, so that the next one asks for no more than it must.

    `etag` is of the published checkpoint up to which all is here, `size` entries, with nothing to be said
    about it. `forks` is what the peer said of the fork proofs that it keeps, `taken` what it said when they
    were last fetched; `is_asked` says that it was asked for its checkpoint, and so for the first of these.
    """

    etag: str | None = None
    size: int = -1
    forks: str | None = None
    taken: str | None = NO_FORKS
    is_asked: bool = False


def mirror_of(home: Home, state: StateStore, peer: Peer) -> Mirror:
    """The mirror of a peer's log in this home."""
    return Mirror(home.mirror_of(peer.origin).log, state, peer.origin, peer.verifiers)


def sync_mirror(
    home: Home,
    state: StateStore,
    peer: Peer,
    client: Client,
    *,
    settings: NodeSettings,
    known: Known | None = None,
    shown: bytes | None = None,
    progress: Progress = SILENT,
) -> Synced:
    """Bring the mirror of a peer's log up to what the peer publishes, and its index with it.

    What it may take is bounded by `settings` (`mirror-quota`, `disk-full`). `known` is what the last look of
    this process left. With `shown`, a checkpoint of the log that was cosigned here, the mirror is brought up
    to that one, where it is larger: what the peer publishes is not asked for then.

    Nothing is raised for what the peer does wrong: that is a finding, and a fork is kept as its proof.

    Raises:
        DiskProblem, HomeLocked, OperationFailed: this home cannot be written.
    """
    place = home.mirror_of(peer.origin)
    mirror = mirror_of(home, state, peer)
    look = _Look(mirror, peer, client, known or Known(), MirrorQuota(home, settings, peer.origin), progress)
    with writing(place.log):
        place.log.mkdir(parents=True, exist_ok=True)
    with lock.hold(place.lock, passing=True):
        head = mirror.head()
        size = 0 if head is None else head.size
        fork = None
        findings: list[Finding] = []
        try:
            _check_not_frozen(home, peer.origin)
            if not (shown is not None and look.pull_shown(shown)):
                is_changed = look.pull(is_here=place.index.exists())
                if not is_changed:
                    return Synced(peer.origin, size, size, None, ())
            size = look.size()
        except ForkFound as error:
            fork = keep_fork(home, error.proof, peer.verifiers, peer.origin)
            findings.append(error.finding)
        except HeritageError as error:
            findings.append(error.finding)
        findings += _absorb(home.mirror_of(peer.origin), peer)
        findings += _keep_branch(home, state, peer, client, MirrorQuota(home, settings, peer.origin))
        look.note(findings)
    return Synced(peer.origin, 0 if head is None else head.size, size, fork, tuple(findings))


def _keep_branch(
    home: Home, state: StateStore, peer: Peer, client: Client, quota: MirrorQuota
) -> list[Finding]:
    """Bring in the other history of a log that signed two, while its node still shows it."""
    for fork in stored_forks(home, peer.origin):
        if fork.is_readable:
            continue
        place = home.branch_of(peer.origin, fork.name)
        prefix = f"{peer.url}/log"
        try:
            data = client.get(f"{prefix}/{CHECKPOINT}", limit=MAX_NOTE_SIZE) or b""
            source = FetchedLog(place.log, peer_fetch(client, prefix))
            mirror_of(home, state, peer).compare(data, source)
        except ForkFound:
            branch = Mirror(place.log, state, peer.origin, peer.verifiers, name=f"branch {fork.name}")
        except HeritageError as error:
            return [error.finding]
        else:
            return []  # it shows the history that is here
        try:
            with writing(place.log):
                place.log.mkdir(parents=True, exist_ok=True)
            branch.pull(source, data, quota=quota)
        except HeritageError as error:
            return [error.finding]
        return _absorb(place, peer)
    return []


class _Look:
    """One look at the log of a peer, and what it leaves for the next one."""

    def __init__(  # noqa: PLR0917 - the parts of a look
        self,
        mirror: Mirror,
        peer: Peer,
        client: Client,
        known: Known,
        quota: MirrorQuota,
        progress: Progress,
    ) -> None:
        self._mirror = mirror
        self._peer = peer
        self._client = client
        self._known = known
        self._quota = quota
        self._progress = progress
        self._prefix = f"{peer.url}/log"
        self._etag: str | None = None

    def size(self) -> int:
        """How many entries are mirrored."""
        head = self._mirror.head()
        return 0 if head is None else head.size

    def pull_shown(self, data: bytes) -> bool:
        """Bring the mirror up to a checkpoint that is here already; False where that does not help.

        Raises:
            ForkFound: the log shows two histories.
        """
        try:
            if self._mirror.open_checkpoint(data).size <= self.size():
                return False
            self._bring(data)
        except ForkFound:
            raise
        except HeritageError:
            return False  # the peer is asked for what it publishes: that may be more, or tell why
        return True

    def pull(self, *, is_here: bool) -> bool:
        """Bring the mirror up to what the peer publishes; False where nothing changed since the last look.

        `is_here` says whether all that a look makes is still there.

        Raises:
            HeritageError: why the mirror is not brought up to it.
        """
        known, url = self._known, f"{self._prefix}/{CHECKPOINT}"
        known.is_asked, known.forks = True, None
        is_same = known.etag is not None and is_here and known.size == self.size()
        headers = {"If-None-Match": known.etag} if is_same and known.etag is not None else {}
        answer = self._client.ask("GET", url, limit=MAX_NOTE_SIZE, headers=headers)
        known.forks = answer.headers.get(FORKS_HEADER)
        if headers and answer.status == NOT_MODIFIED:
            return False
        if answer.status in GONE:
            raise EvidenceMissing("peer-no-log", "there is no log at this URL", path=self._peer.url)
        check_status(answer, url)
        self._bring(answer.body)
        self._etag = answer.headers.get("etag")
        return True

    def note(self, findings: list[Finding]) -> None:
        """Keep for the next look what this one saw; one that found something is done all over again."""
        self._known.etag = None if findings else self._etag
        self._known.size = self.size()

    def _bring(self, data: bytes) -> None:
        mirror = self._mirror
        size, old = mirror.open_checkpoint(data).size, self.size()
        pulled = None
        last = Bundle(size // TILE_WIDTH, size % TILE_WIDTH)
        if old < size and old // TILE_WIDTH == last.index and last.width:
            try:
                pulled = self._from(data, last)
            except ForkFound:
                raise
            except (EvidenceInvalid, EvidenceMissing):
                pulled = None  # a log that hides its entries shows by its tiles alone that it forked
        pulled = pulled or self._from(data)
        if size < pulled.size:
            raise OperationFailed(
                "peer-stale",
                "the peer shows an older log than it did before",
                path=self._peer.url,
                expected=f"{pulled.size} entries or more",
                found=f"{size} entries",
                advice="its node may have been restored from a backup; nothing here was taken back",
            )
        _check_genesis(mirror.files, self._peer, pulled.size)

    def _from(self, data: bytes, last: Bundle | None = None) -> Pulled:
        source = FetchedLog(self._mirror.files.folder, peer_fetch(self._client, self._prefix), last=last)
        return self._mirror.pull(source, data, progress=self._progress, quota=self._quota)


def _check_genesis(files: LogFiles, peer: Peer, size: int) -> None:
    if leaf_hash(files.read_entry(0, size)).hex() != peer.genesis:
        raise OperationFailed(
            "peer-changed",
            "the log begins with another genesis event than the one that was trusted",
            path=peer.origin,
            expected=peer.genesis,
            advice="an origin is never used again; ask the institution what happened",
        )


def _check_not_frozen(home: Home, origin: str) -> None:
    if is_frozen(home, origin):
        raise OperationFailed(
            "log-frozen",
            "the log has shown two histories, so nothing more of it is taken",
            path=origin,
            advice="`heritage peer status` names the fork proof; what is here stays readable",
        )


def mirror_evidence(home: Home, peer: Peer) -> LogEvidence:
    """The mirror's checkpoint and keys, read anew; every key of the log must have signed."""
    return evidence_in(home.mirror_of(peer.origin), peer)


def evidence_in(place: MirrorHome, peer: Peer) -> LogEvidence:
    """The same of a mirror, or of the other history of a log that signed two."""
    return open_evidence(place, peer.origin, peer.verifiers)


@contextlib.contextmanager
def open_mirror_index(home: Home, peer: Peer) -> Iterator[Index]:
    """The index of a mirror; an absent one is made."""
    place = home.mirror_of(peer.origin)
    with Index.open(place.index, origin=peer.origin) as index:
        yield index


def _absorb(place: MirrorHome, peer: Peer) -> list[Finding]:
    evidence = evidence_in(place, peer)
    if evidence.checkpoint is None:
        return []
    try:
        with Index.open(place.index, origin=peer.origin) as index:
            return absorb(
                index,
                evidence.log,
                place,
                evidence.checkpoint.size,
                read=lambda number, entry: open_recorded(evidence, number, entry),
                is_own=False,
            )
    except HeritageError as error:
        return [error.finding]
