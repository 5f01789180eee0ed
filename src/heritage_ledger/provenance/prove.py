"""Make a proof file from the log's own files (`specs/proof.md`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heritage_ledger.errors import EvidenceMissing, UsageError
from heritage_ledger.events.context import context_bytes
from heritage_ledger.provenance.proof import ProofFile, ProvedEntry, format_proof, tlog_proof

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heritage_ledger.log.files import LogFiles
    from heritage_ledger.log.note import NoteVerifier


def prove(log: LogFiles, verifiers: Sequence[NoteVerifier], origin: str, index: int, form: str) -> bytes:
    """Return the proof of the entry at `index`, as `heritage` (all the evidence) or `tlog-proof` (C2SP).

    Raises:
        UsageError: there is no such form (`proof-form`).
        EvidenceMissing: the published checkpoint does not reach the event (`event-not-in-log`).
        EvidenceInvalid: the log is damaged; nothing is proved then.
    """
    if form not in {"heritage", "tlog-proof"}:
        raise UsageError("proof-form", "no such form of proof", expected="heritage or tlog-proof", found=form)
    checkpoint, _ = log.open_checkpoint(verifiers, origin)
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
        for number in sorted({0, index})
    )
    proof = ProofFile(log.read_checkpoint(), context_bytes(), entries)
    return format_proof(proof) if form == "heritage" else tlog_proof(proof, proof.subject)
