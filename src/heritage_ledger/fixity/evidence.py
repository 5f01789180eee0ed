"""What the log says for one event: that it is included, whose key signed it, and who signed the checkpoint.

Nothing here asks the index. Whose keys count is said by entry 0; which keys sign the log, by the key files of
the home or, for a stranger, by whoever handed out the verifier keys (`specs/proof.md`).
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, TypeAlias

from heritage_ledger.errors import Finding, HeritageError, Severity
from heritage_ledger.events.chronology import Bounds, check_time, earliest
from heritage_ledger.events.event import Event, check_origin, open_event, open_logged, oversized_finding
from heritage_ledger.events.timestamps import format_timestamp
from heritage_ledger.fixity.verdict import Stage, judge, not_checked
from heritage_ledger.identity.history import KeyHistory
from heritage_ledger.log.checkpoint import open_checkpoint
from heritage_ledger.log.files import CHECKPOINT, LogFiles
from heritage_ledger.log.policy import MAX_POLICY_SIZE, parse_policy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from heritage_ledger.home.layout import Home
    from heritage_ledger.log.checkpoint import Checkpoint
    from heritage_ledger.log.note import NoteVerifier

Cosigned: TypeAlias = "tuple[tuple[int, Mapping[str, int]], ...]"
"""Sizes of trees, with the witnesses that cosigned each and the POSIX seconds that they claim."""


def _by_nobody() -> Cosigned:
    return ()


@dataclass(frozen=True, slots=True)
class LogEvidence:
    """A log whose checkpoint and entry 0 have been read.

    `checkpoint` is None where it cannot be trusted, `history` where entry 0 does not say whose keys count;
    the findings say why. `begun` is the time that entry 0 names, and `cosigned` gives the cosignatures by
    known witnesses, read when they are first asked for.
    """

    log: LogFiles
    origin: str
    checkpoint: Checkpoint | None
    checkpoint_findings: tuple[Finding, ...]
    history: KeyHistory | None
    history_findings: tuple[Finding, ...]
    begun: str | None = None
    cosigned: Callable[[], Cosigned] = field(default=_by_nobody, repr=False, compare=False)

    def read_entry(self, index: int) -> bytes:
        """Return the bytes of an entry, which hash to its leaf; where no size is known, by its own place.

        Raises:
            EvidenceInvalid, EvidenceMissing: the log's files are damaged.
        """
        size = index + 1 if self.checkpoint is None else max(self.checkpoint.size, index + 1)
        return self.log.read_entry(index, size)

    def bounds(self, index: int, previous: str | None) -> Bounds:
        """Return what bounds the time of the event at `index`; `previous` is that of the entry before it."""
        first: dict[str, int] = {}
        for size, times in self.cosigned():
            if index < size:
                for name, seconds in times.items():
                    first[name] = min(seconds, first.get(name, seconds))
        return Bounds(self.begun, previous, first)


def open_evidence(home: Home, origin: str, verifiers: Sequence[NoteVerifier]) -> LogEvidence:
    """Read the log of a home or mirror as `open_log` does, with the cosignatures by the home's witnesses."""
    return open_log(
        LogFiles(home.log), origin, verifiers, cosigned=cache(lambda: _cosigned(home, origin, verifiers))
    )


def _cosigned(home: Home, origin: str, verifiers: Sequence[NoteVerifier]) -> Cosigned:
    """What the witnesses of the policy said of the published checkpoint, and of the last that met it.

    A file that cannot be read says nothing here; the checks of log and policy say so.
    """
    found = []
    with contextlib.suppress(HeritageError, OSError):
        with home.policy.open("rb") as file:
            policy = parse_policy(file.read(MAX_POLICY_SIZE + 1))
        for path in (home.log / CHECKPOINT, home.witnessed):
            with contextlib.suppress(HeritageError, OSError):
                data = path.read_bytes()
                opened, note = open_checkpoint(data, verifiers, origin, witnesses=policy.verifiers)
                found.append((opened.size, policy.cosigned(note)))
    return tuple(found)


def open_log(
    log: LogFiles,
    origin: str,
    verifiers: Sequence[NoteVerifier],
    *,
    cosigned: Callable[[], Cosigned] = _by_nobody,
) -> LogEvidence:
    """Read the checkpoint and entry 0 of a log; every one of `verifiers` must have signed the checkpoint."""
    checkpoint: Checkpoint | None = None
    checkpoint_findings: tuple[Finding, ...] = ()
    try:
        checkpoint, _ = open_checkpoint(log.read_checkpoint(), verifiers, origin)
    except HeritageError as error:
        checkpoint, checkpoint_findings = None, (error.finding,)
    history: KeyHistory | None = None
    history_findings: tuple[Finding, ...] = ()
    begun = None
    try:
        size = 1 if checkpoint is None else checkpoint.size
        genesis = open_event(log.read_entry(0, size))
        history, begun = history_of(genesis, origin), genesis.created
    except HeritageError as error:
        history_findings = (error.finding,)
    return LogEvidence(
        log, origin, checkpoint, checkpoint_findings, history, history_findings, begun, cosigned
    )


