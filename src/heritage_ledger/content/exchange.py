"""One request and its answer over HTTP, however slow or hostile the other side is (`specs/federation.md`).

Beneath both clients: the one to other institutions (`federation.client`) and the one to engines
(`content.http`). A library reads lines, chunks and trailers inside one call, for as long as bytes come; so
every wait has an end that does not depend on it: a watchdog shuts the socket down. Waiting is a budget that
the bytes of a body refill, so a slow disk on our side costs the other side nothing.
"""

from __future__ import annotations

import contextlib
import heapq
import http.client
import ipaddress
import itertools
import os
import re
import socket
import struct
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import urllib3

_T = TypeVar("_T")

PIECE: Final = 256 << 10
"""Bytes of a body that are read at once."""
MAX_HEADER_LINES: Final = 1_000
"""Lines before a body, those of interim answers among them."""
MAX_ADDRESSES: Final = 8
"""Addresses of one name that are dialled."""
_RESET: Final = struct.pack("ii", 1, 0)
"""A linger of none: closing resets the connection, and what the other side still sends is no longer held."""
_LENGTH: Final = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Waits:
    """Seconds that each part of a request may take, and bytes a second below which a body is given up.

    `connect` is for name, connection and handshake, `headers` for all of these, the sending and the headers
    of the answer; a body that is sent adds its bytes / `slowest`. `silent` is what a body may fall behind
    `slowest`. `whole` is for everything.
    """

    connect: float
    headers: float
    silent: float
    slowest: int = 16 << 10
    whole: float = 86_400.0


class AnswerTooLarge(Exception):
    """A body has more bytes than it may have."""


class Exchange:
    """One request with its answer; used by one thread, cut by any."""

    def __init__(self, waits: Waits) -> None:
        """The time begins with the first wait."""
        self.waits = waits
        self.is_late = False
        self.is_stopped = False
        self.is_fresh = False
        """No kept connection is used."""
        self.was_kept = False
        self.is_answered = False
        self._left = self._most = waits.headers
        self._end = time.monotonic() + waits.whole
        self._sock: socket.socket | None = None
        self._connection: HTTPConnection | None = None
        self._depth = 0
        self.due: float | None = None
        """When the wait that is under way must be over; the watchdog's."""
        self.noted: float | None = None
        """When the watchdog looks at it next; the watchdog's."""

    def send(self, method: str, request: Callable[[], _T]) -> _T:
        """Return what `request` does; once more where a kept connection was gone (RFC 9110 §9.2.2)."""
        with self._current():
            try:
                return request()
            except Exception:
                is_stale = self.was_kept and not (self.is_answered or self.is_late or self.is_stopped)
                if method != "GET" or not is_stale:
                    raise
            self.is_fresh, self._sock = True, None
            return request()

    @contextlib.contextmanager
    def _current(self) -> Iterator[None]:
        _CURRENT.exchange = self
        try:
            yield
        finally:
            _CURRENT.exchange = None

    def left(self) -> float:
        """Seconds that may still be waited; more than none.

        Raises:
            TimeoutError, ConnectionAbortedError: there are none, or the work was stopped.
        """
        self.check()
        left = min(self._left, self._end - time.monotonic())
        if left <= 0:
            self.is_late = True
        self.check()
        return left

    def check(self) -> None:
        """Raise what the other side's bytes no longer matter for: too late, or stopped."""
        if self.is_stopped:
            raise ConnectionAbortedError("the work was stopped")
        if self.is_late:
            raise TimeoutError("no whole answer came in time")

    def hold(self, connection: HTTPConnection) -> None:
        """Let the socket of this connection be the one that is cut."""
        self._connection, self._sock = connection, connection.sock

    @contextlib.contextmanager
    def waiting(self, sent: int = 0) -> Iterator[None]:
        """Wait for the other side inside; `sent` bytes go to it, which may take their time.

        Raises:
            TimeoutError, ConnectionAbortedError: whatever came, it came too late, or the work was stopped.
        """
        if self._depth:  # a connection is opened while something is sent
            yield
            return
        self._left += sent / self.waits.slowest
        began = time.monotonic()
        due = began + self.left()
        self._depth = 1
        _WATCHDOG.watch(self, due)
        try:
            yield
        finally:
            self._depth = 0
            _WATCHDOG.forget(self)
            self._left = min(self._most, self._left - (time.monotonic() - began))
            self.check()

    def earn(self, received: int) -> None:
        """Let bytes that came pay for the wait for the next ones."""
        self._left = min(self._most, self._left + received / self.waits.slowest)

    def renew(self) -> None:
        """Begin to count anew: the headers are here, or something else that says that work goes on."""
        self._left = self._most = self.waits.silent

    def cut(self, *, is_late: bool) -> None:
        """End every wait at once."""
        if is_late:
            self.is_late = True
        else:
            self.is_stopped = True
        sock = self._sock
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                # not the method of an SSLSocket, which would go on in plain text
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of the socket, which the next request may have by now; one that was cut is closed."""
        connection, sock = self._connection, self._sock
        self._connection = self._sock = None
        if connection is not None and (self.is_late or self.is_stopped) and connection.sock is sock:
            connection.close()
        if sock is not None and (connection is None or connection.sock is not sock):
            # closed by a library whose answer still holds it: nobody reads it any more
            with contextlib.suppress(OSError):
                os.close(socket.socket.detach(sock))


class Body:
    """The body of an answer that is being read, of `limit` bytes at most."""

    def __init__(self, response: urllib3.BaseHTTPResponse, exchange: Exchange, limit: int) -> None:
        self.is_whole = False
        self.exchange = exchange
        self._response = response
        self._left = limit
        self._buffer = memoryview(b"")

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes, none at the end.

        Raises:
            AnswerTooLarge: there are more than may be.
            OSError, urllib3.exceptions.HTTPError, http.client.HTTPException: it was cut, or came too late.
        """
        if not self._buffer:
            self._buffer = memoryview(self._more())
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return bytes(data)

    def _more(self) -> bytes:
        with self.exchange.waiting():
            data = self._response.read1(PIECE, decode_content=False)
        self.exchange.earn(len(data))
        self.is_whole = not data
        self._left -= len(data)
        if self._left < 0:
            raise AnswerTooLarge
        return data

    def all(self) -> bytes:
        """Return the rest."""
        return b"".join(iter(lambda: self.read(PIECE), b""))


