"""The one way out: HTTP to other institutions, which may be anyone (`specs/federation.md`, "Requests").

The home of `urllib3`. Every address that is dialled is looked at when it is dialled, so neither a name nor a
literal nor a mapped address leads to a machine of one's own network; no redirect is followed, no proxy but
that of the settings and no `.netrc` is used, no body is decompressed. Every answer has a size and a time that
it may take, whatever the other side does with its bytes.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import socket
import threading
import time
import weakref
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlsplit

import urllib3

from heritage_ledger.content.exchange import AnswerTooLarge, Body, Exchange, Waits, pools
from heritage_ledger.content.faults import (
    PASSING_STATUSES,
    PROXY_LOGIN,
    Fault,
    causes,
    check_final,
    fault_of,
    proxy_refused,
    trust,
)
from heritage_ledger.errors import EvidenceInvalid, OperationFailed, TemporaryFailure, UsageError
from heritage_ledger.federation.addresses import check_address
from heritage_ledger.federation.protocol import HEADER, PROTOCOL, parse_protocol
from heritage_ledger.federation.reverse import away, is_reverse
from heritage_ledger.federation.tracing import trace_headers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from heritage_ledger.federation.reverse import Answering, Desk

WAITS: Final = Waits(connect=10.0, headers=60.0, silent=20.0, slowest=16 << 10)
"""How long other institutions may take: a witness may wait for its disk before it says a word."""
SMALL: Final = 1 << 20
"""Bytes of an answer that says something and carries nothing."""
CONNECTIONS: Final = 8
"""Connections to one peer that are kept for the next request."""
_SAID: Final = 200
_SENT: Final = {"Accept-Encoding": "identity", "User-Agent": "heritage-ledger", HEADER: str(PROTOCOL)}


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer: its status, its headers by lower-case name, its body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Stream:
    """The body of an answer that is being read."""

    def __init__(self, response: urllib3.BaseHTTPResponse, url: str, body: Body) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.headers.items()}
        self._body = body
        self._url = url

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes, none at the end.

        Raises:
            EvidenceInvalid: more bytes than were allowed (`peer-too-large`).
            TemporaryFailure: too slow (`peer-silent`), or cut off (`peer-unreachable`).
        """
        with errors(self._url, self._body.exchange):
            return self._body.read(size)

    def all(self) -> bytes:
        """Return the rest of the body."""
        with errors(self._url, self._body.exchange):
            return self._body.all()


