"""Replicas: packages of others that this institution promised to hold, and holds (`specs/federation.md`).

A replica lies in `replicas/<origin>/<package CID>/` as the bag that it is. It gets its place by one rename,
after its bytes were read back from the disk and came to the CID that the signed event names; then the
`replication` event is written. Until then it lies in `replicas/.incoming/`, where a fetch that was cut off
goes on. Whether it fits is asked before its first byte, by the size that was signed.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from heritage_ledger.content.budget import TreeBudget
from heritage_ledger.content.cid import format_cid
from heritage_ledger.deposit.release import seal
from heritage_ledger.deposit.statement import frame, record_statement
from heritage_ledger.errors import EvidenceInvalid, EvidenceMissing, Finding, HeritageError, OperationFailed
from heritage_ledger.events.bodies import replication_body
from heritage_ledger.federation.assembly import MAX_MISSING, Writer, bad_pieces, fetch, tree_files
from heritage_ledger.federation.mirroring import open_mirror_index
from heritage_ledger.federation.source import Nodes
from heritage_ledger.fixity.bag import Claim, check_bag
from heritage_ledger.home import lock
from heritage_ledger.home.deep import PATH_MAX
from heritage_ledger.home.durable import TreeSync, move_folder, remove_tree, sync_folder, writing
from heritage_ledger.home.room import (
    ENDLESS,
    MIB,
    ROUNDING,
    Room,
    check_room,
    fits,
    room_for_others,
    used_room,
)
from heritage_ledger.index.absorb import add_content, is_complete
from heritage_ledger.progress import SILENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import TypeAlias

    from heritage_ledger.content.package import PackageGraph
    from heritage_ledger.deposit.books import Books
    from heritage_ledger.federation.assembly import Piece
    from heritage_ledger.federation.peers import Peer, Peers
    from heritage_ledger.federation.pledges import Duties
    from heritage_ledger.federation.source import PeerBlocks
    from heritage_ledger.home.layout import Home
    from heritage_ledger.home.node_settings import NodeSettings
    from heritage_ledger.index.rows import PackageRow
    from heritage_ledger.index.store import Index
    from heritage_ledger.progress import Progress

    SourceOf: TypeAlias = Callable[[Peer], PeerBlocks]

TAG_FILES: Final = 16
"""Tag files that every package is expected to have, when it is asked whether it fits."""
INCOMING: Final = ".incoming"
DROPPED: Final = ".dropped-"
_NEVER: Final = frozenset({"replica-too-large", "replica-path", "unixfs-malformed", "dagpb-malformed"})
"""What is wrong with a tree whoever gives it: the CID names just this tree, so it is not asked for again."""


@dataclass(frozen=True, slots=True)
class Replicated:
    """What became of one package: the bytes that were fetched, and why it is not held if it is not."""

    origin: str
    asset: str
    version: int
    package_cid: str
    fetched: int
    helpers: tuple[str, ...]
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class _Place:
    """A package of a peer: its row in the mirror's index."""

    peer: Peer
    index: Index
    row: PackageRow

    @property
    def name(self) -> str:
        return format_cid(self.row.package_cid)

    @property
    def key(self) -> tuple[str, str]:
        return self.peer.origin, self.name

    @property
    def needed(self) -> Room:
        """What it takes on the disk, by its signed event."""
        files = self.row.files + TAG_FILES
        return Room(self.row.bytes + files * ROUNDING + MIB, files)

    def refused(self, findings: tuple[Finding, ...]) -> Replicated:
        """What is said of it while it is not asked for again."""
        row = self.row
        return Replicated(self.peer.origin, row.asset, row.version, self.name, 0, (), findings)


