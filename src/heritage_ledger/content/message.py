"""The UnixFS message in a dag-pb node's data field: what the node stands for.

Protocol Buffers fields in ascending order: Type=1, Data=2, filesize=3, blocksizes=4 (repeated, not packed),
hashType=5, fanout=6, mode=7, mtime=8. Strict: a message that was parsed encodes to the bytes it came from.
Mode and mtime are read where others wrote them and never written by us (UnixFS specification).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from heritage_ledger.content.varint import MAX_VARINT, encode_varint, parse_varint
from heritage_ledger.errors import EvidenceInvalid

MURMUR3_X64_64 = 0x22
"""The one hash type of sharded directories."""
MAX_FANOUT = 1024
"""Buckets of a shard that is read; larger ones exhausted readers' memory (CVE-2023-23625)."""
MAX_MODE = (1 << 32) - 1
"""Mode is a 32-bit field."""
MAX_NANOSECONDS = 999_999_999
"""Upper end of an mtime's fraction; a fraction of 0 is written as absent."""

_INT64 = 1 << 63


class Kind(IntEnum):
    """Types of a UnixFS node."""

    RAW = 0
    DIRECTORY = 1
    FILE = 2
    METADATA = 3
    SYMLINK = 4
    SHARD = 5


@dataclass(frozen=True, slots=True)
class Mtime:
    """Seconds since 1970, possibly negative, and nanoseconds from 1 to 999,999,999 or None."""

    seconds: int
    nanoseconds: int | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """A UnixFS message; None and () mean that the field is absent.

    `data` is a file's inline bytes, a symlink's target or a shard's bitfield; `filesize` and `blocksizes`
    count file bytes.
    """

    kind: Kind
    data: bytes | None = None
    filesize: int | None = None
    blocksizes: tuple[int, ...] = ()
    hash_type: int | None = None
    fanout: int | None = None
    mode: int | None = None
    mtime: Mtime | None = None


def encode_message(message: Message) -> bytes:
    """Return the bytes of `message`."""
    parts = [b"\x08", encode_varint(message.kind)]
    if message.data is not None:
        parts += b"\x12", encode_varint(len(message.data)), message.data
    if message.filesize is not None:
        parts += b"\x18", encode_varint(message.filesize)
    for size in message.blocksizes:
        parts += b"\x20", encode_varint(size)
    for tag, number in ((b"\x28", message.hash_type), (b"\x30", message.fanout), (b"\x38", message.mode)):
        if number is not None:
            parts += tag, encode_varint(number)
    if message.mtime is not None:
        mtime = _encode_mtime(message.mtime)
        parts += b"\x42", encode_varint(len(mtime)), mtime
    return b"".join(parts)


def _encode_mtime(mtime: Mtime) -> bytes:
    seconds = b"\x08" + encode_varint(mtime.seconds & MAX_VARINT)
    if mtime.nanoseconds is None:
        return seconds
    return seconds + b"\x15" + mtime.nanoseconds.to_bytes(4, "little")


def parse_message(data: bytes) -> Message:
    """Return the message that `data` encodes; `encode_message` gives the same bytes back.

    Raises:
        EvidenceInvalid: `unixfs-malformed`: not this message, or not in its one form.
    """
    reader = _Fields(data)
    code = reader.number(0x08)
    if code is None or code not in Kind.__members__.values():
        raise malformed("a node without a known UnixFS type", found="nothing" if code is None else str(code))
    content = reader.field(0x12)
    filesize = reader.number(0x18)
    blocksizes: list[int] = []
    while (size := reader.number(0x20)) is not None:
        blocksizes.append(size)
    hash_type, fanout, mode = reader.number(0x28), reader.number(0x30), reader.number(0x38)
    stamp = reader.field(0x42)
    reader.check_end()
    if mode is not None and mode > MAX_MODE:
        raise malformed("a mode of more than 32 bits", found=str(mode))
    mtime = None if stamp is None else _parse_mtime(stamp)
    return Message(Kind(code), content, filesize, tuple(blocksizes), hash_type, fanout, mode, mtime)


def _parse_mtime(data: bytes) -> Mtime:
    reader = _Fields(data)
    seconds = reader.number(0x08)
    if seconds is None:
        raise malformed("an mtime without seconds")
    fraction = reader.fixed32(0x15)
    reader.check_end()
    if fraction is not None and not 1 <= fraction <= MAX_NANOSECONDS:
        raise malformed("an mtime's fraction", expected=f"1 to {MAX_NANOSECONDS}", found=str(fraction))
    return Mtime(seconds - (seconds & _INT64) * 2, fraction)


class _Fields:
    """Reads fields of a message in ascending order; what is asked for and not next is absent."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self, tag: int) -> int | None:
        if not self._next_is(tag):
            return None
        try:
            value, self._at = parse_varint(self._data, self._at + 1)
        except EvidenceInvalid as error:
            raise malformed("a number is cut off or not in its shortest form", found=error.found) from error
        return value

    def field(self, tag: int) -> bytes | None:
        length = self.number(tag)
        return None if length is None else self._take(length)

    def fixed32(self, tag: int) -> int | None:
        if not self._next_is(tag):
            return None
        self._at += 1
        return int.from_bytes(self._take(4), "little")

    def check_end(self) -> None:
        if self._at < len(self._data):
            tag = self._data[self._at]
            raise malformed("a field is unknown, repeated or out of order", found=f"tag 0x{tag:02x}")

    def _next_is(self, tag: int) -> bool:
        return self._at < len(self._data) and self._data[self._at] == tag

    def _take(self, length: int) -> bytes:
        end = self._at + length
        if end > len(self._data):
            raise malformed(
                "a field is cut off", expected=f"{length} bytes", found=f"{len(self._data) - self._at} bytes"
            )
        value = self._data[self._at : end]
        self._at = end
        return value


def malformed(message: str, *, expected: str | None = None, found: str | None = None) -> EvidenceInvalid:
    """Return the error for a UnixFS message or structure that breaks its rules."""
    return EvidenceInvalid(
        "unixfs-malformed", message, expected=expected, found=found, rule="specs/addresses.md, UnixFS"
    )
