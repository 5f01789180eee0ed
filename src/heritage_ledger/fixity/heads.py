"""Do the heads of a home and the files of its log belong together, and is this home known to be the newest?

What a copy file by file, a restore or a lagging database leaves behind: looked at in milliseconds, by
`doctor` and by the node's `/readyz`, before a deposit meets it. Nothing is written, and nobody is asked.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from heritage_ledger.errors import EvidenceInvalid, EvidenceMissing, Finding, HeritageError, Severity
from heritage_ledger.home.layout import BACKUP_NOTE
from heritage_ledger.home.marks import Doubt, Marks, read_unsure
from heritage_ledger.home.state import StateStore
from heritage_ledger.index.store import Index
from heritage_ledger.log.checkpoint import read_unverified
from heritage_ledger.log.edge import Edge
from heritage_ledger.log.files import LogFiles

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heritage_ledger.home.layout import Home
    from heritage_ledger.home.settings import Settings
    from heritage_ledger.home.state import Head

_BACKUP: Final = Finding(
    "home-is-backup",
    "a backup was copied over this home: it is an older copy of itself now",
    BACKUP_NOTE,
    advice="run `heritage log recover`: it makes a home of it again, and asks the witnesses",
)
RECOVER: Final = "run `heritage log recover`: it brings them into step and asks the witnesses"


def examine_heads(home: Home, settings: Settings) -> list[Finding]:
    """Return what keeps this home from being written; nothing where it may be."""
    if (home.root / BACKUP_NOTE).exists():
        return [_BACKUP] if home.staging.is_dir() else []
    try:
        marks = Marks.of(home, settings)
        with StateStore.open(
            settings.kept_in(home.state), upgrade=False, marks=marks, own=settings.origin
        ) as state:
            doubt = state.compare_marks()
            head = state.head(settings.origin)
    except HeritageError as error:
        return [error.finding]
    if head is None:
        return [
            Finding("log-head-missing", "state.db holds no head of this log", settings.origin, advice=RECOVER)
        ]
    return [*_compare(LogFiles(home.log), head), *_ahead(home, settings, head), *_open(home, doubt)]


def _compare(log: LogFiles, head: Head) -> Iterator[Finding]:
    """Compare the head with the published checkpoint, and with the files at the log's edge."""
    with contextlib.suppress(EvidenceInvalid, EvidenceMissing):  # the stage of the checkpoint says it
        published = read_unverified(log.read_checkpoint())
        if published.size > head.size:
            yield Finding(
                "log-state-behind",
                "the published checkpoint is beyond the head in state.db: they are not of the same time",
                "checkpoint",
                expected=f"at most {head.size} entries",
                found=f"{published.size} entries",
                advice=RECOVER,
            )
    try:
        Edge.load(head.size, head.root, read_tile=log.read_tile, read_bundle=log.read_bundle)
    except HeritageError as error:
        found = error.finding
        yield Finding(
            found.code,
            f"the log does not reach the head in state.db, of {head.size} entries: {found.message}",
            found.path,
            found.expected,
            found.found,
            RECOVER,
            found.rule,
        )


def _ahead(home: Home, settings: Settings, head: Head) -> Iterator[Finding]:
    """An index that knows entries which the log has not."""
    with contextlib.suppress(HeritageError):  # what keeps it from being opened is said elsewhere
        with Index.open(settings.kept_in(home.index), origin=settings.origin, make=False) as index:
            absorbed = index.absorbed()
        if absorbed > head.size:
            yield Finding(
                "index-ahead",
                "the index knows entries that the log does not have",
                "index",
                expected=f"at most {head.size} entries",
                found=f"{absorbed} entries",
                advice=RECOVER,
            )


def _open(home: Home, doubt: Doubt | None) -> Iterator[Finding]:
    """What a restore, or a sign of one, has left open."""
    unsure = read_unsure(home)
    why = None if unsure is None or not unsure.own else unsure.why
    if doubt is not None and not (doubt is Doubt.UNMARKED and unsure is None):
        why = doubt.value
    if why is not None:
        yield Finding(
            "log-unsure",
            "this home may be an old copy of its log: nothing is signed before the witnesses have been asked",
            found=why,
            advice="run `heritage log recover` when they can be reached",
        )
    if unsure is not None and not unsure.all_floors and (home.peers.is_dir() and any(home.peers.iterdir())):
        yield Finding(
            "witness-floor",
            "since a restore the node learns anew how much of its peers' logs it had cosigned",
            found=f"{len(unsure.floors)} logs since",
            severity=Severity.WARNING,
        )
