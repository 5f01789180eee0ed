"""CARv1: a stream of blocks behind a header that names the roots.

    varint(length) dag-cbor{"roots": [CID, …], "version": 1}
    varint(length) CID block
    varint(length) CID block …

The header has one form: two keys in the order above, shortest CBOR lengths. Blocks may come in any order and
more than once. The reader takes a stream from anyone: it hashes every block, holds one at a time, and names
what it refuses. CARv2, CIDs of other kinds and a section of length zero are refused.

Source: the CARv1 specification (ipld.io); `specs/addresses.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from heritage_ledger.content.cid import CID_LENGTH, Cid, check_block, cut_cid, parse_link_cid
from heritage_ledger.content.dagpb import MAX_BLOCK
from heritage_ledger.content.varint import MAX_VARINT_LENGTH, encode_varint, parse_varint
from heritage_ledger.errors import EvidenceInvalid, EvidenceMissing

MAX_ROOTS = 1024
"""Roots in a header that is read or written; a package has one."""
MAX_HEADER = 64 << 10
"""Bytes in a header: room for the roots, and little to hold before anything is checked."""
MAX_SECTION = CID_LENGTH + MAX_BLOCK
"""Bytes in a section: a CID and the largest block that is read."""

_ROOTS = b"\xa2\x65roots"
_VERSION = b"\x67version\x01"

Read = Callable[[int], bytes]
"""Returns up to so many bytes of the stream, none at its end; a file's `read` is one."""


@dataclass(frozen=True, slots=True)
class Car:
    """A stream whose header was read: `blocks` reads on, checks and yields one block at a time, once."""

    roots: tuple[Cid, ...]
    blocks: Iterator[tuple[Cid, bytes]]


def encode_header(roots: Iterable[Cid]) -> bytes:
    """Return the header of a CAR with these roots, its length included.

    Raises:
        EvidenceInvalid: `car-too-large`, more than `MAX_ROOTS`.
    """
    items = [b"\xd8\x2a" + _cbor_head(2, len(root) + 1) + b"\0" + root for root in roots]
    if len(items) > MAX_ROOTS:
        raise _too_large("too many roots", MAX_ROOTS, len(items))
    body = _ROOTS + _cbor_head(4, len(items)) + b"".join(items) + _VERSION
    return encode_varint(len(body)) + body


def encode_section(cid: Cid, block: bytes) -> tuple[bytes, bytes]:
    """Return what stands before one block in a CAR, and the block. It is not hashed: its writer did that."""
    return encode_varint(len(cid) + len(block)) + cid, block


def encode_car(roots: Iterable[Cid], blocks: Iterable[tuple[Cid, bytes]]) -> Iterator[bytes]:
    """Yield a CAR piece by piece, a section at a time."""
    yield encode_header(roots)
    for cid, block in blocks:
        yield b"".join(encode_section(cid, block))


def open_car(read: Read, *, max_size: int | None = None) -> Car:
    """Read the header of a CAR; its `blocks` read the rest.

    `max_size` bounds the bytes of the whole stream. Reading takes no more than one section ahead.

    Raises:
        EvidenceInvalid: here and from `blocks`: `car-malformed`, no CARv1; `car-too-large`, a limit passed;
            `cid-unsupported`, `cid-malformed`, a section's or root's CID; `block-damaged`, a block that is
            not what its CID names.
        EvidenceMissing: `car-cut-off`, the stream ends inside the header or a section.
    """
    source = _Source(read, max_size)
    length = source.length(MAX_HEADER)
    if length is None:
        raise EvidenceMissing(
            "car-cut-off", "the stream is empty", expected="a CARv1 header", found="nothing"
        )
    return Car(_parse_header(source.exactly(length)), _sections(source))


def _sections(source: _Source) -> Iterator[tuple[Cid, bytes]]:
    while (length := source.length(MAX_SECTION)) is not None:
        head = source.exactly(min(length, CID_LENGTH))
        cid, block = cut_cid(head, source.exactly(length - len(head)))
        check_block(cid, block)
        yield cid, block