class _Current(threading.local):
    exchange: Exchange | None = None


_CURRENT: Final = _Current()


def _exchange() -> Exchange:
    exchange = _CURRENT.exchange
    assert exchange is not None, "connections are used by exchanges only"
    return exchange


class _Watchdog:
    """Cuts exchanges whose wait is over: one thread for all of them, started at the first wait."""

    def __init__(self) -> None:
        self._turn = threading.Condition()
        self._notes: list[tuple[float, int, Exchange]] = []
        self._number = itertools.count()
        self._is_running = False

    def watch(self, exchange: Exchange, due: float) -> None:
        with self._turn:
            exchange.due = due
            if exchange.noted is None or due < exchange.noted:
                self._note(exchange, due)
                self._turn.notify()
            if not self._is_running:
                self._is_running = True
                threading.Thread(target=self._run, name="watchdog", daemon=True).start()

    def forget(self, exchange: Exchange) -> None:
        with self._turn:
            exchange.due = None

    def _note(self, exchange: Exchange, due: float) -> None:
        exchange.noted = due
        heapq.heappush(self._notes, (due, next(self._number), exchange))

    def _run(self) -> None:
        with self._turn:
            while True:
                now = time.monotonic()
                while self._notes and self._notes[0][0] <= now:
                    self._look(*heapq.heappop(self._notes), now)
                self._turn.wait(self._notes[0][0] - now if self._notes else None)

    def _look(self, at: float, _: int, exchange: Exchange, now: float) -> None:
        if exchange.noted != at:
            return  # an earlier note took its place
        exchange.noted = None
        if exchange.due is not None and exchange.due > now:
            self._note(exchange, exchange.due)
        elif exchange.due is not None:
            exchange.cut(is_late=True)


_WATCHDOG = _Watchdog()


def _begin_anew() -> None:
    global _WATCHDOG  # noqa: PLW0603 - a child of fork has no threads, and a lock that may be held for ever
    _WATCHDOG = _Watchdog()


os.register_at_fork(after_in_child=_begin_anew)


