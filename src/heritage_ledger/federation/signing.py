"""Signed requests between nodes: RFC 9421 with Ed25519 (`specs/federation.md`, "Signed requests").

The home of `http_message_signatures`. Covered are the method, the whole target, the digest of the body
(RFC 9530), and `Heritage-Audience`, the origin of the log whose node is meant. The key id is the origin of
the sender's log, whose genesis event names the key. A signature lives for a minute, and each nonce counts
once.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from http_message_signatures import (
    HTTPMessageSigner,
    HTTPMessageVerifier,
    HTTPSignatureKeyResolver,
    VerifyResult,
)
from http_message_signatures.algorithms import HTTPSignatureAlgorithm
from http_message_signatures.exceptions import HTTPMessageSignaturesException
from http_message_signatures.structures import CaseInsensitiveDict

from heritage_ledger.errors import EvidenceInvalid, KeyProblem
from heritage_ledger.identity.keys import check_ed25519

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from heritage_ledger.identity.keys import Ed25519Signer

AUDIENCE: Final = "Heritage-Audience"
"""The header that names the log whose node a request is for."""
LIFETIME: Final = 60
"""Seconds that a signature lives."""
MAX_LIFETIME: Final = 300
"""Seconds that a signature of others may live, and how far clocks may differ."""
MAX_NONCES: Final = 100_000
"""Nonces remembered: more requests in five minutes than peers have reason for."""
TAG: Final = "heritage-ledger"
_COVERED: Final = ("@method", "@target-uri", "content-digest", AUDIENCE.lower())


@dataclass(slots=True)
class Request:
    """What of a request is signed; `headers` gains the signature."""

    method: str
    url: str
    body: bytes
    headers: Any = field(default_factory=CaseInsensitiveDict)


class _Ed25519(HTTPSignatureAlgorithm):
    """The library's algorithm over keys of ours."""

    algorithm_id = "ed25519"

    def __init__(self, public_key: Any = None, private_key: Any = None, password: Any = None) -> None:  # noqa: ARG002 - the library's
        self._public: bytes = public_key
        self._signer: Ed25519Signer = private_key

    def sign(self, message: bytes) -> bytes:
        return self._signer.sign(message)

    def verify(self, signature: bytes, message: bytes) -> None:
        check_ed25519(self._public, message, signature)


class _Keys(HTTPSignatureKeyResolver):
    def __init__(self, public: Callable[[str], bytes | None], signer: Ed25519Signer | None = None) -> None:
        self._public = public
        self._signer = signer

    def resolve_public_key(self, key_id: str) -> Any:
        found = self._public(key_id)
        if found is None:
            raise _refused("a node that is known here as a peer", repr(key_id)[:80])
        return found

    def resolve_private_key(self, key_id: str) -> Any:  # noqa: ARG002 - one key signs
        return self._signer


def sign_request(request: Request, signer: Ed25519Signer, *, origin: str, audience: str) -> dict[str, str]:
    """Return the headers that sign `request`, from the node of the log `origin` to that of `audience`."""
    request.headers[AUDIENCE] = audience
    now = datetime.now(UTC)
    HTTPMessageSigner(signature_algorithm=_Ed25519, key_resolver=_Keys(lambda _: None, signer)).sign(
        request,
        key_id=origin,
        created=now,
        expires=now + timedelta(seconds=LIFETIME),
        nonce=secrets.token_urlsafe(18),
        tag=TAG,
        covered_component_ids=_COVERED,
        body=request.body,
    )
    return dict(request.headers.items())


class Gate:
    """Lets requests in that a known peer signed for this node, each once. Any thread may use it."""

    def __init__(self, origin: str, public: Callable[[str], bytes | None]) -> None:
        """Guard the node of the log `origin`; `public` gives the key of a peer by its origin."""
        self._origin = origin
        self._verifier = HTTPMessageVerifier(signature_algorithm=_Ed25519, key_resolver=_Keys(public))
        self._seen: OrderedDict[str, float] = OrderedDict()
        self._turn = threading.Lock()
        self._opened = time.time()

    def check_request(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> str:
        """Return the origin of the peer that signed the request.

        Raises:
            KeyProblem: `request-unsigned`; nobody known signed it, not for this node, not now, or it came
                before.
        """
        request = Request(method, url, body)
        request.headers.update(headers)
        try:
            results = self._verifier.verify(
                request,
                max_age=timedelta(seconds=MAX_LIFETIME),
                expect_tag=TAG,
                require_components=_COVERED,
                body=body,
            )
        except (HTTPMessageSignaturesException, EvidenceInvalid, ValueError) as error:
            raise _refused("a signature that holds", str(error)[:120]) from error
        if len(results) != 1:
            raise _refused("one signature", str(len(results)))
        self._check(results[0], request.headers[AUDIENCE])
        return str(results[0].parameters["keyid"])

    def _check(self, result: VerifyResult, audience: str) -> None:
        if audience != self._origin:
            raise _refused(f"{AUDIENCE}: {self._origin}", repr(audience)[:80])
        created, expires = result.parameters.get("created"), result.parameters.get("expires")
        if not isinstance(created, int) or not isinstance(expires, int) or expires - created > MAX_LIFETIME:
            raise _refused(f"a lifetime of at most {MAX_LIFETIME} seconds", f"{created} to {expires}")
        if created < int(self._opened):
            # nonces are kept in memory: what was signed before it began may have been here before
            raise _refused("a signature made since this node started", str(created))
        if not result.nonce:
            raise _refused("a nonce", "none")
        self._check_once(f"{result.parameters['keyid']} {result.nonce}")

    def _check_once(self, nonce: str) -> None:
        now = time.time()
        with self._turn:
            while self._seen and next(iter(self._seen.values())) < now:
                self._seen.popitem(last=False)
            if nonce in self._seen or len(self._seen) >= MAX_NONCES:
                raise _refused("a nonce that was not used before", "a replay")
            self._seen[nonce] = now + 2 * MAX_LIFETIME


def _refused(expected: str, found: str) -> KeyProblem:
    return KeyProblem(
        "request-unsigned",
        "the request is not signed by a peer for this node",
        expected=expected,
        found=found,
        advice="both sides add each other with `heritage peer add`; compare their clocks",
        rule="RFC 9421",
    )