class Replicator:
    """Fulfils the pledges of one home. One at a time for each log."""

    def __init__(
        self,
        home: Home,
        books: Books,
        peers: Peers,
        duties: Duties,
        signing: contextlib.AbstractContextManager[object],
    ) -> None:
        """`books` records what was fetched, for one thread at a time: `signing` is held for each event."""
        self._home = home
        self._books = books
        self._peers = peers
        self._signing = signing
        self._duties = duties

    @property
    def _settings(self) -> NodeSettings:
        return self._books.settings.node

    @property
    def _incoming(self) -> Path:
        return self._home.replicas / INCOMING

    def run(
        self, source_of: SourceOf, *, origin: str | None = None, progress: Progress = SILENT
    ) -> Iterator[Replicated]:
        """Fetch what is pledged and not held, a package at a time, in the order of the peer's log.

        With `origin` only packages of that log.
        A package that cannot be had now is told of, and asked for again in the next round; one that does not
        fit when there is more room, and one whose tree is not what its event says never. Both are told of in
        every round all the same: nothing else says that they are not held.
        """
        now = datetime.now(UTC)
        recorded = set(self._duties.recorded)
        promised: set[str] = set()
        for promise in list(self._duties.pledges.values()):
            peer = self._peers.find(promise.source) if origin in {None, promise.source} else None
            if peer is None or not promise.is_active(now):
                continue
            with open_mirror_index(self._home, peer) as index:
                for row in promise.promised(index):
                    place = _Place(peer, index, row)
                    promised.add(place.name)
                    if place.key in recorded and self._is_held(place):
                        continue
                    if not self._may_try(place):
                        yield place.refused(self._duties.refused[place.key])
                        continue
                    done = self._take(place, source_of(peer), progress, is_new=place.key not in recorded)
                    if not done.findings:
                        recorded.add(place.key)  # another version may be the same package
                    yield done
        self._sweep(promised, now, is_part=origin is not None)

    def _is_held(self, place: _Place) -> bool:
        key = (place.peer.origin, place.row.log_index)
        if key not in self._duties.complete and is_complete(place.index, place.row.log_index):
            self._duties.complete.add(key)
        return key in self._duties.complete and self._folder(place).is_dir()

    def _folder(self, place: _Place) -> Path:
        return self._home.replicas / place.peer.origin / place.name

    def _may_try(self, place: _Place) -> bool:
        """Say whether a package that was refused before may fit now; others may be tried."""
        if place.key not in self._duties.needed:
            return True
        needed = self._duties.needed[place.key]
        return needed is not None and fits(needed, self._room(place))

    def _room(self, place: _Place) -> Room:
        """What the disk, its reserve and the quotas leave for a package, what it has already among it."""
        here = used_room(self._incoming / place.name)
        room = room_for_others(self._home.root, self._settings.reserve_mib)
        left = min(room.bytes, self._quota_left(place))
        return Room(max(0, left) + here.bytes, room.files + here.files)

    def _quota_left(self, place: _Place) -> int:
        """Bytes that the quotas of replicas leave beside those on the disk; it may be less than nothing."""
        settings, replicas = self._settings, self._home.replicas
        left = ENDLESS.bytes
        if settings.replicas_mib:
            left = settings.replicas_mib * MIB - used_room(replicas).bytes
        if settings.peer_replicas_mib:
            taken = used_room(replicas / place.peer.origin).bytes
            left = min(left, settings.peer_replicas_mib * MIB - taken)
        return left

    def _take(self, place: _Place, source: PeerBlocks, progress: Progress, *, is_new: bool) -> Replicated:
        peer, row = place.peer, place.row
        started = self._books.now()
        findings: tuple[Finding, ...] = ()
        try:
            with writing(self._home.replicas):
                self._incoming.mkdir(parents=True, exist_ok=True)
            with lock.hold(self._incoming / f"{place.name}.lock", wait=0, passing=True):
                self._fetch(place, source, progress, is_new=is_new)
            self._duties.needed.pop(place.key, None)
            self._duties.refused.pop(place.key, None)
            if is_new:
                body = replication_body(
                    frame(self._books, started),
                    package_cid=place.name,
                    source=peer.origin,
                    helpers=sorted(source.given) or [peer.origin],
                    file_count=row.files,
                    byte_count=row.bytes,
                )
                with self._signing:
                    record_statement(self._books, body)
        except HeritageError as error:
            findings = (error.finding, *source.findings)
            self._duties.refused[place.key] = findings
        return Replicated(
            peer.origin,
            row.asset,
            row.version,
            place.name,
            source.given.total(),
            tuple(sorted(source.given)),
            findings,
        )

    def _fetch(self, place: _Place, source: PeerBlocks, progress: Progress, *, is_new: bool) -> None:
        target = self._folder(place)
        if not target.is_dir():
            incoming = self._incoming / place.name
            room = self._room(place)
            self._check_room(place, room)
            with writing(incoming):
                incoming.mkdir(exist_ok=True)
            with TreeSync(incoming) as tree, self._clearing(place, incoming, room):
                self._fill(incoming, place, room, source, progress)
                _check(incoming, place.row, place.index)
                seal(incoming)
                tree.sync()
            with writing(target):
                target.parent.mkdir(parents=True, exist_ok=True)
            move_folder(incoming, target)
            sync_folder(target.parent)
        elif is_new or not is_complete(place.index, place.row.log_index):
            _check(target, place.row, place.index)

    def _check_room(self, place: _Place, room: Room) -> None:
        self._duties.needed[place.key] = place.needed
        left = self._quota_left(place) + used_room(self._incoming / place.name).bytes
        if left < ENDLESS.bytes and place.needed.bytes > left:
            raise OperationFailed(
                "replica-quota",
                "the package is larger than what the quotas of replicas leave; what is held stays",
                path=str(self._folder(place)),
                expected=f"room for {place.needed.bytes} bytes",
                found=f"room for {max(0, left)} bytes",
                advice="raise replicas_mib or peer_replicas_mib under [node] in heritage.toml, or take the "
                "pledge back (pledge PEER --withdraw)",
            )
        check_room(
            place.needed,
            room,
            what="the package",
            path=self._folder(place),
            advice="free space, or take the pledge back (pledge PEER --withdraw); it "
            "is fetched when there is room",
        )
        del self._duties.needed[place.key]

    @contextlib.contextmanager
    def _clearing(self, place: _Place, incoming: Path, room: Room) -> Iterator[None]:
        """Keep nothing of a package that can never be held, or for which the disk had no room in the end."""
        try:
            yield
        except HeritageError as error:
            is_full = error.code == "disk-full"
            if is_full:  # not again before there is clearly more room than there was
                more = max(MIB, place.row.bytes // 16)
                self._duties.needed[place.key] = Room(room.bytes + more, min(room.files, place.needed.files))
            if error.code in _NEVER:
                self._duties.needed[place.key] = None
            if is_full or error.code in _NEVER or error.code == "replica-damaged":
                with contextlib.suppress(HeritageError):
                    remove_tree(incoming)
            raise

    def _fill(
        self, incoming: Path, place: _Place, room: Room, source: PeerBlocks, progress: Progress
    ) -> None:
        row, target = place.row, self._folder(place)
        progress.begin("replicate", files=row.files, size=row.bytes)
        budget = TreeBudget(place.name, files=row.files, size=row.bytes, room=room)

        def wanted() -> Iterator[Piece]:
            get = Nodes(source.get, source.get_many)
            for file in tree_files(get, row.package_cid, budget):
                _check_fits(target, file.path)
                if file.cid is None:
                    with writing(incoming):
                        (incoming / file.path).mkdir(parents=True, exist_ok=True)
                    continue
                yield from bad_pieces(incoming, get, file)
                progress.advance(files=1)

        with Writer(incoming) as write:
            missing = fetch(wanted(), source.get_many, write, progress)
        if missing:
            raise EvidenceMissing(
                "replica-incomplete",
                "no peer gave every block of the package",
                path=missing[0].path,
                expected=format_cid(missing[0].cid),
                found=f"{len(missing)}{' or more' if len(missing) == MAX_MISSING else ''} blocks are missing",
                advice="what came is kept; the next round asks for the rest",
            )

    def _promised(self, now: datetime) -> set[str]:
        """The CIDs of everything that is promised to anyone."""
        found: set[str] = set()
        for promise in list(self._duties.pledges.values()):
            peer = self._peers.find(promise.source)
            if peer is not None and promise.is_active(now):
                with open_mirror_index(self._home, peer) as index:
                    found |= {format_cid(row.package_cid) for row in promise.promised(index)}
        return found

    def _sweep(self, promised: set[str], now: datetime, *, is_part: bool) -> None:
        """Clear away what is under way for nobody: begun fetches, half-dropped replicas, locks left over.

        What another process works at is left to it.
        """
        try:
            names = [path.name for path in self._incoming.iterdir()]
        except OSError:
            return
        if is_part and not promised.issuperset(names):
            promised = promised | self._promised(now)
        for name in names:
            cid = name.removesuffix(".lock").removeprefix(DROPPED)
            if name == cid and cid in promised:
                continue
            with (
                contextlib.suppress(HeritageError),
                lock.hold(self._incoming / f"{cid}.lock", wait=0, passing=True),
            ):
                if not name.endswith(".lock"):
                    remove_tree(self._incoming / name)


def _check_fits(target: Path, path: str) -> None:
    """Refuse, before anything is promised, a file that has no place where the replica will lie.

    Raises:
        EvidenceInvalid: `replica-path`.
    """
    longest = PATH_MAX - 2 - len(os.fsencode(target.absolute()))
    if len(path.encode()) > longest:
        raise EvidenceInvalid(
            "replica-path",
            "the tree has a name that has no place on a disk",
            path=path[:200],
            expected=f"{longest} bytes at most, in the folder of this replica",
            found=f"{len(path.encode())} bytes",
            advice="move the home to a shorter path; nothing of it was kept",
        )


def _check(folder: Path, row: PackageRow, index: Index) -> None:
    """Read a replica back from the disk, add its rows, and compare it with the signed event.

    Raises:
        EvidenceInvalid: it is another one, or no whole bag (`replica-damaged`).
    """

    def keep(graph: PackageGraph) -> None:
        if not is_complete(index, row.log_index):
            add_content(index, row.log_index, graph)

    claim = Claim(format_cid(row.package_cid), format_cid(row.payload_cid), "the signed event")
    checked = check_bag(folder, claim, SILENT, keep=keep)
    findings = [finding for stage in checked.stages for finding in stage.findings]
    wrong = [finding for finding in findings if finding.severity.value == "error"]
    if wrong or checked.package_cid != claim.package_cid:
        raise EvidenceInvalid(
            "replica-damaged",
            "the replica is not the package that its event names",
            path=str(folder),
            expected=claim.package_cid,
            found=checked.package_cid or (wrong[0].code if wrong else None),
            advice="it is fetched again in the next round; `heritage repair` mends one that was whole",
            findings=tuple(wrong),
        )
