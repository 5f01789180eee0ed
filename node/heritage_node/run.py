"""Running a node: the server, what it does by itself beside, and a clean stop (`specs/federation.md`)."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING, Final

from aiohttp import web

from heritage_ledger.errors import OperationFailed
from heritage_ledger.federation.protocol import HEADER, PROTOCOL
from heritage_ledger.ledger import Ledger
from heritage_node import api, gateway, limits, logs, metrics, problems, rounds, routing, turns, witness
from heritage_node.admission import Admission
from heritage_node.costs import Pool, check_routes
from heritage_node.journal import Journal, name_answer
from heritage_node.metrics import METRICS, Metrics
from heritage_node.rates import parse_networks
from heritage_node.service import SERVICE, Service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from heritage_ledger.errors import Finding


_M_ARENA_MAX: Final = -8
STOP_SECONDS: Final = 10.0
"""How long a stop waits for answers under way."""
SWITCH_SECONDS: Final = 0.001
"""How long a thread may compute before another one has its turn: the event loop must not wait for long."""
ARENAS: Final = 2
"""Arenas of the C library's allocator: with one a thread, memory of past requests is never given back."""
log = logging.getLogger("heritage_node")


def make_app(service: Service, connections: limits.Connections) -> web.Application:
    """Return the application over an opened service."""
    counts = Metrics(connections)
    admission = Admission(service.pools, connections)
    app = web.Application(
        middlewares=[
            connections.middleware,
            counts.middleware,
            Journal(connections, access=service.ledger.settings.node.access_log).middleware,
            admission.middleware,
            problems.middleware,
        ],
        client_max_size=limits.MAX_BODY,
        logger=log,
    )
    app[SERVICE] = service
    app[METRICS] = counts
    for module in (logs, witness, gateway, routing, api, turns, metrics):
        app.add_routes(module.routes)
    check_routes(app)
    app.on_response_prepare.append(name_answer)
    app.on_startup.append(_read_files_in_pool)
    app.on_response_prepare.append(_say_protocol)
    return app


async def _say_protocol(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers[HEADER] = str(PROTOCOL)


async def _read_files_in_pool(app: web.Application) -> None:
    """Files that are sent are read by aiohttp in the loop's own threads: these are the pool of the log."""
    asyncio.get_running_loop().set_default_executor(app[SERVICE].pools.threads[Pool.LOG])


@contextlib.asynccontextmanager
async def serving(
    app: web.Application, connections: limits.Connections, host: str, port: int
) -> AsyncIterator[tuple[str, int]]:
    """Listen for the length of a block; yields the address and port that were taken.

    Raises:
        OperationFailed: the address cannot be taken (`node-listen`).
    """
    runner = web.AppRunner(
        app,
        handle_signals=False,
        access_log=None,
        keepalive_timeout=limits.IDLE_SECONDS,
        shutdown_timeout=STOP_SECONDS,
        auto_decompress=False,
        handler_cancellation=True,
    )
    await runner.setup()
    assert runner.server is not None
    make = runner.server
    try:
        server = await asyncio.get_running_loop().create_server(
            lambda: limits.Guard(make(), connections), host, port, backlog=1024
        )
    except OSError as error:
        await runner.cleanup()
        raise OperationFailed(
            "node-listen",
            "the node cannot listen there",
            path=f"{host}:{port}",
            found=error.strerror,
            advice="another node may run already; or change listen under [node] in heritage.toml",
        ) from error
    try:
        found = server.sockets[0].getsockname()
        yield str(found[0]), int(found[1])
    finally:
        server.close()
        await runner.shutdown()
        await runner.cleanup()
        for guard in list(connections.open):
            guard.close()


async def run(
    home: Path,
    passphrase: Callable[[], bytes] | bytes | None,
    *,
    ready: Callable[[str, int], None] = lambda _host, _port: None,
) -> None:
    """Run the node of a home until SIGTERM or SIGINT; at SIGHUP it looks at all peers at once.

    What happens meanwhile goes to the logger `heritage_node`, one line for each thing.

    Args:
        home: the home's folder.
        passphrase: opens the node's keys.
        ready: told the address and port when the node answers.
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    _bound_arenas()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)

    loop.add_signal_handler(signal.SIGHUP, lambda: None)  # a terminal or a session that goes ends no node

    def warn(finding: Finding) -> None:
        log.warning(
            "%s: %s; expected %s, found %s", finding.code, finding.message, finding.expected, finding.found
        )

    with (
        Ledger.open(home, passphrase=passphrase, warn=warn) as ledger,
        Service.of(ledger, passphrase) as service,
    ):
        settings = ledger.settings.node
        connections = limits.Connections(trusted=parse_networks(settings.trusted_proxies))
        app = make_app(service, connections)
        loop.add_signal_handler(signal.SIGHUP, service.wake)
        async with serving(app, connections, settings.host, settings.port) as (host, port):
            service.listens(host, port)
            ready(host, port)
            notify("READY=1")
            work = asyncio.create_task(rounds.work(service))
            stopped = asyncio.create_task(stop.wait())
            try:
                await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                notify("STOPPING=1")
                service.progress.stopping = True
                service.federation.client.stop()
                stopped.cancel()
                work.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await work


def _bound_arenas() -> None:
    """Let threads share few arenas, where the C library knows such a thing (glibc, mallopt(3))."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, ARENAS)


def notify(state: str) -> None:
    """Tell systemd, where it started us with Type=notify (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    name = "\0" + address[1:] if address.startswith("@") else address
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect(name)
        sock.sendall(state.encode())
