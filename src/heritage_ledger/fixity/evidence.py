"""What the log says for one event: that it is included, whose key signed it, and who signed the checkpoint.

Nothing here asks the index. Whose keys count is said by entry 0; which keys sign the log, by the key files of
the home or, for a stranger, by whoever handed out the verifier keys (`specs/proof.md`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from heritage_ledger.errors import Finding, HeritageError
from heritage_ledger.events.event import Event, check_origin, open_event
from heritage_ledger.fixity.verdict import Stage, judge, not_checked
from heritage_ledger.identity.history import KeyHistory
from heritage_ledger.log.checkpoint import open_checkpoint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heritage_ledger.log.checkpoint import Checkpoint
    from heritage_ledger.log.files import LogFiles
    from heritage_ledger.log.note import NoteVerifier


@dataclass(frozen=True, slots=True)
class LogEvidence:
    """A log whose checkpoint and entry 0 have been read.

    `checkpoint` is None where it cannot be trusted, `history` where entry 0 does not say whose keys count;
    the findings say why.
    """

    log: LogFiles
    origin: str
    checkpoint: Checkpoint | None
    checkpoint_findings: tuple[Finding, ...]
    history: KeyHistory | None
    history_findings: tuple[Finding, ...]


def open_log(log: LogFiles, origin: str, verifiers: Sequence[NoteVerifier]) -> LogEvidence:
    """Read the checkpoint and entry 0 of a log; every one of `verifiers` must have signed the checkpoint."""
    checkpoint: Checkpoint | None = None
    checkpoint_findings: tuple[Finding, ...] = ()
    try:
        checkpoint, _ = open_checkpoint(log.read_checkpoint(), verifiers, origin)
    except HeritageError as error:
        checkpoint, checkpoint_findings = None, (error.finding,)
    history: KeyHistory | None = None
    history_findings: tuple[Finding, ...] = ()
    try:
        size = 1 if checkpoint is None else checkpoint.size
        history = open_history(log.read_entry(0, size), origin)
    except HeritageError as error:
        history_findings = (error.finding,)
    return LogEvidence(log, origin, checkpoint, checkpoint_findings, history, history_findings)


def open_history(entry: bytes, origin: str) -> KeyHistory:
    """Return the key history that entry 0 of the log `origin` begins.

    Raises:
        EvidenceInvalid: it is not a genesis event of that log.
    """
    genesis = open_event(entry)
    check_origin(genesis, origin)
    return KeyHistory.from_genesis(genesis.document, verification_key=genesis.verification_key)


def open_recorded(evidence: LogEvidence, index: int, entry: bytes) -> Event:
    """Return the event at log index `index`, its signature and its key's authority checked.

    Raises:
        EvidenceInvalid: a signature, form, key or origin is wrong.
    """
    event = open_event(entry)
    check_origin(event, evidence.origin)
    if evidence.history is not None:
        evidence.history.check_event_key(index, event.verification_key)
    return event


def read_event(evidence: LogEvidence, index: int) -> tuple[Event | None, Stage]:
    """Return the event at `index` and the stage `event` about its signature and its key's authority."""
    if evidence.history is None:
        return None, judge("event", evidence.history_findings, detail="whose keys count is not known")
    size = index + 1 if evidence.checkpoint is None else evidence.checkpoint.size
    try:
        event = open_recorded(evidence, index, evidence.log.read_entry(index, max(size, index + 1)))
    except HeritageError as error:
        return None, judge("event", [error.finding])
    return event, judge("event", [], detail=f"signed {event.created} by entry {index}'s key in force")


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
