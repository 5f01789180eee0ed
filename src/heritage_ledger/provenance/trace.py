"""Trace: all events that an asset, a package or one file went through, by whomever, each checked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from heritage_ledger.content.cid import format_cid
from heritage_ledger.fixity.evidence import inclusion_stage, read_event
from heritage_ledger.index.resolve import ambiguous
from heritage_ledger.index.rows import AssetRow, EventRow, FileFound, PackageRow, PackagesFound
from heritage_ledger.provenance.about import Subject, find_mentions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from heritage_ledger.errors import Finding
    from heritage_ledger.fixity.evidence import LogEvidence
    from heritage_ledger.fixity.verdict import Outcome
    from heritage_ledger.index.resolve import Resolved
    from heritage_ledger.index.store import Index
    from heritage_ledger.provenance.about import Mention


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
    log: str | None = None
    """The origin of the log in which it stands."""


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
    """All steps of one subject: those of its log in order, then those of other logs, each in order.

    `subject` says what was traced, `findings` which logs could not be searched to their ends.
    """

    subject: str
    steps: tuple[TraceStep, ...]
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class _Told:
    """An event that is about a subject, and the paths of the file where one is traced."""

    evidence: LogEvidence
    event: EventSummary
    paths: tuple[str, ...] = ()


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
        log=row.origin,
    )


def trace(index: Index, evidence: LogEvidence, others: Iterable[LogEvidence], what: str) -> Trace:
    """Trace what `what` names: an asset, a version, a package, an event or a file.

    `others` are the other logs in which there may be events about it.

    Raises:
        EvidenceMissing: nothing here has this name (`not-found`).
        UsageError: files of several assets have this path (`name-ambiguous`).
    """
    found = index.resolve(what)
    if isinstance(found, FileFound) and found.path is not None and len(found.holders) > 1:
        raise ambiguous(what, (place.package for place in found.places), path=found.path)
    findings: list[Finding] = []
    steps = []
    for told in _told(index, evidence, others, found, findings):
        _, signature = read_event(told.evidence, told.event.log_index)
        inclusion = inclusion_stage(told.evidence, told.event.log_index)
        wrong = (*signature.findings, *inclusion.findings)
        steps.append(TraceStep(told.event, told.paths, signature.outcome, inclusion.outcome, wrong))
    return Trace(_name(found), tuple(steps), tuple(findings))


def events_of(
    index: Index, evidence: LogEvidence, others: Iterable[LogEvidence], what: str, findings: list[Finding]
) -> Iterator[EventSummary]:
    """Yield all events about what `what` names, as `trace` lists them, nothing checked.

    Raises:
        EvidenceMissing: nothing here has this name (`not-found`).
    """
    return (told.event for told in _told(index, evidence, others, index.resolve(what), findings))


def _told(
    index: Index,
    evidence: LogEvidence,
    others: Iterable[LogEvidence],
    found: Resolved,
    findings: list[Finding],
) -> Iterator[_Told]:
    """Yield deposits and mentions, those of the own log in order, then those of the others."""
    if isinstance(found, EventRow):
        yield _Told(evidence, summarise(found))
        return
    subject, paths = _subject(index, found)
    rows = (index.event(package.log_index) for package in subject.packages)
    own = [_Told(evidence, summarise(row), paths.get(row.log_index, ())) for row in rows if row is not None]
    own += map(_mentioned, find_mentions(subject, [evidence], findings))
    yield from sorted(own, key=lambda told: told.event.log_index)
    yield from map(_mentioned, find_mentions(subject, others, findings))


def _mentioned(mention: Mention) -> _Told:
    """The mention, with the package that it is about: the event itself names its CID alone."""
    event = summarise(mention.row)
    package = mention.package
    if package is not None:
        cid = format_cid(package.package_cid)
        event = replace(event, asset=package.asset, version=package.version, package_cid=cid)
    return _Told(mention.evidence, event)


def _subject(index: Index, found: Resolved) -> tuple[Subject, dict[int, tuple[str, ...]]]:
    """The packages that are meant, and the paths of a file in each."""
    match found:
        case AssetRow():
            return Subject(index.origin, tuple(index.packages(found.asset)), found.asset), {}
        case PackagesFound():
            return Subject(index.origin, found.packages), {}
        case FileFound():
            packages: dict[int, PackageRow] = {}
            paths: dict[int, tuple[str, ...]] = {}
            for place in found.places:
                number = place.package.log_index
                packages[number] = place.package
                paths[number] = (*paths.get(number, ()), place.file.path)
            return Subject(index.origin, tuple(packages.values())), paths
        case PackageRow():
            return Subject(index.origin, (found,)), {}
    raise AssertionError(found)  # an event is about itself alone


def _name(found: Resolved) -> str:
    match found:
        case AssetRow():
            return f"asset {found.asset}"
        case PackageRow():
            return f"package {format_cid(found.package_cid)}"
        case PackagesFound():
            return f"package {format_cid(found.packages[0].package_cid)}"
        case EventRow():
            return f"event {found.event_id}"
    first = found.places[0].file
    return f"file {first.path} ({format_cid(first.cid)})"
