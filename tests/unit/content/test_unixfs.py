"""Files and directories get the graphs that the profile says, or are refused."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from heritage_ledger.content import murmur3
from heritage_ledger.content.cid import DAG_PB, RAW, block_cid, codec_of, digest_of, format_cid
from heritage_ledger.content.dagpb import parse_node
from heritage_ledger.content.message import Kind, parse_message
from heritage_ledger.content.unixfs import (
    CHUNK_SIZE,
    FANOUT,
    MAX_LINKS,
    MAX_NAME,
    SHARD_ABOVE,
    UNIXFS_V1_2025,
    DirectoryBuilder,
    Entry,
    directory,
    file_graph,
    leaf_block,
)
from heritage_ledger.errors import OperationFailed, UsageError

FILE = Entry(block_cid(RAW, b"x"), 1, 1)
SMALL = replace(UNIXFS_V1_2025, chunk_size=4, max_links=3)
SHARDED = replace(UNIXFS_V1_2025, shard_above=0)


def nothing(cid, block):
    raise AssertionError("no node is made")


def leaves(count: int) -> bytes:
    return b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(count))


def kind(block: bytes) -> Kind:
    return parse_message(parse_node(block).data).kind


def test_the_profile_has_the_numbers_of_ipip_499():
    assert (CHUNK_SIZE, MAX_LINKS, FANOUT, SHARD_ABOVE) == (1048576, 1024, 256, 262144)


@pytest.mark.parametrize("size", [0, 1, CHUNK_SIZE])
def test_the_address_of_a_small_file_is_its_sha256(size):
    digest = hashlib.sha256(bytes(size)).digest()

    entry = file_graph(digest, size, nothing)

    assert (codec_of(entry.cid), digest_of(entry.cid)) == (RAW, digest)
    assert (entry.size, entry.tsize) == (size, size)


def test_a_file_of_two_chunks_has_one_node_with_empty_names_and_its_sizes():
    blocks = {}
    entry = file_graph(leaves(2), CHUNK_SIZE + 5, blocks.__setitem__)

    node = parse_node(blocks[entry.cid])
    assert [link.name for link in node.links] == [b"", b""]
    assert [link.tsize for link in node.links] == [CHUNK_SIZE, 5]
    message = parse_message(node.data)
    assert (message.kind, message.filesize, message.blocksizes) == (
        Kind.FILE,
        CHUNK_SIZE + 5,
        (CHUNK_SIZE, 5),
    )
    assert entry.size == CHUNK_SIZE + 5
    assert entry.tsize == CHUNK_SIZE + 5 + len(blocks[entry.cid])


@pytest.mark.parametrize(
    ("chunks", "nodes", "root_links"),
    [(3, 1, 3), (4, 3, 2), (9, 4, 3), (10, 4 + 2 + 1, 2), (27, 9 + 3 + 1, 3)],
)
def test_all_leaves_lie_equally_deep(chunks, nodes, root_links):
    blocks = {}
    entry = file_graph(leaves(chunks), chunks * 4, blocks.__setitem__, profile=SMALL)

    assert len(blocks) == nodes
    assert len(parse_node(blocks[entry.cid]).links) == root_links

    def depths(cid, depth):
        if codec_of(cid) == RAW:
            return {depth}
        return set().union(*(depths(link.cid, depth + 1) for link in parse_node(blocks[cid]).links))

    assert len(depths(entry.cid, 0)) == 1


def test_children_are_emitted_before_their_parents():
    order = []
    entry = file_graph(leaves(10), 40, lambda cid, block: order.append((cid, block)), profile=SMALL)

    seen = set()
    for cid, block in order:
        assert all(codec_of(link.cid) == RAW or link.cid in seen for link in parse_node(block).links)
        assert block_cid(DAG_PB, block) == cid
        seen.add(cid)
    assert order[-1][0] == entry.cid


@pytest.mark.parametrize(
    ("count", "size"), [(0, 0), (2, 0), (1, CHUNK_SIZE + 1), (2, CHUNK_SIZE), (3, 2 * CHUNK_SIZE), (1, -1)]
)
def test_leaves_that_do_not_fit_the_size_are_refused(count, size):
    with pytest.raises(UsageError) as caught:
        file_graph(leaves(count), size, nothing)
    assert caught.value.code == "leaf-count"


def test_half_a_digest_is_refused():
    with pytest.raises(UsageError):
        file_graph(bytes(31), 1, nothing)


def test_leaf_blocks_are_the_bytes_themselves():
    assert leaf_block(b"abc") == b"abc"


@pytest.mark.parametrize("name", [b"", b".", b"..", b"a/b", b"/", b"a\0", bytes(1), b"a" * (MAX_NAME + 1)])
def test_names_that_no_directory_may_hold_are_refused(name):
    with pytest.raises(UsageError) as caught:
        directory([(name, FILE)], nothing)
    assert caught.value.code == "entry-name"


@pytest.mark.parametrize(
    "name", [b"...", b".hidden", b" ", b"a\\b", b"a" * MAX_NAME, "ż.txt".encode(), b"\xff", b"con"]
)
def test_other_names_are_kept_byte_for_byte(name):
    blocks = {}
    entry = directory([(name, FILE)], blocks.__setitem__)
    assert [link.name for link in parse_node(blocks[entry.cid]).links] == [name]


def test_entries_are_sorted_as_bytes_whatever_order_they_come_in():
    names = [b"b", b"a", b"B", "é".encode(), b"a.b", b"ab"]
    blocks = {}
    entry = directory([(name, FILE) for name in names], blocks.__setitem__)

    assert [link.name for link in parse_node(blocks[entry.cid]).links] == sorted(names)
    assert directory([(name, FILE) for name in reversed(names)], blocks.__setitem__) == entry


def test_sizes_add_up():
    blocks = {}
    inner = directory([(b"a", Entry(FILE.cid, 7, 9))], blocks.__setitem__)
    outer = directory([(b"in", inner), (b"b", FILE)], blocks.__setitem__)

    assert (inner.size, inner.tsize) == (7, 9 + len(blocks[inner.cid]))
    assert outer.size == 8
    assert outer.tsize == inner.tsize + 1 + len(blocks[outer.cid])


@pytest.mark.parametrize("profile", [UNIXFS_V1_2025, SHARDED])
def test_the_same_name_twice_is_refused(profile):
    with pytest.raises(OperationFailed) as caught:
        directory([(b"a", FILE), (b"b", FILE), (b"a", FILE)], lambda *_: None, profile=profile)
    assert (caught.value.code, caught.value.path) == ("entry-duplicate", "a")


def test_a_directory_is_sharded_when_its_block_would_be_above_the_threshold():
    # a link with a 100-byte name has 145 bytes, one with 224 has 270, the directory's data 4
    names = [b"%0100d" % number for number in range(1806)]
    last = b"l" * 224

    blocks = {}
    at = directory([(name, FILE) for name in [*names, last]], blocks.__setitem__)
    assert kind(blocks[at.cid]) is Kind.DIRECTORY
    assert len(blocks[at.cid]) == SHARD_ABOVE

    over = directory([(name, FILE) for name in [*names, last + b"l"]], blocks.__setitem__)
    assert kind(blocks[over.cid]) is Kind.SHARD
    assert max(len(block) for cid, block in blocks.items() if cid != at.cid) <= SHARD_ABOVE


def test_the_bitfield_is_big_endian_without_leading_zeros():
    blocks = {}
    entry = directory([(b"hello.txt", FILE)], blocks.__setitem__, profile=SHARDED)

    node = parse_node(blocks[entry.cid])
    assert [link.name for link in node.links] == [b"DFhello.txt"]
    assert parse_message(node.data).data == b"\x80" + bytes(27)


def test_an_empty_directory_is_one_node_under_every_profile():
    entry = DirectoryBuilder(lambda *_: None, profile=SHARDED).finish()
    assert format_cid(entry.cid) == "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354"


MASK = (1 << 64) - 1


def rotate(value: int, bits: int) -> int:
    return (value << bits | value >> (64 - bits)) & MASK


def unmix(mixed: int, last: int, bits: int, first: int) -> bytes:
    value = rotate(mixed * pow(last, -1, 1 << 64) & MASK, 64 - bits) * pow(first, -1, 1 << 64) & MASK
    return value.to_bytes(8, "little")


def colliding_name(start: bytes, other: bytes) -> bytes:
    """Return `start` and 16 bytes more, of the hash of `other` (32 bytes): MurmurHash3 can be undone."""
    first, second = murmur3._body(start)
    goal, goal2 = murmur3._body(other)
    fifth = pow(5, -1, 1 << 64)
    mixed = rotate(((goal - 0x52DCE729) * fifth - second) & MASK, 37) ^ first
    mixed2 = rotate(((goal2 - 0x38495AB5) * fifth - goal) & MASK, 33) ^ second
    one = unmix(mixed, murmur3._C2, 31, murmur3._C1)
    return start + one + unmix(mixed2, murmur3._C1, 33, murmur3._C2)


def test_names_made_to_collide_are_refused_by_name_and_kept_apart_while_they_can_be():
    plain = b"an ordinary name of thirty-two b"
    hostile = next(
        name
        for number in range(50)
        if not {0, 47} & set(name := colliding_name(b"collides %07d" % number, plain))
    )
    assert murmur3.murmur3_x64_64(plain) == murmur3.murmur3_x64_64(hostile)

    directory([(plain, FILE), (hostile, FILE)], lambda *_: None)
    with pytest.raises(OperationFailed) as caught:
        directory([(plain, FILE), (hostile, FILE)], lambda *_: None, profile=SHARDED)
    assert caught.value.code == "entry-collision"
    assert plain.decode() in {caught.value.path, caught.value.found}
