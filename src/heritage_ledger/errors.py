"""One root error and one shape for findings, each with a stable code (`specs/findings.md`).

An error stops the work; a finding is one result of a check that goes on. Both say the same five things:
what is wrong, where, what was expected, what was found, and what to do next. Subclasses exist only where
a caller acts differently, and that difference is the exit code (`specs/cli.md`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import ClassVar, Self


class ExitCode(IntEnum):
    """What a process of ours ends with; an unknown code is a failure."""

    OK = 0
    USAGE = 1
    FAILED = 2
    PROBLEMS = 3
    EVIDENCE_INVALID = 4
    EVIDENCE_MISSING = 5
    TEMPORARY = 6
    FORKED = 7
    NO_HOME = 10
    LOCKED = 11
    KEY = 12
    DISK = 13
    INTERRUPTED = 130


class Severity(Enum):
    """An error makes a verdict fail; a warning is told and changes no verdict."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One result of a check.

    `code` never changes its meaning; `path` is relative to what was checked, with `/` between parts;
    `rule` names the source (an RFC section, a page of `specs/`).
    """

    code: str
    message: str
    path: str | None = None
    expected: str | None = None
    found: str | None = None
    advice: str | None = None
    rule: str | None = None
    severity: Severity = Severity.ERROR


class HeritageError(Exception):
    """Root of every error that this software raises on purpose.

    Attributes are those of `Finding`; `findings` carries the single results where the error sums up many.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.FAILED

    def __init__(
        self,
        code: str,
        message: str,
        *,
        path: str | None = None,
        expected: str | None = None,
        found: str | None = None,
        advice: str | None = None,
        rule: str | None = None,
        findings: tuple[Finding, ...] = (),
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.path = path
        self.expected = expected
        self.found = found
        self.advice = advice
        self.rule = rule
        self.findings = findings

    @classmethod
    def of(cls, finding: Finding) -> Self:
        """The error that says what a finding says, for work that cannot go on after it."""
        return cls(
            finding.code,
            finding.message,
            path=finding.path,
            expected=finding.expected,
            found=finding.found,
            advice=finding.advice,
            rule=finding.rule,
        )

    @property
    def finding(self) -> Finding:
        """The error as one finding, for checks that go on after it."""
        return Finding(self.code, self.message, self.path, self.expected, self.found, self.advice, self.rule)

    def __str__(self) -> str:
        """One line: the message, then what was expected and found."""
        parts = [self.message if self.path is None else f"{self.path}: {self.message}"]
        if self.expected is not None:
            parts.append(f"expected {self.expected}")
        if self.found is not None:
            parts.append(f"found {self.found}")
        return "; ".join(parts)


class UsageError(HeritageError):
    """The call itself is wrong."""

    exit_code = ExitCode.USAGE


class OperationFailed(HeritageError):
    """The work could not be done; nothing is half-made."""

    exit_code = ExitCode.FAILED


class ProblemsFound(HeritageError):
    """The work was done, or refused before it began, and there are findings to read."""

    exit_code = ExitCode.PROBLEMS


class EvidenceInvalid(HeritageError):
    """A signature, digest, proof or canonical form is wrong: what was shown does not prove its claim."""

    exit_code = ExitCode.EVIDENCE_INVALID


class EvidenceMissing(HeritageError):
    """Something needed for a verdict is not there; nothing is said for or against the claim."""

    exit_code = ExitCode.EVIDENCE_MISSING


class TemporaryFailure(HeritageError):
    """The same call may succeed later."""

    exit_code = ExitCode.TEMPORARY


class NoHome(HeritageError):
    """There is no ledger home here."""

    exit_code = ExitCode.NO_HOME


class HomeLocked(HeritageError):
    """Another process holds the home's append lock."""

    exit_code = ExitCode.LOCKED


class KeyProblem(HeritageError):
    """A key file or passphrase cannot be used."""

    exit_code = ExitCode.KEY


class DiskProblem(HeritageError):
    """The disk is full, read-only or failing, or a quota is used up."""

    exit_code = ExitCode.DISK
