"""Results in words for people: aligned lines, the important one last, every value escaped."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Final

from heritage_cli import quantities
from heritage_cli.escape import printable
from heritage_ledger.errors import Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from heritage_cli.output import Output
    from heritage_ledger.deposit.receipt import Receipt
    from heritage_ledger.errors import Finding, HeritageError
    from heritage_ledger.fixity.verdict import Stage, Verdict
    from heritage_ledger.provenance.trace import EventSummary, TraceStep
    from heritage_ledger.provenance.views import AssetSummary, FilePlace, PackageSummary, Shown

_LABEL: Final = 12
"""Columns of a label."""
HELD: Final = "held by the engine alone; `heritage export` writes it again"
_EVERY_EVENT: Final = {"Activity", "PreservationEvent"}
"""Types that every event has; the one beside them says what happened."""


def facts(pairs: Iterable[tuple[str, object]], *, indent: str = "") -> Iterator[str]:
    """Yield one aligned line for each pair whose value is not None."""
    for label, value in pairs:
        if value is not None:
            yield f"{indent}{label:<{_LABEL}} {printable(str(value))}"


def row(parts: Sequence[str | None], width: int | None) -> Iterator[str]:
    """Yield the parts in one line, or in several where the terminal is too narrow for one.

    Nothing is cut off: names and addresses are there to be copied.
    """
    shown = [printable(part) for part in parts if part]
    line = "  ".join(shown)
    if width is None or len(line) <= width:
        yield line
        return
    yield shown[0]
    yield from (f"    {part.strip()}" for part in shown[1:])


def finding_lines(finding: Finding, output: Output, *, indent: str = "") -> Iterator[str]:
    """Yield a finding: where and what, then expected, found, and what to do next."""
    where = "" if finding.path is None else f"{printable(finding.path)}: "
    kind = output.paint("warning", "warning ") if finding.severity is Severity.WARNING else ""
    yield f"{indent}{kind}{printable(finding.code)}  {where}{printable(finding.message)}"
    yield from facts(
        (
            ("expected", finding.expected),
            ("found", finding.found),
            ("rule", finding.rule),
            ("next", finding.advice),
        ),
        indent=indent + "  ",
    )


def error_lines(error: HeritageError) -> Iterator[str]:
    """Yield an error: its code and message first, what to do next last."""
    yield f"heritage: {error.code}: {printable(error.message)}"
    yield from facts(
        (
            ("where", error.path),
            ("expected", error.expected),
            ("found", error.found),
            ("rule", error.rule),
            ("next", error.advice),
        ),
        indent="  ",
    )


def receipt_lines(receipt: Receipt, output: Output) -> Iterator[str]:
    """Yield a receipt, its warnings before it and the sentence that counts at its end."""
    for finding in receipt.findings:
        yield from finding_lines(finding, output)
    checkpoint = receipt.checkpoint.decode().split("\n")
    shared = f"{quantities.size(receipt.shared)} lie on the disk once, together with an earlier version"
    yield from facts(
        (
            ("asset", receipt.asset),
            ("title", receipt.title),
            ("version", receipt.version),
            ("files", f"{quantities.count(receipt.files, 'file')}, {quantities.size(receipt.size)}"),
            ("shared", shared if receipt.shared else None),
            ("bag", HELD if receipt.released else receipt.bag_path),
            ("payload", receipt.payload_cid),
            ("package", receipt.package_cid),
            ("event", receipt.event_id),
            ("log entry", receipt.log_index),
            ("checkpoint", f"{checkpoint[0]}, size {checkpoint[1]}, root {checkpoint[2]}"),
        )
    )
    what = "held already, nothing was recorded" if receipt.held else "sealed, addressed and recorded"
    done = f"{what}: version {receipt.version} of {receipt.asset}"
    yield output.paint("strong", printable(done))


def verdict_lines(verdict: Verdict, output: Output) -> Iterator[str]:
    """Yield a verdict: its subject, then every stage with what it found."""
    name = verdict.subject if verdict.asset is None else f"{verdict.asset} version {verdict.version}"
    yield printable(name)
    for stage in verdict.stages:
        yield from stage_lines(stage, output)


def stage_lines(stage: Stage, output: Output) -> Iterator[str]:
    """Yield one stage: `pass`, `FAIL` or `not checked`, why, and every finding."""
    word = said(stage.outcome.value)
    detail = printable(stage.detail) if stage.detail else ""
    gap = " " * (_LABEL - len(word))
    yield f"  {printable(stage.name):<{_LABEL}} {output.paint(word, word)}{gap}{detail}".rstrip()
    for finding in stage.findings:
        yield from finding_lines(finding, output, indent="      ")


def said(outcome: str) -> str:
    """Return an outcome as people see it: a failure must not look like the rest."""
    return outcome.upper() if outcome in {"fail", "forked"} else outcome


def asset_lines(asset: AssetSummary, output: Output) -> Iterator[str]:
    """Yield one asset of a list."""
    yield from row(
        (
            asset.asset,
            f"v{asset.latest}",
            f"{asset.files:>5,} files",
            f"{quantities.size(asset.size):>10}",
            asset.recorded,
            asset.title,
        ),
        output.width,
    )


def event_lines(event: EventSummary, output: Output, origin: str | None = None) -> Iterator[str]:
    """Yield one event of a list; `origin` is the log that is listed, others are named."""
    yield from row(_event_parts(event, origin), output.width)


def _event_parts(event: EventSummary, origin: str | None) -> tuple[str | None, ...]:
    package = None if event.asset is None else event.asset
    if package is not None and event.version is not None:
        package = f"{package} v{event.version}"
    kind = next((name for name in event.types if name not in _EVERY_EVENT), " ".join(event.types))
    outcome = None if event.outcome in {None, "success"} else event.outcome
    where = f"in {event.log}" if event.log not in {None, origin} else None
    return (f"{event.log_index:>6}", event.created, kind, package, outcome, f"by {event.agent}", where)


def step_lines(step: TraceStep, output: Output, origin: str | None = None) -> Iterator[str]:
    """Yield one step of a trace with its evidence and every finding; logs other than `origin` are named."""
    yield from row(_event_parts(step.event, origin), output.width)
    words = [
        f"{name} {output.paint(said(outcome.value), said(outcome.value))}"
        for name, outcome in (("signature", step.signature), ("inclusion", step.inclusion))
    ]
    yield " " * 8 + ", ".join(words)
    pairs = [("file", path) for path in step.paths]
    yield from facts((*pairs, ("package", step.event.package_cid)), indent=" " * 8)
    for finding in step.findings:
        yield from finding_lines(finding, output, indent=" " * 8)


def shown_lines(shown: Shown, output: Output, origin: str | None = None) -> Iterator[str]:
    """Yield what is known of one thing."""
    if shown.event is not None:
        yield from _event_facts(shown.event)
    if shown.document is not None:
        yield from json.dumps(json.loads(shown.document), indent=1).splitlines()
    if shown.kind == "asset":
        yield from facts((("asset", shown.packages[0].asset), ("title", shown.title)))
    for package in shown.packages:
        yield from _package_facts(package)
    for place in shown.files:
        yield from _place_facts(place)
    if shown.events:
        yield "events"
    for event in shown.events:
        yield from event_lines(event, output, origin)
    if shown.more:
        yield "and in more places than are shown here"


def _event_facts(event: EventSummary) -> Iterator[str]:
    yield from facts(
        (
            ("event", event.event_id),
            ("log entry", event.log_index),
            ("type", " ".join(event.types)),
            ("signed", event.created),
            ("by", event.agent),
            ("outcome", event.outcome),
            ("asset", event.asset),
            ("version", event.version),
            ("package", event.package_cid),
        )
    )


def _package_facts(package: PackageSummary) -> Iterator[str]:
    place = HELD if package.released else package.folder
    yield from facts(
        (
            ("version", f"{package.version} of {package.asset}"),
            ("files", f"{quantities.count(package.files, 'file')}, {quantities.size(package.size)}"),
            ("bag", f"{place} (BagIt {package.bagit_version}, {package.kind})"),
            ("payload", package.payload_cid),
            ("package", package.package_cid),
            ("log entry", package.log_index),
        )
    )


def _place_facts(place: FilePlace) -> Iterator[str]:
    package = place.package
    yield from facts(
        (
            ("file", place.path),
            ("in", f"version {package.version} of {package.asset}, log entry {package.log_index}"),
            ("size", quantities.size(place.size)),
            ("address", place.cid),
            ("on disk", HELD if package.released else package.folder / place.path),
        )
    )


def quoted(text: str) -> str:
    """Return a word as a shell takes it, or its escaped form where it cannot be shown."""
    return shlex.quote(text) if text.isprintable() else printable(text)
