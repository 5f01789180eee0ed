"""Proofs that a stranger checks offline: one entry, its path to the root, the checkpoint (C2SP tlog-proof).

    c2sp.org/tlog-proof@v1
    extra <base64>             left out when there is none; not covered by any signature
    index 5
    <base64 hash>              the entry's sibling first; none when the log had one entry
    …
                               an empty line
    <the signed checkpoint, as published>

The file's extension is `.tlog-proof`. A proof shows that the given entry is in the log; what the entry says
about anything else is for the caller to check (`specs/proof.md`).
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from heritage_ledger.errors import EvidenceInvalid
from heritage_ledger.log.checkpoint import open_checkpoint, parse_hash, parse_size
from heritage_ledger.log.merkle import MAX_PROOF_HASHES, check_inclusion, leaf_hash
from heritage_ledger.log.note import MAX_NOTE_SIZE, parse_note

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heritage_ledger.log.note import NoteVerifier

HEADER: Final = "c2sp.org/tlog-proof@v1"
"""The first line of every proof."""
MAX_EXTRA_SIZE: Final = 1 << 20
"""Bytes of extra data: an event and the text about it, with room to spare."""
MAX_PROOF_SIZE: Final = 2 * MAX_EXTRA_SIZE + MAX_NOTE_SIZE
"""Bytes of a proof: extra data in base64, the hashes, the checkpoint."""


@dataclass(frozen=True, slots=True)
class TlogProof:
    """A proof as read: nothing in it is checked.

    `hashes` has 0 to 63 hashes of 32 bytes; `checkpoint` is the signed note; `extra` is authenticated by
    nothing.
    """

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes | None = None


def format_tlog_proof(proof: TlogProof) -> bytes:
    """Return the proof as the bytes of a `.tlog-proof` file.

    Raises:
        EvidenceInvalid: what `parse_tlog_proof` would say about it.
    """
    lines = [HEADER]
    if proof.extra is not None:
        lines.append(f"extra {base64.b64encode(proof.extra).decode()}")
    lines.append(f"index {proof.index}")
    lines.extend(base64.b64encode(value).decode() for value in proof.hashes)
    data = "".join(f"{line}\n" for line in lines).encode() + b"\n" + proof.checkpoint
    if parse_tlog_proof(data) != proof:
        raise _malformed("the proof cannot be written down so that it is read as the same")
    return data


def parse_tlog_proof(data: bytes) -> TlogProof:
    """Read a proof; formatting the result gives `data` back. Nothing is checked beyond its form.

    Raises:
        EvidenceInvalid: `proof-malformed`; `proof-too-large`; what `parse_note` raises about the checkpoint.
    """
    if len(data) > MAX_PROOF_SIZE:
        raise _too_large(f"at most {MAX_PROOF_SIZE} bytes", f"{len(data)} bytes")
    head, gap, checkpoint = data.partition(b"\n\n")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise _malformed("the lines before the checkpoint are not ASCII") from error
    if not gap or lines[0] != HEADER:
        raise _malformed("this is not a proof", expected=HEADER, found=repr(lines[0][:40]))
    rest = lines[1:]
    extra = _parse_extra(rest.pop(0)) if rest and rest[0].startswith("extra ") else None
    if not rest or not rest[0].startswith("index "):
        raise _malformed("the line with the entry's index is missing", expected="index <decimal>")
    index = _parse_index(rest[0].removeprefix("index "))
    if len(rest) - 1 > MAX_PROOF_HASHES:
        raise _too_large(f"at most {MAX_PROOF_HASHES} hashes", f"{len(rest) - 1} lines")
    hashes = tuple(_parse_hash_line(line) for line in rest[1:])
    parse_note(checkpoint)
    return TlogProof(index, hashes, checkpoint, extra)


def check_tlog_proof(proof: TlogProof, entry: bytes, verifiers: Sequence[NoteVerifier], origin: str) -> None:
    """Check that `entry` is in the log `origin`, at the proof's index, under a signed checkpoint.

    Args:
        proof: as read.
        entry: the entry's bytes.
        verifiers: the log's own keys, from a source other than the proof.
        origin: the log that the entry must be in.

    Raises:
        EvidenceInvalid: `merkle-inclusion`, the entry is not at that place of that tree; what
            `open_checkpoint` raises.
    """
    checkpoint, _ = open_checkpoint(proof.checkpoint, verifiers, origin)
    check_inclusion(leaf_hash(entry), proof.index, checkpoint.size, proof.hashes, checkpoint.root)


def _parse_extra(line: str) -> bytes:
    text = line.removeprefix("extra ")
    try:
        extra = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _malformed("the extra data is not base64") from error
    if not extra or base64.b64encode(extra).decode() != text:
        raise _malformed("the extra data is empty or not in its only spelling")
    if len(extra) > MAX_EXTRA_SIZE:
        raise _too_large(f"at most {MAX_EXTRA_SIZE} bytes of extra data", f"{len(extra)} bytes")
    return extra


def _parse_index(text: str) -> int:
    try:
        return parse_size(text)
    except EvidenceInvalid as error:
        raise _malformed("the entry's index is not a number", error.expected, error.found) from error


def _parse_hash_line(line: str) -> bytes:
    value = parse_hash(line)
    if value is None:
        raise _malformed("a line is not a hash", "the base64 of 32 bytes", repr(line[:60]))
    return value


def _malformed(message: str, expected: str | None = None, found: str | None = None) -> EvidenceInvalid:
    return EvidenceInvalid(
        "proof-malformed", message, expected=expected, found=found, rule="C2SP tlog-proof, Format"
    )


def _too_large(expected: str, found: str) -> EvidenceInvalid:
    return EvidenceInvalid(
        "proof-too-large", "the proof is larger than any that is read", expected=expected, found=found
    )
