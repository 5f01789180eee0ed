"""Calling in at peers, for a node that nobody can call (`specs/federation.md`, "Members without an address").

The node asks each peer for its questions, puts them to itself over loopback as anybody could who reached it,
and sends the answers. It answers what it would answer to anyone, and blocks to whom they are signed for.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from heritage_ledger.errors import EvidenceInvalid, HeritageError, OperationFailed
from heritage_ledger.federation.client import SMALL, check_status
from heritage_ledger.federation.turns import (
    MAX_QUESTION,
    PART,
    PATH,
    format_head,
    parse_question,
    turn_query,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from heritage_ledger.federation.client import Client
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
_NOTHING: Final = 204


class Caller:
    """Answers the questions of peers; one `call_in` for each peer at a time."""

    def __init__(self, speaker: Speaker, inside: Client, own_url: str, is_over: Callable[[], bool]) -> None:
        """`inside` asks the node itself, at `own_url`; `is_over` says when no more is answered."""
        self._speaker = speaker
        self._inside = inside
        self._own_url = own_url
        self._is_over = is_over

    def call_in(self, peer: Peer) -> None:
        """Answer a peer's questions until something goes wrong, or it is over.

        Raises:
            HeritageError: the peer cannot be reached, or wants no calls (`peer-refused`).
        """
        free = threading.Semaphore(LINES)
        problems: list[HeritageError] = []

        def answer(question: Question) -> None:
            try:
                self._answer(peer, question)
            except HeritageError as error:
                if error.code not in {"turn-unasked", "turn-late"}:
                    problems.append(error)
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
        with self._speaker.opened(peer, PATH, b"{}", limit=2 * MAX_QUESTION + SMALL) as answer:
            if answer.status == _NOTHING:
                return None
            check_status(answer, f"{peer.url}{PATH}")
            return parse_question(answer.all())

    def _answer(self, peer: Peer, question: Question) -> None:
        path = urlsplit(question.path).path
        if not path.startswith(ASKED[question.method]) or ".." in path or "//" in path:
            self._send(peer, question, 0, format_head(404, {}), b"", is_last=True)
            return
        part, head, sent = 0, "", False
        try:
            with self._inside.opened(
                question.method,
                f"{self._own_url}{question.path}",
                limit=question.limit,
                body=question.body if question.method == "POST" else None,
                headers=question.headers,
            ) as answer:
                head = format_head(answer.status, answer.headers)
                piece = _whole(answer.read)
                while True:
                    following = _whole(answer.read) if piece else b""
                    sent = True
                    self._send(peer, question, part, None if part else head, piece, is_last=not following)
                    if not following:
                        return
                    part, piece = part + 1, following
        except EvidenceInvalid:
            if sent:
                raise
            self._send(peer, question, 0, format_head(502, {}), b"", is_last=True)

    def _send(
        self, peer: Peer, question: Question, part: int, head: str | None, data: bytes, *, is_last: bool
    ) -> None:
        path = PATH + turn_query(question.name, part, is_last=is_last, head=head)
        answer = self._speaker.ask(peer, path, data)
        if answer.status == 409:
            raise OperationFailed("turn-unasked", "the peer does not wait for this answer", path=peer.url)
        if answer.status != 202:
            check_status(answer, f"{peer.url}{PATH}")


def _whole(read: Callable[[int], bytes]) -> bytes:
    """Read a piece that is as long as it may be, unless the end comes first."""
    parts, left = [], PART
    while left and (data := read(left)):
        parts.append(data)
        left -= len(data)
    return b"".join(parts)
