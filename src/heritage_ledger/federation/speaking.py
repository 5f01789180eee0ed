"""Requests that this institution's node signs, in the protocol that both nodes speak."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from heritage_ledger.errors import OperationFailed
from heritage_ledger.federation.client import SMALL, Answer
from heritage_ledger.federation.protocol import HEADER, PROTOCOL
from heritage_ledger.federation.signing import Request, sign_request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from heritage_ledger.federation.client import Client, Stream
    from heritage_ledger.federation.peers import Peer
    from heritage_ledger.federation.protocol import Protocols
    from heritage_ledger.federation.reverse import Answering
    from heritage_ledger.identity.keys import Ed25519Signer

REFUSED = 401
"""The status of a request that is not signed as it must be."""


@dataclass(frozen=True, slots=True)
class Speaker:
    """Signs as the node of the log `origin`. Any thread may use it.

    Its methods raise what `Client` raises, KeyProblem where the node key cannot be opened, and
    OperationFailed (`peer-protocol`) for a peer that spoke a later protocol before.
    """

    client: Client
    key: Callable[[], Ed25519Signer]
    origin: str
    protocols: Protocols

    @contextlib.contextmanager
    def opened(
        self, peer: Peer, path: str, body: bytes, *, limit: int, headers: Mapping[str, str] | None = None
    ) -> Iterator[Stream | Answering]:
        """The answer of a peer to a signed POST of `body`, its own body not read yet."""
        url = f"{peer.url}{path}"
        protocol = self.protocols.of(peer, self.client)
        request = Request("POST", url, body)
        request.headers.update(headers or {})
        signed = sign_request(
            request, self.key(), origin=self.origin, audience=peer.origin, protocol=protocol
        )
        with self.client.opened("POST", url, limit=limit, body=body, headers=signed) as answer:
            if answer.status == REFUSED and protocol > 1 and HEADER.lower() not in answer.headers:
                raise OperationFailed(
                    "peer-protocol",
                    "the peer spoke a later protocol before than it does now",
                    path=peer.url,
                    expected=f"protocol {PROTOCOL}",
                    found="protocol 1",
                    advice="if its node went back to an earlier release, add it again (peer add); "
                    "else somebody stands between",
                )
            yield answer

    def ask(self, peer: Peer, path: str, body: bytes, *, headers: Mapping[str, str] | None = None) -> Answer:
        """Return the whole answer of a peer to a signed POST of `body`, whatever its status."""
        with self.opened(peer, path, body, limit=SMALL, headers=headers) as answer:
            return Answer(answer.status, answer.headers, answer.all())
