"""The index against the log, in the time of one reading of the log: no row is believed, and none is missing.

A plain check takes its list of packages from the index. Each row that it uses is compared with the signed
event, and the log's own entries are asked which packages it took in: a row that was struck out is found by
that. Entries are found by their bytes, a few milliseconds for each thousand, and opened only where a row is
missing.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import astuple, dataclass, field
from typing import TYPE_CHECKING, Any, Final

from heritage_ledger.errors import EvidenceInvalid, Finding, HeritageError
from heritage_ledger.events.event import open_event
from heritage_ledger.fixity.verdict import Stage, Verdict, judge, not_checked
from heritage_ledger.index.absorb import event_row, package_row
from heritage_ledger.index.rows import AssetRow

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from heritage_ledger.events.event import Event
    from heritage_ledger.fixity.evidence import LogEvidence
    from heritage_ledger.home.layout import Home
    from heritage_ledger.index.rows import PackageRow
    from heritage_ledger.index.store import Index

_TAKES_IN: Final = b'"type":["PreservationEvent","Ingestion",'
"""What stands in the canonical bytes of every event that takes a package in, and in no text of any event."""
_ADVICE: Final = "run `heritage index rebuild`, then `heritage verify` again; nothing is lost"
MAX_NAMED: Final = 20
"""Packages that are missing in the index and are named; a rebuild brings all of them back."""


@dataclass(slots=True)
class _Asset:
    """What the signed events say of an asset, in the order of the log."""

    asset: str
    first_index: int
    title: str | None = None
    versions: list[int] = field(default_factory=list)

    def add(self, version: int, title: str | None) -> None:
        self.versions.append(version)
        self.title = self.title if title is None else title


class RowsCheck:
    """Compares the rows of an index with the signed events. For one check."""

    def __init__(self, home: Home, index: Index) -> None:
        self._home = home
        self._index = index
        self._assets: dict[str, _Asset] = {}

    def stage(self, row: PackageRow, event: Event) -> Stage:
        """The stage `index` of one package: its rows say what the signed event says."""
        number = row.log_index
        wanted = package_row(number, event, row.tag_files, self._home)  # tag files: the bag says how many
        findings = [*_compare("packages", wanted, row)]
        findings += _compare("events", event_row(number, event), self._index.event(number))
        self._assets.setdefault(wanted.asset, _Asset(wanted.asset, number)).add(wanted.version, event.title)
        return judge("index", findings, detail="the rows say what the signed event says")

    def missing(
        self, evidence: LogEvidence, listed: Collection[PackageRow], assets: set[str]
    ) -> Iterator[Verdict]:
        """Yield a verdict where the log took packages in that the index does not have, of `assets` or at all.

        Also where that could not be found out. `listed` are all packages that the index has of them.
        """
        subject = f"index of {evidence.origin}"
        if evidence.checkpoint is None:
            why = "there is no checkpoint that can be trusted, so it is not known what the log took in"
            yield Verdict(subject, (not_checked("index", why),))
            return
        size = evidence.checkpoint.size
        try:
            findings = [*self._unlisted(evidence, {row.log_index for row in listed}, assets, size)]
        except HeritageError as error:
            findings = [error.finding]
        findings += self._changed_assets(Counter(row.asset for row in listed if row.log_index < size))
        if (events := self._index.count_events(size)) != size:
            findings.append(
                Finding(
                    "index-count",
                    "the index has not as many events as the log",
                    expected=f"{size} events",
                    found=f"{events} events",
                    advice=_ADVICE,
                )
            )
        if findings:
            yield Verdict(subject, (judge("index", findings),))

    def _changed_assets(self, listed: Counter[str]) -> Iterator[Finding]:
        """Compare the rows of those assets of which every listed version was checked."""
        for seen in self._assets.values():
            row = self._index.asset(seen.asset)
            if len(seen.versions) != listed[seen.asset]:
                continue  # not all were asked for, or the event of one cannot be read
            wanted = AssetRow(seen.asset, seen.title, seen.first_index, max(seen.versions))
            if row is None or row.latest_version <= wanted.latest_version or not self._is_new(row):
                yield from _compare("assets", wanted, row)

    def _is_new(self, row: AssetRow) -> bool:
        """Say whether the asset got a version while the check went on."""
        return self._index.package(row.asset, row.latest_version) is not None

    def _unlisted(
        self, evidence: LogEvidence, known: set[int], assets: set[str], size: int
    ) -> Iterator[Finding]:
        named = 0
        for number, entry in evidence.log.find_entries(_fits(assets), 0, size, size, but=known):
            event = open_event(entry)
            if event.package is None or (assets and event.asset_id not in assets):
                continue
            named += 1
            if named > MAX_NAMED:
                return
            yield Finding(
                "index-package-missing",
                "the log took a package in that the index does not have, so it was not checked",
                f"{event.asset_id} version {event.version}",
                expected=f"a row for entry {number}, {event.package_cid}",
                found="none",
                advice=_ADVICE,
            )


def check_complete(home: Home, index: Index, evidence: LogEvidence) -> None:
    """Raise `EvidenceInvalid` where the log took packages in that the index does not have.

    Its codes are `index-package-missing` and `index-count`; nothing is said without a checkpoint.
    """
    for verdict in RowsCheck(home, index).missing(evidence, list(index.packages()), set()):
        for finding in verdict.findings:
            raise EvidenceInvalid.of(finding)


def _fits(assets: set[str]) -> Callable[[bytes], bool]:
    quoted = [f'"{asset}"'.encode() for asset in assets]

    def fits(data: bytes) -> bool:
        return _TAKES_IN in data and (not quoted or any(name in data for name in quoted))

    return fits


def _compare(table: str, wanted: Any, found: Any) -> Iterator[Finding]:
    if wanted == found:
        return
    if found is None:
        yield _wrong(table, astuple(wanted), None)
        return
    pairs = [pair for pair in zip(astuple(wanted), astuple(found), strict=True) if pair[0] != pair[1]]
    yield _wrong(table, tuple(one for one, _ in pairs), tuple(other for _, other in pairs))


def _wrong(table: str, wanted: tuple[Any, ...], found: Any) -> Finding:
    return Finding(
        "index-row",
        f"a row of the table {table} is not what log and bags say",
        "index.db",
        expected=repr(wanted)[:160],
        found="no row" if found is None else repr(found)[:160],
        advice=_ADVICE,
    )
