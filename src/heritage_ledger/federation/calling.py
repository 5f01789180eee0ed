"""Calling in at peers, for a node that nobody can call (`specs/federation.md`, "Members that call in").

The node asks each peer for its questions, puts them to itself as anybody could who reached it, and sends the
answers. It answers what it would answer to anyone, and blocks to whom they are signed for.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import urlsplit

from heritage_ledger.errors import HeritageError, OperationFailed
from heritage_ledger.federation.client import SMALL, check_status
from heritage_ledger.federation.fence import finding_about
from heritage_ledger.federation.notices import TAKEN
from heritage_ledger.federation.turns import (
    MAX_QUESTION,
    PART,
    PATH,
    format_head,
    parse_question,
    turn_query,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Future
    from contextlib import AbstractContextManager

    from heritage_ledger.federation.peers import Peer
    from heritage_ledger.federation.speaking import Speaker
    from heritage_ledger.federation.turns import Question

LINES: Final = 4
"""Questions of one peer that are answered at once."""
ASKED: Final = {
    "GET": ("/log/", "/mirrors/", "/witness/", "/api/v1/forks", "/api/v1/node"),
    "POST": ("/api/v1/blocks", "/api/v1/notices", "/witness/add-checkpoint"),
}
"""What peers ask of each other; nothing else is passed on."""
MAX_ASKED: Final = 2 * MAX_QUESTION + SMALL
"""Bytes of a question as it comes."""
_NOTHING: Final = 204
_UNASKED: Final = 409


class Inside(Protocol):
    """The answer of this node to a request, its body not read yet."""

    @property
    def status(self) -> int:
        """Of HTTP."""

    @property
    def headers(self) -> Mapping[str, str]:
        """By lower-case name."""

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes, none at the end."""


class Caller:
    """Answers the questions of peers; one `call_in` for each peer at a time."""

    def __init__(
        self,
        speaker: Speaker,
        inside: Callable[[Question], AbstractContextManager[Inside]],
        is_over: Callable[[], bool],
    ) -> None:
        """`inside` puts a question to this node; `is_over` says when no more is answered."""
        self._speaker = speaker
        self._inside = inside
        self._is_over = is_over

    def call_in(self, peer: Peer) -> None:
        """Answer a peer's questions until something goes wrong, or it is over.

        Raises:
            HeritageError: the peer cannot be reached, or wants no calls (`peer-refused`).
        """
        free = threading.Semaphore(LINES)
        problems: list[HeritageError] = []

        def answer(question: Question | None) -> None:
            try:
                while question is not None:
                    question = self._answer(peer, question)
            except HeritageError as error:
                if error.code not in {"turn-unasked", "turn-late"}:
                    problems.append(error)
            except Exception as error:  # noqa: BLE001 - told in the log; the other questions are answered
                finding_about(peer.origin, error)
            finally:
                free.release()

        while not self._is_over() and not problems:
            question = self._next(peer)
            if question is None:
                continue
            free.acquire()
            threading.Thread(target=answer, args=(question,), name="answer", daemon=True).start()
        if problems:
            raise problems[0]

    def _next(self, peer: Peer) -> Question | None:
        with self._speaker.opened(peer, PATH, b"{}", limit=MAX_ASKED) as answer:
            if answer.status == _NOTHING:
                return None
            check_status(answer, f"{peer.url}{PATH}")
            return parse_question(answer.all())

    def _answer(self, peer: Peer, question: Question) -> Question | None:
        """Answer a question; return the next one, where it came with the peer's thanks."""
        path = urlsplit(question.path).path
        if not path.startswith(ASKED[question.method]) or ".." in path or "//" in path:
            return self._send(peer, question, 0, format_head(404, {}), b"", is_last=True)
        sent: Future[Question | None] | None = None
        try:
            with self._inside(question) as answer, ThreadPoolExecutor(1, "send") as pool:
                head: str | None = format_head(answer.status, answer.headers)
                part, piece, is_last = 0, _whole(answer.read), False
                while not is_last:  # while one piece is on its way the next one is read
                    following = _whole(answer.read) if piece else b""
                    is_last = not following
                    if sent is not None:
                        sent.result()
                    sent = pool.submit(self._send, peer, question, part, head, piece, is_last=is_last)
                    part, piece, head = part + 1, following, None
                assert sent is not None
                return sent.result()
        except HeritageError:
            if sent is not None:
                raise  # the peer is away, or part of the answer is out: its deadline ends the question
            return self._send(peer, question, 0, format_head(502, {}), b"", is_last=True)

    def _send(
        self, peer: Peer, question: Question, part: int, head: str | None, data: bytes, *, is_last: bool
    ) -> Question | None:
        path = PATH + turn_query(question.name, part, is_last=is_last, head=head)
        with self._speaker.opened(peer, path, data, limit=MAX_ASKED) as answer:
            if answer.status == TAKEN:
                return None
            if answer.status == _UNASKED:
                raise OperationFailed("turn-unasked", "the peer does not wait for this answer", path=peer.url)
            check_status(answer, f"{peer.url}{PATH}")
            return parse_question(answer.all())


def _whole(read: Callable[[int], bytes]) -> bytes:
    """Read a piece that is as long as it may be, unless the end comes first."""
    parts, left = [], PART
    while left and (data := read(left)):
        parts.append(data)
        left -= len(data)
    return b"".join(parts)
