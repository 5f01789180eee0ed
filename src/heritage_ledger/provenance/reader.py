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
from heritage_ledger.index.rows import AssetRow, EventRow, FileFound, PackageRow
from heritage_ledger.provenance.trace import EventSummary, Trace, summarise, trace
from heritage_ledger.provenance.views import AssetSummary, FilePlace, PackageSummary, Shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from heritage_ledger.fixity.evidence import LogEvidence
    from heritage_ledger.home.layout import Home
    from heritage_ledger.index.store import Index


@dataclass(frozen=True, slots=True)
class Reader:
    """One log with its index; `evidence` reads the log's checkpoint anew."""

    home: Home
    origin: str
    index: Index
    evidence: Callable[[], LogEvidence]

    def assets(self) -> Iterator[AssetSummary]:
        """Every asset with its latest version, in the order in which they came in."""
        for row in self.index.assets():
            package = self.index.package(row.asset)
            assert package is not None
            event = self.index.event(package.log_index)
            yield AssetSummary(
                asset=row.asset,
                title=row.title,
                latest=row.latest_version,
                package_cid=format_cid(package.package_cid),
                log_index=package.log_index,
                recorded="" if event is None else event.created,
                files=package.files,
                size=package.bytes,
            )

    def events(self, asset: str | None = None) -> Iterator[EventSummary]:
        """The events of an asset, or all, in the order of the log.

        Raises:
            EvidenceMissing: there is no such asset (`not-found`).
        """
        if asset is not None and self.index.asset(asset) is None:
            raise EvidenceMissing(
                "not-found", "no asset of this name", path=asset, advice="run `heritage list` for the assets"
            )
        return (summarise(row) for row in self.index.events(asset))

    def show(self, what: str) -> Shown:
        """What is known about an asset, package, event or file.

        Raises:
            EvidenceMissing: nothing here has this name (`not-found`).
        """
        found = self.index.resolve(what)
        match found:
            case AssetRow():
                packages = tuple(map(self.package, self.index.packages(found.asset)))
                warnings = time_warnings(self.evidence(), [one.log_index for one in packages])
                return Shown("asset", packages, title=found.title, findings=warnings)
            case PackageRow():
                warnings = time_warnings(self.evidence(), [found.log_index])
                return Shown("package", (self.package(found),), findings=warnings)
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
        """The events and versions that an asset, package or file went through, each checked.

        Raises:
            EvidenceMissing: nothing here has this name (`not-found`).
        """
        return trace(self.index, self.evidence(), what)