def _parse_header(header: bytes) -> tuple[Cid, ...]:
    if not header.startswith(_ROOTS):
        raise _malformed("this is not the header of a CARv1", _ROOTS.hex(), header[:16].hex())
    count, at = _parse_cbor_head(header, len(_ROOTS), 4)
    if count > MAX_ROOTS:
        raise _too_large("too many roots", MAX_ROOTS, count)
    roots = []
    for _ in range(count):
        if header[at : at + 2] != b"\xd8\x2a":
            raise _malformed("a root is not a CID", "d82a", header[at : at + 2].hex())
        length, at = _parse_cbor_head(header, at + 2, 2)
        if header[at : at + 1] != b"\0":
            raise _malformed("a root's CID does not start with a zero byte", "00", header[at : at + 1].hex())
        roots.append(parse_link_cid(header[at + 1 : at + length]))
        at += length
    if header[at:] != _VERSION:
        raise _malformed("the header does not end with version 1", _VERSION.hex(), header[at : at + 16].hex())
    return tuple(roots)


def _cbor_head(major: int, value: int) -> bytes:
    if value < 24:
        return bytes((major << 5 | value,))
    if value < 0x100:
        return bytes((major << 5 | 24, value))
    return bytes((major << 5 | 25,)) + value.to_bytes(2)


def _parse_cbor_head(data: bytes, at: int, major: int) -> tuple[int, int]:
    """Read a CBOR head of type `major` with a length below 65,536 in its shortest form."""
    first = data[at] if at < len(data) else 0xFF
    extra = {24: 1, 25: 2}.get(first & 31, 0)
    value = int.from_bytes(data[at + 1 : at + 1 + extra]) if extra else first & 31
    if data[at : at + 1 + extra] != _cbor_head(major, value):
        raise _malformed(
            "the header is not canonical CBOR", f"type {major}", data[at : at + 3].hex() or "nothing"
        )
    return value, at + 1 + extra


class _Source:
    """Cuts a stream into sections."""

    __slots__ = ("_left", "_max_size", "_read")

    def __init__(self, read: Read, max_size: int | None) -> None:
        self._read = read
        self._max_size = max_size
        self._left = max_size

    def length(self, most: int) -> int | None:
        """Return the length of the next section, at most `most`; None at the end of the stream."""
        length = self._length()
        if length is None:
            return None
        if length > most:
            raise _too_large("a section is too large", most, length)
        if not length:
            raise _malformed("a section of length zero", "1 byte or more", "0 bytes")
        return length

    def _length(self) -> int | None:
        prefix = b""
        while len(prefix) < MAX_VARINT_LENGTH:
            byte = self._some(1)
            if not byte and not prefix:
                return None
            prefix += byte
            if not byte or byte[0] < 0x80:
                break
        if prefix[-1] >= 0x80 and len(prefix) < MAX_VARINT_LENGTH:
            raise _cut_off("a section's length", f"{len(prefix)} bytes")
        try:
            return parse_varint(prefix)[0]
        except EvidenceInvalid as error:
            raise _malformed("a section's length", "the shortest varint", prefix.hex()) from error

    def exactly(self, length: int) -> bytes:
        """Return the next `length` bytes."""
        parts: list[bytes] = []
        missing = length
        while missing:
            part = self._some(missing)
            if not part:
                raise _cut_off(f"{length} bytes", f"{length - missing} bytes")
            parts.append(part)
            missing -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)  # one copy of a block at most

    def _some(self, most: int) -> bytes:
        data = self._read(most)
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0:
                raise _too_large("the stream is too long", self._max_size or 0, "more")
        return data


def _malformed(message: str, expected: str, found: str) -> EvidenceInvalid:
    return EvidenceInvalid(
        "car-malformed", message, expected=expected, found=found, rule="specs/addresses.md, CAR"
    )


def _too_large(message: str, most: int, found: int | str) -> EvidenceInvalid:
    return EvidenceInvalid("car-too-large", message, expected=f"≤ {most}", found=str(found))


def _cut_off(expected: str, found: str) -> EvidenceMissing:
    return EvidenceMissing(
        "car-cut-off",
        "the stream ends inside a section",
        expected=expected,
        found=found,
        advice="fetch it again",
    )
