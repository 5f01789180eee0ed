"""Addresses of files and directories, under a named profile (IPIP-499).

A file is cut into chunks of one size; each chunk is a leaf block; up to `max_links` children make a node,
level by level, until one node is left: all leaves lie equally deep. A file of one chunk is that leaf, so
under `unixfs-v1-2025` its CID's digest is the file's own SHA-256.

A directory is one node with its entries sorted by name, until that node would be larger than
`shard_above`; then it becomes a HAMT: names are spread over 256 buckets by the bytes of their hash, and a
bucket with more than one name becomes a shard of its own.

Nothing is read or stored here: chunk digests and entries come in, `emit` gets each dag-pb node with its CID,
children before parents. Where the published texts and the blocks in use disagree, the blocks win: an empty
Name field on links between chunks, big-endian bitfields without leading zeros, big-endian hash bytes
(`specs/addresses.md`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import islice, pairwise
from typing import NamedTuple

from heritage_ledger.content.cid import (
    CID_LENGTH,
    DAG_PB,
    DIGEST_LENGTH,
    RAW,
    Cid,
    block_cid,
    encode_cid_v0,
    make_cid,
)
from heritage_ledger.content.dagpb import encode_data, encode_link
from heritage_ledger.content.message import MURMUR3_X64_64, Kind, Message, encode_message
from heritage_ledger.content.murmur3 import murmur3_x64_64
from heritage_ledger.content.varint import encode_varint
from heritage_ledger.errors import OperationFailed, UsageError

CHUNK_SIZE = 1 << 20
"""Bytes in a leaf block of `unixfs-v1-2025`; all but a file's last have exactly this size."""
MAX_LINKS = 1024
"""Children of a file node of `unixfs-v1-2025`."""
FANOUT = 256
"""Buckets of a shard: one byte of the name's hash a level."""
SHARD_ABOVE = 1 << 18
"""Bytes: a directory whose size is strictly above this is sharded."""
MAX_NAME = 1024
"""Bytes in a name: above the 255 characters that file systems allow, and small enough that no directory
block comes near the 2 MiB that every reader must accept."""

Emit = Callable[[Cid, bytes], None]
"""Gets each dag-pb node as it is made: CID, block."""


class Measure(Enum):
    """What `shard_above` is compared with."""

    BLOCK = "block-bytes"
    LINKS = "links-bytes"


@dataclass(frozen=True, slots=True)
class Profile:
    """The numbers that decide a CID; sizes in bytes.

    `raw_leaves` is False where a chunk is wrapped in a dag-pb node; `cid_version` is that of the links
    inside nodes. An `Entry` holds a `Cid` under either; `format_cid_v0` writes the text of version 0.
    """

    name: str
    chunk_size: int
    max_links: int
    raw_leaves: bool
    cid_version: int
    shard_above: int
    shard_measure: Measure

    def target(self, cid: Cid) -> bytes:
        """Return `cid` as it stands in a link."""
        return encode_cid_v0(cid) if self.cid_version == 0 else cid


UNIXFS_V1_2025 = Profile("unixfs-v1-2025", CHUNK_SIZE, MAX_LINKS, True, 1, SHARD_ABOVE, Measure.BLOCK)
"""The profile of every package."""
UNIXFS_V0_2015 = Profile("unixfs-v0-2015", 1 << 18, 174, False, 0, SHARD_ABOVE, Measure.LINKS)
"""The profile of old `Qm…` references; for comparing with them only."""


class Entry(NamedTuple):
    """What a directory says of a child (a tuple, because one is made for each file).

    `size` counts file bytes in and below it; `tsize` is the size in bytes of all its blocks, each counted as
    often as it is linked.
    """

    cid: Cid
    size: int
    tsize: int


def leaf_block(chunk: bytes, *, profile: Profile = UNIXFS_V1_2025) -> bytes:
    """Return the leaf block of `chunk`: the chunk itself, or wrapped in a node where the profile says so."""
    if profile.raw_leaves:
        return chunk
    return encode_data(encode_message(Message(Kind.FILE, chunk or None, len(chunk))))


