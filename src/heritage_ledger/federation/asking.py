"""Asking the witnesses whether a head is the newest that they know (`specs/federation.md`).

Each is shown the head's checkpoint by `add-checkpoint`, which every C2SP witness answers. Whoever holds more
is asked for the checkpoint that proves it. All are asked at once, and whoever has not answered when the time
is over is silent: what it says later is not waited for.
"""

from __future__ import annotations

import contextvars
import threading
import time
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from heritage_ledger.errors import HeritageError
from heritage_ledger.federation.freshness import Answer, Claimed, Confirmed, Forgot, Silent
from heritage_ledger.log.checkpoint import Checkpoint, open_checkpoint, parse_size
from heritage_ledger.log.files import CHECKPOINT
from heritage_ledger.log.note import MAX_NOTE_SIZE, Note, format_note, open_note
from heritage_ledger.log.witness import SIZE_TYPE, AddCheckpoint, format_request

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from heritage_ledger.federation.client import Client
    from heritage_ledger.log.files import LogFiles
    from heritage_ledger.log.note import NoteVerifier
    from heritage_ledger.log.policy import Policy

ASK_SECONDS: Final = 2.0
"""How long witnesses are waited for; a deposit is copied meanwhile."""
GRACE_SECONDS: Final = 0.25
"""How much longer the others are waited for once a quorum has answered."""
SKEW_SECONDS: Final = 120
"""How far the clock of a witness may be behind ours for its cosignature to be one of now."""
_TRIES: Final = 4


@dataclass(frozen=True, slots=True)
class OwnLog:
    """The own log as it is shown to others: its files, keys, and a head of it, opened."""

    origin: str
    files: LogFiles
    verifiers: tuple[NoteVerifier, ...]
    checkpoint: Checkpoint
    note: Note

    @property
    def signed(self) -> bytes:
        """The checkpoint with the log's own signatures alone: a witness may take no more than 16 KiB."""
        own = {(one.name, one.key_id) for one in self.verifiers}
        ours = [one for one in self.note.verified if (one.name, one.key_id) in own]
        return format_note(self.note.text, ours)

    def open(self, data: bytes) -> Checkpoint:
        """Return a checkpoint that every key of this log signed.

        Raises:
            EvidenceInvalid: it is none.
        """
        return open_checkpoint(data, self.verifiers, self.origin)[0]


