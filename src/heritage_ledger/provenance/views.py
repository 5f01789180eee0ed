"""What the façade gives back when it is asked: values for people and programs, with CIDs as text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from heritage_ledger.errors import Finding
    from heritage_ledger.provenance.trace import EventSummary


@dataclass(frozen=True, slots=True)
class AssetSummary:
    """One asset and its latest version; `files` and `size` (bytes) count that version's payload."""

    asset: str
    title: str | None
    latest: int
    package_cid: str
    log_index: int
    recorded: str
    files: int
    size: int


@dataclass(frozen=True, slots=True)
class PackageSummary:
    """One version of an asset; `folder` is its bag's, which is gone where it was `released` to the engine."""

    asset: str
    version: int
    package_cid: str
    payload_cid: str
    log_index: int
    folder: Path
    bagit_version: str
    files: int
    size: int
    kind: str
    released: bool = False


@dataclass(frozen=True, slots=True)
class FilePlace:
    """One place in which a file occurs; `path` is the whole path in the bag."""

    path: str
    size: int
    cid: str
    package: PackageSummary


@dataclass(frozen=True, slots=True)
class Shown:
    """What `show` found: `kind` is `asset`, `package`, `event` or `file`, and says which fields are set.

    `findings` are warnings about the times of the events in it.
    """

    kind: str
    packages: tuple[PackageSummary, ...] = ()
    title: str | None = None
    event: EventSummary | None = None
    document: str | None = None
    files: tuple[FilePlace, ...] = ()
    more: bool = False
    findings: tuple[Finding, ...] = ()
    events: tuple[EventSummary, ...] = ()
    """All events about an asset or package, by whomever."""

    @property
    def log_index(self) -> int | None:
        """The log index of the event, or of the latest event about the package; None for a file."""
        if self.event is not None:
            return self.event.log_index
        return self.packages[-1].log_index if self.packages else None


@dataclass(frozen=True, slots=True)
class LogKey:
    """One public key of the log as a C2SP verifier key, to hand out; `kind` says its algorithm."""

    kind: str
    vkey: str


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What an index rebuild made, and what was wrong with what it read."""

    events: int
    packages: int
    findings: tuple[Finding, ...]
