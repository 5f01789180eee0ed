"""Content identifiers of one kind: CIDv1, SHA-256, codec raw or dag-pb.

In memory a CID is its 36 binary bytes: `01`, codec (`55` raw, `70` dag-pb), `12 20` (SHA-256, 32 bytes),
digest. As text it is multibase base32 in lower case without padding: `b` and 58 letters. Of each CID there
is one binary form and one text that `parse_cid` accepts; everything else is refused with what was found.

A CIDv0 (`Qm…`) names the same block as the CIDv1 with codec dag-pb and the same digest. It is read where
old references and old nodes have it, becomes a `Cid` at once, and is written only by `format_cid_v0`.

Sources: the CID, multihash and multibase specifications; `specs/addresses.md`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import NewType

from heritage_ledger.content.varint import parse_varint
from heritage_ledger.errors import EvidenceInvalid

Cid = NewType("Cid", bytes)
"""36 bytes: `01`, codec, `12 20`, SHA-256 digest. Equal CIDs are equal bytes."""

RAW = 0x55
"""Codec of a block that is file bytes and nothing else."""
DAG_PB = 0x70
"""Codec of a block that is a dag-pb node."""
CID_LENGTH = 36
"""Bytes in a `Cid`."""
DIGEST_LENGTH = 32
"""Bytes in a SHA-256 digest."""
MAX_CID_TEXT = 512
"""Characters of a CID in any spelling that is looked at; base58 costs quadratic time."""

_CODEC_NAMES = {RAW: "raw", DAG_PB: "dag-pb", 0x71: "dag-cbor", 0x72: "libp2p-key", 0x0129: "dag-json"}
_HASH_NAMES = {0x00: "identity", 0x12: "sha2-256", 0x13: "sha2-512", 0x1E: "blake3", 0xB220: "blake2b-256"}
_SHA2_256 = 0x12
_V0_PREFIX = b"\x12\x20"
_V0_LENGTH = 34
_HEAD = {codec: bytes((1, codec, _SHA2_256, DIGEST_LENGTH)) for codec in (RAW, DAG_PB)}
_HEADS = frozenset(_HEAD.values())
_TEXT_LENGTH = 59
_PADDING = "======"
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_EXPECTED = "a CIDv1 with SHA-256 and codec raw or dag-pb"


def make_cid(codec: int, digest: bytes) -> Cid:
    """Return the CID of the block whose SHA-256 is `digest` (32 bytes); `codec` is `RAW` or `DAG_PB`.

    Raises:
        EvidenceInvalid: `cid-unsupported`, another codec; `cid-malformed`, a digest of another length.
    """
    head = _HEAD.get(codec)
    if head is None:
        raise EvidenceInvalid(
            "cid-unsupported", "this codec is not used here", expected="raw or dag-pb", found=hex(codec)
        )
    if len(digest) != DIGEST_LENGTH:
        raise EvidenceInvalid(
            "cid-malformed",
            "a SHA-256 digest has 32 bytes",
            expected="32 bytes",
            found=f"{len(digest)} bytes",
        )
    return Cid(head + digest)


def block_cid(codec: int, block: bytes) -> Cid:
    """Return the CID of `block`."""
    return make_cid(codec, hashlib.sha256(block).digest())


def check_block(cid: Cid, block: bytes) -> None:
    """Check that `block` is the block that `cid` names.

    Raises:
        EvidenceInvalid: `block-damaged`, its digest is another.
    """
    found = hashlib.sha256(block).digest()
    if found != cid[4:]:
        raise EvidenceInvalid(
            "block-damaged",
            "the bytes do not hash to the block's address",
            path=format_cid(cid),
            expected=cid[4:].hex(),
            found=found.hex(),
            advice="fetch the block from another copy",
            rule="specs/addresses.md",
        )


def digest_of(cid: Cid) -> bytes:
    """Return the SHA-256 digest in `cid`; for a file of one block it is the file's own SHA-256."""
    return cid[4:]


def codec_of(cid: Cid) -> int:
    """Return the codec of `cid`: `RAW` or `DAG_PB`."""
    return cid[1]


def format_cid(cid: Cid) -> str:
    """Return the text of `cid`: `b` and 58 lower-case base32 letters."""
    return "b" + base64.b32encode(cid).decode("ascii").rstrip("=").lower()


def parse_cid(text: str) -> Cid:
    """Return the CID that `text` is the one text of.

    Raises:
        EvidenceInvalid: `cid-unsupported`, a CID of another version, codec, hash or spelling (`Qm…`, `z…`,
            `f…`); `cid-malformed`, no CID at all, or a second spelling of one.
    """
    if not text.startswith("b"):
        raise _other_spelling(text)
    cid = parse_cid_bytes(_decode_base32(text))
    if format_cid(cid) != text:
        raise _malformed("the unused bits at the end of a CID must be zero", format_cid(cid), text)
    return cid


def parse_cid_bytes(data: bytes) -> Cid:
    """Return `data` as a CID; only the 36 bytes of the kind used here pass.

    Raises:
        EvidenceInvalid: `cid-unsupported`, a CID of another kind; `cid-malformed`, no CID.
    """
    if len(data) == CID_LENGTH and data[:4] in _HEADS:
        return Cid(bytes(data))
    raise EvidenceInvalid(
        "cid-unsupported", "this kind of CID is not used here", expected=_EXPECTED, found=_describe(data)
    )


def parse_link_cid(data: bytes) -> Cid:
    """Return the CID that a link or a CAR section names: 36 bytes, or the 34 of a CIDv0.

    Raises:
        EvidenceInvalid: as `parse_cid_bytes`.
    """
    if len(data) == _V0_LENGTH and data[:2] == _V0_PREFIX:
        return Cid(_HEAD[DAG_PB] + data[2:])
    return parse_cid_bytes(data)


