"""Reading one directory: its entries, or one entry by its name.

Blocks come from `get`, which may be anything: each is hashed before it is believed. In a sharded directory
every name must lie where its hash leads, every bitfield must name exactly its links, and every bucket occurs
once, so that listing and looking up can never disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from heritage_ledger.content.cid import RAW, Cid, check_block, codec_of, format_cid
from heritage_ledger.content.dagpb import Link, Node, parse_node
from heritage_ledger.content.message import (
    MAX_FANOUT,
    MURMUR3_X64_64,
    Kind,
    Message,
    malformed,
    parse_message,
)
from heritage_ledger.content.murmur3 import murmur3_x64_64
from heritage_ledger.content.unixfs import check_name
from heritage_ledger.errors import EvidenceInvalid, UsageError

_HASH_BITS = 64

Get: TypeAlias = Callable[[Cid], bytes]
"""Returns the block of a CID, or raises `EvidenceMissing` or `EvidenceInvalid`."""


@dataclass(frozen=True, slots=True)
class Child:
    """One entry of a directory; `tsize` as the writer claims, None where absent."""

    name: bytes
    cid: Cid
    tsize: int | None


def list_directory(get: Get, cid: Cid) -> Iterator[Child]:
    """Yield the entries of a directory: by name, or by their hash where it is sharded.

    Raises:
        EvidenceInvalid: `block-damaged`, `dagpb-malformed`; `unixfs-malformed`, no directory, a name twice or
            not allowed, or a name in a shard where its hash does not lead.
    """
    yield from list_children(get, *_read_directory(get, cid))


def find_child(get: Get, cid: Cid, name: bytes, blocks: list[Cid]) -> Cid | None:
    """Return the entry `name` of the directory `cid`, None where there is none, or `cid` is no directory.

    Only the nodes on the way are read; their CIDs are added to `blocks`.

    Raises:
        EvidenceInvalid: as `list_directory`.
    """
    if codec_of(cid) == RAW or not _is_name(name):
        return None
    node, message = read_node(get, cid)
    blocks.append(cid)
    if message.kind is Kind.DIRECTORY:
        link = _basic_entries(node).get(name)
        return None if link is None else link.cid
    if message.kind is not Kind.SHARD:
        return None
    hashed = int.from_bytes(murmur3_x64_64(name))
    used = 0
    while True:
        entries, bits = _shard_entries(node, message)
        _check_bits_left(used, bits)
        used += bits
        following, below = entries.get(hashed >> _HASH_BITS - used & (1 << bits) - 1, (None, None))
        if below is None or (following and following != name):
            return None
        if following:
            return below.cid
        node, message = _read_shard(get, below.cid, message)
        blocks.append(below.cid)


def read_block(get: Get, cid: Cid) -> bytes:
    """Return the block of `cid`, hashed here.

    Raises:
        EvidenceInvalid: `block-damaged`, and whatever `get` raises.
    """
    block = get(cid)
    check_block(cid, block)
    return block


def read_node(get: Get, cid: Cid) -> tuple[Node, Message]:
    """Return the node `cid` and its UnixFS message.

    Raises:
        EvidenceInvalid: `block-damaged`, `dagpb-malformed`, `unixfs-malformed`; `path` names the block.
    """
    try:
        node = parse_node(read_block(get, cid))
        if node.data is None:
            raise malformed("a node without a UnixFS message")
        return node, parse_message(node.data)
    except EvidenceInvalid as error:
        if error.path is None:
            error.path = format_cid(cid)
        raise


def _read_directory(get: Get, cid: Cid) -> tuple[Node, Message]:
    if codec_of(cid) == RAW:
        raise malformed("a file is not a directory", found=format_cid(cid))
    node, message = read_node(get, cid)
    if message.kind not in {Kind.DIRECTORY, Kind.SHARD}:
        raise malformed("not a directory", expected="Directory or HAMTShard", found=message.kind.name)
    return node, message


def list_children(get: Get, node: Node, message: Message) -> Iterator[Child]:
    """Yield the entries of a directory whose node was read; see `list_directory`."""
    if message.kind is Kind.SHARD:
        yield from _list_shard(get, node, message, 0, 0)
        return
    for name, link in _basic_entries(node).items():
        yield Child(name, link.cid, link.tsize)


def _is_name(name: bytes) -> bool:
    try:
        check_name(name)
    except UsageError:
        return False
    return True


def _check_name(name: bytes) -> None:
    if not _is_name(name):
        raise malformed("a directory has an entry whose name none may have", found=repr(name[:80]))


def _basic_entries(node: Node) -> dict[bytes, Link]:
    entries: dict[bytes, Link] = {}
    for link in node.links:
        name = link.name or b""
        if name in entries:
            raise malformed("a directory has two entries of one name", found=repr(name[:80]))
        _check_name(name)
        entries[name] = link
    return entries


def _shard_entries(node: Node, message: Message) -> tuple[dict[int, tuple[bytes, Link]], int]:
    """Return a shard's links by bucket, each with what follows the bucket in its name, and bits a level."""
    fanout = message.fanout or 0
    if message.hash_type != MURMUR3_X64_64 or not 8 <= fanout <= MAX_FANOUT or fanout & (fanout - 1):
        raise malformed(
            "a shard of a kind that is not read",
            expected=f"murmur3-x64-64, a power of two from 8 to {MAX_FANOUT} buckets",
            found=f"hash {message.hash_type}, {fanout} buckets",
        )
    width = len(f"{fanout - 1:X}")
    entries: dict[int, tuple[bytes, Link]] = {}
    bits = 0
    for link in node.links:
        name = link.name or b""
        prefix = name[:width]
        bucket = _bucket(prefix, width)
        if bucket >= fanout or bucket in entries:
            raise malformed("a shard's link is not in one bucket of its own", found=repr(name[:80]))
        entries[bucket] = name[width:], link
        bits |= 1 << bucket
    if int.from_bytes(message.data or b"") != bits:
        raise malformed(
            "a shard's bitfield does not name its links", expected=f"{bits:x}", found=_hex(message.data)
        )
    return entries, fanout.bit_length() - 1


