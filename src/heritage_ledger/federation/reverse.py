"""Asking members that nobody can call: they call in, and take the questions along (`specs/federation.md`).

A member behind a firewall keeps a signed request open at each of its peers. What a peer wants to ask it, the
same requests that it would send to anyone, is the answer to that; the member's answer comes in signed
requests of its own, piece by piece. Nothing else changes: who asks is who checks, and what was not asked for
is refused before its first byte.
"""

from __future__ import annotations

import contextlib
import queue
import secrets
import threading
import time
from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote, urlsplit

from heritage_ledger.errors import EvidenceInvalid, HeritageError, OperationFailed, TemporaryFailure
from heritage_ledger.federation.turns import CARRIED, PART, Question, parse_head

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from heritage_ledger.content.exchange import Waits

SCHEME: Final = "reverse://"
"""What the URL of a member begins with that calls in; the rest is the origin of its log."""
HOLD_SECONDS: Final = 50.0
"""How long a call waits for a question: proxies end what is silent for a minute."""
AWAY_SECONDS: Final = 30.0
"""How long after its last call a member counts as away: it calls again at once when a call has ended."""
MAX_QUESTIONS: Final = 64
"""Questions that may wait for one member."""


def reverse_url(origin: str) -> str:
    """Return the URL of a member that calls in.

    >>> reverse_url("museum.example/ledger/1")
    'reverse://museum.example%2Fledger%2F1'
    """
    return SCHEME + quote(origin, safe="")


def is_reverse(url: str) -> bool:
    """Say whether nobody can call whoever this is the URL of."""
    return url.startswith(SCHEME)


