"""dag-pb nodes: links, and a field of bytes that for us is always a UnixFS message.

A node is a Protocol Buffers message with one canonical form: links (field 2) before data (field 1); within a
link Hash (1), Name (2), Tsize (3) in this order, each at most once; varints in their shortest form. Data
before links is read too, never written (IPIP-0550, `unixfs-v1-2026`). Duplicate, unknown, misplaced or
interleaved fields are refused, so that a node that was parsed encodes to the bytes it came from.

Field order says what the dag-pb specification says; a link between file chunks has an **empty** Name field,
not none, because that is what every CID in use was made with (`specs/addresses.md`).
"""

from __future__ import annotations

from dataclasses import dataclass

from heritage_ledger.content.cid import Cid, check_cid_bytes, parse_link_cid
from heritage_ledger.content.varint import encode_varint, parse_varint
from heritage_ledger.errors import EvidenceInvalid

MAX_BLOCK = 2 << 20
"""Bytes in a block that is read: the largest that Bitswap carries (UnixFS specification)."""

_DATA = 0x0A
_LINK = 0x12
_HASH = 0x0A
_NAME = 0x12
_TSIZE = 0x18


@dataclass(frozen=True, slots=True)
class Link:
    """One link of a node.

    `target` is the binary CID as it stands in the node (34 bytes for a CIDv0, of any kind when foreign);
    `name` and `tsize` are None where the field is absent. `tsize` is the size in bytes of all blocks below,
    the target's own included, as the writer claims.
    """

    target: bytes
    name: bytes | None = None
    tsize: int | None = None

    @property
    def cid(self) -> Cid:
        """The target as a `Cid`.

        Raises:
            EvidenceInvalid: `cid-unsupported`, it is of a kind that is not used here.
        """
        return parse_link_cid(self.target)


@dataclass(frozen=True, slots=True)
class Node:
    """A dag-pb node; `data` is None where the field is absent, `data_first` says how it was written."""

    links: tuple[Link, ...] = ()
    data: bytes | None = None
    data_first: bool = False


def encode_link(target: bytes, name: bytes | None, tsize: int | None) -> bytes:
    """Return one link with its tag and length, as it stands in a node."""
    body = b"\x0a" + encode_varint(len(target)) + target
    if name is not None:
        body += b"\x12" + encode_varint(len(name)) + name
    if tsize is not None:
        body += b"\x18" + encode_varint(tsize)
    return b"\x12" + encode_varint(len(body)) + body


def encode_data(data: bytes) -> bytes:
    """Return a node's data field with its tag and length."""
    return b"\x0a" + encode_varint(len(data)) + data


def encode_node(node: Node) -> bytes:
    """Return the block of `node`, in the field order that `data_first` names."""
    links = b"".join(encode_link(link.target, link.name, link.tsize) for link in node.links)
    data = b"" if node.data is None else encode_data(node.data)
    return data + links if node.data_first else links + data


def parse_node(block: bytes) -> Node:
    """Return the node that `block` encodes; `encode_node` gives the same bytes back.

    Raises:
        EvidenceInvalid: `dagpb-malformed`; `block-too-large`, above `MAX_BLOCK`.
    """
    if len(block) > MAX_BLOCK:
        raise EvidenceInvalid(
            "block-too-large",
            "a block is too large",
            expected=f"≤ {MAX_BLOCK} bytes",
            found=f"{len(block)} bytes",
        )
    links: list[Link] = []
    data: bytes | None = None
    links_before = 0
    at = 0
    while at < len(block):
        tag = block[at]
        if tag not in {_LINK, _DATA}:
            raise malformed("a field that dag-pb does not have", found=f"tag 0x{tag:02x}")
        body, at = _field(block, at + 1)
        if tag == _LINK:
            if data is not None and links_before:
                raise malformed("links stand on both sides of the data")
            links.append(_parse_link(body))
        elif data is not None:
            raise malformed("the data stands twice")
        else:
            data, links_before = body, len(links)
    return Node(tuple(links), data, data is not None and bool(links) and not links_before)


def _parse_link(body: bytes) -> Link:
    target: bytes | None = None
    name: bytes | None = None
    tsize: int | None = None
    at = last = 0
    while at < len(body):
        tag = body[at]
        if tag <= last:
            raise malformed("a link's fields stand twice or out of order", found=f"tag 0x{tag:02x}")
        last = tag
        if tag == _HASH:
            target, at = _field(body, at + 1)
        elif tag == _NAME:
            name, at = _field(body, at + 1)
        elif tag == _TSIZE:
            tsize, at = _number(body, at + 1)
        else:
            raise malformed("a field that a link does not have", found=f"tag 0x{tag:02x}")
    if target is None:
        raise malformed("a link without a CID")
    try:
        check_cid_bytes(target)
    except EvidenceInvalid as error:
        raise malformed("a link's CID is not well-formed", found=target[:64].hex()) from error
    return Link(target, name, tsize)


def _field(data: bytes, at: int) -> tuple[bytes, int]:
    length, at = _number(data, at)
    end = at + length
    if end > len(data):
        raise malformed("a field is cut off", expected=f"{length} bytes", found=f"{len(data) - at} bytes")
    return data[at:end], end


def _number(data: bytes, at: int) -> tuple[int, int]:
    try:
        return parse_varint(data, at)
    except EvidenceInvalid as error:
        raise malformed("a number is cut off or not in its shortest form", found=error.found) from error


def malformed(message: str, *, expected: str | None = None, found: str | None = None) -> EvidenceInvalid:
    """Return the error for a node that is not canonical dag-pb."""
    return EvidenceInvalid(
        "dagpb-malformed", message, expected=expected, found=found, rule="specs/addresses.md, dag-pb"
    )
