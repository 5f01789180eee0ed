"""Recording an event that brings no package of one's own: pledges, replications, recoveries, help given."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from heritage_ledger.events.bodies import EventFrame
from heritage_ledger.events.event import open_event, sign_event
from heritage_ledger.index.absorb import add_event

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from heritage_ledger.deposit.books import Books
    from heritage_ledger.events.agents import Agent
    from heritage_ledger.log.append import Appended


def frame(books: Books, started: str, *, actor: Agent | None = None) -> EventFrame:
    """What every event says, for one that ends now."""
    return EventFrame(
        event_id=f"urn:uuid:{uuid.uuid4()}",
        origin=books.settings.origin,
        institution=books.institution,
        software=books.software,
        actor=actor,
        started=started,
        ended=books.now(),
        notes=books.notes,
    )


def record_statement(books: Books, body: Mapping[str, Any], *, created: str | None = None) -> Appended:
    """Sign `body`, now or as of `created`, and append it; it is in the log and published when this returns.

    Raises:
        HomeLocked, DiskProblem, TemporaryFailure, OperationFailed, EvidenceInvalid: it is not, or as
            `Appender.append` says; the next command settles what was left.
    """

    def index(appended: Appended) -> None:
        with books.index.begin() as writer:
            add_event(writer, appended.first_index, open_event(entry), 0, books.home)

    with books.exclusive():
        books.settle()
        books.check_clock()
        entry = sign_event(body, books.keys.event, created=created or books.now())
        appended = books.appender.append([entry], time=books.time(), before_publish=index)
        books.noted()
        return appended
