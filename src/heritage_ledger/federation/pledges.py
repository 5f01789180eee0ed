"""Pledges: what this institution promised to hold for others, what others say they hold for it.

A pledge is an event in the log of whoever promises; the latest one for a log counts. It is taken back by one
that ends with its own time, which every reader takes as ended (`specs/federation.md`, "Pledges").
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from heapq import merge
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from heritage_ledger.content.cid import format_cid
from heritage_ledger.deposit.statement import frame, record_statement
from heritage_ledger.errors import EvidenceMissing, Finding, Severity, UsageError
from heritage_ledger.events.bodies import pledge_body
from heritage_ledger.events.event import MAX_COUNT, open_logged
from heritage_ledger.events.timestamps import format_timestamp, parse_timestamp
from heritage_ledger.events.vocabulary import PLEDGE, RECOVERY, REPLICATION
from heritage_ledger.federation.mirroring import mirror_evidence, open_mirror_index
from heritage_ledger.index.resolve import packages_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from heritage_ledger.deposit.books import Books
    from heritage_ledger.federation.peers import Peers
    from heritage_ledger.home.layout import Home
    from heritage_ledger.home.room import Room
    from heritage_ledger.home.settings import Settings
    from heritage_ledger.index.rows import PackageRow
    from heritage_ledger.index.store import Index
    from heritage_ledger.log.append import Appended
    from heritage_ledger.log.files import LogFiles
    from heritage_ledger.provenance.reader import Reader

DEFAULT_SHARE: Final = 2
"""Without a bound that is given, a pledge is for one in so many of the free bytes beside the reserve."""


@dataclass(frozen=True, slots=True)
class Pledge:
    """A promise to hold replicas of packages of the log `source` until a time; the latest one counts."""

    source: str
    until: str
    assets: tuple[str, ...]
    max_bytes: int | None
    log_index: int
    made: str

    @classmethod
    def of(cls, document: Mapping[str, Any], log_index: int) -> Pledge:
        """The promise that a `Pledge` event makes."""
        most = document.get("maxBytes")
        return cls(
            document["sourceLog"],
            document["until"],
            tuple(document.get("assets", ())),
            None if most is None else int(most),
            log_index,
            document["endedAt"],
        )

    def goes_on(self, before: Pledge | None) -> bool:
        """Say whether the promise stood from `before` on without a gap."""
        if before is None:
            return False
        return parse_timestamp(before.until) > parse_timestamp(self.made)

    def is_active(self, now: datetime) -> bool:
        """Say whether it still holds; one that was withdrawn ended with its own time."""
        return parse_timestamp(self.until) > now

    def covers(self, asset: str, now: datetime) -> bool:
        """Say whether packages of an asset are promised now."""
        return self.is_active(now) and (not self.assets or asset in self.assets)

    def promised(self, index: Index) -> Iterator[PackageRow]:
        """Yield the packages that it is about, in the order of the log, until its bytes are used up."""
        left = self.max_bytes
        for row in sorted(index.packages(), key=lambda row: row.log_index):
            if self.assets and row.asset not in self.assets:
                continue
            if left is not None:
                if row.bytes > left:
                    continue
                left -= row.bytes
            yield row


def pledge(
    books: Books,
    source: str,
    until: datetime,
    *,
    assets: Sequence[str] = (),
    max_bytes: int | None = None,
) -> Appended:
    """Promise to hold replicas, as an event in the own log."""
    body = pledge_body(
        frame(books, books.now()),
        source=source,
        until=format_timestamp(until),
        assets=assets,
        max_bytes=max_bytes,
    )
    return record_statement(books, body)


def withdraw(books: Books, last: Pledge) -> Appended:
    """Take a pledge back: the same one again, which ends when it is signed.

    Raises:
        UsageError: it has ended already (`pledge-none`).
    """
    if not last.is_active(datetime.now(UTC)):
        raise no_pledge(last.source)
    now = books.now()
    body = pledge_body(
        replace(frame(books, now), ended=now),
        source=last.source,
        until=now,
        assets=last.assets,
        max_bytes=None if last.max_bytes is None else min(last.max_bytes, MAX_COUNT),
    )
    return record_statement(books, body, created=now)


def no_pledge(source: str) -> UsageError:
    """The error for a pledge that is to be taken back and is none."""
    return UsageError(
        "pledge-none",
        "nothing is promised to this peer, or not any more",
        path=source,
        advice="`heritage replica list` shows what is held for whom",
    )


def pledges_in(log: LogFiles, size: int) -> dict[str, Pledge]:
    """The latest pledge for each log, read from the log alone, where the index cannot be opened.

    Reads every entry: for a full disk, not for every day.

    Raises:
        EvidenceInvalid, EvidenceMissing: the log is damaged.
    """
    found: dict[str, Pledge] = {}
    for number, entry in enumerate(log.read_entries(0, size, size)):
        if b'"Pledge"' in entry:
            event = open_logged(entry)
            if event.types == PLEDGE:
                made = Pledge.of(event.document, number)
                found[made.source] = made
    return found


@dataclass(slots=True)
class Duties:
    """What this institution promised and what it recorded as fulfilled, by its own log.

    `pledges` has the latest for each origin, `recorded` the origin and CID of every `replication` event since
    the promise to that origin began without a gap.
    """

    pledges: dict[str, Pledge] = field(default_factory=dict)
    recorded: set[tuple[str, str]] = field(default_factory=set)
    complete: set[tuple[str, int]] = field(default_factory=set)
    """Origin and log index of packages whose rows were seen in the mirror's index; they stay."""
    needed: dict[tuple[str, str], Room | None] = field(default_factory=dict)
    """Origin and CID of packages that were refused: the room that each needs, None where no room helps
    because its tree is not the one that its event describes."""
    refused: dict[tuple[str, str], tuple[Finding, ...]] = field(default_factory=dict)
    """Why each of these was refused; told again for as long as it is not tried again."""
    _size: int = 0

    def follow(self, books: Books) -> None:
        """Read what the own log has got since the last time.

        Raises:
            HeritageError: as `Books.catch_up`.
        """
        books.catch_up()
        self.update(books.index, books.log, books.size())

    def update(self, index: Index, log: LogFiles, size: int) -> None:
        """Read what a log has got since the last time; `index` has absorbed it up to `size`."""
        after = self._size - 1
        for number, document in merge(
            _documents(index, log, size, PLEDGE, after=after),
            _documents(index, log, size, REPLICATION, after=after),
            key=itemgetter(0),
        ):
            source = document["sourceLog"]
            if "Pledge" in document["type"]:
                made = Pledge.of(document, number)
                if not made.goes_on(self.pledges.get(source)):  # what was held may have been given up since
                    self.recorded = {key for key in self.recorded if key[0] != source}
                self.pledges[source] = made
            else:
                self.recorded.add((source, document["used"][0]["id"].removeprefix("ipfs://")))
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


