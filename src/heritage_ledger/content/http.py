"""Plain HTTP to the engines of this institution: one session, checked addresses, errors that are ours.

The home of `requests`. No redirect is followed, no proxy and no `.netrc` of the environment is used: an
engine is where the settings say, and its token goes nowhere else.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import ipaddress
import json
import re
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter

from heritage_ledger.content.exchange import AnswerTooLarge, Body, Exchange, Waits, pools
from heritage_ledger.content.faults import (
    PASSING_STATUSES,
    Fault,
    causes,
    check_final,
    fault_of,
    trust,
)
from heritage_ledger.errors import (
    DiskProblem,
    HeritageError,
    KeyProblem,
    OperationFailed,
    TemporaryFailure,
    UsageError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

CONNECT_SECONDS: Final = 10.0
"""How long a connection may take: an engine is near."""
SILENT_SECONDS: Final = 120.0
"""How long an engine may say nothing while it works."""
SLOWEST: Final = 16 << 10
"""Bytes a second below which an answer is given up; lines are waited for one by one instead."""
MAX_ANSWER: Final = 64 << 20
"""Bytes of an answer that is read whole; lists of pins are read line by line instead."""
MAX_LINES: Final = 4 << 30
"""Bytes of an answer that is read by lines: the pins of a daemon that keeps tens of millions."""
MAX_STREAM: Final = 1 << 50
"""Bytes of an answer that whoever reads it bounds by what it is."""
MAX_LINE: Final = 1 << 20
"""Bytes of one line of an answer that is read by lines."""
_MAX_SAID: Final = 1 << 16
_SAID: Final = 300
"""Characters of what an engine said that go into an error."""
_MULTIADDR: Final = re.compile(
    r"/(?P<kind>ip4|ip6|dns|dns4|dns6)/(?P<host>[^/]+)/tcp/(?P<port>[0-9]{1,5})(?:/(?P<scheme>https?))?/?"
)
_ABSENT: Final = frozenset({404, 410, 412})
"""Not found, gone, and a gateway's answer to `only-if-cached` for what it does not hold."""
_SCHEMES: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Address:
    """Where a service listens: `host` a name or an IP address, `base` the path below which its routes lie.

    `ca_file` names certificates that are believed beside those of the system.
    """

    scheme: str
    host: str
    port: int
    base: str = ""
    ca_file: str | None = None

    @property
    def url(self) -> str:
        """The address as a URL without a slash at its end."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.base}"

    @property
    def multiaddr(self) -> str:
        """The address as a multiaddr (multiformats.io/multiaddr); the path is left out."""
        try:
            kind = f"ip{ipaddress.ip_address(self.host).version}"
        except ValueError:
            kind = "dns"
        return f"/{kind}/{self.host}/tcp/{self.port}/{self.scheme}"


def parse_address(text: str, *, ca_file: str | None = None) -> Address:
    """Return the address that a multiaddr (`/ip4/127.0.0.1/tcp/5001`) or a URL names.

    Raises:
        UsageError: `engine-address`; it is neither, or carries a password, query or fragment.
    """
    if text.startswith("/"):
        match = _MULTIADDR.fullmatch(text)
        if match is None:
            raise _bad_address(text)
        address = _address(match["scheme"] or "http", match["host"], int(match["port"]), "", text)
        return replace(address, ca_file=ca_file)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise _bad_address(text) from error
    if parts.scheme not in _SCHEMES or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise _bad_address(text)
    port = port or _SCHEMES[parts.scheme]
    address = _address(parts.scheme, parts.hostname, port, parts.path.rstrip("/"), text)
    return replace(address, ca_file=ca_file)


def _address(scheme: str, host: str, port: int, base: str, text: str) -> Address:
    if not 0 < port < 1 << 16 or not host.isascii() or not host.isprintable():
        raise _bad_address(text)
    return Address(scheme, host, port, base)


def _bad_address(text: str) -> UsageError:
    return UsageError(
        "engine-address",
        "this address of an engine cannot be used",
        expected="a multiaddr such as /ip4/127.0.0.1/tcp/5001, or a URL such as http://127.0.0.1:5001",
        found=repr(re.sub(r"//[^/@]*@", "//…@", text)[:80]),
        advice="mend heritage.toml; a token goes into a file or the environment, never into the address",
    )


def authorization(token: str | None) -> dict[str, str]:
    """Return the headers for a token: `basic:USER:PASSWORD`, `bearer:TOKEN`, or a bare bearer token."""
    if token is None:
        return {}
    kind, colon, rest = token.partition(":")
    if colon and kind == "basic":
        user, _, password = rest.partition(":")
        pair = base64.b64encode(f"{user}:{password}".encode()).decode()
        return {"Authorization": f"Basic {pair}"}
    return {"Authorization": f"Bearer {rest if colon and kind == 'bearer' else token}"}


class Answer:
    """The body of an answer whose status was right, not read yet."""

    def __init__(self, service: Service, body: Body) -> None:
        self.service = service
        self.body = body

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes, none at the end; raises what `Service` promises."""
        with self.service.errors(self.body.exchange):
            return self.body.read(size)


