"""The two databases of a home, heads and index: where its settings say that they are, and moved elsewhere."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from heritage_ledger.errors import EvidenceInvalid, EvidenceMissing, OperationFailed, UsageError
from heritage_ledger.home import lock
from heritage_ledger.home.append_lock import hold_append
from heritage_ledger.home.layout import BACKUP_NOTE
from heritage_ledger.home.marks import Marks
from heritage_ledger.home.settings import change_settings, check_database
from heritage_ledger.home.sql import server_name
from heritage_ledger.home.state import MARKED, StateStore
from heritage_ledger.index.absorb import absorb, rebuild
from heritage_ledger.index.database import erase
from heritage_ledger.index.store import Index
from heritage_ledger.log.files import LogFiles

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from heritage_ledger.content.directory import Get
    from heritage_ledger.errors import Finding
    from heritage_ledger.home.layout import Home
    from heritage_ledger.home.settings import Settings
    from heritage_ledger.home.state import Head
    from heritage_ledger.progress import Progress


SQLITE: Final = "sqlite"
"""The name of the databases that are files of the home."""


def open_state(home: Home, settings: Settings) -> StateStore:
    """Open the heads, to be compared with the marks of the home before they move; see `StateStore.open`.

    Raises:
        OperationFailed: this is a backup and no home (`home-is-backup`).
    """
    if (home.root / BACKUP_NOTE).exists():
        raise OperationFailed(
            "home-is-backup",
            "this folder is a backup; nothing but the next backup writes to it",
            path=str(home.root),
            advice="make a home of it in another folder: heritage --home NEW restore --from FOLDER",
        )
    marks = Marks.of(home, settings)
    return StateStore.open(settings.kept_in(home.state), marks=marks, own=settings.origin)


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


@dataclass(frozen=True, slots=True)
class DatabaseMoved:
    """Where heads and index are kept now (`sqlite`, or the URL), and what was brought there: counts."""

    database: str
    heads: int
    entries: int
    rows_digest: str


def move_databases(home: Home, settings: Settings, to: str, progress: Progress) -> DatabaseMoved:
    """Keep heads and index in `to`, `sqlite` or the URL of a PostgreSQL database, from now on.

    They are copied under the append lock and compared, then the settings name the new place; what lies in the
    old one stays there as it is. After an error the settings are as they were and the same call goes on.

    Raises:
        UsageError: `to` is no database (`database-url`), the one in use (`database-same`), or of another home
            (`database-foreign`).
        EvidenceInvalid: the heads there are ahead of ours (`state-rollback`), or the copy is not the same
            (`database-copy`).
        HomeLocked, TemporaryFailure, KeyProblem, DiskProblem, OperationFailed: one of them cannot be used.
    """
    url = None if to == SQLITE else check_database(to)
    if url == settings.database:
        raise UsageError("database-same", "heads and index are kept there already", found=to)
    new = replace(settings, database=url)
    origin = settings.origin
    progress.begin("move the databases")
    with contextlib.ExitStack() as held:
        held.enter_context(lock.hold(home.lock, passing=True))
        state = held.enter_context(open_state(home, settings))
        held.enter_context(state.hold())
        index = held.enter_context(Index.open(settings.kept_in(home.index), origin=origin, make=False))
        target = held.enter_context(_open_or_make(new.kept_in(home.state)))
        held.enter_context(target.hold())
        heads = state.heads()
        _copy_heads(heads, target)
        copy = held.enter_context(Index.open(new.kept_in(home.index), origin=origin))
        with copy.begin() as writer:
            writer.replace(index.absorbed(), index.dump())
        digest = copy.rows_digest()
        if (target.heads(), digest) != (heads, index.rows_digest()):
            raise EvidenceInvalid(
                "database-copy",
                "the copy is not what was copied; the settings stay as they were",
                path=to if url is None else server_name(url),
                advice="check the disks on both sides, then run the same command again",
            )
        change_settings(home.settings, "ledger", "database", url)
        Marks.of(home, new).write(state.reach(), establish=True)
        return DatabaseMoved(to, len(heads.keys() - {MARKED}), index.absorbed(), digest.hex())


def _open_or_make(target: Path | str) -> StateStore:
    try:
        return StateStore.open(target)
    except EvidenceMissing:
        return StateStore.create(target)


def _copy_heads(heads: Mapping[str, Head], target: StateStore) -> None:
    """Bring `target` up to `heads`; it may be new, or have been left behind by an earlier move."""
    there = target.heads()
    foreign = sorted(there.keys() - heads.keys())
    if foreign:
        raise UsageError(
            "database-foreign",
            "this database belongs to another home",
            expected="an empty one, or the one that this home left behind",
            found=f"the head of {foreign[0]}",
        )
    for origin, head in heads.items():
        old = there.get(origin)
        if old is None:
            target.create_head(origin, head)
        elif old != head:
            target.swap_head(origin, old.size, head)