def _bucket(prefix: bytes, width: int) -> int:
    try:
        bucket = int(prefix, 16)
    except ValueError as error:
        raise malformed("a shard's link without a bucket", found=repr(prefix)) from error
    if f"{bucket:0{width}X}".encode("ascii") != prefix:
        raise malformed("a bucket is written in upper-case hexadecimal", found=repr(prefix))
    return bucket


def _hex(data: bytes | None) -> str:
    return "nothing" if data is None else data[: MAX_FANOUT // 8].hex()


def _list_shard(get: Get, node: Node, message: Message, way: int, used: int) -> Iterator[Child]:
    """Yield a shard's entries; `way` is the first `used` bits of the hash of every name in it."""
    entries, bits = _shard_entries(node, message)
    _check_bits_left(used, bits)
    for bucket, (name, link) in sorted(entries.items()):
        onward = way << bits | bucket
        if name:
            hashed = int.from_bytes(murmur3_x64_64(name))
            if hashed >> _HASH_BITS - used - bits != onward:
                raise malformed("a name is in a shard where its hash does not lead", found=repr(name[:80]))
            _check_name(name)
            yield Child(name, link.cid, link.tsize)
        else:
            yield from _list_shard(get, *_read_shard(get, link.cid, message), onward, used + bits)


def _read_shard(get: Get, cid: Cid, above: Message) -> tuple[Node, Message]:
    node, message = _read_directory(get, cid)
    if message.kind is not Kind.SHARD or message.fanout != above.fanout:
        raise malformed("a shard below a shard is of another kind", found=format_cid(cid))
    if not node.links:  # eight of them, each 256 times the next, would be looked through for ever
        raise malformed("a shard below a shard is empty", found=format_cid(cid))
    return node, message


def _check_bits_left(used: int, bits: int) -> None:
    if used + bits > _HASH_BITS:
        raise malformed(
            "a sharded directory deeper than its hash", expected=f"{_HASH_BITS} bits", found="more"
        )
