"""Pledges and replicas: what this institution promised to hold for others, and holds (`specs/federation.md`).

A replica lies in `replicas/<origin>/<package CID>/` as the bag that it is. It gets its place by one rename,
after its bytes were read back from the disk and came to the CID that the signed event names; then the
`replication` event is written. Until then it lies in `replicas/.incoming/`, where a fetch that was cut off
goes on.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from heritage_ledger.content.cid import format_cid
from heritage_ledger.deposit.release import seal
from heritage_ledger.deposit.statement import frame, record_statement
from heritage_ledger.errors import EvidenceInvalid, EvidenceMissing, Finding, HeritageError, Severity
from heritage_ledger.events.bodies import pledge_body, replication_body
from heritage_ledger.events.event import open_logged
from heritage_ledger.events.timestamps import parse_timestamp
from heritage_ledger.events.vocabulary import PLEDGE, RECOVERY, REPLICATION
from heritage_ledger.federation.assembly import Writer, bad_pieces, fetch, tree_files
from heritage_ledger.federation.mirroring import mirror_evidence, open_mirror_index
from heritage_ledger.federation.source import Nodes
from heritage_ledger.fixity.bag import Claim, check_bag
from heritage_ledger.home import lock
from heritage_ledger.home.deep import PATH_MAX
from heritage_ledger.home.durable import TreeSync, move_folder, remove_tree, sync_folder, writing
from heritage_ledger.index.absorb import add_content, is_complete
from heritage_ledger.progress import SILENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import TypeAlias

    from heritage_ledger.content.package import PackageGraph
    from heritage_ledger.deposit.books import Books
    from heritage_ledger.federation.assembly import Piece, TreeFile
    from heritage_ledger.federation.peers import Peer, Peers
    from heritage_ledger.federation.source import PeerBlocks
    from heritage_ledger.home.layout import Home
    from heritage_ledger.index.rows import PackageRow
    from heritage_ledger.index.store import Index
    from heritage_ledger.log.append import Appended
    from heritage_ledger.log.files import LogFiles
    from heritage_ledger.progress import Progress
    from heritage_ledger.provenance.reader import Reader

    SourceOf: TypeAlias = Callable[[Peer], PeerBlocks]

SPARE_BYTES: Final = 256 << 20
"""Bytes of tag files that a package may have beside the payload that its event states."""


@dataclass(frozen=True, slots=True)
class Pledge:
    """A promise to hold replicas of packages of the log `source` until a time; the latest one counts."""

    source: str
    until: str
    assets: tuple[str, ...]
    max_bytes: int | None
    log_index: int

    def is_active(self, now: datetime) -> bool:
        """Say whether it still holds."""
        return parse_timestamp(self.until) > now


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


def pledge(
    books: Books,
    source: str,
    until: datetime,
    *,
    assets: Sequence[str] = (),
    max_bytes: int | None = None,
) -> Appended:
    """Promise to hold replicas, as an event in the own log."""
    from heritage_ledger.events.timestamps import format_timestamp  # noqa: PLC0415 - only here

    body = pledge_body(
        frame(books, books.now()),
        source=source,
        until=format_timestamp(until),
        assets=assets,
        max_bytes=max_bytes,
    )
    return record_statement(books, body)


@dataclass(slots=True)
class Duties:
    """What this institution promised and what it recorded as fulfilled, by its own log.

    `pledges` has the latest for each origin, `recorded` the origin and CID of every `replication` event.
    """

    pledges: dict[str, Pledge] = field(default_factory=dict)
    recorded: set[tuple[str, str]] = field(default_factory=set)
    complete: set[tuple[str, int]] = field(default_factory=set)
    """Origin and log index of packages whose rows were seen in the mirror's index; they stay."""
    _size: int = 0

    def update(self, index: Index, log: LogFiles, size: int) -> None:
        """Read what the log has got since the last time."""
        for number, document in _documents(index, log, size, PLEDGE, after=self._size - 1):
            most = document.get("maxBytes")
            self.pledges[document["sourceLog"]] = Pledge(
                document["sourceLog"],
                document["until"],
                tuple(document.get("assets", ())),
                None if most is None else int(most),
                number,
            )
        for _, document in _documents(index, log, size, REPLICATION, after=self._size - 1):
            self.recorded.add((document["sourceLog"], document["used"][0]["id"].removeprefix("ipfs://")))
        self._size = max(self._size, size)


