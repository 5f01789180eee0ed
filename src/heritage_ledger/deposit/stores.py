"""The two databases of a home, heads and index, where its settings say that they are kept."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from heritage_ledger.home.append_lock import hold_append
from heritage_ledger.home.state import StateStore
from heritage_ledger.index.absorb import absorb, rebuild
from heritage_ledger.index.database import erase
from heritage_ledger.index.store import Index
from heritage_ledger.log.files import LogFiles

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heritage_ledger.content.directory import Get
    from heritage_ledger.errors import Finding
    from heritage_ledger.home.layout import Home
    from heritage_ledger.home.settings import Settings
    from heritage_ledger.progress import Progress


def open_state(home: Home, settings: Settings) -> StateStore:
    """Open the heads; see `StateStore.open`."""
    return StateStore.open(settings.kept_in(home.state))


@contextlib.contextmanager
def open_index(home: Home, settings: Settings, size: int) -> Iterator[Index]:
    """Open the index, and bring it up to the `size` entries of the published log.

    Raises:
        HomeLocked: another process kept the append lock.
        EvidenceInvalid: an entry is not an event.
        UsageError, OperationFailed, DiskProblem, TemporaryFailure, KeyProblem: it cannot be opened.
    """
    with Index.open(settings.kept_in(home.index), origin=settings.origin) as index:
        if index.absorbed() < size:
            with hold_append(home.lock, settings.database):
                absorb(index, LogFiles(home.log), home, size)
        yield index


def rebuild_index(
    home: Home, settings: Settings, size: int, progress: Progress, *, get: Get | None = None
) -> tuple[int, list[Finding]]:
    """Throw the index away and make it anew from the log's first `size` entries and the bags.

    Returns how many packages it has, and what is wrong with them; `get` gives blocks of released bags.

    Raises:
        HomeLocked: another process kept the append lock.
        EvidenceInvalid: an entry is not an event.
    """
    target = settings.kept_in(home.index)
    with hold_append(home.lock, settings.database):
        erase(target)
        with Index.open(target, origin=settings.origin) as index:
            findings = rebuild(index, LogFiles(home.log), home, size, progress, get=get)
            return sum(1 for _ in index.packages()), findings
