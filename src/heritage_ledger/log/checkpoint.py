"""Checkpoints: the signed size and root of a log (C2SP tlog-checkpoint v1.0.0; `specs/log.md`).

    museum.example/ledger/1                        origin
    7                                              number of entries, decimal
    sFodV/vSp5O8n9a8QpW6PRY97tfOSW5bsc2Xl/EQi08=   root hash, base64

A checkpoint is the text of a signed note. Lines after the third are extension lines: kept when read, never
written, because ML-DSA-44 cosignatures do not cover them and nobody audits them.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from heritage_ledger.errors import EvidenceInvalid
from heritage_ledger.log.merkle import EMPTY_ROOT, HASH_SIZE, MAX_TREE_SIZE
from heritage_ledger.log.note import Note, open_note, parse_note, sign_note

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heritage_ledger.log.note import NoteSigner, NoteVerifier

MAX_ORIGIN_SIZE: Final = 255
"""Bytes of an origin: the cosignature message has one byte for its length."""

_DECIMAL: Final = re.compile(r"0|[1-9][0-9]{0,18}")
_CONTROL: Final = re.compile(r"[\x00-\x1f]")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A log's origin, number of entries and 32-byte root; `extensions` are further lines of its text."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()


def format_checkpoint(checkpoint: Checkpoint) -> bytes:
    """Return the text to sign: three lines, and the extension lines of a checkpoint that was read.

    Raises:
        EvidenceInvalid: `checkpoint-malformed`, `checkpoint-size`, `checkpoint-root`.
    """
    root = base64.b64encode(checkpoint.root).decode()
    lines = [checkpoint.origin, str(checkpoint.size), root, *checkpoint.extensions]
    text = "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogatepass")
    if parse_checkpoint(text) != checkpoint:
        raise _malformed("a line of the checkpoint holds a newline")
    return text


def parse_checkpoint(text: bytes) -> Checkpoint:
    """Read a checkpoint's text; formatting the result gives `text` back.

    Raises:
        EvidenceInvalid: `checkpoint-malformed`; `checkpoint-size`, the size is not a canonical decimal or
            too large; `checkpoint-root`, the root is not 32 bytes, or not the empty root at size 0.
    """
    try:
        lines = text.decode().split("\n")
    except UnicodeDecodeError as error:
        raise _malformed("the checkpoint is not UTF-8") from error
    if len(lines) < 4 or lines.pop() or not all(lines):
        raise _malformed("a checkpoint is three or more lines, none of them empty")
    if any(_CONTROL.search(line) for line in lines):
        raise _malformed("a checkpoint holds no control characters")
    origin, size_text, root_text, *extensions = lines
    if len(origin.encode()) > MAX_ORIGIN_SIZE:
        raise _malformed(f"an origin is at most {MAX_ORIGIN_SIZE} bytes long")
    size = parse_size(size_text)
    root = parse_hash(root_text)
    if root is None or (size == 0 and root != EMPTY_ROOT):
        raise EvidenceInvalid(
            "checkpoint-root",
            "the checkpoint's root cannot be the root of such a tree",
            expected=base64.b64encode(EMPTY_ROOT).decode() if size == 0 else "the base64 of 32 bytes",
            found=repr(root_text[:80]),
        )
    return Checkpoint(origin, size, root, tuple(extensions))


def sign_checkpoint(checkpoint: Checkpoint, signers: Sequence[NoteSigner], *, time: int) -> bytes:
    """Return the signed checkpoint, as it is published.

    Args:
        checkpoint: without extension lines.
        signers: the log's keys.
        time: POSIX seconds, for the keys that sign a time.

    Raises:
        EvidenceInvalid: `checkpoint-extension`, or what `format_checkpoint` raises.
    """
    if checkpoint.extensions:
        raise EvidenceInvalid(
            "checkpoint-extension",
            "a checkpoint of ours has no extension lines",
            found=repr(checkpoint.extensions[0][:80]),
            rule="C2SP tlog-checkpoint, Note text",
        )
    return sign_note(format_checkpoint(checkpoint), signers, time=time)


def open_checkpoint(
    data: bytes,
    verifiers: Sequence[NoteVerifier],
    origin: str,
    *,
    witnesses: Sequence[NoteVerifier] = (),
    every: bool = True,
) -> tuple[Checkpoint, Note]:
    """Check a signed checkpoint and return it with the note that says who signed.

    Args:
        data: the signed checkpoint.
        verifiers: the log's own keys that the caller holds. Each of them must have signed: a log signs by
            two kinds of key so that the fall of one kind is not the fall of the log.
        origin: the log that it must be of.
        witnesses: keys of others, checked where they signed. Their word alone does not make a checkpoint
            the log's.
        every: False lets one of `verifiers` suffice: for a caller that itself says which are missing.

    Raises:
        EvidenceInvalid: `checkpoint-origin`, it is another log's; `checkpoint-unsigned`, one of the log's
            keys did not sign; what `open_note` and `parse_checkpoint` raise.
    """
    note = open_note(data, [*verifiers, *witnesses])
    missing = unsigned(note, verifiers)
    if missing and (every or len(missing) == len(verifiers)):
        raise EvidenceInvalid(
            "checkpoint-unsigned",
            "a key of the log did not sign the checkpoint",
            expected=", ".join(f"{one.name} ({one.key_id.hex()})" for one in missing),
            advice="take the checkpoint from the institution itself, or from a mirror",
            rule="specs/log.md, Origin, notes, checkpoints",
        )
    checkpoint = parse_checkpoint(note.text)
    check_origin(checkpoint, origin)
    return checkpoint, note


def unsigned(note: Note, verifiers: Sequence[NoteVerifier]) -> tuple[NoteVerifier, ...]:
    """Return those of `verifiers` whose signature the opened note does not bear."""
    signed = {(signature.name, signature.key_id) for signature in note.verified}
    return tuple(one for one in verifiers if (one.name, one.key_id) not in signed)


def read_unverified(data: bytes) -> Checkpoint:
    """Return what a signed checkpoint says, with no signature checked: for a log's own committed head.

    Raises:
        EvidenceInvalid: what `parse_note` and `parse_checkpoint` raise.
    """
    return parse_checkpoint(parse_note(data).text)


def check_origin(checkpoint: Checkpoint, origin: str) -> None:
    """Raise `EvidenceInvalid` (`checkpoint-origin`) unless the checkpoint is of the log `origin`."""
    if checkpoint.origin != origin:
        raise EvidenceInvalid(
            "checkpoint-origin",
            "the checkpoint is of another log",
            expected=origin,
            found=repr(checkpoint.origin[:80]),
        )


def parse_size(text: str) -> int:
    """Return a number of entries or an index, from its only decimal spelling.

    Raises:
        EvidenceInvalid: `checkpoint-size`.
    """
    if not _DECIMAL.fullmatch(text) or int(text) > MAX_TREE_SIZE:
        raise EvidenceInvalid(
            "checkpoint-size",
            "this is not a number of entries",
            expected=f"a decimal number up to {MAX_TREE_SIZE}, without leading zeroes",
            found=repr(text[:40]),
        )
    return int(text)


def parse_hash(text: str) -> bytes | None:
    """Return the 32 bytes of a base64 line, or None when it is not the only spelling of 32 bytes."""
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return value if len(value) == HASH_SIZE and base64.b64encode(value).decode() == text else None


def _malformed(message: str) -> EvidenceInvalid:
    return EvidenceInvalid("checkpoint-malformed", message, rule="C2SP tlog-checkpoint, Note text")
