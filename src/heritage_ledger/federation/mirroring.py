"""Keeping mirrors of the peers' logs, with an index each (`specs/federation.md`, "Mirrors").

Every entry that comes in is opened as an event: its signature, its log and the authority of its key are
checked before it is shown to anyone. An entry that is none ends what is shown of that log, with a finding;
the mirror itself goes on, because the log has signed it.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from heritage_ledger.errors import EvidenceMissing, Finding, HeritageError, OperationFailed
from heritage_ledger.federation.forks import is_frozen, keep_fork, stored_forks
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
from heritage_ledger.progress import SILENT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heritage_ledger.federation.client import Client
    from heritage_ledger.federation.forks import StoredFork
    from heritage_ledger.federation.peers import Peer
    from heritage_ledger.home.layout import Home, MirrorHome
    from heritage_ledger.home.node_settings import NodeSettings
    from heritage_ledger.home.state import StateStore
    from heritage_ledger.progress import Progress


@dataclass(frozen=True, slots=True)
class Synced:
    """What one look at a peer's log did: its size here before and after, a fork if one was found."""

    origin: str
    old_size: int
    size: int
    fork: StoredFork | None
    findings: tuple[Finding, ...]


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
    progress: Progress = SILENT,
) -> Synced:
    """Bring the mirror of a peer's log up to what the peer publishes, and its index with it.

    What it may take is bounded by `settings` (`mirror-quota`, `disk-full`).

    Nothing is raised for what the peer does wrong: that is a finding, and a fork is kept as its proof.

    Raises:
        DiskProblem, HomeLocked, OperationFailed: this home cannot be written.
    """
    place = home.mirror_of(peer.origin)
    mirror = mirror_of(home, state, peer)
    with writing(place.log):
        place.log.mkdir(parents=True, exist_ok=True)
    with lock.hold(place.lock):
        head = mirror.head()
        size = 0 if head is None else head.size
        fork = None
        findings: list[Finding] = []
        try:
            _check_not_frozen(home, peer.origin)
            size = _pull(mirror, peer, client, progress, MirrorQuota(home, settings, peer.origin))
        except ForkFound as error:
            fork = keep_fork(home, error.proof, peer.verifiers, peer.origin)
            findings.append(error.finding)
        except HeritageError as error:
            findings.append(error.finding)
        findings += _absorb(home.mirror_of(peer.origin), peer)
        findings += _keep_branch(home, state, peer, client, MirrorQuota(home, settings, peer.origin))
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


def _pull(mirror: Mirror, peer: Peer, client: Client, progress: Progress, quota: MirrorQuota) -> int:
    prefix = f"{peer.url}/log"
    data = client.get(f"{prefix}/{CHECKPOINT}", limit=MAX_NOTE_SIZE)
    if data is None:
        raise EvidenceMissing("peer-no-log", "there is no log at this URL", path=peer.url)
    source = FetchedLog(mirror.files.folder, peer_fetch(client, prefix))
    pulled = mirror.pull(source, data, progress=progress, quota=quota)
    size = mirror.open_checkpoint(data).size
    if size < pulled.size:
        raise OperationFailed(
            "peer-stale",
            "the peer shows an older log than it did before",
            path=peer.url,
            expected=f"{pulled.size} entries or more",
            found=f"{size} entries",
            advice="its node may have been restored from a backup; nothing here was taken back",
        )
    _check_genesis(mirror.files, peer, pulled.size)
    return pulled.size


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
