"""A witness never forgets: after a restore it takes a floor of a log before it cosigns it.

The heads of a restored witness, and of its mirrors, may be old: it may have cosigned more than it knows. So
it first takes what the log itself shows, what its own mirror has and what other institutions mirror of that
log, as the least that it believes. One source is not enough when it is the log itself, which may have been
restored too, or lie: then either half of the other institutions must show their mirrors, or the log must have
signed a checkpoint since. What contradicts is a fork, and is kept as its proof.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from heritage_ledger.errors import Finding, HeritageError, Severity
from heritage_ledger.federation.client import check_status
from heritage_ledger.federation.forks import keep_fork
from heritage_ledger.federation.mirroring import mirror_of
from heritage_ledger.federation.peers import peer_fetch
from heritage_ledger.home import lock
from heritage_ledger.home.durable import writing
from heritage_ledger.home.marks import note_shown, settle_floor
from heritage_ledger.log.files import CHECKPOINT
from heritage_ledger.log.merkle import prove_root
from heritage_ledger.log.mirror import FetchedLog, ForkFound, Mirror
from heritage_ledger.log.note import MAX_NOTE_SIZE
from heritage_ledger.log.witness import Witness, WitnessRefusal, witnessed_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heritage_ledger.federation.client import Client
    from heritage_ledger.federation.peers import Peer, Peers
    from heritage_ledger.home.layout import Home
    from heritage_ledger.home.marks import Unsure
    from heritage_ledger.home.state import StateStore
    from heritage_ledger.log.merkle import Subtree

UNSURE_HEADER: Final = "heritage-unsure"
"""What a node says with a mirror of which it has taken no floor since its own restore: it may be old."""


def take_floor(
    home: Home, state: StateStore, peers: Peers, peer: Peer, *, client: Client, witness: Witness
) -> tuple[Finding, ...]:
    """Take the floor of a peer's log, where a restore made one necessary; the findings say why it was not.

    Raises:
        DiskProblem, HomeLocked, OperationFailed: this home cannot be written.
    """
    unsure = state.look()
    if unsure is None or not unsure.needs_floor(peer.origin):
        return ()
    work = _Floor(home, state, peer, client)
    with lock.hold(work.place.lock, passing=True):
        try:
            work.ask([one for one in peers if one.origin != peer.origin])
            if not work.is_enough(unsure):
                return (_waiting(peer, work.others, work.answered),)
            work.raise_to(witness)
        except ForkFound as error:
            keep_fork(home, error.proof, peer.verifiers, peer.origin)
            return (error.finding,)
        except HeritageError as error:
            return (error.finding,)
        settle_floor(home, peer.origin)
    return ()


class _Floor:
    """The sources of one floor: `own` is what the log itself shows, `seen` what is shown of it anywhere."""

    def __init__(self, home: Home, state: StateStore, peer: Peer, client: Client) -> None:
        self.place = home.mirror_of(peer.origin)
        with writing(self.place.log):
            self.place.log.mkdir(parents=True, exist_ok=True)
        self.others = 0
        self.answered = 0
        self.own: bytes | None = None
        self.seen: list[bytes] = []
        self._home = home
        self._state = state
        self._peer = peer
        self._client = client
        self._mirror: Mirror = mirror_of(home, state, peer)

    def ask(self, others: Sequence[Peer]) -> None:
        """Bring the own mirror up to what the log and its other mirrors show.

        Raises:
            ForkFound: two of them contradict each other.
        """
        self.others = len(others)
        self.own = self._pull(self._peer, "/log")
        for other in others:
            self.answered += self._pull(other, f"/mirrors/{self._peer.origin}") is not None

    def _pull(self, source: Peer, path: str) -> bytes | None:
        """Take a source in, and return its checkpoint; None where it says nothing that can be believed."""
        prefix = f"{source.url}{path}"
        try:
            answer = self._client.ask("GET", f"{prefix}/{CHECKPOINT}", limit=MAX_NOTE_SIZE)
            check_status(answer, prefix)
            self._mirror.open_checkpoint(answer.body)
            self._mirror.pull(FetchedLog(self.place.log, peer_fetch(self._client, prefix)), answer.body)
        except ForkFound:
            raise
        except HeritageError:
            return None
        self.seen.append(answer.body)
        return None if UNSURE_HEADER in answer.headers else answer.body

    def is_enough(self, unsure: Unsure) -> bool:
        """Say whether it is shown how far the log has come, by others where there are any.

        Where there is nobody else, the log must have grown since it was first looked at after the restore:
        a log that was restored too does not grow before somebody has told it how far it had come.
        """
        if self.others:
            return 2 * self.answered >= self.others
        if self.own is None:
            return False
        size = self._mirror.open_checkpoint(self.own).size
        note_shown(self._home, self._peer.origin, size)
        return size > dict(unsure.shown).get(self._peer.origin, size)

    def raise_to(self, witness: Witness) -> None:
        """Let the witness believe no less than the mirror has now.

        Raises:
            ForkFound: it cosigned another history before.
            EvidenceMissing, EvidenceInvalid: the mirror cannot be read.
        """
        head = self._mirror.head()
        if head is None:
            return
        size = head.size

        def prefix_root(smaller: int) -> bytes:
            def read(subtrees: Sequence[Subtree]) -> list[bytes]:
                return self._mirror.files.read_hashes(subtrees, size)

            return prove_root(smaller, read)

        try:
            witness.raise_floor(
                head.checkpoint, prefix_root=prefix_root, seen=self.seen, time=int(time.time())
            )
        except WitnessRefusal:
            known = self._state.head(witnessed_name(self._peer.origin))
            if known is not None:
                self._mirror.compare(known.checkpoint)  # raises the fork that it is
            raise


def _waiting(peer: Peer, others: int, answered: int) -> Finding:
    return Finding(
        "witness-floor",
        "this witness was restored; it cosigns this log again when it knows how far it had come",
        peer.origin,
        expected=f"mirrors of the log at half of {others} others, or without any that the log grows",
        found=f"{answered} mirrors",
        advice="it is tried again with each look at the peer; `heritage log recover --newest` says that "
        "nothing was forgotten",
        severity=Severity.WARNING,
    )