def cut_cid(data: bytes, rest: bytes = b"") -> tuple[Cid, bytes]:
    """Return the CID that `data` and `rest` start with, 36 bytes or the 34 of a CIDv0, and what follows it.

    Where `data` is just the CID, `rest` is returned as it is: a block need not be copied.

    Raises:
        EvidenceInvalid: as `parse_cid_bytes`.
    """
    if len(data) == CID_LENGTH and data[:4] in _HEADS:
        return parse_link_cid(data), rest
    data += rest
    end = CID_LENGTH if data[:4] in _HEADS else _end(data)
    return parse_link_cid(data[:end]), data[end:]


def parse_cid_spelling(text: str) -> Cid:
    """Return the CID that a person wrote: in any multibase (`b…`, `B…`, `f…`, `z…`, …) or as CIDv0 (`Qm…`).

    For the edge only: many texts give one CID, so nothing stored or signed is read with it.

    Raises:
        EvidenceInvalid: as `parse_cid`.
    """
    if text.startswith("b") or len(text) > MAX_CID_TEXT:
        return parse_cid(text)
    from multiformats import multibase  # noqa: PLC0415 slow to import, seldom needed

    try:
        data = multibase.decode("z" + text if _looks_v0(text) else text)
    except (ValueError, LookupError) as error:
        raise _malformed("this is not a CID", _EXPECTED, text) from error
    return parse_link_cid(data) if _looks_v0(text) else parse_cid_bytes(data)


def encode_cid_v0(cid: Cid) -> bytes:
    """Return the 34 bytes that links of profile `unixfs-v0-2015` hold for the dag-pb node `cid`.

    Raises:
        EvidenceInvalid: `cid-unsupported`, a raw block has no CIDv0.
    """
    if cid[1] != DAG_PB:
        raise EvidenceInvalid(
            "cid-unsupported", "a CIDv0 names dag-pb nodes only", expected="dag-pb", found=_describe(cid)
        )
    return _V0_PREFIX + cid[4:]


def format_cid_v0(cid: Cid) -> str:
    """Return the `Qm…` text of the dag-pb node `cid`.

    Raises:
        EvidenceInvalid: `cid-unsupported`, a raw block has no CIDv0.
    """
    number = int.from_bytes(encode_cid_v0(cid))
    letters = []
    while number:
        number, digit = divmod(number, 58)
        letters.append(_BASE58[digit])
    return "".join(reversed(letters))


def check_cid_bytes(data: bytes) -> None:
    """Check that `data` is the one binary form of some CID, of any codec and hash.

    Raises:
        EvidenceInvalid: `cid-malformed`.
    """
    end = _end(data)
    if end != len(data):
        raise _malformed("the CID has another length than it says", f"{end} bytes", f"{len(data)} bytes")


def _decode_base32(text: str) -> bytes:
    if text != text.lower() or not text.isascii():
        raise _malformed("a CID is written in lower case", "base32 in lower case", text)
    body = text[1:].upper()
    try:
        return base64.b32decode(body + _PADDING[: -len(body) % 8])
    except binascii.Error as error:
        raise _malformed("this is not a CID", f"b and {_TEXT_LENGTH - 1} base32 letters", text) from error


def _looks_v0(text: str) -> bool:
    return len(text) == 46 and text.startswith("Qm")


def _other_spelling(text: str) -> EvidenceInvalid:
    if _looks_v0(text):
        return EvidenceInvalid(
            "cid-unsupported",
            "this is a CIDv0; a package is named by a CIDv1",
            expected=_EXPECTED,
            found=text,
            advice="compute the address with profile unixfs-v0-2015 to compare it with an old reference",
        )
    if text[:1] in {"f", "F", "z", "B", "m", "u", "k", "K"}:
        return EvidenceInvalid(
            "cid-unsupported",
            "a CID is written in base32 here",
            expected="b and 58 letters",
            found=f"multibase prefix {text[0]}",
            advice="write the same CID in base32",
        )
    return _malformed("this is not a CID", "b and 58 base32 letters", text)


def _malformed(message: str, expected: str, found: str) -> EvidenceInvalid:
    return EvidenceInvalid("cid-malformed", message, expected=expected, found=found[:MAX_CID_TEXT])


def _describe(data: bytes) -> str:
    """Say what kind of CID `data` is; raises `cid-malformed` when it is none."""
    check_cid_bytes(data)
    version, codec, code, length, _ = _fields(data)
    hash_name = _HASH_NAMES.get(code, hex(code))
    return f"CIDv{version}, codec {_CODEC_NAMES.get(codec, hex(codec))}, hash {hash_name} of {length} bytes"


def _end(data: bytes) -> int:
    """Return where the CID that `data` starts with ends, be it of any kind."""
    *_, length, at = _fields(data)
    return at + length


def _fields(data: bytes) -> tuple[int, int, int, int, int]:
    """Return version, codec, hash code, digest length of a CID of any kind, and where its digest starts."""
    if data[:2] == _V0_PREFIX:
        return 0, DAG_PB, _SHA2_256, DIGEST_LENGTH, 2
    at = 0
    fields = []
    for _ in ("version", "codec", "hash", "digest length"):
        try:
            value, at = parse_varint(data, at)
        except EvidenceInvalid as error:
            raise _malformed("this is not a CID", _EXPECTED, data[:CID_LENGTH].hex()) from error
        fields.append(value)
    version, codec, code, length = fields
    if version != 1:
        raise _malformed("no such CID version", "version 1", f"version {version}")
    return version, codec, code, length, at