@dataclass(frozen=True, slots=True)
class Holder:
    """An institution whose own log says that it holds a verified copy, and when it last verified it."""

    origin: str
    institution: str
    verified: str
    log_index: int


@dataclass(frozen=True, slots=True)
class PackageHolders:
    """Who holds one package beside this home; `wanted` is how many copies the settings ask for, ours too."""

    asset: str
    version: int
    package_cid: str
    wanted: int
    holders: tuple[Holder, ...]

    @property
    def copies(self) -> int:
        """Copies that are known, the own one among them."""
        return 1 + len(self.holders)


def missing_assets(
    reader: Callable[[str], contextlib.AbstractContextManager[Reader]], origin: str, assets: Sequence[str]
) -> tuple[Finding, ...]:
    """Return a warning for each of `assets` that the mirror of a log does not have (yet).

    `reader` opens the mirror of an origin, as `Federation.reader` does.
    """
    known: set[str] = set()
    with contextlib.suppress(EvidenceMissing), reader(origin) as mirror:
        known = {asset for asset in assets if mirror.index.asset(asset) is not None}
    return tuple(
        Finding(
            "pledge-asset-unknown",
            "the mirror of the peer's log has no such asset, so nothing is held for it yet",
            path=asset,
            advice="see whether it is the right name: `heritage list --peer` shows them",
            severity=Severity.WARNING,
        )
        for asset in assets
        if asset not in known
    )


def holders(home: Home, peers: Peers, origin: str) -> dict[str, list[Holder]]:
    """By CID of the packages of `origin`: peers whose mirrored logs record a verified copy."""
    found: dict[str, dict[str, Holder]] = {}
    for peer in peers:
        evidence = mirror_evidence(home, peer)
        if evidence.checkpoint is None or not home.mirror_of(peer.origin).index.exists():
            continue
        with open_mirror_index(home, peer) as index:
            for types in (REPLICATION, RECOVERY):
                for number, document in _documents(index, evidence.log, evidence.checkpoint.size, types):
                    if document["sourceLog"] != origin or document["outcome"] != "success":
                        continue
                    cid = document["used"][0]["id"].removeprefix("ipfs://")
                    one = Holder(peer.origin, peer.institution, document["endedAt"], number)
                    known = found.setdefault(cid, {}).get(peer.origin)
                    if known is None or known.log_index < number:
                        found[cid][peer.origin] = one
    return {cid: list(by_peer.values()) for cid, by_peer in found.items()}