class _Lines:
    """The lines before a body: counted, and the last one kept."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._count = 0
        self.last = b""

    def readline(self, limit: int) -> bytes:
        self._count += 1
        if self._count > MAX_HEADER_LINES:
            raise http.client.HTTPException("too many lines before the body")
        self.last = self._file.readline(limit)
        return self.last

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class _Response(http.client.HTTPResponse):
    """An answer that has all its headers, which say in one way only where the body ends (RFC 9112 §6.3)."""

    def begin(self) -> None:
        """Read the headers; whoever is cut in the middle of them has not answered."""
        file: Any = self.fp
        lines: Any = _Lines(file)
        self.fp = lines  # as much of a file as the headers need
        try:
            super().begin()
        finally:
            if self.fp is lines:
                self.fp = file
        if lines.last not in {b"\r\n", b"\n"}:
            raise http.client.HTTPException("the headers end early")
        lengths = set(self.headers.get_all("Content-Length", ()))
        codings = self.headers.get_all("Transfer-Encoding", ())
        if (codings and (lengths or [one.strip().lower() for one in codings] != ["chunked"])) or (
            lengths and not (len(lengths) == 1 and _LENGTH.fullmatch(lengths.pop().strip()))
        ):
            raise http.client.HTTPException("the headers do not say where the body ends")


class _Connection(HTTPConnection):
    """A connection that takes no more time than its exchange has."""

    response_class = _Response
    check: Callable[[str], None]
    _answers = 0

    def _new_conn(self) -> socket.socket:
        exchange = _exchange()
        seconds = min(exchange.waits.connect, exchange.left())
        return dial(self._dns_host, self.port, seconds, self.check)

    def connect(self) -> None:
        exchange = _exchange()
        self._answers = 0
        with exchange.waiting():
            super().connect()
        exchange.hold(self)

    def send(self, data: Any) -> None:
        exchange = _exchange()
        if self.sock is None:
            self.connect()
        assert self.sock is not None
        exchange.was_kept = self._answers > 0
        exchange.hold(self)
        with exchange.waiting(len(data)):
            self.sock.settimeout(exchange.left())
            super().send(data)

    def getresponse(self) -> Any:
        exchange = _exchange()
        with exchange.waiting():
            response = super().getresponse()
        self._answers += 1
        exchange.is_answered = True
        exchange.renew()
        return response


class _Secure(_Connection, HTTPSConnection):
    """The same within TLS: the handshake ends by the time that the socket was dialled with."""


def pools(check: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Pools by scheme for a manager of `urllib3`; `check` raises for addresses that may not be dialled."""

    class Fresh(HTTPConnectionPool):
        def _get_conn(self, timeout: float | None = None) -> Any:
            connection = super()._get_conn(timeout)
            if _exchange().is_fresh:
                connection.close()  # it is opened again
            return connection

    members = {"check": staticmethod(check)}
    plain = type("Connection", (_Connection,), members)
    secure = type("SecureConnection", (_Secure,), members)
    return {
        "http": type("Pool", (Fresh,), {"ConnectionCls": plain}),
        "https": type("SecurePool", (Fresh, HTTPSConnectionPool), {"ConnectionCls": secure}),
    }


def dial(host: str, port: int, seconds: float, check: Callable[[str], None]) -> socket.socket:
    """Connect within `seconds` to the first address of `host` that answers; each is checked as it is dialled.

    Raises:
        OSError: none answers. What `check` raises, where it lets none pass.
    """
    end = time.monotonic() + seconds
    problem: Exception | None = None
    found = _resolve(host.strip("[]"), port, seconds)[:MAX_ADDRESSES]
    for number, (family, kind, protocol, _, address) in enumerate(found):
        try:
            check(str(address[0]))
        except Exception as error:  # noqa: BLE001 - told when no other address will do
            problem = error
            continue
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(max(0.01, (end - time.monotonic()) / (len(found) - number)))
            sock.connect(address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(max(0.01, end - time.monotonic()))  # for the handshake
        except OSError as error:
            sock.close()
            problem = error
        else:
            return sock
    raise problem or OSError(f"{host} has no address")


def _resolve(host: str, port: int, seconds: float) -> list[Any]:
    """Return the addresses of a name; the system's resolver knows no deadline, so it is left behind."""
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(host.partition("%")[0])
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    found: list[Any] = []

    def look() -> None:
        try:
            found.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            found.append(error)

    thread = threading.Thread(target=look, name="resolver", daemon=True)
    thread.start()
    thread.join(seconds)
    if not found:
        raise TimeoutError(f"{host} is not resolved in time")
    if isinstance(found[0], UnicodeError):
        raise OSError(f"{host[:80]!r} is no name") from found[0]
    if isinstance(found[0], OSError):
        raise found[0]
    return list(found[0])
