"""What `doctor` finds, as plugins of Nagios say it: a line, and an exit code of their own.

Source: the Monitoring Plugins development guidelines, "Plugin output" and "Plugin return codes".
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from heritage_cli.escape import printable
from heritage_ledger.errors import ExitCode, HeritageError, Severity

if TYPE_CHECKING:
    from heritage_cli.session import Session
    from heritage_ledger.errors import Finding

_NOT_LOOKED = frozenset({ExitCode.NO_HOME, ExitCode.USAGE})
"""Errors that say nothing about a home."""


class Status(IntEnum):
    """What a plugin ends with."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


def tell_nagios(session: Session) -> int:
    """Examine the home, say how it is in a line with a line for each finding below, and return the status."""
    try:
        with session.ledger() as ledger:
            stages = list(ledger.doctor())
    except HeritageError as error:
        status = Status.UNKNOWN if error.exit_code in _NOT_LOOKED else Status.CRITICAL
        return _say(session, status, [error.finding], checks=0)
    findings = [one for stage in stages for one in stage.findings]
    failed = [stage for stage in stages if stage.required and stage.outcome.value == "fail"]
    open_ones = [stage for stage in stages if stage.required and stage.outcome.value not in {"pass", "fail"}]
    if failed or any(one.severity is Severity.ERROR for one in findings):
        status = Status.CRITICAL
    elif open_ones:
        status = Status.UNKNOWN
    else:
        status = Status.WARNING if findings else Status.OK
    return _say(session, status, findings, checks=len(stages))


def _say(session: Session, status: Status, findings: list[Finding], *, checks: int) -> int:
    errors = [one for one in findings if one.severity is Severity.ERROR]
    lines = [_line(one) for one in (*errors, *(one for one in findings if one not in errors))]
    first = lines[0] if lines else f"{checks} checks passed"
    counts = f"errors={len(errors)};;0 warnings={len(findings) - len(errors)};0 checks={checks}"
    fields = {"status": status.name, "errors": len(errors), "findings": len(findings), "checks": checks}
    session.output.result("nagios", fields, [f"HERITAGE {status.name} - {first} | {counts}", *lines[1:]])
    return int(status)


def _line(finding: Finding) -> str:
    """A finding in a line; the bar divides text from numbers, so it is in no text."""
    where = f" ({finding.path})" if finding.path else ""
    return printable(f"{finding.code}: {finding.message}{where}").replace("|", "/").replace("\n", " ")
