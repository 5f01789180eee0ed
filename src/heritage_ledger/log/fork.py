r"""Fork proofs: a file that shows that a log signed two histories (`specs/federation.md`).

    {
     "first": "museum.example/ledger/1\n5\n…",       the smaller checkpoint, signed by the log
     "hashes": ["…"],                                the second tree's consistency proof from the first's size
     "prefix_root": "…",                             the root that the second tree had at the first's size
     "second": "museum.example/ledger/1\n9\n…",      the other checkpoint, signed by the log
     "type": "heritage-ledger-fork",
     "version": 1
    }

Valid if and only if the log signed both with every key that the checker holds, the proof leads from
`prefix_root` to the second root, and `prefix_root` is not the first root. `prefix_root` is stated because a
consistency proof from a power of two takes the old root from the verifier: without it the proof would prove
nothing. One valid file is enough for anyone, for ever: no honest log can be accused with it.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from heritage_ledger.errors import EvidenceInvalid
from heritage_ledger.log.checkpoint import Checkpoint, open_checkpoint, read_unverified
from heritage_ledger.log.merkle import HASH_SIZE, MAX_PROOF_HASHES, check_consistency
from heritage_ledger.log.note import MAX_NOTE_SIZE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heritage_ledger.log.note import NoteVerifier

TYPE: Final = "heritage-ledger-fork"
VERSION: Final = 1
MAX_FORK_SIZE: Final = 4 * MAX_NOTE_SIZE
"""Bytes of a fork proof: two notes, escaped, and the hashes."""
_KEYS: Final = frozenset({"type", "version", "first", "second", "prefix_root", "hashes"})


@dataclass(frozen=True, slots=True)
class ForkProof:
    """A fork proof as read, nothing in it checked: two signed checkpoints, and how their trees relate."""

    first: bytes
    second: bytes
    prefix_root: bytes
    hashes: tuple[bytes, ...]

    @property
    def origin(self) -> str:
        """The origin that the second checkpoint claims."""
        return read_unverified(self.second).origin


@dataclass(frozen=True, slots=True)
class Fork:
    """What a fork proof shows: one log, and the two checkpoints that cannot both be true."""

    origin: str
    first: Checkpoint
    second: Checkpoint


def format_fork(proof: ForkProof) -> bytes:
    """Return the bytes of a fork proof; `parse_fork` gives the same value back."""
    document = {
        "type": TYPE,
        "version": VERSION,
        "first": proof.first.decode(),
        "second": proof.second.decode(),
        "prefix_root": base64.b64encode(proof.prefix_root).decode(),
        "hashes": [base64.b64encode(value).decode() for value in proof.hashes],
    }
    return (json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def is_fork(data: bytes) -> bool:
    """Say whether a file claims to be a fork proof; `parse_fork` judges it."""
    return f'"type": "{TYPE}"'.encode() in data


def parse_fork(data: bytes) -> ForkProof:
    """Return the parts of a fork proof. Only the exact form that `format_fork` writes is accepted.

    Raises:
        EvidenceInvalid: `fork-malformed`, or what `read_unverified` raises about a checkpoint in it.
    """
    if len(data) > MAX_FORK_SIZE:
        raise _malformed(f"at most {MAX_FORK_SIZE} bytes", f"{len(data)} bytes")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _malformed("JSON in UTF-8", str(error)[:120]) from error
    if not isinstance(document, dict) or document.keys() != _KEYS:
        raise _malformed(", ".join(sorted(_KEYS)), "other keys")
    if (document["type"], document["version"]) != (TYPE, VERSION):
        raise _malformed(f"type {TYPE}, version {VERSION}", f"{document['type']!r:.60}")
    hashes = document["hashes"]
    if not isinstance(hashes, list) or len(hashes) > MAX_PROOF_HASHES:
        raise _malformed(f"at most {MAX_PROOF_HASHES} hashes", repr(hashes)[:80])
    proof = ForkProof(
        _text(document["first"]),
        _text(document["second"]),
        _hash(document["prefix_root"]),
        tuple(map(_hash, hashes)),
    )
    if format_fork(proof) != data:
        raise _malformed("the form that this software writes", "another spelling of it")
    read_unverified(proof.first)
    read_unverified(proof.second)
    return proof


def check_fork(proof: ForkProof, verifiers: Sequence[NoteVerifier], origin: str) -> Fork:
    """Check that the log `origin`, whose keys are `verifiers`, signed two histories; return them.

    Each of `verifiers` must have signed both checkpoints.

    Raises:
        EvidenceInvalid: `fork-unproved`, both checkpoints can be true; what `open_checkpoint` raises: one is
            another log's, or not signed by the given keys; `merkle-consistency`, the proof does not lead to
            the second root.
    """
    first, _ = open_checkpoint(proof.first, verifiers, origin)
    second, _ = open_checkpoint(proof.second, verifiers, origin)
    if not 0 < first.size <= second.size:
        raise _unproved("the smaller tree first, and not an empty one", f"{first.size} and {second.size}")
    check_consistency(first.size, second.size, proof.hashes, proof.prefix_root, second.root)
    if proof.prefix_root == first.root:
        raise _unproved("two roots at one size", "one root: the second tree begins with the first")
    return Fork(origin, first, second)


def _unproved(expected: str, found: str) -> EvidenceInvalid:
    return EvidenceInvalid(
        "fork-unproved",
        "the file does not show a fork",
        expected=expected,
        found=found,
        advice="the log is not accused by this file; treat whoever sent it with care",
        rule="specs/federation.md",
    )


def _text(value: Any) -> bytes:
    if not isinstance(value, str):
        raise _malformed("text", repr(value)[:80])
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        raise _malformed("text in UTF-8", repr(value)[:80]) from error


def _hash(value: Any) -> bytes:
    try:
        digest = base64.b64decode(value, validate=True) if isinstance(value, str) else b""
    except (binascii.Error, ValueError) as error:
        raise _malformed("a hash in base64", repr(value)[:80]) from error
    if len(digest) != HASH_SIZE:
        raise _malformed("a SHA-256 hash in base64", repr(value)[:80])
    return digest


def _malformed(expected: str, found: str) -> EvidenceInvalid:
    return EvidenceInvalid(
        "fork-malformed",
        "this is not a fork proof",
        expected=expected,
        found=found,
        rule="specs/federation.md",
    )
