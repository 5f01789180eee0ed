"""Running a node: the server, the rounds of looking at peers, and a clean stop (`specs/federation.md`)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from typing import TYPE_CHECKING, Final

from aiohttp import web

from heritage_ledger.content.cid import format_cid
from heritage_ledger.errors import HeritageError, OperationFailed
from heritage_ledger.ledger import Ledger
from heritage_node import api, gateway, limits, logs, metrics, problems, routing, witness
from heritage_node.metrics import METRICS, Metrics
from heritage_node.service import SERVICE, Service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from heritage_ledger.content.cid import Cid
    from heritage_ledger.federation.mirroring import Synced
    from heritage_ledger.federation.repair import Repaired
    from heritage_ledger.federation.replicas import Replicated
    from heritage_ledger.federation.witnessing import Round

STOP_SECONDS: Final = 10.0
"""How long a stop waits for answers under way."""
CHECK_LOOK_SECONDS: Final = 60.0
"""How often the node looks which packages are due for a check."""
TRY_AGAIN_SECONDS: Final = 600.0
"""When a package that nobody could mend is looked at again because of a request."""
LOOK_SECONDS: Final = 0.5
"""How often the own log is looked at for something new to have cosigned."""
log = logging.getLogger("heritage_node")


def make_app(service: Service, connections: limits.Connections) -> web.Application:
    """Return the application over an opened service."""
    counts = Metrics(connections)
    app = web.Application(
        middlewares=[connections.middleware, counts.middleware, problems.middleware],
        client_max_size=limits.MAX_BODY,
        logger=log,
    )
    app[SERVICE] = service
    app[METRICS] = counts
    for module in (logs, witness, gateway, routing, api, metrics):
        app.add_routes(module.routes)
    return app


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
    told: Callable[[str], None] = lambda _: None,
) -> None:
    """Run the node of a home until SIGTERM or SIGINT.

    Args:
        home: the home's folder.
        passphrase: opens the node's keys.
        ready: told the address and port when the node answers.
        told: gets a line about each thing that the rounds found.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    connections = limits.Connections()
    with Ledger.open(home, passphrase=passphrase) as ledger, Service.of(ledger, passphrase) as service:
        settings = ledger.settings.node
        app = make_app(service, connections)
        async with serving(app, connections, settings.host, settings.port) as (host, port):
            ready(host, port)
            notify("READY=1")
            tasks = [asyncio.create_task(work(service, told)) for work in (_rounds, _checks)]
            try:
                await stop.wait()
            finally:
                notify("STOPPING=1")
                service.progress.stopping = True
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)


async def _rounds(service: Service, told: Callable[[str], None]) -> None:
    """Look at the peers at intervals, when somebody says so, and whenever the own log has grown."""
    loop = asyncio.get_running_loop()
    next_round = 0.0
    seen: tuple[int, int] | None = None
    while True:
        mark = await service.run(_mark, service.ledger.home.log / "checkpoint")
        due = loop.time() >= next_round or service.woken.is_set()
        if mark != seen or due:
            grown = seen is not None and not due
            for line in await service.run(_collect, service):
                told(line)
            if grown:
                await service.run(service.federation.announce)
            seen = await service.run(_mark, service.ledger.home.log / "checkpoint")
        if due:
            service.woken.clear()
            for line in await service.run(_sync, service):
                told(line)
            next_round = loop.time() + service.ledger.settings.node.sync_seconds
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS):
                await service.woken.wait()


async def _checks(service: Service, told: Callable[[str], None]) -> None:
    """Look at each package when its time has come, and at once when it was found damaged; mend it."""
    loop = asyncio.get_running_loop()
    tried: dict[Cid, float] = {}
    next_look = 0.0
    while True:
        wanted = set()
        while service.suspects:  # other threads add to it meanwhile
            cid = service.suspects.pop()
            if loop.time() >= tried.get(cid, 0.0):
                wanted.add(cid)
        if loop.time() >= next_look:
            wanted.update(await service.run(service.federation.due, service.ledger.index))
            next_look = loop.time() + CHECK_LOOK_SECONDS
        for cid in wanted:
            lines, is_whole = await service.run(_check, service, cid)
            for line in lines:
                told(line)
            if not is_whole:  # whoever asks for its blocks must not keep this node busy
                tried[cid] = loop.time() + TRY_AGAIN_SECONDS
        await asyncio.sleep(LOOK_SECONDS)


def _check(service: Service, cid: Cid) -> tuple[list[str], bool]:
    try:
        done = service.federation.check(cid, progress=service.progress)
    except HeritageError as error:
        return [f"check of {format_cid(cid)}: {error.code}: {error}"], False
    return [line for one in done for line in repaired_lines(one)], not any(one.findings for one in done)


def _mark(checkpoint: Path) -> tuple[int, int] | None:
    try:
        found = checkpoint.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _collect(service: Service) -> list[str]:
    try:
        found = service.federation.collect()
    except HeritageError as error:
        return [f"cosignatures: {error.code}: {error}"]
    return [] if found is None else round_lines(found)


def _sync(service: Service) -> list[str]:
    lines = []
    try:
        for synced in service.federation.sync(progress=service.progress):
            lines += synced_lines(synced)
            if synced.fork is not None:
                service.federation.spread(synced.fork)
        for one in service.federation.replicate(progress=service.progress):
            lines += replicated_lines(one)
    except HeritageError as error:
        lines.append(f"peers: {error.code}: {error}")
    return lines


def round_lines(found: Round) -> list[str]:
    """Say what a round of asking witnesses did."""
    state = "witnessed" if found.is_met else "pending"
    lines = [f"checkpoint {found.size}: {state}, cosigned by {len(found.cosigned)} keys"]
    return lines + [f"witness: {one.code}: {one.message} ({one.path})" for one in found.findings]


def synced_lines(synced: Synced) -> list[str]:
    """Say what a look at a peer did, if anything."""
    lines = []
    if synced.size != synced.old_size:
        lines.append(f"{synced.origin}: mirrored from {synced.old_size} to {synced.size}")
    if synced.fork is not None:
        lines.append(f"{synced.origin}: FORK, proof kept as {synced.fork.path.name}")
    return lines + [f"{synced.origin}: {one.code}: {one.message}" for one in synced.findings]


def replicated_lines(one: Replicated) -> list[str]:
    """Say what became of a package that is pledged."""
    name = f"{one.origin}: {one.asset} version {one.version}"
    if not one.findings:
        return [f"{name}: replica held, {one.fetched} bytes fetched"]
    return [f"{name}: {finding.code}: {finding.message}" for finding in one.findings]


def repaired_lines(one: Repaired) -> list[str]:
    """Say what a check found and mended, if anything."""
    if not one.was_damaged:
        return []
    files, count = "files" if len(one.files) != 1 else "file", len(one.files)
    lines = [f"{one.package_cid}: found damaged, {count} {files} mended, {one.fetched} bytes fetched"]
    return lines + [f"{one.package_cid}: {found.code}: {found.path} {found.found}" for found in one.findings]


def notify(state: str) -> None:
    """Tell systemd, where it started us with Type=notify (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    name = "\0" + address[1:] if address.startswith("@") else address
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect(name)
        sock.sendall(state.encode())
