"""MurmurHash3 x64-128, seed 0, first half: what a HAMT directory sorts names into buckets by.

The 64 bits are taken as big-endian bytes and used from the first byte on; written little-endian, as the
hash's own reference prints them, every bucket of a sharded directory would be another (multicodec 0x22
`murmur3-x64-64`; boxo `ipld/unixfs/hamt`). Not a cryptographic hash: names can be made to collide.
"""

from __future__ import annotations

import struct

_MASK = 0xFFFFFFFFFFFFFFFF
_C1 = 0x87C37B91114253D5
_C2 = 0x4CF5AD432745937F
_MIX_1 = 0xFF51AFD7ED558CCD
_MIX_2 = 0xC4CEB9FE1A85EC53
_PAIRS = struct.Struct("<QQ")


def murmur3_x64_64(data: bytes) -> bytes:
    """Return the first 64 bits of MurmurHash3 x64-128 of `data`, as 8 big-endian bytes.

    >>> murmur3_x64_64(b"hello.txt").hex()
    'df19ab11523994d9'
    """
    length = len(data)
    first = second = 0
    whole = length & ~15
    if whole:
        first, second = _body(data[:whole])
    tail = length & 15
    if tail > 8:
        k2 = int.from_bytes(data[whole + 8 :], "little") * _C2 & _MASK
        second ^= ((k2 << 33 | k2 >> 31) & _MASK) * _C1 & _MASK
    if tail:
        k1 = int.from_bytes(data[whole : whole + 8], "little") * _C1 & _MASK
        first ^= ((k1 << 31 | k1 >> 33) & _MASK) * _C2 & _MASK
    second ^= length
    first = (first ^ length) + second & _MASK
    second = second + first & _MASK
    first = (first ^ first >> 33) * _MIX_1 & _MASK
    first = (first ^ first >> 33) * _MIX_2 & _MASK
    second = (second ^ second >> 33) * _MIX_1 & _MASK
    second = (second ^ second >> 33) * _MIX_2 & _MASK
    return ((first ^ first >> 33) + (second ^ second >> 33) & _MASK).to_bytes(8)


def _body(data: bytes) -> tuple[int, int]:
    """Mix in all whole 16-byte blocks."""
    first = second = 0
    for k1, k2 in _PAIRS.iter_unpack(data):
        mixed = k1 * _C1 & _MASK
        first ^= ((mixed << 31 | mixed >> 33) & _MASK) * _C2 & _MASK
        first = ((first << 27 | first >> 37) & _MASK) + second & _MASK
        first = first * 5 + 0x52DCE729 & _MASK
        mixed = k2 * _C2 & _MASK
        second ^= ((mixed << 33 | mixed >> 31) & _MASK) * _C1 & _MASK
        second = ((second << 31 | second >> 33) & _MASK) + first & _MASK
        second = second * 5 + 0x38495AB5 & _MASK
    return first, second
