"""Verdicts: what was checked, stage by stage, and what each stage said.

A stage that did not run says `not checked` and why. A verdict passes only when no stage failed and every
stage that was asked for ran; what nobody asked for (the log, where only a bag is at hand) is still listed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from heritage_ledger.errors import Severity

if TYPE_CHECKING:
    from heritage_ledger.errors import Finding


class Outcome(Enum):
    """What a stage says."""

    PASS = "pass"  # noqa: S105 - a verdict, not a password
    FAIL = "fail"
    NOT_CHECKED = "not checked"
    FORKED = "forked"
    """The evidence holds, and shows that a log signed two histories: nothing passes beside it."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a verdict, with every finding it made.

    `name` is one of `bag`, `digests`, `cid`, `event`, `inclusion`, `checkpoint`, and for the whole home
    `log`, `state`, `keys`, `index`. `detail` says in a few words what was checked, or why it was not.
    `required` is false where the stage was not asked for.
    """

    name: str
    outcome: Outcome
    findings: tuple[Finding, ...] = ()
    detail: str | None = None
    required: bool = True


@dataclass(frozen=True, slots=True)
class Verdict:
    """The stages of one subject: a package, a bag, a log, a home or a proof file.

    `subject` names it for people; `asset` and `version` are set for packages.
    """

    subject: str
    stages: tuple[Stage, ...]
    asset: str | None = None
    version: int | None = None
    package_cid: str | None = None

    @property
    def outcome(self) -> Outcome:
        """Fail when any stage failed; then forked; not checked when a required one did not run; else pass."""
        outcomes = {
            stage.outcome
            for stage in self.stages
            if stage.required or stage.outcome is not Outcome.NOT_CHECKED
        }
        for decisive in (Outcome.FAIL, Outcome.FORKED):
            if decisive in outcomes:
                return decisive
        return Outcome.NOT_CHECKED if Outcome.NOT_CHECKED in outcomes or not outcomes else Outcome.PASS

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings, in the order of the stages."""
        return tuple(finding for stage in self.stages for finding in stage.findings)


def judge(name: str, findings: tuple[Finding, ...] | list[Finding], *, detail: str | None = None) -> Stage:
    """Return a stage that failed if any finding is an error, and passed otherwise."""
    failed = any(finding.severity is Severity.ERROR for finding in findings)
    return Stage(name, Outcome.FAIL if failed else Outcome.PASS, tuple(findings), detail)


def not_checked(name: str, why: str, *, required: bool = True) -> Stage:
    """Return a stage that did not run."""
    return Stage(name, Outcome.NOT_CHECKED, (), why, required)