def file_graph(leaves: bytes, size: int, emit: Emit, *, profile: Profile = UNIXFS_V1_2025) -> Entry:
    """Return the entry of a file of `size` bytes, given the SHA-256 of each leaf block, joined.

    There is one leaf for each chunk, and one for an empty file. `emit` gets the nodes above the leaves,
    never a leaf.

    Raises:
        UsageError: `leaf-count`, the number of leaves does not fit the size.
    """
    count = max(1, -(-size // profile.chunk_size))
    if size < 0 or len(leaves) != count * DIGEST_LENGTH:
        raise UsageError(
            "leaf-count",
            "the chunk digests do not fit the file's size",
            expected=f"{count * DIGEST_LENGTH} bytes",
            found=f"{len(leaves)} bytes",
        )
    if count == 1:
        codec = RAW if profile.raw_leaves else DAG_PB
        return Entry(make_cid(codec, leaves), size, _leaf_length(size, profile))
    children: Iterable[Entry] = _leaves(leaves, size, profile)
    while True:
        source = iter(children)
        groups = iter(lambda source=source: list(islice(source, profile.max_links)), [])  # type: ignore[misc]
        children = nodes = [_file_node(group, emit, profile) for group in groups]
        if len(nodes) == 1:
            return nodes[0]


def _leaves(leaves: bytes, size: int, profile: Profile) -> Iterator[Entry]:
    codec = RAW if profile.raw_leaves else DAG_PB
    whole = _leaf_length(profile.chunk_size, profile)
    last = len(leaves) - DIGEST_LENGTH
    for at in range(0, last, DIGEST_LENGTH):
        yield Entry(make_cid(codec, leaves[at : at + DIGEST_LENGTH]), profile.chunk_size, whole)
    rest = size - last // DIGEST_LENGTH * profile.chunk_size
    yield Entry(make_cid(codec, leaves[last:]), rest, _leaf_length(rest, profile))


def _leaf_length(size: int, profile: Profile) -> int:
    if profile.raw_leaves:
        return size
    number = len(encode_varint(size))
    message = 2 + (1 + number + size if size else 0) + 1 + number
    return 1 + len(encode_varint(message)) + message


def _file_node(children: list[Entry], emit: Emit, profile: Profile) -> Entry:
    sizes = tuple(child.size for child in children)
    message = encode_message(Message(Kind.FILE, None, sum(sizes), sizes))
    links = b"".join([encode_link(profile.target(child.cid), b"", child.tsize) for child in children])
    block = links + encode_data(message)
    cid = block_cid(DAG_PB, block)
    emit(cid, block)
    return Entry(cid, sum(sizes), len(block) + sum(child.tsize for child in children))


def check_name(name: bytes) -> None:
    """Check that a directory may hold an entry called `name`.

    Raises:
        UsageError: `entry-name`: empty, `.`, `..`, with `/` or NUL in it, or above `MAX_NAME` bytes.
    """
    if not name or name in {b".", b".."} or b"/" in name or b"\0" in name or len(name) > MAX_NAME:
        raise UsageError(
            "entry-name",
            "a directory cannot hold an entry of this name",
            expected=f"1 to {MAX_NAME} bytes, without / and NUL, not . or ..",
            found=repr(name[:80]),
        )


_DIRECTORY_DATA = encode_data(encode_message(Message(Kind.DIRECTORY)))
_HEAD = {codec: make_cid(codec, bytes(DIGEST_LENGTH))[:4] for codec in (RAW, DAG_PB)}
_V0_HEAD = {DAG_PB: _HEAD[DAG_PB][2:]}
_PREFIXES = tuple(f"{bucket:02X}".encode("ascii") for bucket in range(FANOUT))
_HASH_LENGTH = 8
_TAIL = 1 + DIGEST_LENGTH + 8
_V0_LINK = CID_LENGTH - 2


class DirectoryBuilder:
    """Makes one directory from entries in any order.

    Memory: while it may still become one node, the entries themselves (at most a few thousand); after that
    about 90 bytes and the name for each entry.
    """

    __slots__ = ("_basic", "_below", "_emit", "_measured", "_packed", "_profile", "_size")

    def __init__(self, emit: Emit, *, profile: Profile = UNIXFS_V1_2025) -> None:
        self._emit = emit
        self._profile = profile
        self._basic: list[tuple[bytes, bytes, Entry]] = []
        self._packed: list[bytes] | None = None
        self._measured = len(_DIRECTORY_DATA) if profile.shard_measure is Measure.BLOCK else 0
        self._size = 0
        self._below = 0

    def add(self, name: bytes, entry: Entry) -> None:
        """Add `entry` under `name`.

        Raises:
            UsageError: `entry-name`, a name that no directory may hold.
        """
        check_name(name)
        self._size += entry.size
        self._below += entry.tsize
        if self._packed is not None:
            self._packed.append(_pack(name, entry))
            return
        link = encode_link(self._profile.target(entry.cid), name, entry.tsize)
        self._basic.append((name, link, entry))
        self._measured += len(link) if self._profile.shard_measure is Measure.BLOCK else len(name) + _V0_LINK
        if self._measured > self._profile.shard_above:
            self._packed = [_pack(name, entry) for name, _, entry in self._basic]
            self._basic = []

    def finish(self) -> Entry:
        """Emit the directory's nodes and return its entry; nothing can be added afterwards.

        Raises:
            OperationFailed: `entry-duplicate`, two entries of one name; `entry-collision`, two names that no
                sharded directory can hold together.
        """
        if self._packed is None:
            return self._finish_basic()
        packed, self._packed = self._packed, []
        packed.sort()
        heads = _HEAD if self._profile.cid_version else _V0_HEAD
        cid, tsize = _Sharder(packed, heads, self._emit, self._profile).shard(0, len(packed), 0)
        return Entry(cid, self._size, tsize)

    def _finish_basic(self) -> Entry:
        entries = sorted(self._basic)
        for (name, _, _), (following, _, _) in pairwise(entries):
            if name == following:
                raise _duplicate(name)
        block = b"".join([link for _, link, _ in entries]) + _DIRECTORY_DATA
        cid = block_cid(DAG_PB, block)
        self._emit(cid, block)
        return Entry(cid, self._size, len(block) + self._below)


def directory(
    entries: Iterable[tuple[bytes, Entry]], emit: Emit, *, profile: Profile = UNIXFS_V1_2025
) -> Entry:
    """Return the entry of a directory of `entries`, which may come in any order; `emit` gets its nodes.

    Raises:
        UsageError, OperationFailed: as `DirectoryBuilder`.
    """
    builder = DirectoryBuilder(emit, profile=profile)
    for name, entry in entries:
        builder.add(name, entry)
    return builder.finish()


def _pack(name: bytes, entry: Entry) -> bytes:
    """One entry as bytes that sort by the name's hash: hash 8, name, codec 1, digest 32, tsize 8."""
    cid = entry.cid
    return murmur3_x64_64(name) + name + cid[1:2] + cid[4:] + entry.tsize.to_bytes(8)


class _Sharder:
    """Makes the shards of one directory from its sorted packed entries."""

    __slots__ = ("_emit", "_heads", "_packed", "_profile")

    def __init__(self, packed: list[bytes], heads: dict[int, bytes], emit: Emit, profile: Profile) -> None:
        self._packed = packed
        self._heads = heads
        self._emit = emit
        self._profile = profile

    def shard(self, start: int, stop: int, depth: int) -> tuple[Cid, int]:
        """Return CID and tsize of the shard of entries `start` to `stop`, which share `depth` hash bytes."""
        packed = self._packed
        if depth == _HASH_LENGTH:
            raise _collision(packed[start], packed[start + 1])
        links = []
        below = bits = 0
        at = start
        while at < stop:
            first = packed[at]
            bucket = first[depth]
            end = at + 1
            while end < stop and packed[end][depth] == bucket:
                end += 1
            if end == at + 1:
                tsize = int.from_bytes(first[-8:])
                target = self._heads[first[-_TAIL]] + first[1 - _TAIL : -8]
                name = _PREFIXES[bucket] + first[_HASH_LENGTH:-_TAIL]
            else:
                cid, tsize = self.shard(at, end, depth + 1)
                target, name = self._profile.target(cid), _PREFIXES[bucket]
            links.append(encode_link(target, name, tsize))
            below += tsize
            bits |= 1 << bucket
            at = end
        block = b"".join(links) + encode_data(_shard_message(bits))
        cid = block_cid(DAG_PB, block)
        self._emit(cid, block)
        return cid, len(block) + below


def _shard_message(bits: int) -> bytes:
    """The message of a shard; the bitfield is big-endian, bucket 0 is its last bit, leading zeros go."""
    field = bits.to_bytes((bits.bit_length() + 7) // 8)
    return encode_message(Message(Kind.SHARD, field, hash_type=MURMUR3_X64_64, fanout=FANOUT))


def _duplicate(name: bytes) -> OperationFailed:
    return OperationFailed(
        "entry-duplicate",
        "a directory has two entries of the same name",
        path=name.decode(errors="backslashreplace"),
        advice="feed each folder in one piece, each file once",
    )


def _collision(first: bytes, second: bytes) -> OperationFailed:
    one, other = first[_HASH_LENGTH:-_TAIL], second[_HASH_LENGTH:-_TAIL]
    if one == other:
        return _duplicate(one)
    return OperationFailed(
        "entry-collision",
        "two names have the same hash, so no sharded directory can hold both",
        path=one.decode(errors="backslashreplace"),
        found=other.decode(errors="backslashreplace"),
        advice="rename one of the two files; names like these do not come about by chance",
    )
