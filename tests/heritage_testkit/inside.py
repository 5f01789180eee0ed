"""A node in this process, its event loop in a thread of its own: what a test wants to look into."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import requests

from heritage_ledger import Ledger
from heritage_node import limits
from heritage_node.rates import parse_networks
from heritage_node.run import make_app, serving
from heritage_node.service import Service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aiohttp import web

WAIT = 60.0


@dataclass
class Inside:
    """A running node; `thread` is the one of its event loop."""

    service: Service
    app: web.Application
    connections: limits.Connections
    host: str
    port: int
    loop: asyncio.AbstractEventLoop
    thread: int

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def get(self, path: str, **headers: str) -> requests.Response:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return requests.get(f"{self.url}{path}", headers=sent, timeout=WAIT)

    def raw(self, data: bytes) -> bytes:
        """Send bytes on a connection of their own, and return all that comes; raises when it is reset."""
        with socket.create_connection((self.host, self.port), timeout=WAIT) as sock:
            sock.sendall(data)
            parts = []
            while part := sock.recv(1 << 16):
                parts.append(part)
            return b"".join(parts)


@contextlib.contextmanager
def node_inside(home: Path) -> Iterator[Inside]:
    """Run the node of a home without its own rounds."""
    ready: list[Inside | BaseException] = []
    said = threading.Event()
    stop: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        with Ledger.open(home) as ledger, Service.of(ledger, None) as service:
            trusted = parse_networks(ledger.settings.node.trusted_proxies)
            connections = limits.Connections(trusted=trusted)
            app = make_app(service, connections)
            stop.append((asyncio.get_running_loop(), asyncio.Event()))
            async with serving(app, connections, "127.0.0.1", 0) as (host, port):
                loop, ident = asyncio.get_running_loop(), threading.get_ident()
                ready.append(Inside(service, app, connections, host, port, loop, ident))
                said.set()
                await stop[0][1].wait()

    def main() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:  # noqa: BLE001 - raised in the test's thread
            ready.append(error)
            said.set()

    thread = threading.Thread(target=main, name="node", daemon=True)
    thread.start()
    assert said.wait(WAIT)
    if isinstance(ready[0], BaseException):
        raise ready[0]
    try:
        yield ready[0]
    finally:
        stop[0][0].call_soon_threadsafe(stop[0][1].set)
        thread.join(WAIT)
    if isinstance(ready[-1], BaseException):
        raise ready[-1]


@dataclass
class Opened:
    """What was opened, by thread, below a folder while it is watched."""

    folder: str
    by_thread: dict[int, list[str]] = field(default_factory=dict)

    def note(self, what: object) -> None:
        text = str(what)
        if text.startswith(self.folder):
            self.by_thread.setdefault(threading.get_ident(), []).append(text)


_WATCHING: list[Opened] = []
_EVENTS = frozenset({"open", "os.scandir", "os.listdir", "sqlite3.connect"})


def _hook(event: str, values: tuple[object, ...]) -> None:
    if _WATCHING and event in _EVENTS:
        for one in _WATCHING:
            one.note(values[0])


sys.addaudithook(_hook)


@contextlib.contextmanager
def watched(folder: Path) -> Iterator[Opened]:
    """Note every file and folder below `folder` that any thread opens."""
    opened = Opened(str(folder))
    _WATCHING.append(opened)
    try:
        yield opened
    finally:
        _WATCHING.remove(opened)
