"""Trace: the events and versions that an asset, a package or one file went through, each checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from heritage_ledger.content.cid import format_cid
from heritage_ledger.fixity.evidence import inclusion_stage, read_event
from heritage_ledger.index.rows import AssetRow, EventRow, FileFound, PackageRow
from heritage_ledger.index.selection import not_found

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heritage_ledger.errors import Finding
    from heritage_ledger.fixity.evidence import LogEvidence
    from heritage_ledger.fixity.verdict import Outcome
    from heritage_ledger.index.store import Index


@dataclass(frozen=True, slots=True)
class EventSummary:
    """One event as the index has it; `agent` is who acted, as `name <URI>`."""

    log_index: int
    event_id: str
    types: tuple[str, ...]
    created: str
    agent: str
    outcome: str | None
    asset: str | None
    version: int | None
    package_cid: str | None


@dataclass(frozen=True, slots=True)
class TraceStep:
    """One event in which the subject occurs, with the verdicts on its signature and inclusion.

    `paths` are those of the file, where one file is traced.
    """

    event: EventSummary
    paths: tuple[str, ...]
    signature: Outcome
    inclusion: Outcome
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Trace:
    """All steps of one subject, in the order of the log. `subject` says what was traced."""

    subject: str
    steps: tuple[TraceStep, ...]


def summarise(row: EventRow) -> EventSummary:
    """The row of an event, with its CID as text."""
    return EventSummary(
        log_index=row.log_index,
        event_id=row.event_id,
        types=row.types,
        created=row.created,
        agent=row.agent,
        outcome=row.outcome,
        asset=row.asset,
        version=row.version,
        package_cid=None if row.package_cid is None else format_cid(row.package_cid),
    )


def trace(index: Index, evidence: LogEvidence, what: str) -> Trace:
    """Trace what `what` names: an asset, a package, an event or a file.

    Raises:
        EvidenceMissing: nothing here has this name (`not-found`).
    """
    subject, rows = _rows(index, what)
    steps = []
    for row, paths in rows:
        _, signature = read_event(evidence, row.log_index)
        inclusion = inclusion_stage(evidence, row.log_index)
        findings = (*signature.findings, *inclusion.findings)
        steps.append(TraceStep(summarise(row), paths, signature.outcome, inclusion.outcome, findings))
    if not steps:
        raise not_found(what)  # a trace of nothing would pass
    return Trace(subject, tuple(steps))


def _rows(index: Index, what: str) -> tuple[str, Iterator[tuple[EventRow, tuple[str, ...]]]]:
    found = index.resolve(what)
    match found:
        case AssetRow():
            return f"asset {found.asset}", ((row, ()) for row in index.events(found.asset))
        case PackageRow():
            events = index.events(found.asset, version=found.version)
            return f"package {format_cid(found.package_cid)}", ((row, ()) for row in events)
        case EventRow():
            return f"event {found.event_id}", iter([(found, ())])
        case FileFound():
            first = found.places[0].file
            asset = _one_asset(index, what)
            traces = (
                index.trace_file(path=what.partition("#")[2], asset=asset)
                if asset is not None
                else index.trace_file(cid=first.cid)
            )
            rows = ((row, item.paths) for item in traces for row in item.events)
            return f"file {first.path} ({format_cid(first.cid)})", rows


def _one_asset(index: Index, what: str) -> str | None:
    asset = what.partition("#")[0]
    return asset if "#" in what and index.asset(asset) is not None else None
