"""The one way out: HTTP to other institutions, which may be anyone (`specs/federation.md`, "Requests").

The home of `urllib3`. Every address that is dialled is looked at when it is dialled, so neither a name nor a
literal nor a mapped address leads to a machine of one's own network; no redirect is followed, no proxy and no
`.netrc` is used, no body is decompressed. Every answer has a size and a time that it may take, whatever the
other side does with its bytes.
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
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from heritage_ledger.errors import EvidenceInvalid, OperationFailed, TemporaryFailure, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CONNECT_SECONDS: Final = 10.0
"""How long a connection may take."""
SILENT_SECONDS: Final = 20.0
"""How long the other side may say nothing."""
HEADER_SECONDS: Final = 60.0
"""How long the headers of an answer may take in all: a witness may wait for its disk."""
SLOWEST: Final = 16 << 10
"""Bytes a second below which an answer is given up."""
SMALL: Final = 1 << 20
"""Bytes of an answer that says something and carries nothing."""
CONNECTIONS: Final = 8
"""Connections to one peer that are kept for the next request."""
_PIECE: Final = 256 << 10
_SAID: Final = 200


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer: its status, its headers by lower-case name, its body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Stream:
    """The body of an answer that is being read."""

    def __init__(self, response: urllib3.BaseHTTPResponse, url: str, limit: int, deadline: float) -> None:
        """Allow `limit` bytes, one more is refused, until `deadline` (monotonic)."""
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.headers.items()}
        self._response = response
        self._url = url
        self._left = limit
        self._deadline = deadline
        self._buffer = memoryview(b"")

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes, none at the end.

        Raises:
            EvidenceInvalid: more bytes than were allowed (`peer-too-large`).
            TemporaryFailure: too slow (`peer-silent`), or cut off (`peer-unreachable`).
        """
        if not self._buffer:
            self._buffer = memoryview(self._more())
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return bytes(data)

    def _more(self) -> bytes:
        if time.monotonic() > self._deadline:
            raise silent(self._url, "the answer takes too long")
        with errors(self._url):
            data = self._response.read1(_PIECE, decode_content=False)
        self._deadline += len(data) / SLOWEST
        self._left -= len(data)
        if self._left < 0:
            raise EvidenceInvalid(
                "peer-too-large",
                "the answer is larger than what was asked for",
                path=self._url,
                advice="nothing of it was kept",
            )
        return data

    def all(self) -> bytes:
        """Return the rest of the body."""
        parts = []
        while data := self.read(_PIECE):
            parts.append(data)
        return b"".join(parts)


class Client:
    """Asks other nodes; any thread may use it. A context, or to be closed.

    Every method raises `TemporaryFailure` (`peer-unreachable`, `peer-silent`), `UsageError` (`peer-url`,
    `peer-address`) for what must not be asked, and `EvidenceInvalid` (`peer-too-large`, `peer-answer`).
    """

    def __init__(self, *, allow_private: bool = False) -> None:
        """With `allow_private` loopback and private addresses may be dialled too."""
        self._live: weakref.WeakSet[HTTPConnection] = weakref.WeakSet()
        http_pool, https_pool = _pools(self._live, allow_private=allow_private)
        self._manager = urllib3.PoolManager(
            num_pools=64,
            maxsize=CONNECTIONS,
            retries=False,
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=SILENT_SECONDS),
        )
        self._manager.pool_classes_by_scheme = {"http": http_pool, "https": https_pool}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of every connection; closing twice is nothing."""
        self._manager.clear()

    def stop(self) -> None:
        """Break off whatever is being asked, from another thread: it ends with `peer-unreachable`."""
        for connection in list(self._live):
            _cut(connection.sock)

    @contextlib.contextmanager
    def opened(
        self,
        method: str,
        url: str,
        *,
        limit: int,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Iterator[Stream]:
        """The answer of one request, its body not read yet."""
        check_url(url)
        deadline = time.monotonic() + HEADER_SECONDS
        with errors(url):
            response = self._manager.request(
                method,
                url,
                body=body,
                headers={"Accept-Encoding": "identity", "User-Agent": "heritage-ledger", **(headers or {})},
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
        stream = Stream(response, url, limit, deadline + limit / SLOWEST)
        try:
            _check_encoding(url, stream.headers)
            yield stream
        except BaseException:
            response.close()
            raise
        with contextlib.suppress(OSError, urllib3.exceptions.HTTPError):
            if stream.read(1):  # what was not asked for is not waited for
                response.close()
        response.release_conn()

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


def check_status(answer: Answer | Stream, url: str) -> None:
    """Raise `OperationFailed` (`peer-refused`) or `TemporaryFailure` (`peer-busy`) unless it is 200."""
    if answer.status == 200:
        return
    body = answer.body if isinstance(answer, Answer) else b""
    said = f"status {answer.status} {body[:_SAID].decode(errors='replace')!r}"
    if answer.status in {429, 502, 503, 504}:
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


def check_address(address: str, *, allow_private: bool) -> None:
    """Raise `UsageError` (`peer-address`) unless `address` may be dialled."""
    found = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(found, "ipv4_mapped", None) or getattr(found, "sixtofour", None) or found
    usable = mapped.is_global or (allow_private and (mapped.is_loopback or mapped.is_private))
    if not usable or mapped.is_multicast or mapped.is_unspecified or mapped.is_link_local:
        raise UsageError(
            "peer-address",
            "this address is not one of another institution",
            expected="a public address",
            found=address,
            advice="a peer in one's own network needs allow_private = true under [node] in heritage.toml",
        )


def _pools(
    live: weakref.WeakSet[HTTPConnection], *, allow_private: bool
) -> tuple[type[HTTPConnectionPool], type[HTTPSConnectionPool]]:
    def connect(self: HTTPConnection) -> socket.socket:
        live.add(self)
        return _dial(self._dns_host, self.port, allow_private=allow_private)

    def getresponse(self: HTTPConnection) -> Any:
        """Read the headers, which may drip: the connection is cut when they take too long."""
        sock = self.sock
        timer = threading.Timer(HEADER_SECONDS, _cut, (sock,))
        timer.daemon = True
        timer.start()
        try:
            return super(type(self), self).getresponse()
        finally:
            timer.cancel()

    members = {"_new_conn": connect, "getresponse": getresponse}
    plain = type("Connection", (HTTPConnection,), members)
    secure = type("SecureConnection", (HTTPSConnection,), members)
    return (
        type("Pool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
        type("SecurePool", (HTTPSConnectionPool,), {"ConnectionCls": secure}),
    )


def _cut(sock: socket.socket | None) -> None:
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


def _dial(host: str, port: int, *, allow_private: bool) -> socket.socket:
    """Connect to the first address of `host` that answers; each is checked as it is dialled."""
    problem: Exception | None = None
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        try:
            check_address(str(address[0]), allow_private=allow_private)
        except UsageError as error:
            problem = error
            continue
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(CONNECT_SECONDS)
            sock.connect(address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            sock.close()
            problem = error
        else:
            return sock
    raise problem or OSError(f"{host} has no address")


@contextlib.contextmanager
def errors(url: str) -> Iterator[None]:
    """Turn what a connection raises inside into errors of ours."""
    try:
        yield
    except (TimeoutError, urllib3.exceptions.TimeoutError) as error:
        raise silent(url, "no byte came in time") from error
    except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError) as error:
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
    while True:
        inner = getattr(error, "reason", None) or error.__cause__ or error.__context__
        if not isinstance(inner, BaseException):
            break
        error = inner
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__)[:_SAID]