def open_history(entry: bytes, origin: str) -> KeyHistory:
    """Return the key history that entry 0 of the log `origin` begins.

    Raises:
        EvidenceInvalid: it is not a genesis event of that log.
    """
    return history_of(open_event(entry), origin)


def history_of(genesis: Event, origin: str) -> KeyHistory:
    """Return the key history that an opened entry 0 begins; raises as `open_history`."""
    check_origin(genesis, origin)
    return KeyHistory.from_genesis(genesis.document, verification_key=genesis.verification_key)


def open_recorded(evidence: LogEvidence, index: int, entry: bytes) -> Event:
    """Return the event at log index `index`, its signature and its key's authority checked.

    Raises:
        EvidenceInvalid: a signature, form, key or origin is wrong.
    """
    event = open_logged(entry)
    check_origin(event, evidence.origin)
    if evidence.history is not None:
        evidence.history.check_event_key(index, event.verification_key)
    return event


def read_event(evidence: LogEvidence, index: int) -> tuple[Event | None, Stage]:
    """Return the event at `index` and the stage `event` about its signature and its key's authority.

    Where its time is contradicted by what else is known, the stage passes with warnings.
    """
    if evidence.history is None:
        return None, judge("event", evidence.history_findings, detail="whose keys count is not known")
    try:
        event = _recorded_at(evidence, index)
    except HeritageError as error:
        return None, judge("event", [error.finding])
    previous = None
    if index > 0:
        with contextlib.suppress(HeritageError):  # what is wrong with it is said where it is asked for
            previous = _recorded_at(evidence, index - 1).created
    bounds = evidence.bounds(index, previous)
    detail = f"signed {event.created} by entry {index}'s key in force"
    if (first := earliest(bounds.cosigned)) is not None:
        detail += f", in the log no later than {format_timestamp(first[1])}"
    odd = [oversized_finding(index, event)] if event.oversized else []
    return event, judge("event", [*odd, *check_time(event.created, bounds)], detail=detail)


def _recorded_at(evidence: LogEvidence, index: int) -> Event:
    return open_recorded(evidence, index, evidence.read_entry(index))


def time_warnings(evidence: LogEvidence, indexes: Iterable[int]) -> tuple[Finding, ...]:
    """Return the warnings about the times of the events at `indexes`, by entry; damage says nothing."""
    return tuple(
        replace(finding, path=f"entry {index}")
        for index in indexes
        for finding in read_event(evidence, index)[1].findings
        if finding.severity is Severity.WARNING
    )


class EntryReader:
    """Opens the entries of a log, one after the other, and judges the time of each by the one before it."""

    def __init__(self, evidence: LogEvidence) -> None:
        self._evidence = evidence
        self._previous: str | None = None
        self.count = 0
        """How many entries were given so far."""

    def open(self, index: int, entry: bytes) -> tuple[Event | None, tuple[Finding, ...]]:
        """Return the event, None where it is not to be believed, and what is wrong with it."""
        self.count += 1
        try:
            event = open_recorded(self._evidence, index, entry)
        except HeritageError as error:
            return None, (replace(error.finding, path=f"entry {index}"),)
        found = check_time(event.created, self._evidence.bounds(index, self._previous))
        self._previous = event.created
        return event, tuple(replace(one, path=f"entry {index}") for one in found)


def inclusion_stage(evidence: LogEvidence, index: int) -> Stage:
    """The stage `inclusion`: the entry at `index` is in the tree that the checkpoint signs."""
    checkpoint = evidence.checkpoint
    if checkpoint is None:
        return not_checked("inclusion", "there is no checkpoint that can be trusted")
    if index >= checkpoint.size:
        return judge(
            "inclusion",
            [
                Finding(
                    "event-not-in-log",
                    "the checkpoint does not reach as far as the event",
                    expected=f"more than {index} entries",
                    found=f"{checkpoint.size} entries",
                    advice="run `heritage doctor`; a checkpoint may be left unpublished by an unclean stop",
                )
            ],
        )
    try:
        evidence.log.prove_inclusion(index, checkpoint.size, checkpoint.root)
    except HeritageError as error:
        return judge("inclusion", [error.finding])
    return judge("inclusion", [], detail=f"entry {index} of {checkpoint.size}")


def checkpoint_stage(evidence: LogEvidence) -> Stage:
    """The stage `checkpoint`: every key of the log signed it."""
    checkpoint = evidence.checkpoint
    detail = None if checkpoint is None else f"size {checkpoint.size}, signed by every key of the log"
    return judge("checkpoint", evidence.checkpoint_findings, detail=detail)
