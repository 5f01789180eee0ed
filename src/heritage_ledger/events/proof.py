"""W3C Data Integrity proofs of suite `eddsa-jcs-2022`, narrowed (`specs/event.md`, "Proof").

The signature is Ed25519 over SHA-256(proof options) and SHA-256(document), 64 bytes, both in canonical
bytes. Narrower than the suite in what it accepts: one proof, never a set or a chain; the proof's `@context`
equals the document's, where the suite lets the document's go on after it; key by `did:key` alone; times in
UTC. Every document signed here is valid for any other implementation of the suite.

The steps are public so that each can be held against the suite's own intermediate values.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from heritage_ledger.errors import EvidenceInvalid
from heritage_ledger.events.canonical import check_profile, format_canonical, format_profiled
from heritage_ledger.events.timestamps import parse_timestamp
from heritage_ledger.identity.didkey import (
    decode_base58btc,
    encode_base58btc,
    format_verification_method,
    parse_verification_method,
)
from heritage_ledger.identity.keys import ED25519_SIGNATURE_SIZE, check_ed25519

if TYPE_CHECKING:
    from collections.abc import Mapping

    from heritage_ledger.identity.keys import Ed25519Signer

CRYPTOSUITE: Final = "eddsa-jcs-2022"

_FIXED: Final = {
    "type": "DataIntegrityProof",
    "cryptosuite": CRYPTOSUITE,
    "proofPurpose": "assertionMethod",
}
_KEYS: Final = frozenset({*_FIXED, "@context", "created", "verificationMethod", "proofValue"})


@dataclass(frozen=True, slots=True)
class OpenedDocument:
    """A document whose proof holds: what was signed, by which key, and when the signer says so.

    `document` is the object without its proof; `verification_key` has 32 bytes.
    """

    document: dict[str, Any]
    verification_key: bytes
    created: str


def sign_document(document: Mapping[str, Any], signer: Ed25519Signer, *, created: str) -> dict[str, Any]:
    """`document` with a proof added; `created` is a UTC time that the caller vouches for.

    Raises:
        EvidenceInvalid: `timestamp-invalid`; `proof-count`, it has a proof already;
            `proof-context`, it has no `@context`; or a `json-…` code.
    """
    parse_timestamp(created)
    if "proof" in document:
        raise EvidenceInvalid("proof-count", "the document has a proof already", path="/proof")
    if "@context" not in document:
        raise EvidenceInvalid("proof-context", "the document has no @context", path="/@context")
    options = {
        **_FIXED,
        "@context": document["@context"],
        "created": created,
        "verificationMethod": format_verification_method(signer.public),
    }
    signature = signer.sign(signing_input(format_canonical(options), format_canonical(document)))
    return {**document, "proof": {**options, "proofValue": format_proof_value(signature)}}


def open_document(signed: Mapping[str, Any]) -> OpenedDocument:
    """Check the proof of a signed document and give back what was signed.

    Raises:
        EvidenceInvalid: `proof-missing`, `proof-count`, `proof-shape`, `proof-context`, `proof-value`,
            `timestamp-invalid`, a code of `parse_verification_method` or `check_ed25519`, or `json-…`.
    """
    check_profile(signed)
    return open_profiled(signed)


def open_profiled(signed: Mapping[str, Any]) -> OpenedDocument:
    """`open_document` for a value that is known to be inside the JSON profile.

    Raises:
        EvidenceInvalid: as `open_document`, without the `json-…` codes.
    """
    if "proof" not in signed:
        raise EvidenceInvalid("proof-missing", "the document has no proof", path="/proof")
    document = dict(signed)
    proof = document.pop("proof")
    check_proof_shape(proof, document)
    options = dict(proof)
    signature = parse_proof_value(options.pop("proofValue"))
    public = parse_verification_method(options["verificationMethod"])
    parse_timestamp(options["created"])
    check_ed25519(public, signing_input(format_profiled(options), format_profiled(document)), signature)
    return OpenedDocument(document, public, options["created"])


def check_proof_shape(proof: Any, document: Mapping[str, Any]) -> None:
    """Refuse what is not one proof of the suite over this document's own `@context`.

    Raises:
        EvidenceInvalid: `proof-count`, `proof-shape`, `proof-context`.
    """
    if type(proof) is list:
        raise EvidenceInvalid(
            "proof-count",
            "proof sets and chains are not accepted here",
            path="/proof",
            expected="one proof",
            found=f"a list of {len(proof)}",
        )
    if type(proof) is not dict or proof.keys() != _KEYS:
        raise EvidenceInvalid(
            "proof-shape",
            "the proof has other members than the suite needs",
            path="/proof",
            expected=", ".join(sorted(_KEYS)),
            found=ascii(sorted(map(str, proof)) if type(proof) is dict else proof)[:200],
        )
    for key, expected in _FIXED.items():
        if proof[key] != expected:
            raise EvidenceInvalid(
                "proof-shape",
                "the proof is of another kind",
                path=f"/proof/{key}",
                expected=expected,
                found=ascii(proof[key])[:80],
            )
    for key in ("created", "verificationMethod", "proofValue"):
        if type(proof[key]) is not str:
            raise EvidenceInvalid("proof-shape", "not text", path=f"/proof/{key}", expected="a string")
    if "@context" not in document or proof["@context"] != document["@context"]:
        raise EvidenceInvalid(
            "proof-context",
            "the proof's @context is not the document's",
            path="/proof/@context",
            expected=ascii(document.get("@context"))[:200],
            found=ascii(proof["@context"])[:200],
            advice="treat the document as altered: another context gives its keys other meanings",
        )


def signing_input(options_bytes: bytes, document_bytes: bytes) -> bytes:
    """The 64 bytes that are signed: SHA-256 of the proof options first, then of the document."""
    return sha256(options_bytes).digest() + sha256(document_bytes).digest()


def format_proof_value(signature: bytes) -> str:
    """`z` and base58btc of the 64-byte signature."""
    assert len(signature) == ED25519_SIGNATURE_SIZE
    return "z" + encode_base58btc(signature)


def parse_proof_value(text: str) -> bytes:
    """The 64-byte signature of a proof value.

    Raises:
        EvidenceInvalid: `proof-value`, not `z` or another size; `base58-invalid`.
    """
    if text.startswith("z"):
        signature = decode_base58btc(text[1:])
        if len(signature) == ED25519_SIGNATURE_SIZE:
            return signature
    raise EvidenceInvalid(
        "proof-value",
        "the proof value is not a base58btc Ed25519 signature",
        path="/proof/proofValue",
        expected=f"z and base58btc of {ED25519_SIGNATURE_SIZE} bytes",
        found=ascii(text)[:100],
    )