class Adapter(HTTPAdapter):
    """What `requests` sends by: connections that end with their exchange, and answers as they came."""

    def __init__(self, ca_file: str | None) -> None:
        """Believe the system's certificates and those of `ca_file`, and not a list that a library brings."""
        self._trust = trust(ca_file)
        super().__init__()

    def init_poolmanager(self, *words: Any, **named: Any) -> None:
        """Make connections of ours."""
        super().init_poolmanager(*words, **named, ssl_context=self._trust)
        self.poolmanager.pool_classes_by_scheme = pools()

    def cert_verify(self, conn: Any, *_: Any, **__: Any) -> None:
        """Add no certificates to those that are believed; each is checked."""
        conn.cert_reqs = "CERT_REQUIRED"

    def send(self, *words: Any, **named: Any) -> requests.Response:
        """Send a request; nothing is followed, so nothing of a redirect is read either."""
        answer = super().send(*words, **named)
        answer.headers.pop("Location", None)
        return answer


class WholeAdapter(Adapter):
    """The same for a library that reads answers without a bound: each is read here, whole."""

    def __init__(self, service: Service) -> None:
        self._service = service
        super().__init__(service.address.ca_file)

    def send(self, *words: Any, **named: Any) -> requests.Response:
        """Return an answer that is whole; raises what `Service` promises."""
        exchange = Exchange(self._service.waits)
        with contextlib.closing(exchange), self._service.errors(exchange):
            answer = exchange.send("POST", partial(super().send, *words, **named))
            with contextlib.closing(answer.raw):
                self._service.check_coding(answer)
                if answer.status_code < 200:
                    raise self._service.unexpected("an answer", f"status {answer.status_code}")
                data = Body(answer.raw, exchange, MAX_ANSWER).all()
                answer.raw.release_conn()
        answer._content, answer._content_consumed = data, True  # type: ignore[attr-defined] # noqa: SLF001
        return answer


