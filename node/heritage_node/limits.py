"""What a connection may cost: aiohttp alone waits for slow clients for ever.

`Guard` stands between the socket and aiohttp's own protocol. A connection that has not sent whole headers in
time is closed, and when too many are open the one that has kept us waiting longest goes first, so that a
thousand silent connections leave room for the next honest one. One address has a share of them.

What ends before it is whole ends by a reset: a polite end after a part is, without a length or chunks, a
whole answer to whoever reads it, and to the caches between.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web, web_response

from heritage_node.rates import client_address, site_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from ipaddress import IPv4Network, IPv6Network

# strangers need not know releases; aiohttp answers bad requests without asking any application
web_response.SERVER_SOFTWARE = "heritage-ledger"  # type: ignore[attr-defined]
HEADER_SECONDS: Final = 10.0
"""How long the headers of a request may take."""
BODY_SECONDS: Final = 30.0
"""How long the body of a request may take."""
WRITE_SECONDS: Final = 60.0
"""How long a client may leave one piece of an answer unread."""
SEND_SECONDS: Final = 10.0
"""How long a client may take to read a whole answer, beside what its size takes at `SLOWEST`."""
SLOWEST: Final = 16 << 10
"""Bytes a second."""
IDLE_SECONDS: Final = 15.0
"""How long a connection may wait for its next request."""
LINGER_SECONDS: Final = 30.0
"""How long what is left of an answer may wait to be read once the connection is done with."""
MAX_CONNECTIONS: Final = 512
"""Connections at once."""
MAX_EACH: Final = 128
"""Connections of one address at once, unless it is a trusted proxy."""
MAX_BODY: Final = 4 << 20
"""Bytes of a request's body."""


SIZE: Final = web.RequestKey("size", int)
"""Where a handler leaves the size of a file that is read as it is sent."""
_RESET: Final = struct.pack("ii", 1, 0)


def cut(transport: asyncio.BaseTransport | None) -> None:
    """End a connection by a reset (SO_LINGER 0), so that nobody takes what came for all there was."""
    if not isinstance(transport, asyncio.Transport):
        return
    sock = transport.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()


