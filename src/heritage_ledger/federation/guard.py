"""Never fork yourself: nothing is signed before it is sure that this home is the newest copy of its log.

A restored backup, a cloned disk, a rollback of the disk below may have forgotten entries that others have
seen; to append to such a log is to fork it (`specs/federation.md`, "Never fork yourself"). So at the first
append of a process, and again when the last answer has grown old, the witnesses are asked, while a deposit is
copied. The marks of the home are compared at every append (`heritage_ledger.home.marks`). What a witness
proves to be missing here is pulled from a mirror and checked by the home's own keys; until then nothing is
appended.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Final

from heritage_ledger.errors import (
    EvidenceMissing,
    Finding,
    HeritageError,
    OperationFailed,
    TemporaryFailure,
)
from heritage_ledger.federation.asking import Asking, OwnLog, fetch_proofs, start_daemon, uptime
from heritage_ledger.federation.forks import is_frozen, keep_fork
from heritage_ledger.federation.freshness import Basis, Claimed, Forgot, Silent, decide
from heritage_ledger.federation.peers import peer_fetch
from heritage_ledger.federation.witnessing import read_witnessed
from heritage_ledger.home import lock
from heritage_ledger.home.durable import SECRET_FILE, write_file, writing
from heritage_ledger.home.marks import Doubt, keep_unsure, read_unsure, settle_own
from heritage_ledger.log.checkpoint import open_checkpoint
from heritage_ledger.log.files import CHECKPOINT, LogFiles
from heritage_ledger.log.mirror import FetchedLog, ForkFound, Mirror
from heritage_ledger.log.note import MAX_NOTE_SIZE
from heritage_ledger.log.policy import NONE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from heritage_ledger.federation.client import Client
    from heritage_ledger.federation.freshness import Answer
    from heritage_ledger.federation.peers import Peers
    from heritage_ledger.home.layout import Home
    from heritage_ledger.home.marks import Unsure
    from heritage_ledger.home.state import Head, StateStore
    from heritage_ledger.log.note import NoteVerifier
    from heritage_ledger.log.policy import Policy

RECENT_SECONDS: Final = 5.0
"""How long an answer of the witnesses is believed, from when they were asked."""
SILENT_SECONDS: Final = 30.0
"""How long nobody is asked again where nobody answered; the marks are looked at all the same."""
_ROUNDS: Final = 3
BEHIND: Final = ".behind"


class Guard:
    """Keeps one home from forking its log. Any thread may use it."""

    def __init__(
        self,
        home: Home,
        origin: str,
        *,
        state: Callable[[], StateStore],
        peers: Callable[[], Peers],
        verifiers: Callable[[], Sequence[NoteVerifier]],
        client: Client,
    ) -> None:
        """Nothing is opened or asked yet."""
        self.home = home
        self.origin = origin
        self._state = state
        self._peers = peers
        self._verifiers = verifiers
        self._client = client
        self._turn = threading.Lock()
        self._sure_until = 0.0
        self._asking: Asking | None = None
        self._busy: set[str] = set()
        self.basis: Basis | None = None
        """What the last decision rests on; None before the first, and where no policy asks for witnesses."""

    # what an append asks for

    def begin(self) -> None:
        """Ask the witnesses in the background, so that `ensure` need not wait; failures are its business."""

        def start() -> None:
            with contextlib.suppress(HeritageError), self._turn:
                if self._asking is None and uptime() >= self._sure_until:
                    self._asking = self._ask(self._peers().policy())

        start_daemon(start)

    def ensure(self) -> None:
        """Make sure that this home is the newest copy of its log; may wait for witnesses, so hold no lock.

        Raises:
            TemporaryFailure: there is doubt, and too few witnesses answer (`witnesses-silent`).
            EvidenceMissing: there is doubt and nobody to ask, or witnesses claim more without proving it
                (`log-unsure`); entries are missing here that no mirror gives (`log-tail-missing`).
            OperationFailed: this log has shown two histories (`log-frozen`).
        """
        with self._turn:
            for _ in range(_ROUNDS):
                if self._is_sure():
                    return
                self._settle_behind()
                policy = self._peers().policy()
                unsure = self._state().look()
                if policy.quorum == NONE:
                    self._judge_alone(unsure)
                    return
                asking = self._take_asking(policy)
                if asking is None or self._decide(policy, asking, unsure):
                    return
        raise OperationFailed(
            "log-behind",
            "witnesses hold more of this log each time they are asked: a second home of it is in use",
            path=self.origin,
            advice="stop the other one; an institution's log has one writer",
        )

    def _take_asking(self, policy: Policy) -> Asking | None:
        """The questions that `begin` asked, unless they grew old meanwhile; else new ones."""
        asking, self._asking = self._asking, None
        own = self._own()
        is_recent = (
            asking is not None
            and own is not None
            and uptime() - asking.began < RECENT_SECONDS
            and asking.is_about(own)
        )
        return asking if is_recent else self._ask(policy)

    def holds(self) -> bool:
        """Say whether what `ensure` found still holds; asked under the append lock, before a signature.

        Raises:
            OperationFailed: this log has shown two histories (`log-frozen`).
        """
        return self._is_sure()

    def _is_sure(self) -> bool:
        check_not_frozen(self.home, self.origin)
        if (self.home.root / BEHIND).exists():
            return False
        unsure = self._state().look()
        if unsure is not None and unsure.own:
            return False
        if self._peers().policy().quorum == NONE:
            return True
        return uptime() < self._sure_until

    def _judge_alone(self, unsure: Unsure | None) -> None:
        """A home that nobody witnesses goes by its marks."""
        if unsure is None or not unsure.own:
            return
        if unsure.why == Doubt.UNMARKED.value and not unsure.floors:
            keep_unsure(self.home, None)  # a home of a release that left no marks
            return
        raise EvidenceMissing(
            "log-unsure",
            "this home may be an old copy of its log, and no witness can say",
            path=self.origin,
            found=unsure.why,
            advice=_NEWEST,
        )

    def _decide(self, policy: Policy, asking: Asking, unsure: Unsure | None) -> bool:
        """Weigh the answers; False where entries were brought in, and all is to be asked again."""
        answers = asking.wait()
        doubt = unsure is not None and unsure.own
        proofs = list(asking.proofs)
        if doubt or any(isinstance(one, Claimed) for one in answers.values()):
            own = self._own()
            proofs += [] if own is None else fetch_proofs(self._client, self._mirrors(), own)
        if self._learn(proofs):
            return False
        basis = decide(policy, answers, doubt=doubt, proven=self._state().is_proven())
        if basis is None:
            raise self._refusal(policy, answers)
        self.basis = basis
        is_silent = all(isinstance(one, Silent | Forgot) for one in answers.values())
        self._sure_until = asking.began + (SILENT_SECONDS if is_silent else RECENT_SECONDS)
        if basis is not Basis.MARKS:
            settle_own(self.home)
            self._state().mark()
        return True

    def _refusal(self, policy: Policy, answers: Mapping[str, Answer]) -> HeritageError:
        silent = [f"{url} ({one.said})" for url, one in answers.items() if isinstance(one, Silent | Forgot)]
        claims = [f"{url}: {one.said}" for url, one in answers.items() if isinstance(one, Claimed)]
        if claims:
            return EvidenceMissing(
                "log-unsure",
                "this home may be an old copy of its log: a witness claims to hold more, without a proof",
                path=self.origin,
                expected="a checkpoint that this log signed",
                found=", ".join(claims),
                advice=_NEWEST,
            )
        return TemporaryFailure(
            "witnesses-silent",
            "too few witnesses say how far this log has come, so nothing is appended",
            path=self.origin,
            expected=f"answers of the quorum {policy.quorum}, or of half of the witnesses",
            found=f"no answer of {', '.join(silent)}",
            advice="run the same command again when they can be reached; reading works meanwhile. " + _NEWEST,
        )

    # asking

    def _head(self) -> Head | None:
        return self._state().head(self.origin)

    def _own(self) -> OwnLog | None:
        head = self._head()
        if head is None:
            return None
        verifiers = tuple(self._verifiers())
        witnesses = self._peers().policy().verifiers
        checkpoint, note = open_checkpoint(head.checkpoint, verifiers, self.origin, witnesses=witnesses)
        return OwnLog(self.origin, LogFiles(self.home.log), verifiers, checkpoint, note)

    def _ask(self, policy: Policy) -> Asking | None:
        own = None if policy.quorum == NONE else self._own()
        if own is None or own.checkpoint.size == 0:
            return None
        peers = frozenset(f"{peer.url}/witness" for peer in self._peers())
        return Asking(self._client, policy, own, self._known(policy, own), self._busy, peers=peers)

    def ask_all(self) -> dict[str, Answer]:
        """Ask every witness now, and return by URL what it says; nothing is decided."""
        asking = self._ask(self._peers().policy())
        return {} if asking is None else asking.wait()

    def ask_about(self, data: bytes) -> dict[str, Answer]:
        """The same about another checkpoint of this log than the head, such as the published one."""
        policy = self._peers().policy()
        if policy.quorum == NONE:
            return {}
        verifiers = tuple(self._verifiers())
        checkpoint, note = open_checkpoint(data, verifiers, self.origin, witnesses=policy.verifiers)
        own = OwnLog(self.origin, LogFiles(self.home.log), verifiers, checkpoint, note)
        return Asking(self._client, policy, own, {}, set()).wait()

    def _known(self, policy: Policy, own: OwnLog) -> dict[str, int]:
        """By URL, how much of this log the home's own files show that each witness cosigned."""
        seen = [(own.checkpoint.size, policy.cosigned(own.note))]
        with contextlib.suppress(HeritageError):
            found = read_witnessed(self.home, own.verifiers, policy, self.origin)
            if found is not None:
                seen.append((found[0].size, policy.cosigned(found[1])))
        known: dict[str, int] = {}
        for size, cosigned in seen:
            for witness in policy.witnesses:
                if witness.url is not None and witness.name in cosigned:
                    known[witness.url] = max(size, known.get(witness.url, 0))
        return known

    def _mirrors(self) -> list[str]:
        return [f"{peer.url}/mirrors/{self.origin}/{CHECKPOINT}" for peer in self._peers()]

    # being behind

    def suspect(self, said: Finding) -> None:
        """A witness refused a checkpoint of ours: ask for the proof, and bring in what is missing."""
        with contextlib.suppress(HeritageError), self._turn:
            self._sure_until = 0.0
            own = self._own()
            if own is not None and said.path is not None:
                asking = self._ask(self._peers().policy())
                if asking is not None:
                    asking.wait()
                    self._learn([*asking.proofs, *fetch_proofs(self._client, self._mirrors(), own)])

    def _learn(self, proofs: Sequence[bytes]) -> bool:
        """Compare checkpoints of this log with what is here; True where they brought something in.

        Raises:
            OperationFailed: one of them shows another history (`log-frozen`).
            EvidenceMissing: no mirror gives what they prove to be missing (`log-tail-missing`).
        """
        own = self._own()
        if own is None:
            return False
        mirror = self._mirror(own)
        largest = own.checkpoint.size
        for data in proofs:
            try:
                size = mirror.compare(data).size
            except ForkFound as error:
                keep_fork(self.home, error.proof, own.verifiers, self.origin)
                check_not_frozen(self.home, self.origin)
                raise
            if size > largest:
                largest = size
                write_file(self.home.root / BEHIND, data, mode=SECRET_FILE, replace=True)
        if largest == own.checkpoint.size:
            return False
        self._settle_behind()
        return True

    def _mirror(self, own: OwnLog) -> Mirror:
        return Mirror(self.home.log, self._state(), self.origin, own.verifiers, name=self.origin)

    def _settle_behind(self) -> None:
        """Bring in what a checkpoint of this log, kept in `.behind`, proves to be missing.

        Raises:
            EvidenceMissing: no mirror gives it (`log-tail-missing`).
        """
        path = self.home.root / BEHIND
        own = self._own()
        if own is None or not path.exists():
            return
        largest = 0
        with contextlib.suppress(HeritageError, OSError):  # whatever else lies there proves nothing
            largest = own.open(path.read_bytes()).size
        if largest > own.checkpoint.size:
            self.catch_up(largest)
        with writing(path):
            path.unlink(missing_ok=True)

    def catch_up(self, largest: int = 0) -> int:
        """Pull entries that are missing here from the peers' mirrors; return the size afterwards.

        Raises:
            EvidenceMissing: fewer than `largest` entries came together (`log-tail-missing`).
            OperationFailed: a mirror shows another history (`log-frozen`).
        """
        verifiers = tuple(self._verifiers())
        mirror = Mirror(self.home.log, self._state(), self.origin, verifiers, name=self.origin)
        with lock.hold(self.home.lock, passing=True), self._state().hold():
            for peer in self._peers():
                prefix = f"{peer.url}/mirrors/{self.origin}"
                try:
                    data = self._client.get(f"{prefix}/{CHECKPOINT}", limit=MAX_NOTE_SIZE)
                    if data is not None:
                        mirror.pull(FetchedLog(self.home.log, peer_fetch(self._client, prefix)), data)
                except ForkFound as error:
                    keep_fork(self.home, error.proof, verifiers, self.origin)
                    check_not_frozen(self.home, self.origin)
                except HeritageError:
                    continue  # another mirror may give it
            head = mirror.head()
        size = 0 if head is None else head.size
        if size < largest:
            raise EvidenceMissing(
                "log-tail-missing",
                "this log has signed entries that are not here, and no mirror gives them",
                path=self.origin,
                expected=f"{largest} entries",
                found=f"{size} entries",
                advice="bring the newest copy of this home back, or wait for the peer that mirrors it",
            )
        return size


_NEWEST: Final = (
    "If you know that no newer copy was ever in use, `heritage log recover --newest` says so in your name"
)


def check_not_frozen(home: Home, origin: str) -> None:
    """Refuse to append to a log that has shown two histories.

    Raises:
        OperationFailed: `log-frozen`.
    """
    if is_frozen(home, origin):
        raise OperationFailed(
            "log-frozen",
            "this institution's own log has shown two histories; nothing more is appended to it",
            path=origin,
            advice="find out with the fork proof in forks/ which copy of the home is the true one; a new log "
            "begins with the next epoch of the origin",
        )


def is_unsure(home: Home) -> bool:
    """Say whether it is still open that this home is the newest copy of its log."""
    unsure = read_unsure(home)
    return (unsure is not None and unsure.own) or (home.root / BEHIND).exists()