def _split(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return unquote(parts.netloc), parts.path + (f"?{parts.query}" if parts.query else "")


class Answering:
    """The answer of a member as it comes: a status, headers, and bytes to be read."""

    def __init__(self, question: Question, url: str, waits: Waits) -> None:
        """Wait for the head.

        Raises:
            TemporaryFailure: nothing came in time (`peer-silent`), or the node stops (`peer-unreachable`).
        """
        self._question = question
        self._url = url
        self._waits = waits
        self._buffer = memoryview(b"")
        self._is_whole = False
        try:
            self.status, self.headers = question.head.result(waits.headers)
        except TimeoutError:
            raise self._silent() from None

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes, none at the end.

        Raises:
            TemporaryFailure: the rest did not come in time (`peer-silent`), or never will.
        """
        if not self._buffer and not self._is_whole:
            try:
                piece = self._question.pieces.get(timeout=self._waits.silent + PART / self._waits.slowest)
            except queue.Empty:
                raise self._silent() from None
            self._is_whole = piece is None
            self._buffer = memoryview(piece or b"")
            if self._question.is_over and not self._is_whole:
                raise _stopped(self._url)
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return bytes(data)

    def all(self) -> bytes:
        """Return the rest."""
        return b"".join(iter(lambda: self.read(PART), b""))

    def _silent(self) -> TemporaryFailure:
        return TemporaryFailure(
            "peer-silent",
            "the member took the question along and has not answered in time",
            path=self._url,
            advice="try again later",
        )


class Desk:
    """The questions of one node for the members that call in. Any thread may use it."""

    def __init__(self, waits: Waits) -> None:
        """Wait for answers as long as for those of others."""
        self._waits = waits
        self._turn = threading.Lock()
        self._waiting: dict[str, deque[Question]] = {}
        self._open: dict[tuple[str, str], Question] = {}
        self._calls: dict[str, deque[Future[Question]]] = {}
        self._seen: dict[str, float] = {}
        self._is_stopped = False

    @contextlib.contextmanager
    def asked(
        self, method: str, url: str, *, body: bytes | None, headers: Mapping[str, str], limit: int
    ) -> Iterator[Answering]:
        """The answer of the member at `url`, its body not read yet.

        Raises:
            TemporaryFailure: it does not call in (`peer-away`), or does not answer (`peer-silent`).
        """
        origin, path = _split(url)
        carried = {name: value for name, value in headers.items() if name.lower() in CARRIED}
        question = Question(secrets.token_urlsafe(18), method, path, carried, body or b"", limit)
        self._put(origin, question, url)
        try:
            yield Answering(question, url, self._waits)
        finally:
            self._end(origin, question)

    def _put(self, origin: str, question: Question, url: str) -> None:
        with self._turn:
            if self._is_stopped:
                raise _stopped(url)
            calls = self._calls.get(origin, deque())
            if not calls and time.monotonic() - self._seen.get(origin, -AWAY_SECONDS) >= AWAY_SECONDS:
                raise away(url)
            waiting = self._waiting.setdefault(origin, deque())
            if len(waiting) >= MAX_QUESTIONS:
                raise TemporaryFailure(
                    "peer-busy", "too many questions wait for the member", path=url, advice="try again later"
                )
            self._open[origin, question.name] = question
            while calls:
                call = calls.popleft()
                if call.set_running_or_notify_cancel():
                    call.set_result(question)
                    return
            waiting.append(question)

    def _end(self, origin: str, question: Question) -> None:
        with self._turn:
            question.is_over = True
            self._open.pop((origin, question.name), None)
            with contextlib.suppress(KeyError, ValueError):
                self._waiting[origin].remove(question)
        with contextlib.suppress(queue.Empty):  # whoever waits to put a piece finds that it is over
            question.pieces.get_nowait()

    def take(self, origin: str) -> Future[Question]:
        """Return what will be the next question for a member that has called; to be cancelled by `leave`."""
        call: Future[Question] = Future()
        with self._turn:
            self._seen[origin] = time.monotonic()
            waiting = self._waiting.get(origin)
            if waiting:
                call.set_running_or_notify_cancel()
                call.set_result(waiting.popleft())
            else:
                self._calls.setdefault(origin, deque()).append(call)
        return call

    def take_waiting(self, origin: str) -> Question | None:
        """Return a question that waits for a member already; None where there is none."""
        with self._turn:
            waiting = self._waiting.get(origin)
            return waiting.popleft() if waiting else None

    def leave(self, origin: str, call: Future[Question]) -> None:
        """Forget a call that has ended without a question, or put back the one that it can no longer take."""
        with self._turn:
            self._seen[origin] = time.monotonic()
            with contextlib.suppress(KeyError, ValueError):
                self._calls[origin].remove(call)
            if not call.cancel() and not call.cancelled() and not call.result().is_over:
                self._waiting.setdefault(origin, deque()).appendleft(call.result())

    def check(self, origin: str, name: str, part: int) -> Question:
        """Return the question that a member is about to answer, before a byte of the answer is read.

        Raises:
            OperationFailed: nobody asked it, or not for this piece (`turn-unasked`).
        """
        with self._turn:
            self._seen[origin] = time.monotonic()
            question = self._open.get((origin, name))
            if question is None or question.is_over or part != question.part:
                raise OperationFailed(
                    "turn-unasked",
                    "nobody here asked for this",
                    path=origin,
                    expected="the answer to a question that waits",
                    found=f"part {part} of {name[:40]!r}",
                    advice="nothing of it was read; call in again",
                )
            return question

    def add(
        self, question: Question, head: str | None, data: bytes, *, is_last: bool, seconds: float
    ) -> None:
        """Take a piece of an answer; the one that asked reads it. Waits for room.

        Raises:
            EvidenceInvalid: more than was asked for (`peer-too-large`), or no head (`turn-malformed`).
            TemporaryFailure: nobody has read the pieces before in time (`turn-late`).
        """
        with self._turn:
            if (question.part == 0) != (head is not None):
                raise EvidenceInvalid("turn-malformed", "the first piece of an answer has its head")
            question.part += 1
            question.received += len(data)
        if question.received > question.limit:
            raise EvidenceInvalid(
                "peer-too-large",
                "the answer is larger than what was asked for",
                advice="nothing of it was kept",
            )
        if head is not None:
            question.head.set_result(parse_head(head))
        pieces = [data] if data else []
        for piece in (*pieces, *([None] if is_last else [])):
            self._pass_on(question, piece, seconds)

    def _pass_on(self, question: Question, piece: bytes | None, seconds: float) -> None:
        if not question.is_over:
            with contextlib.suppress(queue.Full):
                question.pieces.put(piece, timeout=seconds)
                return
        raise TemporaryFailure(
            "turn-late", "nobody waits for the rest of this answer", advice="call in again"
        )

    def fail(self, question: Question, error: HeritageError) -> None:
        """End an answer that is none: whoever asked hears of it."""
        if not question.head.done():
            question.head.set_exception(error)
        question.is_over = True
        with contextlib.suppress(queue.Full):
            question.pieces.put_nowait(b"")

    def stop(self) -> None:
        """End every wait: the node stops."""
        with self._turn:
            self._is_stopped = True
            questions = list(self._open.values())
            calls = [call for waiting in self._calls.values() for call in waiting]
        for question in questions:
            self.fail(question, _stopped(question.path))
        for call in calls:
            call.cancel()


def away(url: str) -> TemporaryFailure:
    """The error for a member that has not called."""
    return TemporaryFailure(
        "peer-away",
        "the member has no address of its own, and has not called in",
        path=url,
        expected="a call by its node, to the node of this home",
        advice="only a running node can be called: see that both nodes run",
    )


def _stopped(url: str) -> TemporaryFailure:
    return TemporaryFailure(
        "peer-unreachable", "what was asked of the member is broken off", path=url, advice="try again later"
    )