class Connections:
    """The open connections of a server, and which of them keep it waiting."""

    def __init__(
        self,
        most: int = MAX_CONNECTIONS,
        *,
        each: int = MAX_EACH,
        trusted: Sequence[IPv4Network | IPv6Network] = (),
    ) -> None:
        """Keep `most` at once, `each` of one address; the `trusted` proxies are asked whom they speak for."""
        self.most = most
        self.each = each
        self.trusted = tuple(trusted)
        self.open: set[Guard] = set()
        self.closed_slow = 0
        self._by_protocol: dict[Any, Guard] = {}
        self._of: Counter[str] = Counter()

    def enter(self, guard: Guard) -> None:
        """Take a new connection in; another one goes if there are too many."""
        self.open.add(guard)
        self._by_protocol[guard.inner] = guard
        self._of[guard.address] += 1
        if self._of[guard.address] > self.each and not self._is_trusted(guard.address):
            self._make_room(guard, [one for one in self.open if one.address == guard.address])
        elif len(self.open) > self.most:
            self._make_room(guard, list(self.open))

    def _make_room(self, new: Guard, among: list[Guard]) -> None:
        waiting = [one for one in among if one.since is not None]
        min(waiting or [new], key=lambda one: one.since or 0.0).give_up()

    def _is_trusted(self, address: str) -> bool:
        return bool(self.trusted) and client_address(address, ["0.0.0.0"], self.trusted) != address  # noqa: S104 - not bound

    def is_from_proxy(self, request: web.Request) -> bool:
        """Say whether a request came through a proxy that is trusted."""
        peer = request.transport.get_extra_info("peername") if request.transport is not None else None
        return isinstance(peer, tuple) and self._is_trusted(str(peer[0]))

    def leave(self, guard: Guard) -> None:
        """Forget a connection that is closed."""
        if guard in self.open:
            self._of[guard.address] -= 1
            self._of += Counter()  # those at 0 are dropped
        self.open.discard(guard)
        self._by_protocol.pop(guard.inner, None)

    def client(self, request: web.Request) -> str:
        """Return the address that a request counts for."""
        peer = request.transport.get_extra_info("peername") if request.transport is not None else None
        address = str(peer[0]) if isinstance(peer, tuple) else "local"
        return site_of(client_address(address, request.headers.getall("X-Forwarded-For", []), self.trusted))

    @web.middleware
    async def middleware(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Tell the guard of the connection when a request's headers are whole, and when it was answered."""
        guard = self._by_protocol.get(request.protocol)
        if guard is not None:
            guard.answering()
        try:
            return await handler(request)
        finally:
            if guard is not None:
                guard.waiting()


class Guard(asyncio.Protocol):
    """One connection: passes everything on to aiohttp's protocol, and watches the clock."""

    def __init__(self, inner: Any, connections: Connections) -> None:
        """`inner` is aiohttp's protocol for this connection."""
        self.inner = inner
        self.since: float | None = None
        self.address = ""
        self._connections = connections
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._began = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the clock for the first request."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        peer = transport.get_extra_info("peername")
        self.address = site_of(str(peer[0])) if isinstance(peer, tuple) else "local"
        self.inner.connection_made(transport)
        self.waiting()
        self._begin()
        self._connections.enter(self)

    def data_received(self, data: bytes) -> None:
        """Start the clock for a next request at its first byte."""
        if self.since is not None and not self._began:
            self._begin()
        self.inner.data_received(data)

    def waiting(self) -> None:
        """The next thing to come is a request's headers, or the end of the connection."""
        self.since = time.monotonic()
        self._began = False
        self._stop()
        self._timer = asyncio.get_running_loop().call_later(LINGER_SECONDS, self.give_up)

    def _begin(self) -> None:
        self._began = True
        self._stop()
        self._timer = asyncio.get_running_loop().call_later(HEADER_SECONDS, self.give_up)

    def answering(self) -> None:
        """Whole headers have come."""
        self.since = None
        self._stop()

    def give_up(self) -> None:
        """Close a connection that keeps us waiting."""
        self._connections.closed_slow += 1
        cut(self._transport)

    def close(self) -> None:
        """Close the connection, because the node stops."""
        cut(self._transport)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._stop()
        self._connections.leave(self)
        self.inner.connection_lost(exc)

    def eof_received(self) -> bool | None:
        """Pass it on."""
        result: bool | None = self.inner.eof_received()
        return result

    def pause_writing(self) -> None:
        """Pass it on."""
        self.inner.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on."""
        self.inner.resume_writing()


async def read_body(request: web.Request, most: int = MAX_BODY) -> bytes:
    """Return the body of a request.

    Raises:
        HTTPRequestTimeout, HTTPRequestEntityTooLarge: it is too slow or too large.
    """
    parts = []
    size = 0
    if (request.content_length or 0) > most:
        raise web.HTTPRequestEntityTooLarge(most, request.content_length or 0)
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for piece in request.content.iter_chunked(1 << 16):
                size += len(piece)
                if size > most:
                    raise web.HTTPRequestEntityTooLarge(most, size)
                parts.append(piece)
    except TimeoutError as error:
        raise web.HTTPRequestTimeout from error
    return b"".join(parts)


async def write(response: web.StreamResponse, data: bytes) -> None:
    """Send a piece of an answer; a client that does not read it in time is given up."""
    async with asyncio.timeout(WRITE_SECONDS):
        await response.write(data)


async def send(request: web.Request, response: web.StreamResponse) -> None:
    """Send a whole answer, or what is left of one; a client that does not read it in time is given up."""
    size = response.content_length or request.get(SIZE, 0)
    try:
        async with asyncio.timeout(SEND_SECONDS + size / SLOWEST):
            await response.prepare(request)
            await response.write_eof()
    except (ConnectionError, TimeoutError):  # a client that is gone, or does not read, is no fault of ours
        cut(request.transport)
    except BaseException:
        cut(request.transport)
        raise
