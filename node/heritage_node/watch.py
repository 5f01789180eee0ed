"""What a running node has seen of its peers and packages since it began: for numbers alone."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from heritage_ledger.errors import Severity

if TYPE_CHECKING:
    from collections.abc import Iterable

    from heritage_ledger.content.cid import Cid
    from heritage_ledger.errors import Finding
    from heritage_ledger.federation.repair import Repaired


@dataclass
class Watch:
    """Counts that any thread may add to; each addition is one step of the interpreter."""

    contacts: dict[str, float] = field(default_factory=dict)
    """POSIX time of the last look at each peer that went well, by origin."""
    failures: Counter[str] = field(default_factory=Counter)
    """Looks at each peer that did not."""
    given: Counter[str] = field(default_factory=Counter)
    """Bytes of blocks that each peer was given."""
    checks: Counter[str] = field(default_factory=Counter)
    """Packages that were compared with their addresses, by what came of it: `whole`, `mended`, `damaged`."""
    damaged: set[Cid] = field(default_factory=set)
    """Packages that were not whole when they were looked at last, and that nobody could mend."""
    due: int = 0
    """Packages whose time to be looked at had come, at the last look."""

    def note_look(self, origin: str, findings: Iterable[Finding]) -> None:
        """Note a look at a peer."""
        if any(one.severity is Severity.ERROR for one in findings):
            self.failures[origin] += 1
        else:
            self.contacts[origin] = time.time()

    def note_check(self, cid: Cid, done: Iterable[Repaired]) -> None:
        """Note what came of the check of a package."""
        results = list(done)
        if any(one.findings for one in results):
            self.damaged.add(cid)
            self.checks["damaged"] += 1
        else:
            self.damaged.discard(cid)
            self.checks["mended" if any(one.was_damaged for one in results) else "whole"] += 1
