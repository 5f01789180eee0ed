"""What a node does by itself: witnesses are asked, peers followed, pledges kept, packages checked.

Each of these goes on by itself, and so does each peer: one that hangs keeps nobody else waiting. What is
found is told in lines.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final, TypeVar

from heritage_ledger.content.cid import format_cid
from heritage_ledger.errors import HeritageError
from heritage_ledger.log.checkpoint import read_unverified
from heritage_ledger.log.files import CHECKPOINT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from heritage_ledger.content.cid import Cid
    from heritage_ledger.federation.mirroring import Synced
    from heritage_ledger.federation.peers import Peer
    from heritage_ledger.federation.repair import Repaired
    from heritage_ledger.federation.replicas import Replicated
    from heritage_ledger.federation.witnessing import Round
    from heritage_node.service import Service

    Told = Callable[[str], None]

_T = TypeVar("_T")

LOOK_SECONDS: Final = 0.5
"""How often the own log is looked at for something new to have cosigned."""
CHECK_LOOK_SECONDS: Final = 60.0
"""How often the node looks which packages are due for a check."""
TRY_AGAIN_SECONDS: Final = 600.0
"""When a package that could not be made whole may be looked at again, whoever asks."""


async def work(service: Service, told: Told) -> None:
    """Go on until it is cancelled; what nobody expected is raised, and ends the node."""
    async with asyncio.TaskGroup() as group:
        for one in (_witness, _follow, _replicate, _check):
            group.create_task(one(service, told))


async def _tried(told: Told, work: Awaitable[_T]) -> _T | None:
    """Return what comes of it; None where it fails, which is told: the next time may be better."""
    try:
        return await work
    except HeritageError as error:
        told(f"{error.code}: {error}")
        return None


async def _pause(event: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


async def _witness(service: Service, told: Told) -> None:
    """Have the own checkpoint cosigned whenever the log has grown, and at intervals."""
    loop = asyncio.get_running_loop()
    seen: int | None = None
    next_time = 0.0
    while True:
        size = await service.run(_size, service.ledger.home.log / CHECKPOINT)
        if size != seen or loop.time() >= next_time:
            for line in await service.work(_collect, service):
                told(line)
            if seen not in {None, size}:
                service.looked.set()  # it may be a pledge
                await _tried(told, service.work(service.federation.announce))
            seen = size
            next_time = loop.time() + service.ledger.settings.node.sync_seconds
        await asyncio.sleep(LOOK_SECONDS)


def _size(checkpoint: Path) -> int | None:
    with contextlib.suppress(OSError, HeritageError):
        return read_unverified(checkpoint.read_bytes()).size
    return None


def _collect(service: Service) -> list[str]:
    try:
        found = service.federation.collect()
    except HeritageError as error:
        return [f"cosignatures: {error.code}: {error}"]
    return [] if found is None else round_lines(found)


async def _follow(service: Service, told: Told) -> None:
    """Look at each peer at intervals, and at all of them when somebody says that there is something new."""
    loop = asyncio.get_running_loop()
    looks: dict[str, asyncio.Task[None]] = {}
    due: dict[str, float] = {}
    async with asyncio.TaskGroup() as group:
        while True:
            if service.woken.is_set():
                service.woken.clear()
                due.clear()
            peers: list[Peer] | None = await _tried(told, service.run(_peers, service))
            for peer in peers or ():
                running = looks.get(peer.origin)
                if loop.time() >= due.get(peer.origin, 0.0) and (running is None or running.done()):
                    due[peer.origin] = loop.time() + service.ledger.settings.node.sync_seconds
                    looks[peer.origin] = group.create_task(_look(service, told, peer))
            await _pause(service.woken, LOOK_SECONDS)


def _peers(service: Service) -> list[Peer]:
    return list(service.federation.peers)


async def _look(service: Service, told: Told, peer: Peer) -> None:
    for line in await service.work(_sync, service, peer):
        told(line)
    service.looked.set()


def _sync(service: Service, peer: Peer) -> list[str]:
    try:
        synced = service.federation.sync_peer(peer, progress=service.progress)
        if synced.fork is not None:
            service.federation.spread(synced.fork)
    except HeritageError as error:
        return [f"{peer.origin}: {error.code}: {error}"]
    floor = service.federation.take_floor(peer, service.witness)
    return synced_lines(synced) + [f"{peer.origin}: {one.code}: {one.message}" for one in floor]


async def _replicate(service: Service, told: Told) -> None:
    """Fetch what is pledged and not held, after every look at a peer."""
    while True:
        await service.looked.wait()
        service.looked.clear()
        for line in await service.work(_fetch, service):
            told(line)


def _fetch(service: Service) -> list[str]:
    lines = []
    try:
        for one in service.federation.replicate(progress=service.progress):
            lines += replicated_lines(one)
    except HeritageError as error:
        lines.append(f"replicas: {error.code}: {error}")
    return lines


async def _check(service: Service, told: Told) -> None:
    """Look at each package when its time has come, and at once when it was found damaged; mend it."""
    loop = asyncio.get_running_loop()
    tried: dict[Cid, float] = {}
    next_look = 0.0
    while True:
        wanted: dict[Cid, None] = {}
        while service.suspects:  # other threads add to it meanwhile
            wanted[service.suspects.pop()] = None
        if loop.time() >= next_look:
            due = await _tried(told, service.run(service.federation.due, service.ledger.index))
            wanted |= dict.fromkeys(due or ())
            next_look = loop.time() + CHECK_LOOK_SECONDS
        for cid in wanted:
            if loop.time() < tried.get(cid, 0.0):
                continue  # whoever asks for its blocks must not keep this node busy
            lines, is_whole = await service.work(_compare, service, cid)
            for line in lines:
                told(line)
            if not is_whole:
                tried[cid] = loop.time() + TRY_AGAIN_SECONDS
        await asyncio.sleep(LOOK_SECONDS)


def _compare(service: Service, cid: Cid) -> tuple[list[str], bool]:
    try:
        done = service.federation.check(cid, progress=service.progress)
    except HeritageError as error:
        return [f"check of {format_cid(cid)}: {error.code}: {error}"], False
    return [line for one in done for line in repaired_lines(one)], not any(one.findings for one in done)


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
