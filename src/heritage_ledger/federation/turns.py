"""What a node and a member that calls in say to each other (`specs/federation.md`)."""

from __future__ import annotations

import base64
import json
import queue
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from heritage_ledger.errors import EvidenceInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping

PATH: Final = "/api/v1/turns"
PART: Final = 3 << 20
"""Bytes of one piece of an answer; a request's body has 4 MiB at most."""
PIECES: Final = 2
"""Pieces of an answer that may lie here unread."""
MAX_QUESTION: Final = 1 << 20
"""Bytes of a question with its body."""
MAX_HEAD: Final = 4_096
CARRIED: Final = frozenset(
    {
        "content-digest",
        "content-type",
        "heritage-audience",
        "heritage-notice",
        "heritage-protocol",
        "if-none-match",
        "signature",
        "signature-input",
        "x-request-id",
    }
)
"""Headers of a question that are carried to the member."""
RETURNED: Final = frozenset(
    {
        "content-encoding",
        "content-type",
        "etag",
        "heritage-forks",
        "heritage-protocol",
        "heritage-unsure",
        "retry-after",
    }
)
"""Headers of an answer that are carried back."""


@dataclass(slots=True)
class Question:
    """A request that a member is to answer, and what came of it so far. Any thread may use it.

    `limit` is how many bytes the answer may have, `received` how many came, `part` the number of the next
    piece. `is_over` says that nobody reads the answer any more.
    """

    name: str
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    limit: int
    head: Future[tuple[int, dict[str, str]]] = field(default_factory=Future)
    pieces: queue.Queue[bytes | None] = field(default_factory=lambda: queue.Queue(PIECES))
    is_over: bool = False
    part: int = 0
    received: int = 0


def format_question(question: Question) -> bytes:
    """Return a question as the JSON that a member takes along."""
    return json.dumps(
        {
            "id": question.name,
            "method": question.method,
            "path": question.path,
            "headers": dict(question.headers),
            "body": base64.b64encode(question.body).decode(),
            "limit": question.limit,
        }
    ).encode()


def parse_question(data: bytes) -> Question:
    """Return the question that a peer asks.

    Raises:
        EvidenceInvalid: `turn-malformed`.
    """
    try:
        document = json.loads(data)
        name, method, path = (document[key] for key in ("id", "method", "path"))
        headers, limit = document["headers"], document["limit"]
        body = base64.b64decode(document["body"], validate=True)
        texts = [name, method, path, *headers, *headers.values()]
        if not all(isinstance(one, str) and one.isascii() and one.isprintable() for one in texts):
            raise _malformed("texts", data)
        if type(limit) is not int or limit < 0 or not path.startswith("/") or len(name) > 64 or not name:
            raise _malformed("a path and a limit", data)
        if method not in {"GET", "POST"} or not CARRIED.issuperset(map(str.lower, headers)):
            raise _malformed("a method or header that is not asked with", data)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _malformed("a question", data) from error
    return Question(name, method, path, headers, body, limit)


def format_head(status: int, headers: Mapping[str, str]) -> str:
    """Return the head of an answer as the text of a query parameter (base64url)."""
    kept = {name: value for name, value in headers.items() if name in RETURNED}
    return base64.urlsafe_b64encode(json.dumps({"status": status, "headers": kept}).encode()).decode()


def parse_head(text: str) -> tuple[int, dict[str, str]]:
    """Return status and headers of an answer.

    Raises:
        EvidenceInvalid: `turn-malformed`.
    """
    try:
        document = json.loads(base64.b64decode(text[:MAX_HEAD], altchars=b"-_", validate=True))
        status, headers = document["status"], document["headers"]
        named = {str(name): value for name, value in headers.items() if name in RETURNED}
        if type(status) is not int or not 100 <= status < 600:
            raise _malformed("a status", text)
        if not all(isinstance(value, str) and len(value) <= 256 for value in named.values()):
            raise _malformed("headers", text)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _malformed("the head of an answer", text) from error
    return status, named


def turn_query(name: str, part: int, *, is_last: bool, head: str | None) -> str:
    """Return the query by which a piece of an answer is sent."""
    query = f"?answer={name}&part={part}&last={int(is_last)}"
    return query if head is None else f"{query}&head={quote(head, safe='')}"


def parse_turn(query: Mapping[str, Any]) -> tuple[str, int, bool, str | None]:
    """Return the id of a question, the number of the piece, whether it is the last one, and its head.

    Raises:
        EvidenceInvalid: `turn-malformed`.
    """
    part, last = query.get("part", ""), query.get("last", "")
    if not (part.isascii() and part.isdecimal() and len(part) < 9 and last in {"0", "1"}):
        raise _malformed("the number of a piece, and whether it is the last", f"{part} {last}")
    return query["answer"], int(part), last == "1", query.get("head")


def _malformed(expected: str, found: bytes | str) -> EvidenceInvalid:
    return EvidenceInvalid(
        "turn-malformed", "this is no call by the protocol", expected=expected, found=repr(found[:80])
    )
