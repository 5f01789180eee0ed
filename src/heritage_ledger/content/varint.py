"""Unsigned varints: seven bits a byte, least significant first, the top bit set on all bytes but the last.

One number has one encoding here: the shortest. Used by CIDs, dag-pb, UnixFS and CAR alike (multiformats
`unsigned-varint`, Protocol Buffers encoding).
"""

from __future__ import annotations

from heritage_ledger.errors import EvidenceInvalid

MAX_VARINT_LENGTH = 10
"""Bytes: ten times seven bits hold the 64 bits that Protocol Buffers allow."""
MAX_VARINT = (1 << 64) - 1
"""The largest number that is read or written."""

_SHORT = tuple(bytes((value,)) for value in range(0x80))


def encode_varint(value: int) -> bytes:
    """Return the shortest encoding of `value`, which must be from 0 to 2^64 - 1."""
    if 0 <= value < 0x80:
        return _SHORT[value]
    if not 0 <= value <= MAX_VARINT:
        raise EvidenceInvalid(
            "varint-malformed",
            "a varint holds 64 bits without a sign",
            expected="0 to 2^64 - 1",
            found=str(value),
        )
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def parse_varint(data: bytes, at: int = 0) -> tuple[int, int]:
    """Return the number that starts at `at`, and where it ends.

    Raises:
        EvidenceInvalid: `varint-malformed`: cut off, above 64 bits, or longer than need be.
    """
    value = shift = 0
    for byte in data[at : at + MAX_VARINT_LENGTH]:
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if (not byte and shift) or value > MAX_VARINT:
                break
            return value, at
        shift += 7
    raise EvidenceInvalid(
        "varint-malformed",
        "a number is cut off, too large or not in its shortest form",
        expected="a varint of at most 64 bits",
        found=data[max(at - MAX_VARINT_LENGTH, 0) : at].hex() or "nothing",
    )