class Service:
    """One engine reached by HTTP, in words such as `Kubo`; a context, or to be closed.

    Every method raises `TemporaryFailure` (`engine-unreachable`, `engine-silent`, `engine-busy`) when the
    engine is not there or does not answer in time or not now, `KeyProblem` (`engine-token`) when it does not
    know the token, `DiskProblem` (`engine-disk-full`) when its disk is full, and `OperationFailed`
    (`engine-refused`, `engine-answer`, `tls-untrusted`, `tls-refused`) when it refuses, answers with
    something else than it should, or is nobody whom TLS believes.
    """

    def __init__(self, name: str, address: Address, token: str | None, waits: Waits | None = None) -> None:
        """`token` is what `authorization` takes."""
        self.name = name
        self.address = address
        self.waits = waits or Waits(
            connect=CONNECT_SECONDS, headers=SILENT_SECONDS, silent=SILENT_SECONDS, slowest=SLOWEST
        )
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers.update({"Accept-Encoding": "identity", **authorization(token)})
        for scheme in _SCHEMES:
            self._session.mount(f"{scheme}://", Adapter(address.ca_file))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of every connection; closing twice is nothing."""
        self._session.close()

    def call(
        self,
        method: str,
        route: str,
        *,
        query: Iterable[tuple[str, str]] = (),
        body: bytes | Iterable[bytes] | None = None,
        document: object = None,
        headers: Mapping[str, str] | None = None,
        missing: bool = False,
    ) -> bytes | None:
        """Return the whole answer; None where there is nothing and `missing` allows that.

        `document` is sent as JSON.
        """
        with self.opened(
            method, route, query=query, body=body, document=document, headers=headers, missing=missing
        ) as answer:
            if answer is None:
                return None
            with self.errors(answer.body.exchange):
                return answer.body.all()

    def json(self, method: str, route: str, **words: Any) -> Any:
        """Return the answer as what its JSON says; None for 404 where `missing` allows it."""
        data = self.call(method, route, **words)
        if data is None:
            return None
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            raise self.unexpected("JSON", repr(data[:80])) from error

    def lines(self, method: str, route: str, **words: Any) -> Iterator[Any]:
        """Yield what each line of the answer says in JSON, as it comes; each has the time of a whole body."""
        with self.opened(method, route, limit=MAX_LINES, **words) as answer:
            for line in () if answer is None else self._lines(answer):
                try:
                    yield json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise self.unexpected("JSON lines", repr(line[:80])) from error

    @contextlib.contextmanager
    def opened(
        self,
        method: str,
        route: str,
        *,
        query: Iterable[tuple[str, str]] = (),
        body: bytes | Iterable[bytes] | None = None,
        document: object = None,
        headers: Mapping[str, str] | None = None,
        missing: bool = False,
        limit: int = MAX_ANSWER,
    ) -> Iterator[Answer | None]:
        """The answer of one request, its status checked, its body of at most `limit` bytes not read yet."""
        exchange = Exchange(self.waits)

        def request() -> requests.Response:
            return self._session.request(
                method,
                self.address.url + route,
                params=list(query),
                data=body,
                json=document,
                headers=dict(headers or {}),
                timeout=(self.waits.connect, self.waits.silent),
                allow_redirects=False,
                stream=True,
            )

        with contextlib.closing(exchange):
            with self.errors(exchange):
                answer = exchange.send(method, request)
            whole = Body(answer.raw, exchange, limit)
            with contextlib.closing(answer.raw):
                if missing and answer.status_code in _ABSENT:
                    yield None
                    return
                self._check(answer, whole)
                yield Answer(self, whole)
                if whole.is_whole:
                    answer.raw.release_conn()

    @contextlib.contextmanager
    def errors(self, exchange: Exchange) -> Iterator[None]:
        """Turn what `requests` raises inside into errors of ours."""
        try:
            yield
        except AnswerTooLarge as error:
            raise self.unexpected("an answer of the size that it should have", "a larger one") from error
        except (
            requests.RequestException,
            urllib3.exceptions.HTTPError,
            http.client.HTTPException,
            OSError,
            ValueError,
        ) as error:
            if exchange.is_late or isinstance(error, requests.Timeout) or fault_of(error) is Fault.LATE:
                raise self._silent(error) from error
            check_final(error, self.address.url)
            cut = (requests.ConnectionError, requests.exceptions.ChunkedEncodingError)
            if isinstance(error, requests.RequestException) and not isinstance(error, cut):
                raise self.unexpected("an HTTP answer", str(error)[:_SAID]) from error
            raise self._unreachable(error) from error

    def _silent(self, error: Exception) -> TemporaryFailure:
        return TemporaryFailure(
            "engine-silent",
            f"{self.name} does not answer in time",
            path=self.address.url,
            found=_said(error),
            advice="see whether it is overloaded; then run the same command again",
        )

    def _unreachable(self, error: Exception) -> TemporaryFailure:
        return TemporaryFailure(
            "engine-unreachable",
            f"{self.name} cannot be reached",
            path=self.address.url,
            found=_said(error),
            advice="start it, or mend its address in heritage.toml; then run the same command again",
        )

    def _check(self, answer: requests.Response, body: Body) -> None:
        self.check_coding(answer)
        if 200 <= answer.status_code < 300:
            return
        with self.errors(body.exchange):
            said = _message(body)
        if answer.status_code in {401, 403}:
            raise KeyProblem(
                "engine-token",
                f"{self.name} does not accept our token",
                path=self.address.url,
                expected="a token that it knows",
                found=f"status {answer.status_code}",
                advice="set the token that the settings name, as the daemon's own settings have it",
            )
        if answer.status_code in PASSING_STATUSES:
            raise TemporaryFailure(
                "engine-busy",
                f"{self.name} cannot answer now",
                path=self.address.url,
                found=f"status {answer.status_code}: {said}"[:_SAID],
                advice="try again later",
            )
        raise self.refusal(said, f"status {answer.status_code}")

    def check_coding(self, answer: requests.Response) -> None:
        """Raise `OperationFailed` (`engine-answer`) for a body that is compressed: nobody asked for that."""
        coding = answer.headers.get("Content-Encoding", "identity")
        if coding != "identity":
            raise self.unexpected("a body that is not compressed", coding)

    def refusal(self, said: str, status: str) -> HeritageError:
        """The error for a refusal in the engine's own words."""
        if "no space left" in said.lower() or "quota exceeded" in said.lower():
            return DiskProblem(
                "engine-disk-full",
                f"the disk of {self.name} is full",
                path=self.address.url,
                found=said[:_SAID],
                advice="give it more room, then run the same command again; nothing was recorded",
            )
        return OperationFailed(
            "engine-refused",
            f"{self.name} refuses",
            path=self.address.url,
            expected="status 200",
            found=f"{status}: {said}"[:_SAID],
            advice="the daemon's own log says more",
        )

    def unexpected(self, expected: str, found: str) -> OperationFailed:
        """The error for an answer that is not what the interface promises."""
        return OperationFailed(
            "engine-answer",
            f"{self.name} answers with something else than it should",
            path=self.address.url,
            expected=expected,
            found=found[:_SAID],
            advice="check that the address is that of the engine, and its version",
        )

    def _lines(self, answer: Answer) -> Iterator[bytes]:
        left = b""
        while piece := answer.read(MAX_LINE):
            *whole, left = (left + piece).split(b"\n")
            for line in whole:
                if line.strip():
                    answer.body.exchange.renew()
                    yield line
            if len(left) > MAX_LINE:
                raise self.unexpected(f"lines of at most {MAX_LINE} bytes", "a longer one")
        if left.strip():
            yield left


def _message(body: Body) -> str:
    """What an engine says about its refusal, as far as it fits."""
    data = b""
    while len(data) < _MAX_SAID and (piece := body.read(_MAX_SAID)):
        data += piece
    text = data.decode(errors="replace").strip()
    with contextlib.suppress(ValueError, AttributeError, RecursionError):
        document = json.loads(text)
        for name in ("Message", "message", "error", "reason"):
            found = document.get(name)
            if isinstance(found, dict):
                found = found.get("details") or found.get("reason")
            if isinstance(found, str) and found:
                return found
    return text


def _said(error: BaseException) -> str:
    """The innermost reason: what a library wraps around it says where, which our own words do already."""
    error = causes(error)[-1]
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text[:_SAID] or type(error).__name__