class Client:
    """Asks other nodes; any thread may use it. A context, or to be closed.

    Every method raises `TemporaryFailure` (`peer-unreachable`, `peer-silent`), `UsageError` (`peer-url`,
    `peer-address`) for what must not be asked, `OperationFailed` (`tls-untrusted`, `tls-refused`) for whom
    TLS does not believe, and `EvidenceInvalid` (`peer-too-large`, `peer-answer`).
    """

    def __init__(
        self,
        *,
        allow_private: bool = False,
        waits: Waits = WAITS,
        ca_file: str | None = None,
        proxy: str | None = None,
        proxy_login: Callable[[], str | None] = lambda: None,
    ) -> None:
        """With `allow_private` loopback and private addresses may be dialled too.

        Certificates of `ca_file` are believed beside those of the system. Everyone is asked through `proxy`,
        where there is one; `proxy_login` gives its NAME:PASSWORD, and is asked for with the first request.
        """
        self._allow_private = allow_private
        self._proxy = proxy
        self._proxy_login = proxy_login
        self._waits = waits
        self._turn = threading.Lock()
        self._live: weakref.WeakSet[Exchange] = weakref.WeakSet()
        self._is_stopped = False
        self._clocks: dict[str, float] = {}
        self._protocols: dict[str, int] = {}
        self.desk: Desk | None = None
        """Where members that call in are asked; a running node has one."""
        self._trust = trust(ca_file)

    @cached_property
    def _manager(self) -> urllib3.PoolManager:
        """The connections. Through a proxy only it is dialled, and where names lead is not seen from here."""
        words: dict[str, Any] = {
            "num_pools": 64,
            "maxsize": CONNECTIONS,
            "retries": False,
            "timeout": urllib3.Timeout(connect=self._waits.connect, read=self._waits.silent),
            "ssl_context": self._trust,
        }
        if self._proxy is None:
            manager = urllib3.PoolManager(**words)
            manager.pool_classes_by_scheme = pools(
                lambda address: check_address(address, allow_private=self._allow_private)
            )
            return manager
        login = self._proxy_login()
        headers = urllib3.make_headers(proxy_basic_auth=login) if login else {}
        proxied = urllib3.ProxyManager(self._proxy, proxy_headers=headers, **words)
        proxied.pool_classes_by_scheme = pools()
        return proxied

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of every connection; closing twice is nothing."""
        manager = self.__dict__.get("_manager")
        if manager is not None:
            manager.clear()

    def stop(self) -> None:
        """Break off what is being asked, and refuse what comes after: both end with `peer-unreachable`."""
        with self._turn:
            self._is_stopped = True
            live = list(self._live)
        if self.desk is not None:
            self.desk.stop()
        for exchange in live:
            exchange.cut(is_late=False)

    def clock_of(self, url: str) -> float | None:
        """Seconds that the clock of the server at `url` was ahead of ours when it last answered."""
        return self._clocks.get(urlsplit(url).netloc)

    def note_clock(self, url: str, ahead: float) -> None:
        """Note how far the clock of a member that calls in is ahead, by the time of its signature."""
        self._clocks[urlsplit(url).netloc] = ahead

    def protocol_of(self, url: str) -> int | None:
        """The protocol that the node at `url` said in its last answer; None where it said none."""
        return self._protocols.get(urlsplit(url).netloc)

    @contextlib.contextmanager
    def opened(
        self,
        method: str,
        url: str,
        *,
        limit: int,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Iterator[Stream | Answering]:
        """The answer of one request, its body not read yet."""
        sent = _SENT | trace_headers() | dict(headers or {})
        if is_reverse(url):
            if self.desk is None:
                raise away(url)
            with self.desk.asked(method, url, body=body, headers=sent, limit=limit) as answer:
                self._note_protocol(url, answer.headers)
                _check_encoding(url, answer.headers)
                yield answer
            return
        check_url(url)
        if self._proxy is not None:
            check_literal(url, allow_private=self._allow_private)
        manager = self._manager
        with contextlib.closing(self._begin()) as exchange:

            def request() -> urllib3.BaseHTTPResponse:
                return manager.request(
                    method,
                    url,
                    body=body,
                    headers=sent,
                    redirect=False,
                    preload_content=False,
                    decode_content=False,
                )

            began = time.time()
            with errors(url, exchange):
                response = exchange.send(method, request)
            whole = Body(response, exchange, limit)
            try:
                stream = Stream(response, url, whole)
                _check_proxy(url, stream.status)
                self._compare_clocks(url, stream.headers, began)
                self._note_protocol(url, stream.headers)
                _check_encoding(url, stream.headers)
                yield stream
            except BaseException:
                response.close()
                raise
            if not whole.is_whole:
                response.close()  # what was not asked for is not waited for
            response.release_conn()

    def _begin(self) -> Exchange:
        exchange = Exchange(self._waits)
        with self._turn:
            self._live.add(exchange)
            exchange.is_stopped = self._is_stopped
        return exchange

    def _compare_clocks(self, url: str, headers: Mapping[str, str], began: float) -> None:
        """Note how far the other side's clock is ahead; its Date has whole seconds, and is its own word."""
        with contextlib.suppress(ValueError, TypeError, OverflowError, OSError):
            said = parsedate_to_datetime(headers["date"][:64]).timestamp() if "date" in headers else None
            if said is not None:
                now = time.time()
                ahead = said + 0.5 - (began + now) / 2
                self._clocks[urlsplit(url).netloc] = ahead if abs(ahead) > now - began + 1 else 0.0

    def _note_protocol(self, url: str, headers: Mapping[str, str]) -> None:
        said = parse_protocol(headers.get(HEADER.lower()))
        if said is not None:
            self._protocols[urlsplit(url).netloc] = said
        else:
            self._protocols.pop(urlsplit(url).netloc, None)

    def ask(
        self,
        method: str,
        url: str,
        *,
        limit: int = SMALL,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Return the whole answer, whatever its status."""
        with self.opened(method, url, limit=limit, body=body, headers=headers) as stream:
            return Answer(stream.status, stream.headers, stream.all())

    def get(self, url: str, *, limit: int = SMALL) -> bytes | None:
        """Return the body of a GET; None where there is nothing.

        Raises:
            OperationFailed: the other side refuses (`peer-refused`).
        """
        answer = self.ask("GET", url, limit=limit)
        if answer.status in {404, 410, 412}:
            return None
        check_status(answer, url)
        return answer.body


def check_status(answer: Answer | Stream | Answering, url: str) -> None:
    """Raise `OperationFailed` (`peer-refused`) or `TemporaryFailure` (`peer-busy`) unless it is 200."""
    if answer.status == 200:
        return
    body = answer.body if isinstance(answer, Answer) else b""
    said = f"status {answer.status} {body[:_SAID].decode(errors='replace')!r}"
    if answer.status in PASSING_STATUSES:
        raise TemporaryFailure(
            "peer-busy", "the peer cannot answer now", path=url, found=said, advice="try again later"
        )
    raise OperationFailed(
        "peer-refused",
        "the peer refuses",
        path=url,
        expected="status 200",
        found=said,
        advice="ask its operators; both sides must know each other as peers",
    )


def _check_proxy(url: str, status: int) -> None:
    if status == PROXY_LOGIN:
        raise proxy_refused(url, f"status {status}")


def _check_encoding(url: str, headers: Mapping[str, str]) -> None:
    if headers.get("content-encoding", "identity") != "identity":
        raise answer_error(url, "a body that is not compressed", headers["content-encoding"])


def check_url(url: str) -> None:
    """Raise `UsageError` (`peer-url`) unless `url` is a plain http or https URL."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in {"http", "https"} and parts.hostname and not parts.username and parts.port != 0
    except ValueError:
        good = False
    if not good or not url.isascii() or not url.isprintable() or " " in url:
        raise UsageError(
            "peer-url",
            "this URL of a peer cannot be used",
            expected="https://HOST[:PORT][/PATH], without a name or password",
            found=ascii(url)[:120],
        )


def check_literal(url: str, *, allow_private: bool) -> None:
    """Refuse what would lead a proxy into a network of its own, as far as the URL itself says so.

    Raises:
        UsageError: `peer-address`.
    """
    host = (urlsplit(url).hostname or "").rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        host = "127.0.0.1"
    with contextlib.suppress(OSError):  # every spelling that a system knows: 127.1, 0x7f000001, 2130706433
        host = socket.inet_ntoa(socket.inet_aton(host))
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return  # a name, which only the proxy resolves
    check_address(str(address), allow_private=allow_private)


@contextlib.contextmanager
def errors(url: str, exchange: Exchange) -> Iterator[None]:
    """Turn what a connection raises inside into errors of ours."""
    try:
        yield
    except AnswerTooLarge as error:
        raise EvidenceInvalid(
            "peer-too-large",
            "the answer is larger than what was asked for",
            path=url,
            advice="nothing of it was kept",
        ) from error
    except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError, ValueError) as error:
        if not exchange.is_stopped and (exchange.is_late or fault_of(error) is Fault.LATE):
            raise silent(url, "no whole answer came in time") from error
        check_final(error, url)
        raise TemporaryFailure(
            "peer-unreachable",
            "the peer cannot be reached, or broke off",
            path=url,
            found=_innermost(error),
            advice="see whether it runs and its address is right; then try again",
        ) from error


def silent(url: str, found: str) -> TemporaryFailure:
    """The error for a peer that is too slow."""
    return TemporaryFailure(
        "peer-silent", "the peer does not answer in time", path=url, found=found, advice="try again later"
    )


def answer_error(url: str, expected: str, found: str) -> EvidenceInvalid:
    """The error for an answer that is not what the interface promises."""
    return EvidenceInvalid(
        "peer-answer",
        "the peer answers with something else than it should",
        path=url,
        expected=expected,
        found=found[:_SAID],
        advice="nothing of it was kept",
    )


def _innermost(error: BaseException) -> str:
    error = causes(error)[-1]
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__)[:_SAID]
