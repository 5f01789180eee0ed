"""All events about a thing, by whomever: its deposits, and what logs say of its packages afterwards.

An event that took a package in names asset and version; those about it later (recoveries, replications,
disseminations, fixity checks) name the package's CID, pledges name assets. The index has the first; the rest
is looked for in the bytes of the logs, the own one and the mirrors of others, and opened where it stands.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from heritage_ledger.content.cid import format_cid
from heritage_ledger.errors import Finding, HeritageError, Severity
from heritage_ledger.events.event import open_event
from heritage_ledger.index.absorb import event_row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from heritage_ledger.events.event import Event
    from heritage_ledger.fixity.evidence import LogEvidence
    from heritage_ledger.index.rows import EventRow, PackageRow
    from heritage_ledger.log.files import LogFiles

_AT_ONCE: Final = 256
"""Entries in one file of the log."""
_NAMED: Final = re.compile(rb"ipfs://([a-zA-Z0-9]+)")


@dataclass(frozen=True, slots=True)
class Subject:
    """What is asked about: packages of the log `origin`, and the asset where all of it is meant."""

    origin: str
    packages: Sequence[PackageRow]
    asset: str | None = None


@dataclass(frozen=True, slots=True)
class Mention:
    """An event about a subject, in the log that `evidence` reads; `package` is the one that it is about."""

    evidence: LogEvidence
    row: EventRow
    package: PackageRow | None


def find_mentions(
    subject: Subject, logs: Iterable[LogEvidence], findings: list[Finding]
) -> Iterator[Mention]:
    """Yield the events about `subject` in each of `logs` that took nothing in, in log order.

    What could not be searched is told in `findings`, as warnings.
    """
    packages = {format_cid(row.package_cid): row for row in reversed(subject.packages)}
    fits = _fits({cid.encode() for cid in packages}, subject.asset)
    for evidence in logs:
        if evidence.checkpoint is None:
            findings.append(_not_searched(evidence.origin, evidence.checkpoint_findings))
            continue
        size = evidence.checkpoint.size
        for start in range(0, size, _AT_ONCE):
            try:
                for index, event in _opened(evidence.log, fits, start, min(start + _AT_ONCE, size), size):
                    if event.package is not None:
                        continue
                    named = next((packages[cid] for cid in event.package_cids if cid in packages), None)
                    if named is not None or _is_promised(event, subject):
                        yield Mention(evidence, event_row(index, event), named)
            except HeritageError as error:
                findings.append(_not_searched(evidence.origin, (error.finding,)))


def _is_promised(event: Event, subject: Subject) -> bool:
    """Say whether the event is a pledge that names the asset."""
    document = event.document
    return document.get("sourceLog") == subject.origin and subject.asset in document.get("assets", ())


def _opened(
    log: LogFiles, fits: Callable[[bytes], bool], start: int, end: int, size: int
) -> Iterator[tuple[int, Event]]:
    for index, entry in log.find_entries(fits, start, end, size):
        yield index, open_event(entry)


def _fits(cids: set[bytes], asset: str | None) -> Callable[[bytes], bool]:
    """Say of some bytes whether one of the names occurs in them; what fits is looked at as an event."""
    quoted = None if asset is None else b'"' + asset.encode() + b'"'
    one = b"ipfs://" + next(iter(cids)) if len(cids) == 1 else None

    def fits(data: bytes) -> bool:
        if quoted is not None and quoted in data:
            return True
        if one is not None:
            return one in data
        return not cids.isdisjoint(_NAMED.findall(data))

    return fits


def _not_searched(origin: str, why: Sequence[Finding]) -> Finding:
    return Finding(
        "log-not-searched",
        "a log could not be searched to its end, so events about this may be missing here",
        origin,
        found="; ".join(f"{finding.code}: {finding.message}" for finding in why)[:200] or None,
        advice="run `heritage log verify`; a mirror is fetched again by `heritage peer sync`",
        severity=Severity.WARNING,
    )