class Asking:
    """One round of questions, under way from the moment it is made; any thread may wait for it."""

    def __init__(
        self,
        client: Client,
        policy: Policy,
        own: OwnLog,
        known: Mapping[str, int],
        busy: set[str],
        *,
        peers: frozenset[str] = frozenset(),
    ) -> None:
        """Ask every witness of `policy` about the head of `own`.

        Args:
            client: asks.
            policy: names the witnesses.
            own: the log, with the head in question.
            known: by URL, the size that the home's files show that the witness cosigned.
            busy: URLs that an earlier round still waits for; kept up to date, and passed over.
            peers: URLs of witnesses that run this software: asked from what they are known to have cosigned,
                they say 409 where they know another size. Others (omniwitness) take any size for a log that
                they have forgotten, so they are asked from nothing.
        """
        self._client = client
        self._policy = policy
        self._own = own
        self._known = known
        self._busy = busy
        self._peers = peers
        self.urls = tuple(dict.fromkeys(one.url for one in policy.witnesses if one.url is not None))
        self.answers: dict[str, Answer] = {}
        self.proofs: list[bytes] = []
        """Checkpoints signed by this log that witnesses hold, and that are not the head in question."""
        self._changed = threading.Condition()
        self._proving: set[str] = set()
        self.began = uptime()
        """When the witnesses were asked: how old an answer may be is counted from then."""
        self._asked_at = int(time.time())
        self._until = time.monotonic() + ASK_SECONDS
        for url in self.urls:
            if url in busy:
                self.answers[url] = Silent("the last question is not answered yet")
            else:
                busy.add(url)
                start_daemon(partial(self._ask, url))

    def is_about(self, own: OwnLog) -> bool:
        """Say whether the head in question is the one of `own`."""
        asked = self._own.checkpoint
        return (asked.size, asked.root) == (own.checkpoint.size, own.checkpoint.root)

    def wait(self) -> dict[str, Answer]:
        """Wait until all have answered, or the time is over; return what was said by then."""
        with self._changed:
            while len(self.answers) < len(self.urls) or self._proving:
                now = time.monotonic()
                if self._policy.is_met(self._confirmed()):
                    self._until = min(self._until, now + GRACE_SECONDS)
                if now >= self._until:
                    break
                self._changed.wait(min(self._until - now, GRACE_SECONDS))
            late = {url: Silent("no answer in time") for url in self.urls if url not in self.answers}
            return {**self.answers, **late}

    def _confirmed(self) -> frozenset[str]:
        found = (one.names for one in self.answers.values() if isinstance(one, Confirmed))
        return frozenset[str]().union(*found)

    def _ask(self, url: str) -> None:
        answer: Answer = Silent("it cannot be asked")
        try:
            answer = self._question(url)
        except HeritageError as error:
            answer = Silent(error.code)
        except Exception as error:  # noqa: BLE001 - whatever one witness makes happen is its silence
            answer = Silent(type(error).__name__)
        is_claim = isinstance(answer, Claimed)
        with self._changed:  # a claim counts from now on, whether a proof comes in time or not
            self.answers[url] = answer
            if is_claim:
                self._proving.add(url)
            else:
                self._busy.discard(url)
            self._changed.notify_all()
        if is_claim:
            self._take_proof(url)

    def _take_proof(self, url: str) -> None:
        proof = None
        try:
            proof = self._prove(url)
        finally:
            with self._changed:
                self._busy.discard(url)
                self._proving.discard(url)
                if proof is not None:
                    self.proofs.append(proof)
                self._changed.notify_all()

    def _question(self, url: str) -> Answer:
        size, known = self._own.checkpoint.size, self._known.get(url, 0)
        # whoever knows the log tells its size; who takes it from nothing has never seen it, or forgot
        old = known if url in self._peers and known <= size else 0
        for _ in range(_TRIES):
            proof = self._own.files.prove_consistency(old, size) if 0 < old < size else ()
            body = format_request(AddCheckpoint(old, proof, self._own.signed))
            answer = self._client.ask("POST", f"{url}/add-checkpoint", body=body, limit=MAX_NOTE_SIZE)
            if answer.status == 200:
                confirmed = self._accept(url, answer.body)
                return confirmed if old >= known else Forgot(f"nothing, of {known} that it cosigned")
            kind = answer.headers.get("content-type", "").partition(";")[0].strip()
            if answer.status == 409 and kind == SIZE_TYPE:
                old = parse_size(answer.body.decode("ascii").removesuffix("\n"))
                if old < known:
                    return Forgot(f"{old} entries, of {known} that it cosigned")
                if old <= size:
                    continue
                return Claimed(f"{old} entries", old)
            if answer.status in {409, 422}:
                return Claimed("another history")
            return Silent(f"status {answer.status}")
        return Silent("another size with every request")

    def _accept(self, url: str, lines: bytes) -> Answer:
        note = open_note(self._own.note.text + b"\n" + lines, self._policy.verifiers)
        here = {one.name for one in self._policy.witnesses if one.url == url}
        cosigned = self._policy.cosigned(note)
        # an old cosignature of this head is public: only one of now says that nothing larger was seen
        fresh = {name for name, at in cosigned.items() if at >= self._asked_at - SKEW_SECONDS}
        return Confirmed(frozenset(fresh & here))

    def _prove(self, url: str) -> bytes | None:
        """Fetch the checkpoint that a witness holds; not every one gives it, and none is no statement."""
        name = sha256(self._own.origin.encode()).hexdigest()
        return fetch_proof(self._client, f"{url}/{name}/{CHECKPOINT}", self._own)


def uptime() -> float:
    """Seconds of a clock that never goes back and counts the time for which the machine is suspended too."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def fetch_proof(client: Client, url: str, own: OwnLog) -> bytes | None:
    """Return the checkpoint at `url` when this log signed it, and None where nothing is proved."""
    try:
        data = client.get(url, limit=MAX_NOTE_SIZE)
        if data is None:
            return None
        own.open(data)
    except HeritageError:
        return None
    return data


def fetch_proofs(client: Client, urls: Sequence[str], own: OwnLog) -> list[bytes]:
    """Fetch checkpoints of this log from several places at once, for `ASK_SECONDS` at most."""
    found: list[bytes] = []
    done = threading.Semaphore(0)

    def ask(url: str) -> None:
        try:
            data = fetch_proof(client, url, own)
            if data is not None:
                found.append(data)
        finally:
            done.release()

    for url in urls:
        start_daemon(partial(ask, url))
    until = time.monotonic() + ASK_SECONDS
    for _ in urls:
        if not done.acquire(timeout=max(0.0, until - time.monotonic())):
            break
    return list(found)


def start_daemon(work: Callable[[], None]) -> None:
    """Run `work` in a thread that keeps no process from ending."""
    here = contextvars.copy_context()
    threading.Thread(target=here.run, args=(work,), name="asking", daemon=True).start()
