r"""Proof files: all the evidence for one event, checkable offline (`specs/proof.md`).

    {
     "checkpoint": "museum.example/ledger/1\n18\n…",
     "context": "{…}",
     "entries": [
      {"entry": "{…genesis…}", "hashes": ["…"], "index": 0},
      {"entry": "{…the event…}", "hashes": ["…"], "index": 17}
     ],
     "type": "heritage-ledger-proof",
     "version": 1
    }

Entries are texts, not nested JSON, so that the signed bytes stay as they are. The last entry is the event
that is proved; those before it are the key events that say whose signature it needs, entry 0 first.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any, Final

from heritage_ledger.errors import EvidenceInvalid
from heritage_ledger.log.proof import TlogProof, format_tlog_proof

TYPE: Final = "heritage-ledger-proof"
VERSION: Final = 1
MAX_PROOF_FILE: Final = 16 << 20
"""Bytes of a proof file: hundreds of key events of 64 KiB would fit; no real log has them."""
MAX_ENTRIES: Final = 256
"""Entries in a proof file: the event and the key events before it."""
MAX_HASHES: Final = 63
"""Hashes of an inclusion proof (C2SP tlog-proof)."""
_HASH_SIZE: Final = 32
_KEYS: Final = {"type", "version", "checkpoint", "context", "entries"}
_ENTRY_KEYS: Final = {"index", "entry", "hashes"}


@dataclass(frozen=True, slots=True)
class ProvedEntry:
    """One entry of the log with its inclusion proof under the file's checkpoint."""

    index: int
    entry: bytes
    hashes: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class ProofFile:
    """A proof file as read: nothing in it is checked but its form."""

    checkpoint: bytes
    context: bytes
    entries: tuple[ProvedEntry, ...]

    @property
    def subject(self) -> ProvedEntry:
        """The event that the file is about."""
        return self.entries[-1]


def tlog_proof(proof: ProofFile, entry: ProvedEntry) -> bytes:
    """Return the C2SP tlog-proof of one entry, for other people's verifiers."""
    return format_tlog_proof(TlogProof(entry.index, entry.hashes, proof.checkpoint))


def format_proof(proof: ProofFile) -> bytes:
    """Return the bytes of a proof file; `parse_proof` gives the same value back."""
    document = {
        "type": TYPE,
        "version": VERSION,
        "checkpoint": proof.checkpoint.decode(),
        "context": proof.context.decode(),
        "entries": [
            {
                "index": item.index,
                "entry": item.entry.decode(),
                "hashes": [base64.b64encode(digest).decode() for digest in item.hashes],
            }
            for item in proof.entries
        ],
    }
    return (json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def parse_proof(data: bytes) -> ProofFile:
    """Return the parts of a proof file.

    Only the exact form that `format_proof` writes is accepted: one text, one meaning.

    Raises:
        EvidenceInvalid: `proof-malformed`, or `proof-version` where the file is of another kind or version.
    """
    if len(data) > MAX_PROOF_FILE:
        raise _malformed(f"at most {MAX_PROOF_FILE} bytes", f"{len(data)} bytes")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _malformed("JSON in UTF-8", str(error)[:120]) from error
    named = (document.get("type"), document.get("version")) if isinstance(document, dict) else None
    if named != (TYPE, VERSION) or isinstance(named[1], bool):
        raise EvidenceInvalid(
            "proof-version",
            "this is not a proof file that is known here",
            expected=f"type {TYPE}, version {VERSION}",
            found="no JSON object" if named is None else f"type {named[0]!r:.60}, version {named[1]!r:.20}",
            advice="take the file as `heritage prove` wrote it, or a newer version of this software",
        )
    proof = _read(document)
    if format_proof(proof) != data:
        raise _malformed("the form that `heritage prove` writes", "another spelling of it")
    return proof


def _read(document: dict[str, Any]) -> ProofFile:
    if document.keys() != _KEYS:
        raise _malformed(", ".join(sorted(_KEYS)), ", ".join(sorted(map(str, document))))
    entries = document["entries"]
    if not isinstance(entries, list) or not 1 <= len(entries) <= MAX_ENTRIES:
        raise _malformed(f"1 to {MAX_ENTRIES} entries", repr(entries)[:80])
    items = tuple(_read_entry(item) for item in entries)
    indexes = [item.index for item in items]
    if indexes != sorted(set(indexes)):
        raise _malformed("entries in the order of the log, each once", str(indexes)[:80])
    return ProofFile(_text(document["checkpoint"]), _text(document["context"]), items)


def _read_entry(item: object) -> ProvedEntry:
    if not isinstance(item, dict) or item.keys() != _ENTRY_KEYS:
        raise _malformed(", ".join(sorted(_ENTRY_KEYS)), repr(item)[:80])
    index, hashes = item["index"], item["hashes"]
    if type(index) is not int or not 0 <= index < 1 << 63:
        raise _malformed("an index from 0", repr(index)[:80])
    if not isinstance(hashes, list) or len(hashes) > MAX_HASHES:
        raise _malformed(f"at most {MAX_HASHES} hashes", repr(hashes)[:80])
    return ProvedEntry(index, _text(item["entry"]), tuple(_hash(value) for value in hashes))


def _text(value: object) -> bytes:
    if not isinstance(value, str):
        raise _malformed("text", repr(value)[:80])
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        raise _malformed("text in UTF-8", repr(value)[:80]) from error


def _hash(value: object) -> bytes:
    try:
        digest = base64.b64decode(value, validate=True) if isinstance(value, str) else b""
    except (binascii.Error, ValueError) as error:
        raise _malformed("a hash in base64", repr(value)[:80]) from error
    if len(digest) != _HASH_SIZE:
        raise _malformed("a SHA-256 hash in base64", repr(value)[:80])
    return digest


def _malformed(expected: str, found: str) -> EvidenceInvalid:
    return EvidenceInvalid(
        "proof-malformed",
        "this is not a whole proof file",
        expected=expected,
        found=found,
        advice="ask for the file again; it was changed or cut on its way",
    )
