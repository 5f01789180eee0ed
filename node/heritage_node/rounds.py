"""What a node does by itself: witnesses are asked, peers followed, pledges kept, packages checked.

Each of these goes on by itself, and so does each peer in it, behind a fence of its own (`fences`): one that
hangs, lies or sets off a fault of this software keeps nobody else waiting, and ends nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from heritage_ledger.content.cid import format_cid
from heritage_ledger.errors import HeritageError
from heritage_ledger.federation.moving import tell_moved
from heritage_ledger.federation.notices import CHECKPOINT_NOTICE
from heritage_ledger.log.checkpoint import read_unverified
from heritage_ledger.log.files import CHECKPOINT
from heritage_node.calls import call_in
from heritage_node.fences import LONGEST, Done, Fences, jittered
from heritage_node.service import listing, stamp_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from pathlib import Path

    from heritage_ledger.content.cid import Cid
    from heritage_ledger.errors import Finding
    from heritage_ledger.federation.mirroring import Synced
    from heritage_ledger.federation.peers import Peer
    from heritage_ledger.federation.repair import Repaired
    from heritage_ledger.federation.replicas import Replicated
    from heritage_ledger.federation.witnessing import Showing
    from heritage_ledger.home.layout import Home
    from heritage_node.service import Service

_T = TypeVar("_T")

LOOK_SECONDS: Final = 1.0
"""How often the state of files is looked at, and work that had to wait is begun."""
SUSPECT_SECONDS: Final = 5.0
"""How soon a package is looked at that was found damaged while it was served."""
NOTE_SECONDS: Final = 60.0
"""How often it is noted when peers were reached and heard."""
CHECK_LOOK_SECONDS: Final = 60.0
"""How often the node looks which packages are due for a check."""
LONG_SECONDS: Final = 3_600.0
TRY_AGAIN_SECONDS: Final = 600.0
"""When a package that could not be made whole may be looked at again, whoever asks."""
CHECKS_AT_ONCE: Final = 2
"""Packages that are compared at once: one whose blocks are slow to come keeps no other waiting."""


async def work(service: Service, *, first: float | None = None) -> None:
    """Go on until it is cancelled; `first` is the first pause of what fails, else that between two looks."""
    pause = service.ledger.settings.node.sync_seconds if first is None else first
    async with Fences(pause) as fences, asyncio.TaskGroup() as group:
        loops = [_watch, _witness, _follow, _replicate, _check]
        if service.ledger.settings.node.url is not None:
            loops.append(_say_where)
        if service.ledger.settings.node.call_in:
            loops.append(_call_in)
        for loop in loops:
            group.create_task(_kept(service, fences, loop))


async def _kept(service: Service, fences: Fences, loop: Callable[[Service, Fences], Awaitable[None]]) -> None:
    """Begin a loop again whatever ends it, after a pause that grows while it ends soon."""
    name = loop.__name__.strip("_")
    first = pause = fences.first
    while True:
        began = time.monotonic()
        try:
            await loop(service, fences)
        except Exception as error:  # noqa: BLE001 - nothing that is unexpected ends the node
            fences.report.unexpected(name, "the node itself", error)
        pause = first if time.monotonic() - began > first * LONGEST else min(pause * 2, first * LONGEST)
        await asyncio.sleep(jittered(pause))


async def _tried(fences: Fences, name: str, work: Awaitable[_T]) -> _T | None:
    """Return what comes of it; None where it fails, which is told once: the next time may be better."""
    try:
        found = await work
    except HeritageError as error:
        fences.report.findings(name, "this home", (error.finding,))
        return None
    fences.report.findings(name, "this home", ())
    return found


async def _pause(event: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


async def _watch(service: Service, fences: Fences) -> None:
    """See by the state of files, without reading any, that the log has grown or the peers are others.

    Notices of the system (inotify) reach no one over NFS, SMB and most of FUSE; a deposit's process cannot
    call a node whose home another machine shares. To ask for the state of few files does always, and costs
    microseconds.
    """
    home = service.ledger.home
    known: tuple[object, ...] = (None, None)
    next_note = 0.0
    while True:
        if time.monotonic() >= next_note:
            next_note = time.monotonic() + NOTE_SECONDS
            await fences.run(service.watch.keep_contacts, home)
        found = await fences.run(_stamps, home)
        for stamp, before, event in zip(found, known, (service.grown, service.listed), strict=True):
            if stamp != before:
                event.set()
                service.nudged.set()
        known = found
        await asyncio.sleep(LOOK_SECONDS)


def _stamps(home: Home) -> tuple[object, ...]:
    return stamp_of(home.log / CHECKPOINT), (listing(home.peers), listing(home.forks), stamp_of(home.policy))


class _Telling:
    """One checkpoint on its way to witnesses and peers: who has not cosigned it, and who not heard of it."""

    def __init__(
        self,
        showing: Showing | None = None,
        untold: Iterable[Peer] = (),
        urls: Iterable[str] = (),
        failed: Iterable[str] = (),
    ) -> None:
        """`urls` are those of all witnesses; those that `failed` the last time are not waited for."""
        self.showing = showing
        self.missing = () if showing is None else showing.missing
        self.cosigned: set[str] = set()
        self.failed = set(failed)
        self._witnesses = set(urls)
        self._untold = {peer.origin: f"{peer.url}/witness" for peer in untold}

    def unheard(self) -> list[str]:
        """Peers to be told by a notice: whoever is asked to cosign hears of it by that, and looks."""
        heard = self._witnesses - set(self.missing) | self.cosigned
        self._untold = {origin: url for origin, url in self._untold.items() if url not in heard}
        waiting = set(self.missing) - self.failed
        return [origin for origin, url in self._untold.items() if url not in waiting]

    def told(self, origin: str) -> None:
        """A notice to this peer is on its way."""
        del self._untold[origin]

    @property
    def is_over(self) -> bool:
        """Say whether nobody is left to be asked or told."""
        return self.cosigned.issuperset(self.missing) and not self._untold


async def _witness(service: Service, fences: Fences) -> None:
    """Have the own checkpoint cosigned whenever the log has grown, and at intervals."""
    seen: int | None = None
    telling = _Telling()
    next_time = 0.0
    while True:
        size = seen
        if service.grown.is_set():
            service.grown.clear()
            size = await fences.run(_size, service.ledger.home.log / CHECKPOINT)
        if size != seen or time.monotonic() >= next_time:
            untold: list[Peer] = []
            if size != seen and seen is not None:
                service.looked.set()  # it may be a pledge
                untold = await _listed(service, fences)
            seen, next_time = size, time.monotonic() + service.ledger.settings.node.sync_seconds
            unsure = await _tried(fences, "standing", fences.run(_make_sure, service))
            if unsure is not None:
                fences.report.findings("newest", "this home", unsure)
            showing = await _tried(fences, "checkpoint", fences.run(_show, service))
            urls = service.federation.witnesses.urls if untold else ()
            telling = _Telling(showing, untold, urls, telling.failed)
        for url in telling.missing:
            if url not in telling.cosigned:
                fences.start("witness", url, partial(_ask, service, url, telling))
        for origin in telling.unheard():
            if fences.start("announce", origin, partial(_announce, service, origin)):
                telling.told(origin)
        left = max(0.0, next_time - time.monotonic())
        await _pause(service.grown, left if telling.is_over else min(left, LOOK_SECONDS))


def _size(checkpoint: Path) -> int | None:
    with contextlib.suppress(OSError, HeritageError):
        return read_unverified(checkpoint.read_bytes()).size
    return None


def _make_sure(service: Service) -> tuple[Finding, ...]:
    return service.federation.cosigning.make_sure()


def _show(service: Service) -> Showing | None:
    return service.federation.cosigning.show()


def _ask(service: Service, url: str, telling: _Telling) -> Done:
    assert telling.showing is not None
    try:
        found = service.federation.cosigning.ask(url, telling.showing)
    except BaseException:
        telling.failed.add(url)
        raise
    telling.cosigned.add(url)
    telling.failed.discard(url)
    state = "witnessed" if found.is_met else "pending"
    said = f"checkpoint {found.size}: {state}, cosigned by {len(found.cosigned)} keys"
    return Done(states=(("checkpoint", said),))


def _announce(service: Service, origin: str) -> Done:
    peer = service.federation.peers.find(origin)
    if peer is not None:
        service.federation.notices.tell(peer, CHECKPOINT_NOTICE)
    return Done()


async def _listed(service: Service, fences: Fences) -> list[Peer]:
    """The peers; files among theirs that are none are told of, and passed over."""
    strays = await _tried(fences, "peers' folder", fences.run(service.federation.strays))
    if strays is not None:
        fences.report.findings("peer files", "this home", tuple(strays))
    return await _tried(fences, "peers", fences.run(_peers, service)) or []


def _peers(service: Service) -> list[Peer]:
    return list(service.federation.peers)


async def _follow(service: Service, fences: Fences) -> None:
    """Look at each peer at intervals, soon when it says that there is something new, at all when told to."""
    peers: list[Peer] = []
    again = min(fences.first, service.ledger.settings.node.sync_seconds)
    service.listed.set()
    while True:
        if service.listed.is_set():
            service.listed.clear()
            peers = await _listed(service, fences)
        service.nudged.clear()
        while service.noticed:
            fences.hurry("sync", service.noticed.pop())
        if service.woken.is_set():
            service.woken.clear()
            service.told.update(peer.origin for peer in peers)
            for kind in ("sync", "witness", "announce", "replicate"):
                fences.hurry(kind)
        for origin, url in list(service.moved.items()):
            if fences.start("move", origin, partial(_move, service, origin, url)):
                service.moved.pop(origin)
        for peer in peers:
            fences.start("sync", peer.origin, partial(_sync, service, peer, again), again=again)
        await _pause(service.nudged, fences.wait("sync", again))


def _move(service: Service, origin: str, url: str) -> Done:
    moved = service.federation.follow(origin, url)
    return Done((f"{origin}: moved to {moved.url}",) if moved is not None else ())


def _sync(service: Service, peer: Peer, again: float) -> Done:
    """Look at a peer; if the last look was good and it said nothing since, up to what was cosigned here."""
    origin, began = peer.origin, time.monotonic()
    is_told = origin in service.told
    service.told.discard(origin)
    shown = None
    if not is_told and began - service.whole_looks.get(origin, -math.inf) < again:
        shown = service.witness.latest(origin)
        if shown is None or read_unverified(shown).size <= service.federation.mirrored(origin):
            return Done()
    synced = service.federation.sync_peer(peer, shown=shown, progress=service.progress)
    service.watch.note_look(origin, synced.findings)
    if synced.size != synced.old_size:
        service.federation.repairs.news()
    if synced.size != synced.old_size or origin not in service.whole_looks or service.unheld:
        service.loop.call_soon_threadsafe(service.looked.set)
    if synced.fork is not None:
        service.federation.spread(synced.fork)
    floor = service.federation.take_floor(peer, service.witness)
    if synced.findings:
        service.whole_looks.pop(origin, None)
    elif shown is None:
        service.whole_looks[origin] = began
    return Done(synced_lines(synced), (*synced.findings, *floor))


async def _say_where(service: Service, fences: Fences) -> None:
    """Tell each peer once after a start where this node is reached, if it has moved while it did not run."""
    told: set[str] = set()
    while True:
        for peer in await _listed(service, fences):
            if peer.origin not in told:
                fences.start("place", peer.origin, partial(_place, service, peer, told))
        await asyncio.sleep(CHECK_LOOK_SECONDS)


def _place(service: Service, peer: Peer, told: set[str]) -> Done:
    url = service.ledger.settings.node.url
    assert url is not None
    home, notices = service.ledger.home, service.federation.notices
    is_told = tell_moved(home.mirror_of(peer.origin), peer, notices, url)
    told.add(peer.origin)
    return Done((f"{peer.origin}: told that this node is at {url} now",) if is_told else ())


async def _call_in(service: Service, fences: Fences) -> None:
    """Keep a call open at each peer that has an address: nobody can call this node."""
    while True:
        for peer in await _listed(service, fences):
            if not peer.calls_in:
                fences.start("call in", peer.origin, partial(_call, service, peer))
        await asyncio.sleep(LOOK_SECONDS)


def _call(service: Service, peer: Peer) -> Done:
    call_in(service, peer)
    return Done()


async def _replicate(service: Service, fences: Fences) -> None:
    """Fetch what is pledged and not held, when a log has grown, and now and then; each log by itself."""
    wanted: set[str] = set()
    while True:
        await _pause(service.looked, LOOK_SECONDS if wanted else LONG_SECONDS)
        if service.looked.is_set() or not wanted:
            service.looked.clear()
            wanted |= set(await _tried(fences, "pledges", fences.run(service.federation.pledges)) or ())
        for origin in list(wanted):
            if fences.start("replicate", origin, partial(_fetch, service, origin)):
                wanted.discard(origin)


def _fetch(service: Service, origin: str) -> Done:
    done = list(service.federation.replicate(origin=origin, progress=service.progress))
    if any(one.findings for one in done):
        service.unheld.add(origin)
    else:
        service.unheld.discard(origin)
    lines = tuple(replicated_line(one) for one in done if not one.findings)
    return Done(lines, tuple(finding for one in done for finding in one.findings))


async def _check(service: Service, fences: Fences) -> None:
    """Look at each package when its time has come, and at once when it was found damaged; mend it."""
    wanted: dict[Cid, None] = {}
    next_look = 0.0
    while True:
        while service.suspects:  # other threads add to it meanwhile
            wanted[service.suspects.pop()] = None
        if time.monotonic() >= next_look or service.federation.repairs.is_waiting:
            due = await _tried(
                fences, "due", fences.run(service.federation.repairs.due, service.ledger.index)
            )
            service.watch.due = len(due or ())
            wanted |= dict.fromkeys(due or ())
            next_look = time.monotonic() + CHECK_LOOK_SECONDS
        for cid in list(wanted):
            if fences.count("check") >= CHECKS_AT_ONCE:
                break
            # whoever asks for the blocks of a package that nobody can mend must not keep this node busy
            fences.start("check", format_cid(cid), partial(_compare, service, cid), pause=TRY_AGAIN_SECONDS)
            del wanted[cid]
        await asyncio.sleep(LOOK_SECONDS if wanted else SUSPECT_SECONDS)


def _compare(service: Service, cid: Cid) -> Done:
    done = service.federation.repairs.check(cid, progress=service.progress)
    service.watch.note_check(cid, done)
    return Done(
        tuple(line for one in done for line in repaired_lines(one)),
        tuple(finding for one in done for finding in one.findings),
    )


def synced_lines(synced: Synced) -> tuple[str, ...]:
    """Say what a look at a peer did, if anything."""
    lines = []
    if synced.size != synced.old_size:
        lines.append(f"{synced.origin}: mirrored from {synced.old_size} to {synced.size}")
    if synced.fork is not None:
        lines.append(f"{synced.origin}: FORK, proof kept as {synced.fork.path.name}")
    return tuple(lines)


def replicated_line(one: Replicated) -> str:
    """Say that a package is held that was pledged."""
    return f"{one.origin}: {one.asset} version {one.version}: replica held, {one.fetched} bytes fetched"


def repaired_lines(one: Repaired) -> list[str]:
    """Say what a check found and mended, if anything."""
    if not one.was_damaged:
        return []
    files, count = "files" if len(one.files) != 1 else "file", len(one.files)
    return [f"{one.package_cid}: found damaged, {count} {files} mended, {one.fetched} bytes fetched"]
