"""Signed notes: a text and the signatures under it (C2SP signed-note v1.0.0; `specs/log.md`).

    example.com/foo            the text: UTF-8, ends with a newline, no other control characters
    7
    …
                               the last empty line of the note
    — example.com/foo Uw…=     a signature: em dash, key name, base64(4-byte key id || signature)

A key is named by its name and id together. Signatures by unknown keys are ignored, a bad signature by a
known key refuses the whole note, and at least one known key must have signed. A verifier key ("vkey") is
`<name>+<key id as 8 hex digits>+<base64(kind byte || public key)>`.

This module knows no kind of key; those are in `log/cosignature.py`.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Final, Protocol

from heritage_ledger.errors import EvidenceInvalid, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_NOTE_SIZE: Final = 1 << 20
"""Bytes of a signed note: room for the text and 64 signatures of a post-quantum key (7 kB each)."""
MAX_SIGNATURES: Final = 64
"""Signatures on a note; C2SP asks for at least 16, a checkpoint has one for each log and witness key."""
MAX_KEY_NAME: Final = 255
"""Bytes of a key name: the cosignature message has one byte for its length."""
MAX_VKEY_SIZE: Final = 8192
"""Characters of a verifier key: the largest public key in use has 1,312 bytes."""
KEY_ID_SIZE: Final = 4
"""Bytes of a key id."""

_DASH: Final = "— "
_CONTROL: Final = re.compile(rb"[\x00-\x09\x0b-\x1f]")
_VKEY: Final = re.compile(r"([^+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+=*)")


class NoteSigner(Protocol):
    """A secret key that signs notes under a name."""

    @property
    def name(self) -> str:
        """The key name on the signature line."""

    @property
    def key_id(self) -> bytes:
        """The four bytes that stand before the signature."""

    def sign(self, text: bytes, time: int) -> bytes:
        """Return what follows the key id: for timestamped kinds the time and the signature.

        Args:
            text: the note's text, with its last newline.
            time: POSIX seconds; kinds without a time leave it out.
        """


class NoteVerifier(Protocol):
    """A public key that checks the signatures of one name and key id."""

    @property
    def name(self) -> str:
        """The key name that it answers for."""

    @property
    def key_id(self) -> bytes:
        """The key id that it answers for."""

    @property
    def vkey(self) -> str:
        """The verifier key as text, to hand out."""

    def check(self, text: bytes, payload: bytes) -> None:
        """Raise `EvidenceInvalid` unless `payload`, as from `NoteSigner.sign`, signs `text`."""


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A verifier key as written: its name, 4-byte id, kind byte and public key."""

    name: str
    key_id: bytes
    kind: int
    public: bytes


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line; `payload` is what follows the key id."""

    name: str
    key_id: bytes
    payload: bytes


@dataclass(frozen=True, slots=True)
class UnverifiedNote:
    """A well-formed note of which nothing has been checked; its text must not be believed."""

    text: bytes
    signatures: tuple[Signature, ...]


@dataclass(frozen=True, slots=True)
class Note:
    """A note that at least one known key signed.

    `verified` has one signature for each known key that signed, `unknown` those by other keys.
    """

    text: bytes
    verified: tuple[Signature, ...]
    unknown: tuple[Signature, ...]


def key_id(name: str, kind: int, public: bytes) -> bytes:
    """Return the 4-byte id of a key: the start of SHA-256(name || newline || kind || public key)."""
    return sha256(name.encode() + b"\n" + bytes([kind]) + public).digest()[:KEY_ID_SIZE]


def check_key_name(name: str) -> None:
    """Refuse a name that cannot stand on a signature line.

    Raises:
        EvidenceInvalid: `note-key-name`, it is empty, too long, or has a space, `+` or control character.
    """
    encoded = name.encode("utf-8", "surrogatepass")
    if (
        not 1 <= len(encoded) <= MAX_KEY_NAME
        or "+" in name
        or any(character.isspace() or "\ud800" <= character <= "\udfff" for character in name)
        or _CONTROL.search(encoded)
    ):
        raise EvidenceInvalid(
            "note-key-name",
            "this cannot be the name of a key",
            expected=f"1 to {MAX_KEY_NAME} bytes without spaces, + and control characters",
            found=repr(name[:80]),
            rule="C2SP signed-note, Format",
        )


def format_vkey(key: VerifierKey) -> str:
    """Return the verifier key as text, to hand out."""
    material = base64.b64encode(bytes([key.kind]) + key.public).decode()
    return f"{key.name}+{key.key_id.hex()}+{material}"


def parse_vkey(text: str) -> VerifierKey:
    """Return the parts of a verifier key; whether its kind is known is not this function's matter.

    The id is compared with the one that signed-note recommends, which every kind in use here follows.

    Raises:
        EvidenceInvalid: `note-vkey`, the text is not a verifier key or its id is not that of the key;
            `note-key-name`.
    """
    match = _VKEY.fullmatch(text) if len(text) <= MAX_VKEY_SIZE else None
    material = _decode(match[3]) if match else None
    if match is None or not material or len(material) < 2:
        raise EvidenceInvalid(
            "note-vkey",
            "this is not a verifier key",
            expected="<name>+<8 hex digits>+<base64>",
            found=repr(text[:80]),
        )
    check_key_name(match[1])
    key = VerifierKey(match[1], bytes.fromhex(match[2]), material[0], material[1:])
    expected = key_id(key.name, key.kind, key.public)
    if key.key_id != expected:
        raise EvidenceInvalid(
            "note-vkey",
            "the verifier key's id does not belong to its name and key",
            expected=expected.hex(),
            found=key.key_id.hex(),
            advice="copy the key again from where the institution publishes it",
        )
    return key


def format_note(text: bytes, signatures: Sequence[Signature]) -> bytes:
    """Return the note as bytes.

    Raises:
        EvidenceInvalid: what `parse_note` would say about it.
    """
    lines = [text, b"\n"]
    for signature in signatures:
        encoded = base64.b64encode(signature.key_id + signature.payload).decode()
        lines.append(f"{_DASH}{signature.name} {encoded}\n".encode("utf-8", "surrogatepass"))
    data = b"".join(lines)
    if parse_note(data) != UnverifiedNote(text, tuple(signatures)):
        raise _malformed("the text cannot be told from the signatures under it")
    return data


def parse_note(data: bytes) -> UnverifiedNote:
    """Split a note into its text and signature lines, checking no signature.

    Raises:
        EvidenceInvalid: `note-malformed`; `note-too-large`; `note-key-name`.
    """
    if len(data) > MAX_NOTE_SIZE:
        raise _too_large(f"at most {MAX_NOTE_SIZE} bytes", f"{len(data)} bytes")
    if _CONTROL.search(data):
        raise _malformed("a note holds no control characters but newlines")
    split = data.rfind(b"\n\n")
    if split < 0:
        raise _malformed("there is no empty line between text and signatures")
    try:
        data[: split + 1].decode()
        block = data[split + 2 :].decode()
    except UnicodeDecodeError as error:
        raise _malformed("the note is not UTF-8") from error
    if not block.endswith("\n"):
        raise _malformed("no signature line ends the note")
    lines = block[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise _too_large(f"at most {MAX_SIGNATURES} signatures", f"{len(lines)} signatures")
    return UnverifiedNote(data[: split + 1], tuple(_parse_line(line) for line in lines))


def sign_note(text: bytes, signers: Sequence[NoteSigner], *, time: int) -> bytes:
    """Return `text` as a note signed by each of `signers`, in their order.

    Args:
        text: UTF-8 that ends with a newline.
        signers: one or more.
        time: POSIX seconds, for the kinds of key that sign a time.

    Raises:
        EvidenceInvalid: the text cannot be a note's, as `parse_note` says.
    """
    return format_note(
        text, [Signature(signer.name, signer.key_id, signer.sign(text, time)) for signer in signers]
    )


def open_note(data: bytes, verifiers: Sequence[NoteVerifier]) -> Note:
    """Check a note's signatures by the keys in `verifiers`, and return it with those that signed.

    One key suffices here, as signed-note has it: whether those that signed are enough is for the caller to
    say. A log's checkpoint is opened by `checkpoint.open_checkpoint`, which asks for all of the log's keys.

    Raises:
        EvidenceInvalid: `note-signature`, a known key's signature is wrong; `note-no-known-key`, none of
            the known keys signed; or what `parse_note` raises.
        UsageError: `note-key-ambiguous`, two of `verifiers` have the same name and id.
    """
    known = {(verifier.name, verifier.key_id): verifier for verifier in verifiers}
    if len(known) != len(verifiers):
        raise UsageError("note-key-ambiguous", "two of the known keys have the same name and key id")
    note = parse_note(data)
    verified: dict[tuple[str, bytes], Signature] = {}
    unknown = []
    for signature in note.signatures:
        verifier = known.get((signature.name, signature.key_id))
        if verifier is None:
            unknown.append(signature)
            continue
        _check_signature(verifier, note.text, signature)
        verified.setdefault((signature.name, signature.key_id), signature)
    if not verified:
        raise EvidenceInvalid(
            "note-no-known-key",
            "none of the known keys signed this",
            expected=", ".join(f"{name} ({identity.hex()})" for name, identity in known) or "a known key",
            found=", ".join(f"{line.name} ({line.key_id.hex()})" for line in unknown[:8]),
            advice="compare the key that you hold with the one that the institution publishes",
        )
    return Note(note.text, tuple(verified.values()), tuple(unknown))


def _check_signature(verifier: NoteVerifier, text: bytes, signature: Signature) -> None:
    try:
        verifier.check(text, signature.payload)
    except EvidenceInvalid as error:
        raise EvidenceInvalid(
            "note-signature",
            f"the signature by {signature.name} ({signature.key_id.hex()}) is wrong: {error.message}",
            expected=error.expected,
            found=error.found,
            rule="C2SP signed-note, Signatures",
        ) from error


def _parse_line(line: str) -> Signature:
    name, space, encoded = line.removeprefix(_DASH).partition(" ")
    material = _decode(encoded)
    if not line.startswith(_DASH) or not space or material is None or len(material) <= KEY_ID_SIZE:
        raise _malformed("a signature line is not “— <key name> <base64>”")
    check_key_name(name)
    return Signature(name, material[:KEY_ID_SIZE], material[KEY_ID_SIZE:])


def _decode(text: str) -> bytes | None:
    try:
        material = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    # the decoder lets pass unused bits in the last character
    return material if base64.b64encode(material).decode() == text else None


def _malformed(message: str) -> EvidenceInvalid:
    return EvidenceInvalid("note-malformed", message, rule="C2SP signed-note, Format")


def _too_large(expected: str, found: str) -> EvidenceInvalid:
    return EvidenceInvalid(
        "note-too-large", "the note is larger than any that is read", expected=expected, found=found
    )