def _documents(
    index: Index, log: LogFiles, size: int, types: Sequence[str], *, after: int = -1
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for row in index.events(types=types, after=after):
        if row.log_index < size:
            yield row.log_index, open_logged(log.read_entry(row.log_index, size)).document


@dataclass(frozen=True, slots=True)
class _Place:
    """A package of a peer: its row in the mirror's index."""

    peer: Peer
    index: Index
    row: PackageRow


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

    def run(
        self, source_of: SourceOf, *, origin: str | None = None, progress: Progress = SILENT
    ) -> Iterator[Replicated]:
        """Fetch what is pledged and not held, a package at a time, in the order of the peer's log.

        With `origin` only packages of that log.
        A package that cannot be had now is told of, and asked for again in the next round.
        """
        now = datetime.now(UTC)
        recorded = set(self._duties.recorded)
        for promise in list(self._duties.pledges.values()):
            peer = self._peers.find(promise.source) if origin in {None, promise.source} else None
            if peer is None or not promise.is_active(now):
                continue
            with open_mirror_index(self._home, peer) as index:
                for row in _promised(index, promise):
                    key = (peer.origin, format_cid(row.package_cid))
                    if key not in recorded or not self._is_held(peer, index, row):
                        place = _Place(peer, index, row)
                        done = self._take(place, source_of(peer), progress, is_new=key not in recorded)
                        if not done.findings:
                            recorded.add(key)  # another version may be the same package
                        yield done

    def _is_held(self, peer: Peer, index: Index, row: PackageRow) -> bool:
        key = (peer.origin, row.log_index)
        if key not in self._duties.complete and is_complete(index, row.log_index):
            self._duties.complete.add(key)
        return key in self._duties.complete and self._folder(peer, row).is_dir()

    def _folder(self, peer: Peer, row: PackageRow) -> Path:
        return self._home.replicas / peer.origin / format_cid(row.package_cid)

    def _incoming(self, row: PackageRow) -> Path:
        return self._home.replicas / ".incoming" / format_cid(row.package_cid)

    def _take(self, place: _Place, source: PeerBlocks, progress: Progress, *, is_new: bool) -> Replicated:
        peer, row = place.peer, place.row
        name = format_cid(row.package_cid)
        started = self._books.now()
        findings: tuple[Finding, ...] = ()
        try:
            with writing(self._home.replicas):
                (self._home.replicas / ".incoming").mkdir(parents=True, exist_ok=True)
            with lock.hold(self._home.replicas / ".incoming" / f"{name}.lock", wait=0):
                self._fetch(place, source, progress)
            if is_new:
                body = replication_body(
                    frame(self._books, started),
                    package_cid=name,
                    source=peer.origin,
                    helpers=sorted(source.given) or [peer.origin],
                    file_count=row.files,
                    byte_count=row.bytes,
                )
                with self._signing:
                    record_statement(self._books, body)
        except HeritageError as error:
            findings = (error.finding, *source.findings)
        return Replicated(
            peer.origin,
            row.asset,
            row.version,
            name,
            source.given.total(),
            tuple(sorted(source.given)),
            findings,
        )

    def _fetch(self, place: _Place, source: PeerBlocks, progress: Progress) -> None:
        peer, index, row = place.peer, place.index, place.row
        target = self._folder(peer, row)
        if not target.is_dir():
            incoming = self._incoming(row)
            with writing(incoming):
                incoming.mkdir(exist_ok=True)
            with TreeSync(incoming) as tree:
                self._fill(place, source, progress)
                try:
                    _check(incoming, row, index)
                except EvidenceInvalid:
                    with contextlib.suppress(HeritageError):
                        remove_tree(incoming)
                    raise
                seal(incoming)
                tree.sync()
            with writing(target):
                target.parent.mkdir(parents=True, exist_ok=True)
            move_folder(incoming, target)
            sync_folder(target.parent)
        elif not is_complete(index, row.log_index):
            _check(target, row, index)

    def _fill(self, place: _Place, source: PeerBlocks, progress: Progress) -> None:
        row, target = place.row, self._folder(place.peer, place.row)
        incoming = self._incoming(row)
        progress.begin("replicate", files=row.files, size=row.bytes)
        left = row.bytes + SPARE_BYTES

        def wanted() -> Iterator[Piece]:
            nonlocal left
            file: TreeFile
            get = Nodes(source.get, source.get_many)
            for file in tree_files(get, row.package_cid):
                _check_fits(target, file.path)
                if file.cid is None:
                    with writing(incoming):
                        (incoming / file.path).mkdir(parents=True, exist_ok=True)
                    continue
                bad, size = bad_pieces(incoming, get, file)
                left -= size
                if left < 0:
                    raise EvidenceInvalid(
                        "replica-too-large",
                        "the package is larger than its signed event says",
                        path=format_cid(row.package_cid),
                        expected=f"{row.bytes} bytes of payload",
                    )
                yield from bad
                progress.advance(files=1)

        with Writer(incoming) as write:
            missing = fetch(wanted(), source.get_many, write, progress)
        if missing:
            raise EvidenceMissing(
                "replica-incomplete",
                "no peer gave every block of the package",
                path=missing[0].path,
                expected=format_cid(missing[0].cid),
                found=f"{len(missing)} blocks are missing",
                advice="what came is kept; the next round asks for the rest",
            )


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


def _promised(index: Index, promise: Pledge) -> Iterator[PackageRow]:
    """Yield the packages that a pledge is about, until its bytes are used up."""
    left = promise.max_bytes
    for row in sorted(index.packages(), key=lambda row: row.log_index):
        if promise.assets and row.asset not in promise.assets:
            continue
        if left is not None:
            if row.bytes > left:
                continue
            left -= row.bytes
        yield row


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
