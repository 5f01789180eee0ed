"""The kinds of key that sign checkpoints (C2SP signed-note, tlog-cosignature; `specs/log.md`).

| kind | key | signs | payload |
|---|---|---|---|
| 0x01 | Ed25519 | the note's text | 64-byte signature |
| 0x04 | Ed25519 | `cosignature/v1`, a time, the note's text | 8-byte time, 64-byte signature |
| 0x06 | ML-DSA-44 | cosigner's name, a time, origin, leaves, their root | 8-byte time, 2,420 bytes |

A log signs with 0x01 and with 0x06 under its origin as key name; witnesses cosign with 0x04 or 0x06. Times
are POSIX seconds, big-endian on the wire. 0x04 does not commit to the cosigner's name, so one such key
belongs to one cosigner only.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from heritage_ledger.errors import EvidenceInvalid
from heritage_ledger.identity.keys import check_ed25519, check_ed25519_public, check_mldsa44
from heritage_ledger.log.checkpoint import parse_checkpoint
from heritage_ledger.log.note import VerifierKey, check_key_name, format_vkey, key_id, parse_vkey

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from heritage_ledger.identity.keys import Ed25519Signer, MLDSA44Signer
    from heritage_ledger.log.note import NoteVerifier, Signature

ED25519: Final = 0x01
COSIGNATURE_ED25519: Final = 0x04
COSIGNATURE_MLDSA44: Final = 0x06
COSIGNATURES: Final = frozenset({COSIGNATURE_ED25519, COSIGNATURE_MLDSA44})
"""The kinds of key that may witness."""

MAX_TIME: Final = 2**63 - 1
"""POSIX seconds; C2SP tlog-cosignature, Format."""
MLDSA44_PUBLIC_SIZE: Final = 1312
ED25519_SIGNATURE_SIZE: Final = 64
MLDSA44_SIGNATURE_SIZE: Final = 2420

_TIME_SIZE: Final = 8
_SUBTREE_LABEL: Final = b"subtree/v1\n\x00"


@dataclass(frozen=True, slots=True)
class Ed25519Verifier:
    """Kind 0x01: a plain Ed25519 signature over the note's text."""

    name: str
    public: bytes
    key_id: bytes = field(init=False)

    def __post_init__(self) -> None:
        check_ed25519_public(self.public)
        object.__setattr__(self, "key_id", _key_id(self.name, ED25519, self.public))

    @property
    def vkey(self) -> str:
        """The verifier key as text."""
        return format_vkey(VerifierKey(self.name, self.key_id, ED25519, self.public))

    def check(self, text: bytes, payload: bytes) -> None:
        """Raise `EvidenceInvalid` unless `payload` is this key's signature of `text`."""
        check_ed25519(self.public, text, payload)


@dataclass(frozen=True, slots=True)
class Ed25519CosignatureVerifier:
    """Kind 0x04: a timestamped Ed25519 cosignature over a checkpoint's text."""

    name: str
    public: bytes
    key_id: bytes = field(init=False)

    def __post_init__(self) -> None:
        check_ed25519_public(self.public)
        object.__setattr__(self, "key_id", _key_id(self.name, COSIGNATURE_ED25519, self.public))

    @property
    def vkey(self) -> str:
        """The verifier key as text."""
        return format_vkey(VerifierKey(self.name, self.key_id, COSIGNATURE_ED25519, self.public))

    def check(self, text: bytes, payload: bytes) -> None:
        """Raise `EvidenceInvalid` unless `payload` is this key's cosignature of the checkpoint `text`."""
        parse_checkpoint(text)
        time, signature = _split_payload(payload, ED25519_SIGNATURE_SIZE)
        check_ed25519(self.public, cosignature_message(text, time), signature)


