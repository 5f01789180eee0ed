"""Make a proof file from the log's own files (`specs/proof.md`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heritage_ledger.errors import EvidenceMissing, UsageError
from heritage_ledger.events.context import context_bytes
from heritage_ledger.log.checkpoint import open_checkpoint
from heritage_ledger.provenance.proof import ProofFile, ProvedEntry, format_proof, tlog_proof

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heritage_ledger.log.files import LogFiles
    from heritage_ledger.log.note import NoteVerifier


def prove(
    log: LogFiles,
    verifiers: Sequence[NoteVerifier],
    origin: str,
    index: int,
    form: str,
    *,
    witnessed: bytes | None = None,
) -> bytes:
    """Return the proof of the entry at `index`, as `heritage` (all the evidence) or `tlog-proof` (C2SP).

    `witnessed` is an older checkpoint with more cosignatures; it is taken where it reaches the entry.

    Raises:
        UsageError: there is no such form (`proof-form`).
        EvidenceMissing: the published checkpoint does not reach the event (`event-not-in-log`).
        EvidenceInvalid: the log is damaged; nothing is proved then.
    """
    if form not in {"heritage", "tlog-proof"}:
        raise UsageError("proof-form", "no such form of proof", expected="heritage or tlog-proof", found=form)
    data = log.read_checkpoint()
    checkpoint, _ = open_checkpoint(data, verifiers, origin)
    if witnessed is not None:
        older, _ = open_checkpoint(witnessed, verifiers, origin)
        if index < older.size <= checkpoint.size:
            data, checkpoint = witnessed, older
    if index >= checkpoint.size:
        raise EvidenceMissing(
            "event-not-in-log",
            "the published checkpoint does not reach the event",
            expected=f"more than {index} entries",
            found=f"{checkpoint.size} entries",
        )
    entries = tuple(
        ProvedEntry(
            number,
            log.read_entry(number, checkpoint.size),
            log.prove_inclusion(number, checkpoint.size, checkpoint.root),
        )
        for number in sorted({0, max(index - 1, 0), index})  # the one before it bounds its time
    )
    proof = ProofFile(data, context_bytes(), entries)
    return format_proof(proof) if form == "heritage" else tlog_proof(proof, proof.subject)
