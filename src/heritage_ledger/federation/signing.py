"""Signed requests between nodes: RFC 9421 with Ed25519 (`specs/federation.md`, "Signed requests").

The home of `http_message_signatures`. Covered are the method, path and query, the digest of the body (RFC
9530), `Heritage-Audience`, the origin of the log whose node is meant, and `Heritage-Protocol`: not the name
that the node was asked by, of which it may have many. The key id is the origin of the sender's log, whose
genesis event names the key. A signature lives for a minute, and each nonce counts once.

The form of release 0.1 covers the whole target instead; it is taken from whoever was never seen to speak a
later protocol, and URLs are compared in one spelling then, whoever typed them.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit, urlunsplit

from http_message_signatures import (
    HTTPMessageSigner,
    HTTPMessageVerifier,
    HTTPSignatureKeyResolver,
    VerifyResult,
)
from http_message_signatures.algorithms import HTTPSignatureAlgorithm
from http_message_signatures.exceptions import HTTPMessageSignaturesException
from http_message_signatures.structures import CaseInsensitiveDict

from heritage_ledger.errors import EvidenceInvalid, KeyProblem, TemporaryFailure
from heritage_ledger.federation.protocol import HEADER, PROTOCOL, parse_protocol
from heritage_ledger.identity.keys import check_ed25519

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from heritage_ledger.identity.keys import Ed25519Signer

AUDIENCE: Final = "Heritage-Audience"
"""The header that names the log whose node a request is for."""
LIFETIME: Final = 60
"""Seconds that a signature lives."""
MAX_LIFETIME: Final = 300
"""Seconds that a signature of others may live, and how far clocks may differ."""
MAX_NONCES: Final = 10_000
"""Nonces remembered of one peer: more requests in a minute than it has reason for."""
KEPT: Final = 10
"""Seconds that a nonce is remembered beyond the end of its signature: more than clocks may differ there."""
NOTICE: Final = "Heritage-Notice"
"""The header that says what a notice is about: `checkpoint`, `fork` or `help`; signed where it is there."""
TAG: Final = "heritage-ledger"
_PORTS: Final = {"http": 80, "https": 443}
_COVERED: Final = {
    1: ("@method", "@target-uri", "content-digest", AUDIENCE.lower()),
    2: ("@method", "@path", "@query", "content-digest", AUDIENCE.lower(), HEADER.lower()),
}
"""What is signed in each protocol."""


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


def normal_url(url: str) -> str:
    """Return the one spelling of an http or https URL: RFC 9110, 4.2.3.

    >>> normal_url("HTTPS://Museum.Example:443")
    'https://museum.example/'
    """
    parts = urlsplit(url)
    scheme, host = parts.scheme.lower(), (parts.hostname or "").lower()
    if ":" in host:
        host = f"[{host}]"
    port = parts.port
    if port is not None and port != _PORTS.get(scheme):
        host = f"{host}:{port}"
    return urlunsplit((scheme, host, parts.path or "/", parts.query, ""))


def _normal_urls(urls: Sequence[str]) -> dict[str, None]:
    found: dict[str, None] = {}
    for url in urls:
        with contextlib.suppress(ValueError):  # a Host header may say anything
            found[normal_url(url)] = None
    return found


def sign_request(
    request: Request, signer: Ed25519Signer, *, origin: str, audience: str, protocol: int = PROTOCOL
) -> dict[str, str]:
    """Return the headers that sign `request`, from the node of the log `origin` to that of `audience`.

    Those that `request` has already are among them; `Heritage-Notice` is signed too where it is one of them.
    `protocol` is what the two nodes speak: `Protocols.of`.
    """
    request.url = normal_url(request.url)
    request.headers[AUDIENCE] = audience
    request.headers[HEADER] = str(PROTOCOL)
    now = datetime.now(UTC)
    HTTPMessageSigner(signature_algorithm=_Ed25519, key_resolver=_Keys(lambda _: None, signer)).sign(
        request,
        key_id=origin,
        created=now,
        expires=now + timedelta(seconds=LIFETIME),
        nonce=secrets.token_urlsafe(18),
        tag=TAG,
        covered_component_ids=(
            *_COVERED[protocol],
            *([NOTICE.lower()] if NOTICE in request.headers else ()),
        ),
        body=request.body,
    )
    return dict(request.headers.items())


@dataclass(slots=True)
class _Pot:
    """The nonces of one peer that may still come again, oldest first, and when each ends (wall clock)."""

    ends: OrderedDict[bytes, int] = field(default_factory=OrderedDict)
    floor: int = 0
    """The latest `created` of those that were forgotten: nothing as old is taken any more."""
    created: dict[bytes, int] = field(default_factory=dict)

    def forget(self, now: float) -> None:
        while self.ends and next(iter(self.ends.values())) < now:
            nonce, _ = self.ends.popitem(last=False)
            self.floor = max(self.floor, self.created.pop(nonce))


@dataclass(frozen=True, slots=True)
class Signed:
    """The headers of a request that a peer signed; its body is to be compared with the digest in them."""

    origin: str
    covers_notice: bool
    created: int
    """When the sender says that it signed, in seconds since 1970."""
    _results: list[VerifyResult]
    _request: Request
    _verifier: HTTPMessageVerifier

    def check_body(self, body: bytes) -> None:
        """Raise `KeyProblem` (`request-unsigned`) unless `body` is the one that was signed."""
        try:
            self._verifier.verify_body(self._request, self._results, body)
        except (HTTPMessageSignaturesException, ValueError) as error:
            raise _refused("the body that was signed", str(error)[:120]) from error


class Gate:
    """Lets requests in that a known peer signed for this node, each once. Any thread may use it."""

    def __init__(
        self,
        origin: str,
        public: Callable[[str], bytes | None],
        seen: Callable[[str], int] = lambda _: 1,
        note: Callable[[str, int | None], None] = lambda _origin, _number: None,
    ) -> None:
        """Guard the node of the log `origin`; `public` gives the key of a peer by its origin.

        `seen` gives the protocol that a peer was seen to speak, `note` is told the one that it signed.
        """
        self._origin = origin
        self._seen = seen
        self._note = note
        self._verifier = HTTPMessageVerifier(signature_algorithm=_Ed25519, key_resolver=_Keys(public))
        self._pots: dict[str, _Pot] = {}
        self._turn = threading.Lock()
        self._opened = time.monotonic()

    def check_headers(self, method: str, urls: Sequence[str], headers: Mapping[str, str]) -> Signed:
        """Return who signed a request to one of `urls`, all names of this node, before its body is read.

        Raises:
            KeyProblem: `request-unsigned`; nobody known signed it, not for this node, not now, or it came
                before. `request-protocol`; it is signed in an earlier protocol than the peer spoke before.
            TemporaryFailure: `request-too-many`; the peer signed more requests than are kept apart at once.
        """
        problem: KeyProblem | None = None
        for url in _normal_urls(urls):
            request = Request(method, url, b"")
            request.headers.update(headers)
            try:
                results = self._verify(request)
            except KeyProblem as error:
                problem = problem or error
                continue
            self._check(results[0], request.headers[AUDIENCE])
            covered = {name.strip('"').partition('"')[0] for name in results[0].covered_components}
            origin = str(results[0].parameters["keyid"])
            self._check_protocol(origin, covered, request.headers)
            created = int(results[0].parameters["created"])
            return Signed(origin, NOTICE.lower() in covered, created, results, request, self._verifier)
        raise problem or _refused("a URL of this node", "none")

    def _check_protocol(self, origin: str, covered: set[str], headers: Mapping[str, str]) -> None:
        """Refuse the form of an earlier protocol from a peer that is known to speak a later one."""
        seen = self._seen(origin)
        if HEADER.lower() in covered:
            self._note(origin, parse_protocol(headers[HEADER]))
        elif seen > 1:
            raise KeyProblem(
                "request-protocol",
                "the request is signed in the form of an earlier protocol than this peer spoke before",
                path=origin,
                expected=f"protocol {min(seen, PROTOCOL)}",
                found="protocol 1",
                advice="if its node went back to an earlier release, add the peer again (peer add)",
                rule="specs/federation.md, Protocols",
            )

    def _verify(self, request: Request) -> list[VerifyResult]:
        form = 1 if '"@target-uri"' in request.headers.get("Signature-Input", "") else 2
        try:
            results = self._verifier.verify(
                request,
                max_age=timedelta(seconds=MAX_LIFETIME),
                expect_tag=TAG,
                require_components=_COVERED[form],
            )
        except (HTTPMessageSignaturesException, EvidenceInvalid, ValueError) as error:
            raise _refused("a signature that holds", str(error)[:120]) from error
        if len(results) != 1:
            raise _refused("one signature", str(len(results)))
        return results

    def _check(self, result: VerifyResult, audience: str) -> None:
        if audience != self._origin:
            raise _refused(f"{AUDIENCE}: {self._origin}", repr(audience)[:80])
        created, expires = result.parameters.get("created"), result.parameters.get("expires")
        if not isinstance(created, int) or not isinstance(expires, int) or expires - created > MAX_LIFETIME:
            raise _refused(f"a lifetime of at most {MAX_LIFETIME} seconds", f"{created} to {expires}")
        # nonces are kept in memory: what was signed before it began may have been here before. How long ago
        # that was is counted by a clock that nobody sets
        uptime = time.monotonic() - self._opened
        if time.time() - created > uptime + 1:
            raise _refused("a signature made since this node started", str(created))
        if not result.nonce:
            raise _refused("a nonce", "none")
        self._check_once(str(result.parameters["keyid"]), result.nonce, created, expires)

    def _check_once(self, origin: str, nonce: str, created: int, expires: int) -> None:
        key = hashlib.sha256(nonce.encode()).digest()[:16]
        with self._turn:
            pot = self._pots.setdefault(origin, _Pot())  # for peers only: a stranger has no key
            pot.forget(time.time())
            if key in pot.ends:
                raise _refused("a nonce that was not used before", "a replay")
            if created <= pot.floor:
                raise _refused("a signature newer than those that were forgotten", str(created))
            if len(pot.ends) >= MAX_NONCES:
                raise TemporaryFailure(
                    "request-too-many",
                    "the peer signed more requests than are kept apart at once",
                    path=origin,
                    expected=f"at most {MAX_NONCES} in {LIFETIME} seconds",
                    advice="try again in a minute",
                )
            pot.ends[key] = expires + KEPT
            pot.created[key] = created


def _refused(expected: str, found: str) -> KeyProblem:
    return KeyProblem(
        "request-unsigned",
        "the request is not signed by a peer for this node",
        expected=expected,
        found=found,
        advice="both sides add each other with `heritage peer add`; compare their clocks",
        rule="RFC 9421",
    )
