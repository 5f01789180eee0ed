"""What this node answers to a question that it took along when it called a peer."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiohttp import web

from heritage_ledger.errors import HeritageError
from heritage_ledger.federation.calling import Caller
from heritage_ledger.federation.client import Client
from heritage_ledger.federation.source import PATH as BLOCKS
from heritage_node.api import given_blocks, parse_wanted
from heritage_node.gateway import CAR, pieces
from heritage_node.problems import status_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from heritage_ledger.federation.calling import Inside
    from heritage_ledger.federation.peers import Peer
    from heritage_ledger.federation.turns import Question
    from heritage_node.service import Service


@dataclass
class Blocks:
    """The answer to a question for blocks, made here: through the server each byte would go round twice."""

    status: int
    headers: Mapping[str, str]
    source: Iterator[bytes]
    _left: memoryview = field(default=memoryview(b""), init=False)

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes, none at the end."""
        if not self._left:
            self._left = memoryview(next(self.source, b""))
        data, self._left = self._left[:size], self._left[size:]
        return bytes(data)


def call_in(service: Service, peer: Peer) -> None:
    """Answer a peer's questions until something goes wrong, or the node stops; see `Caller.call_in`."""
    with Client(allow_private=True) as client:

        @contextlib.contextmanager
        def inside(question: Question) -> Iterator[Inside]:
            if question.path == BLOCKS:
                yield _blocks(service, question)
                return
            body = question.body if question.method == "POST" else None
            with client.opened(
                question.method,
                f"{service.here}{question.path}",
                limit=question.limit,
                body=body,
                headers=question.headers,
            ) as answer:
                yield answer

        Caller(service.federation.speaker, inside, lambda: service.progress.stopping).call_in(peer)


def _blocks(service: Service, question: Question) -> Blocks:
    """Judge a question for blocks as the server judges a request, and give what is here."""
    try:
        urls = [f"{service.here}{question.path}"]
        signed = service.gate.check_headers(question.method, urls, question.headers)
        wanted = parse_wanted(signed, question.body)
    except web.HTTPException as error:
        return Blocks(error.status, {}, iter([]))
    except HeritageError as error:
        said = json.dumps({"code": error.code, "title": error.message}).encode()
        return Blocks(status_of(error), {"content-type": "application/problem+json"}, iter([said]))
    found = given_blocks(service, signed.origin, wanted)
    return Blocks(200, {"content-type": f"{CAR}; version=1"}, pieces(found, wanted[:1]))
