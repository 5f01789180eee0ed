"""Looking things up in one institution's log: the home's own, or one that it mirrors.

What is said about a mirrored log is that institution's word, checked as far as signatures and trees go; the
reader's `origin` says whose it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from heritage_ledger.content.cid import format_cid
from heritage_ledger.errors import EvidenceMissing
from heritage_ledger.fixity.evidence import time_warnings
from heritage_ledger.home.release import is_released
from heritage_ledger.index.rows import AssetRow, EventRow, FileFound, PackageRow, PackagesFound
from heritage_ledger.provenance.trace import EventSummary, Trace, events_of, summarise, trace
from heritage_ledger.provenance.views import AssetSummary, FilePlace, PackageSummary, Shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from heritage_ledger.fixity.evidence import LogEvidence
    from heritage_ledger.home.layout import Home
    from heritage_ledger.index.store import Index


@dataclass(frozen=True, slots=True)
class Reader:
    """One log with its index; `evidence` reads the log's checkpoint anew.

    `others` gives the other logs that are here, in which there may be events about the same things.
    """

    home: Home
    origin: str
    index: Index
    evidence: Callable[[], LogEvidence]
    others: Callable[[], Iterable[LogEvidence]] = tuple

    def assets(self, after: str | None = None, *, limit: int | None = None) -> Iterator[AssetSummary]:
        """Assets with their latest versions, in the order in which they came in, those after `after`.

        Raises:
            EvidenceMissing: there is no asset `after` (`not-found`).
        """
        start = -1 if after is None else self._asset(after).first_index
        for row in self.index.assets(start, limit=limit):
            yield AssetSummary(
                asset=row.asset,
                title=row.title,
                latest=row.latest_version,
                package_cid=format_cid(row.package_cid),
                log_index=row.log_index,
                recorded=row.created,
                files=row.files,
                size=row.bytes,
            )

    def _asset(self, asset: str) -> AssetRow:
        found = self.index.asset(asset)
        if found is None:
            raise EvidenceMissing(
                "not-found", "no asset of this name", path=asset, advice="run `heritage list` for the assets"
            )
        return found

    def events(self, what: str | None = None) -> Iterator[EventSummary]:
        """All events about what `what` names, by whomever, as `trace` lists them; or all of this log.

        Raises:
            EvidenceMissing: nothing here has this name (`not-found`).
        """
        if what is None:
            return (summarise(row) for row in self.index.events())
        return events_of(self.index, self.evidence(), self.others(), what, [])

    def show(self, what: str) -> Shown:
        """What is known about an asset, package, event or file.

        Raises:
            EvidenceMissing: nothing here has this name (`not-found`).
        """
        found = self.index.resolve(what)
        match found:
            case AssetRow():
                packages = tuple(map(self.package, self.index.packages(found.asset)))
                return self._told("asset", packages, what, title=found.title)
            case PackageRow():
                return self._told("package", (self.package(found),), what)
            case PackagesFound():
                return self._told("package", tuple(map(self.package, found.packages)), what)
            case EventRow():
                evidence = self.evidence()
                return Shown(
                    "event",
                    event=summarise(found),
                    document=evidence.read_entry(found.log_index).decode(),
                    findings=time_warnings(evidence, [found.log_index]),
                )
            case FileFound():
                places = tuple(
                    FilePlace(
                        place.file.path,
                        place.file.size,
                        format_cid(place.file.cid),
                        self.package(place.package),
                    )
                    for place in found.places
                )
                return Shown("file", files=places, more=found.more)

    def _told(
        self, kind: str, packages: tuple[PackageSummary, ...], what: str, *, title: str | None = None
    ) -> Shown:
        """Packages with all events about them, and what is odd about their times."""
        warnings = time_warnings(self.evidence(), [one.log_index for one in packages])
        return Shown(kind, packages, title=title, events=tuple(self.events(what)), findings=warnings)

    def package(self, row: PackageRow) -> PackageSummary:
        """The row of a package, for a person."""
        return PackageSummary(
            asset=row.asset,
            version=row.version,
            package_cid=format_cid(row.package_cid),
            payload_cid=format_cid(row.payload_cid),
            log_index=row.log_index,
            folder=self.home.root / row.folder,
            bagit_version=row.bagit_version,
            files=row.files,
            size=row.bytes,
            kind=row.kind,
            released=is_released(self.home.root / row.folder),
        )

    def trace(self, what: str) -> Trace:
        """All events that an asset, package or file went through, by whomever, each checked.

        Raises:
            EvidenceMissing: nothing here has this name (`not-found`).
            UsageError: files of several assets have this path (`name-ambiguous`).
        """
        return trace(self.index, self.evidence(), self.others(), what)
