"""dag-pb nodes are read in both field orders and in no other form."""

from __future__ import annotations

import pytest

from heritage_ledger.content.cid import RAW, block_cid, encode_cid_v0, format_cid, parse_cid
from heritage_ledger.content.dagpb import (
    MAX_BLOCK,
    Link,
    Node,
    encode_data,
    encode_link,
    encode_node,
    parse_node,
)
from heritage_ledger.errors import EvidenceInvalid

CID = block_cid(RAW, b"x")
LINK = encode_link(CID, b"a", 1)
DATA = encode_data(b"\x08\x01")
HASH = b"\x0a\x24" + CID
NAME = b"\x12\x01a"
TSIZE = b"\x18\x01"


def link(body: bytes) -> bytes:
    return b"\x12" + bytes((len(body),)) + body


def test_links_stand_before_data_and_in_a_link_hash_name_tsize():
    node = Node((Link(CID, b"a", 1),), b"\x08\x01")

    assert encode_node(node) == link(HASH + NAME + TSIZE) + DATA
    assert parse_node(encode_node(node)) == node


@pytest.mark.parametrize(
    "block",
    [
        b"",
        DATA,
        encode_data(b""),
        LINK + LINK + DATA,
        DATA + LINK + LINK,
        LINK,
        link(HASH),
        link(HASH + b"\x12\x00" + b"\x18\x00"),
        link(HASH + TSIZE),
        link(bytes.fromhex("0a09015500050001020304")),
        link(bytes.fromhex("0a09015500050001020304") + b"\x18\xff\xff\xff\xff\xff\xff\xff\x0f"),
        link(b"\x0a\x22\x12\x20" + bytes(32)),
    ],
)
def test_every_canonical_node_gives_back_its_bytes(block):
    assert encode_node(parse_node(block)) == block


@pytest.mark.parametrize(
    ("block", "why"),
    [
        (LINK + DATA + LINK, "both sides"),
        (DATA + DATA, "twice"),
        (b"\x1a\x00", "does not have"),
        (b"\x08\x01", "does not have"),
        (b"\x8a\x00\x00", "does not have"),
        (b"\x12", "shortest"),
        (b"\x12\x05\x0a", "cut off"),
        (b"\x0a\x80\x00", "shortest"),
        (DATA[:-1], "cut off"),
        (link(b""), "without a CID"),
        (link(NAME + TSIZE), "without a CID"),
        (link(NAME + HASH + TSIZE), "out of order"),
        (link(TSIZE + HASH), "out of order"),
        (link(HASH + TSIZE + NAME), "out of order"),
        (link(HASH + HASH), "twice"),
        (link(HASH + NAME + NAME), "twice"),
        (link(HASH + TSIZE + TSIZE), "twice"),
        (link(HASH + b"\x20\x01"), "does not have"),
        (link(HASH + b"\x1a\x01a"), "does not have"),
        (link(HASH + b"\x18\x81\x00"), "shortest"),
        (link(HASH + b"\x18" + b"\xff" * 9 + b"\x7f"), "shortest"),
        (link(b"\x0a\x00"), "not well-formed"),
        (link(b"\x0a\x23" + CID[:-1]), "not well-formed"),
        (link(b"\x0a\x02" + CID[:2]), "not well-formed"),
    ],
)
def test_malformed_nodes_are_refused(block, why):
    with pytest.raises(EvidenceInvalid) as caught:
        parse_node(block)
    assert caught.value.code == "dagpb-malformed"
    assert why in caught.value.message


def test_a_block_at_the_limit_is_read_and_above_it_is_not():
    filling = MAX_BLOCK - 4
    block = encode_data(bytes(filling))
    assert len(block) == MAX_BLOCK
    assert parse_node(block).data == bytes(filling)

    with pytest.raises(EvidenceInvalid) as caught:
        parse_node(block + b"\0")
    assert caught.value.code == "block-too-large"


def test_a_links_target_is_a_cid_of_our_kind_or_refused_when_it_is_asked_for():
    directory = parse_cid("bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354")
    old = parse_node(encode_link(encode_cid_v0(directory), b"", 4)).links[0]
    assert format_cid(old.cid) == format_cid(directory)

    foreign = parse_node(link(bytes.fromhex("0a09015500050001020304"))).links[0]
    with pytest.raises(EvidenceInvalid) as caught:
        _ = foreign.cid
    assert caught.value.code == "cid-unsupported"
