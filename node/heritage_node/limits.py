"""What a connection may cost: aiohttp alone waits for slow clients for ever.

`Guard` stands between the socket and aiohttp's own protocol. A connection that has not sent whole headers in
time is closed, and when too many are open the one that has kept us waiting longest goes first, so that a
thousand silent connections leave room for the next honest one.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

HEADER_SECONDS: Final = 10.0
"""How long the headers of a request may take."""
BODY_SECONDS: Final = 30.0
"""How long the body of a request may take."""
WRITE_SECONDS: Final = 60.0
"""How long a client may leave one piece of an answer unread."""
IDLE_SECONDS: Final = 15.0
"""How long a connection may wait for its next request."""
MAX_CONNECTIONS: Final = 512
"""Connections at once."""
MAX_BODY: Final = 4 << 20
"""Bytes of a request's body."""


class Connections:
    """The open connections of a server, and which of them keep it waiting."""

    def __init__(self, most: int = MAX_CONNECTIONS) -> None:
        """Keep `most` at once."""
        self.most = most
        self.open: set[Guard] = set()
        self.closed_slow = 0
        self._by_protocol: dict[Any, Guard] = {}

    def enter(self, guard: Guard) -> None:
        """Take a new connection in; another one goes if there are too many."""
        self.open.add(guard)
        self._by_protocol[guard.inner] = guard
        if len(self.open) > self.most:
            waiting = [one for one in self.open if one.since is not None]
            oldest = min(waiting or [guard], key=lambda one: one.since or 0.0)
            oldest.give_up()

    def leave(self, guard: Guard) -> None:
        """Forget a connection that is closed."""
        self.open.discard(guard)
        self._by_protocol.pop(guard.inner, None)

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
        self._connections = connections
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._began = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the clock for the first request."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
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
        """The next thing to come is a request's headers."""
        self.since = time.monotonic()
        self._began = False

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
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """Close the connection, because the node stops."""
        if self._transport is not None:
            self._transport.abort()

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
