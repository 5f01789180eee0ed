"""Having the own checkpoint cosigned, and learning from witnesses that this home is an old copy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from heritage_ledger.errors import HeritageError
from heritage_ledger.federation.guard import is_unsure
from heritage_ledger.log.policy import NONE

if TYPE_CHECKING:
    from heritage_ledger.errors import Finding
    from heritage_ledger.federation.guard import Guard
    from heritage_ledger.federation.witnessing import Round, Showing, Witnesses
    from heritage_ledger.home.layout import Home
    from heritage_ledger.log.policy import Policy


@dataclass(frozen=True, slots=True)
class Cosigning:
    """One home's rounds of asking its witnesses; any thread may use it."""

    home: Home
    witnesses: Witnesses
    guard: Guard
    policy: Policy

    def collect(self) -> Round | None:
        """Have the published checkpoint cosigned; None where no policy asks for that.

        Before the first time, and while it is open whether this home is the newest copy of its log, that is
        found out first; what keeps it open is among the findings.
        """
        if self.policy.quorum == NONE:
            return None
        unsure = self.make_sure()
        found = self.witnesses.collect()
        for finding in found.findings:
            self._learn(finding)
        return replace(found, findings=(*unsure, *found.findings))

    def make_sure(self) -> tuple[Finding, ...]:
        """Find out, where that is open, whether this home is the newest copy; return why it stays open."""
        if self.policy.quorum == NONE or not (self.guard.basis is None or is_unsure(self.home)):
            return ()
        try:
            self.guard.ensure()
        except HeritageError as error:
            return (error.finding,)
        return ()

    def show(self) -> Showing | None:
        """Read the checkpoint that is to be cosigned; None where no policy asks for that.

        Raises:
            EvidenceInvalid, EvidenceMissing: the log cannot be read.
        """
        return None if self.policy.quorum == NONE else self.witnesses.show()

    def ask(self, url: str, showing: Showing) -> Round:
        """Have one witness cosign; others are asked from other threads at once.

        Raises:
            HeritageError: it does not.
        """
        try:
            self.witnesses.ask(url, showing)
        except HeritageError as error:
            self._learn(error.finding)
            raise
        return self.witnesses.round(showing, ())

    def _learn(self, finding: Finding) -> None:
        if finding.code == "log-behind-witness":
            self.guard.suspect(finding)