@dataclass(frozen=True, slots=True)
class MLDSA44CosignatureVerifier:
    """Kind 0x06: a timestamped ML-DSA-44 cosignature over a checkpoint or another subtree."""

    name: str
    public: bytes
    key_id: bytes = field(init=False)

    def __post_init__(self) -> None:
        _check_mldsa44_public(self.public)
        object.__setattr__(self, "key_id", _key_id(self.name, COSIGNATURE_MLDSA44, self.public))

    @property
    def vkey(self) -> str:
        """The verifier key as text."""
        return format_vkey(VerifierKey(self.name, self.key_id, COSIGNATURE_MLDSA44, self.public))

    def check(self, text: bytes, payload: bytes) -> None:
        """Raise `EvidenceInvalid` unless `payload` is this key's cosignature of the checkpoint `text`.

        Extension lines of the checkpoint are not covered by this kind of signature.
        """
        checkpoint = parse_checkpoint(text)
        self.check_subtree(checkpoint.origin, 0, checkpoint.size, checkpoint.root, payload)

    def check_subtree(self, origin: str, start: int, end: int, root: bytes, payload: bytes) -> None:
        """Raise `EvidenceInvalid` unless `payload` cosigns the leaves from start to end of log `origin`."""
        time, signature = _split_payload(payload, MLDSA44_SIGNATURE_SIZE)
        message = subtree_message(self.name, origin, root, time=time, start=start, end=end)
        check_mldsa44(self.public, message, signature)


@dataclass(frozen=True, slots=True)
class Ed25519NoteSigner:
    """Signs notes as kind 0x01."""

    verifier: Ed25519Verifier
    _signer: Ed25519Signer = field(repr=False)

    @classmethod
    def of(cls, name: str, signer: Ed25519Signer) -> Ed25519NoteSigner:
        """Let `signer` sign under the key name `name`."""
        return cls(Ed25519Verifier(name, signer.public), signer)

    @property
    def name(self) -> str:
        """The key name."""
        return self.verifier.name

    @property
    def key_id(self) -> bytes:
        """The key id."""
        return self.verifier.key_id

    def sign(self, text: bytes, time: int) -> bytes:  # noqa: ARG002 - this kind signs no time
        """Return the 64-byte signature of `text`."""
        return self._signer.sign(text)


@dataclass(frozen=True, slots=True)
class Ed25519CosignatureSigner:
    """Cosigns checkpoints as kind 0x04."""

    verifier: Ed25519CosignatureVerifier
    _signer: Ed25519Signer = field(repr=False)

    @classmethod
    def of(cls, name: str, signer: Ed25519Signer) -> Ed25519CosignatureSigner:
        """Let `signer` cosign under the key name `name`; the key must serve no other name."""
        return cls(Ed25519CosignatureVerifier(name, signer.public), signer)

    @property
    def name(self) -> str:
        """The key name."""
        return self.verifier.name

    @property
    def key_id(self) -> bytes:
        """The key id."""
        return self.verifier.key_id

    def sign(self, text: bytes, time: int) -> bytes:
        """Return the time and the signature of the checkpoint `text`."""
        message = cosignature_message(text, time)
        return struct.pack(">Q", time) + self._signer.sign(message)


@dataclass(frozen=True, slots=True)
class MLDSA44CosignatureSigner:
    """Signs or cosigns checkpoints, and other subtrees, as kind 0x06."""

    verifier: MLDSA44CosignatureVerifier
    _signer: MLDSA44Signer = field(repr=False)

    @classmethod
    def of(cls, name: str, signer: MLDSA44Signer) -> MLDSA44CosignatureSigner:
        """Let `signer` sign under the key name `name`; for a log's own key that is its origin."""
        return cls(MLDSA44CosignatureVerifier(name, signer.public), signer)

    @property
    def name(self) -> str:
        """The key name."""
        return self.verifier.name

    @property
    def key_id(self) -> bytes:
        """The key id."""
        return self.verifier.key_id

    def sign(self, text: bytes, time: int) -> bytes:
        """Return the time and the signature of the checkpoint `text`."""
        checkpoint = parse_checkpoint(text)
        return self.sign_subtree(checkpoint.origin, 0, checkpoint.size, checkpoint.root, time)

    def sign_subtree(self, origin: str, start: int, end: int, root: bytes, time: int) -> bytes:
        """Return the time and the signature of the leaves from start to end of the log `origin`."""
        message = subtree_message(self.name, origin, root, time=time, start=start, end=end)
        return struct.pack(">Q", time) + self._signer.sign(message)