def holders(
    home: Home, peers: Peers, origin: str, assets: Mapping[str, Collection[str]]
) -> dict[str, list[Holder]]:
    """By CID of the packages of `origin`: peers whose logs record a verified copy that they promise still.

    `assets` says for each CID which assets it is a version of. A copy that its holder promises no more may be
    gone: it counts no longer, nor does one from before a gap in the promise.
    """
    now = datetime.now(UTC)
    found: dict[str, dict[str, Holder]] = {}
    for peer in peers:
        evidence = mirror_evidence(home, peer)
        if evidence.checkpoint is None or not home.mirror_of(peer.origin).index.exists():
            continue
        log, size = evidence.log, evidence.checkpoint.size
        with open_mirror_index(home, peer) as index:
            promise, since = _standing(index, log, size, origin)
            if promise is None:
                continue
            for types in (REPLICATION, RECOVERY):
                for number, document in _documents(index, log, size, types, after=since):
                    if document["sourceLog"] != origin or document["outcome"] != "success":
                        continue
                    cid = document["used"][0]["id"].removeprefix("ipfs://")
                    if not any(promise.covers(asset, now) for asset in assets.get(cid, ())):
                        continue
                    one = Holder(peer.origin, peer.institution, document["endedAt"], number)
                    known = found.setdefault(cid, {}).get(peer.origin)
                    if known is None or known.log_index < number:
                        found[cid][peer.origin] = one
    return {cid: list(by_peer.values()) for cid, by_peer in found.items()}


def package_holders(
    home: Home, peers: Peers, settings: Settings, index: Index, what: str | None = None
) -> Iterator[PackageHolders]:
    """Yield who holds the own packages, all or those of an asset or CID, by the peers' mirrored logs.

    Raises:
        EvidenceMissing: there is no such asset or package (`not-found`).
    """
    every = list(index.packages())
    rows = every if what is None else packages_of(index, what)
    assets: dict[str, set[str]] = {}
    for row in every:
        assets.setdefault(format_cid(row.package_cid), set()).add(row.asset)
    known = holders(home, peers, settings.origin, assets)
    for row in rows:
        cid = format_cid(row.package_cid)
        wanted = settings.node.copies
        yield PackageHolders(row.asset, row.version, cid, wanted, tuple(known.get(cid, ())))


def _standing(index: Index, log: LogFiles, size: int, origin: str) -> tuple[Pledge | None, int]:
    """The latest pledge for `origin`, and the entry from which on it stands without a gap."""
    promise, since = None, 0
    for at, document in _documents(index, log, size, PLEDGE):
        if document["sourceLog"] == origin:
            made = Pledge.of(document, at)
            since, promise = since if made.goes_on(promise) else at, made
    return promise, since


def _documents(
    index: Index, log: LogFiles, size: int, types: Sequence[str], *, after: int = -1
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for row in index.events(types=types, after=after):
        if row.log_index < size:
            yield row.log_index, open_logged(log.read_entry(row.log_index, size)).document


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
