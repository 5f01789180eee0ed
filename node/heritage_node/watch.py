"""What a running node has seen of its peers and packages since it began: for numbers alone."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from heritage_ledger.errors import HeritageError, Severity
from heritage_ledger.federation.contacts import Contact, note_contact, read_contact

if TYPE_CHECKING:
    from collections.abc import Iterable

    from heritage_ledger.content.cid import Cid
    from heritage_ledger.errors import Finding
    from heritage_ledger.federation.repair import Repaired
    from heritage_ledger.home.layout import Home


@dataclass
class Watch:
    """Counts that any thread may add to; each addition is one step of the interpreter."""

    contacts: dict[str, float] = field(default_factory=dict)
    """POSIX time of the last look at each peer that went well, by origin."""
    heard: dict[str, float] = field(default_factory=dict)
    """POSIX time of the last request that each peer signed, or checkpoint that it had cosigned, by origin."""
    engine: tuple[bool, float] | None = None
    """Whether what holds the blocks answered when it was asked last, and in how many seconds."""
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

    def note_heard(self, origin: str) -> None:
        """Note that a peer signed something."""
        self.heard[origin] = time.time()

    def read_contacts(self, home: Home, origins: Iterable[str]) -> None:
        """Take up what was known before the node began."""
        for origin in origins:
            known = read_contact(home.mirror_of(origin))
            if known.reached is not None:
                self.contacts.setdefault(origin, known.reached)
            if known.heard is not None:
                self.heard.setdefault(origin, known.heard)

    def keep_contacts(self, home: Home) -> None:
        """Keep it for the next start, and for commands; that the disk takes nothing now is no matter."""
        for origin in {*self.contacts, *self.heard}:
            reached, heard = self.contacts.get(origin), self.heard.get(origin)
            contact = Contact(
                None if reached is None else int(reached), None if heard is None else int(heard)
            )
            with contextlib.suppress(HeritageError):
                note_contact(home.mirror_of(origin), contact)

    def note_check(self, cid: Cid, done: Iterable[Repaired]) -> None:
        """Note what came of the check of a package."""
        results = list(done)
        if any(one.findings for one in results):
            self.damaged.add(cid)
            self.checks["damaged"] += 1
        else:
            self.damaged.discard(cid)
            self.checks["mended" if any(one.was_damaged for one in results) else "whole"] += 1
