"""Verdicts as results: every stage and finding given, then one ending for all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from heritage_cli import quantities, text
from heritage_cli.output import jsonable
from heritage_cli.session import Ending
from heritage_ledger.errors import ExitCode, Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from heritage_cli.session import Session
    from heritage_ledger.errors import Finding
    from heritage_ledger.fixity.verdict import Outcome, Stage, Verdict
    from heritage_ledger.provenance.views import Rebuilt


@dataclass(slots=True)
class Tally:
    """How many subjects passed, failed, showed a fork, or could not be judged, and what was found."""

    passed: int = 0
    failed: int = 0
    not_checked: int = 0
    findings: int = 0
    warnings: int = 0
    forked: int = 0

    def add(self, outcome: str, findings: Iterable[Finding]) -> None:
        """Count one subject."""
        self.passed += outcome == "pass"
        self.failed += outcome == "fail"
        self.not_checked += outcome == "not checked"
        self.forked += outcome == "forked"
        for finding in findings:
            self.warnings += finding.severity is Severity.WARNING
            self.findings += finding.severity is Severity.ERROR

    def exit_code(self, failing: ExitCode) -> ExitCode:
        """Return `failing` if anything failed, else forked, evidence missing where a stage did not run."""
        if self.failed:
            return failing
        if self.forked:
            return ExitCode.FORKED
        return ExitCode.EVIDENCE_MISSING if self.not_checked else ExitCode.OK

    def line(self) -> str:
        """Say all of it in one line."""
        total = self.passed + self.failed + self.not_checked + self.forked
        if not total:
            return "there is nothing to check yet"
        words = [f"{self.failed} of {total} failed"] if self.failed else []
        words += [f"{self.not_checked} of {total} could not be judged"] if self.not_checked else []
        words += [f"{self.forked} of {total} shows two histories of one log"] if self.forked else []
        words += [f"{self.passed} of {total} passed"] if not words else []
        words += [quantities.count(self.findings, "problem")] if self.findings else []
        words += [quantities.count(self.warnings, "warning")] if self.warnings else []
        return ", ".join(words)


def give_verdicts(session: Session, verdicts: Iterable[Verdict], *, failing: ExitCode) -> Ending:
    """Give each verdict as it comes; end with `failing`, evidence missing, or ok."""
    tally = Tally()
    for verdict in verdicts:
        session.clear()
        tally.add(verdict.outcome.value, verdict.findings)
        _give(session, verdict)
    return end_with(session, tally, failing)


def end_with(session: Session, tally: Tally, failing: ExitCode) -> Ending:
    """Say the sum of all checks last, and return the ending."""
    session.clear()
    code = tally.exit_code(failing)
    words = {ExitCode.OK: "pass", ExitCode.EVIDENCE_MISSING: "not checked", ExitCode.FORKED: "FORKED"}
    word = words.get(code, "FAIL")
    output = session.output
    if not output.as_json:
        output.result("", {}, [f"{output.paint(word, word)}: {tally.line()}"])
    return Ending(code, jsonable(tally))


def _give(session: Session, verdict: Verdict) -> None:
    output = session.output
    if not output.as_json:
        if not (session.quiet and verdict.outcome.value == "pass"):
            output.result("", {}, text.verdict_lines(verdict, output))
        return
    about = {"subject": verdict.subject, "asset": verdict.asset, "version": verdict.version}
    for stage in verdict.stages:
        give_stage(session, stage, about)
    output.line("checked", about | {"package_cid": verdict.package_cid, "outcome": verdict.outcome})


def give_stage(session: Session, stage: Stage, about: Mapping[str, object]) -> None:
    """Give one stage, and in JSON its findings after it, each with `about` so that a line stands alone."""
    output = session.output
    session.clear()
    fields = {
        **about,
        "name": stage.name,
        "outcome": stage.outcome,
        "detail": stage.detail,
        "required": stage.required,
        "findings": len(stage.findings),
    }
    output.result("stage", fields, text.stage_lines(stage, output))
    if output.as_json:
        for finding in stage.findings:
            output.line("finding", {**about, "stage": stage.name, **jsonable(finding)})


def worst(*outcomes: Outcome) -> str:
    """Return the outcome that decides: fail before forked before not checked before pass."""
    values = {outcome.value for outcome in outcomes}
    return next(word for word in ("fail", "forked", "not checked", "pass") if word in values)


def give_version(session: Session) -> Ending:
    """Give the version of this software."""
    from importlib.metadata import version  # noqa: PLC0415 - 20 ms, only here

    number = version("heritage-ledger")
    session.output.result("version", {"version": number}, [f"heritage-ledger {number}"])
    return Ending(fields={"version": number})


def give_rebuilt(session: Session, rebuilt: Rebuilt) -> Ending:
    """Give what an index rebuild made; what was wrong with bags or log makes it end with problems."""
    session.clear()
    output = session.output
    tally = Tally()
    tally.add("pass", rebuilt.findings)
    for finding in rebuilt.findings:
        output.result("finding", finding, text.finding_lines(finding, output))
    fields = {"events": rebuilt.events, "packages": rebuilt.packages}
    counts = quantities.count(rebuilt.events, "event"), quantities.count(rebuilt.packages, "package")
    output.result("index", fields, [f"the index is made again: {', '.join(counts)}"])
    code = ExitCode.PROBLEMS if tally.findings else ExitCode.OK
    return Ending(code, fields | {"findings": tally.findings, "warnings": tally.warnings})