def open_vkey(text: str) -> NoteVerifier:
    """Return the verifier that a verifier key describes.

    Raises:
        EvidenceInvalid: `note-vkey`, `note-key-name`, `public-key-invalid`;
            `note-key-kind`, its kind of signature is none that is checked here.
    """
    key = parse_vkey(text)
    if key.kind == ED25519:
        return Ed25519Verifier(key.name, key.public)
    if key.kind == COSIGNATURE_ED25519:
        return Ed25519CosignatureVerifier(key.name, key.public)
    if key.kind == COSIGNATURE_MLDSA44:
        return MLDSA44CosignatureVerifier(key.name, key.public)
    raise EvidenceInvalid(
        "note-key-kind",
        "signatures of this kind of key cannot be checked here",
        expected="kind 01, 04 or 06",
        found=f"kind {key.kind:02x}",
        rule="C2SP signed-note, Signature types",
    )


def cosignature_message(text: bytes, time: int) -> bytes:
    """Return what a 0x04 cosignature signs (tlog-cosignature, Ed25519 signed message)."""
    _check_time(time)
    return b"cosignature/v1\ntime %d\n" % time + text


def subtree_message(name: str, origin: str, root: bytes, *, time: int, start: int, end: int) -> bytes:
    """Return what a 0x06 cosignature signs (tlog-cosignature, ML-DSA-44 signed message).

    Raises:
        EvidenceInvalid: `cosignature-time`, it is too large, or not 0 where `start` is not 0;
            `cosignature-subtree`, a field does not fit the message.
    """
    _check_time(time)
    if start and time:
        raise EvidenceInvalid(
            "cosignature-time",
            "a cosignature of a subtree that is no checkpoint bears no time",
            expected="0",
            found=str(time),
        )
    fields = (name.encode(), origin.encode())
    if not (all(0 < len(value) < 256 for value in fields) and 0 <= start <= end < 2**64 and len(root) == 32):
        raise EvidenceInvalid("cosignature-subtree", "no such subtree can be cosigned")
    name_field, origin_field = (bytes([len(value)]) + value for value in fields)
    return (
        _SUBTREE_LABEL
        + name_field
        + struct.pack(">Q", time)
        + origin_field
        + struct.pack(">QQ", start, end)
        + root
    )


def cosignature_time(payload: bytes) -> int:
    """Return the POSIX seconds that the payload of a timestamped signature claims.

    Raises:
        EvidenceInvalid: `cosignature-malformed`, `cosignature-time`.
    """
    return _split_payload(payload, len(payload) - _TIME_SIZE)[0]


def claimed_times(signatures: Iterable[Signature]) -> Iterator[tuple[str, int]]:
    """Yield who claims to have signed and when, for each line that has the size of a timestamped one.

    Nothing is checked: this is for hints, and for nothing that anybody is to believe.
    """
    sizes = {_TIME_SIZE + ED25519_SIGNATURE_SIZE, _TIME_SIZE + MLDSA44_SIGNATURE_SIZE}
    for signature in signatures:
        if len(signature.payload) in sizes:
            yield signature.name, int.from_bytes(signature.payload[:_TIME_SIZE], "big")


def _split_payload(payload: bytes, signature_size: int) -> tuple[int, bytes]:
    if len(payload) <= _TIME_SIZE or len(payload) != _TIME_SIZE + signature_size:
        raise EvidenceInvalid(
            "cosignature-malformed",
            "a timestamped signature has another size",
            expected=f"{_TIME_SIZE + max(signature_size, 1)} bytes",
            found=f"{len(payload)} bytes",
        )
    time = int.from_bytes(payload[:_TIME_SIZE], "big")
    _check_time(time)
    return time, payload[_TIME_SIZE:]


def _check_time(time: int) -> None:
    if not 0 <= time <= MAX_TIME:
        raise EvidenceInvalid(
            "cosignature-time",
            "this is not a time that can be signed",
            expected=f"0 to {MAX_TIME} POSIX seconds",
            found=str(time),
        )


def _key_id(name: str, kind: int, public: bytes) -> bytes:
    check_key_name(name)
    return key_id(name, kind, public)


def _check_mldsa44_public(public: bytes) -> None:
    if len(public) != MLDSA44_PUBLIC_SIZE:
        raise EvidenceInvalid(
            "note-vkey",
            "an ML-DSA-44 public key has another size",
            expected=f"{MLDSA44_PUBLIC_SIZE} bytes",
            found=f"{len(public)} bytes",
        )
