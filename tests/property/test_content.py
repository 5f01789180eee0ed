"""What holds for every CID, node, tree and stream."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace

import multiformats
from hypothesis import given
from hypothesis import strategies as st

from heritage_ledger.content.car import encode_car, open_car
from heritage_ledger.content.cid import (
    DAG_PB,
    RAW,
    block_cid,
    format_cid,
    format_cid_v0,
    make_cid,
    parse_cid,
    parse_cid_bytes,
    parse_cid_spelling,
)
from heritage_ledger.content.dagpb import Link, Node, encode_node, parse_node
from heritage_ledger.content.directory import list_directory
from heritage_ledger.content.message import Kind, Message, Mtime, encode_message, parse_message
from heritage_ledger.content.tree import TreeBuilder
from heritage_ledger.content.unixfs import UNIXFS_V1_2025, DirectoryBuilder, Entry, directory, file_graph
from heritage_ledger.content.varint import MAX_VARINT, encode_varint, parse_varint
from heritage_ledger.content.walk import file_leaves, read_leaf, resolve, walk
from heritage_ledger.errors import HeritageError

numbers = st.integers(0, MAX_VARINT)
cids = st.builds(make_cid, st.sampled_from([RAW, DAG_PB]), st.binary(min_size=32, max_size=32))
names = st.binary(min_size=1, max_size=20).filter(
    lambda name: not set(name) & {0, 47} and name not in {b".", b".."}
)


def parsed(parse, data):
    """What `parse` makes of `data`, or None; anything but an error of ours fails the test."""
    try:
        return parse(data)
    except HeritageError:
        return None


@given(cids)
def test_a_cid_and_its_text_are_one(cid):
    assert parse_cid(format_cid(cid)) == cid
    assert parse_cid_bytes(cid) == cid
    assert multiformats.CID.decode(cid).encode("base32") == format_cid(cid)


@given(st.binary(min_size=32, max_size=32))
def test_the_text_of_version_0_is_that_of_multiformats(digest):
    assert format_cid_v0(make_cid(DAG_PB, digest)) == str(
        multiformats.CID("base58btc", 0, "dag-pb", ("sha2-256", digest))
    )


@given(
    st.text(max_size=70)
    | st.text("abcdefghijklmnopqrstuvwxyz234567", min_size=58, max_size=58).map("b".__add__)
)
def test_a_text_that_is_read_is_the_only_one(text):
    cid = parsed(parse_cid, text)
    assert cid is None or format_cid(cid) == text
    parsed(parse_cid_spelling, text)


@given(st.binary(max_size=50) | st.binary(max_size=40).map(b"\x01\x55\x12\x20".__add__))
def test_bytes_that_are_read_as_a_cid_are_it(data):
    cid = parsed(parse_cid_bytes, data)
    assert cid is None or cid == data


@given(numbers)
def test_a_number_is_read_back(number):
    assert parse_varint(encode_varint(number)) == (number, len(encode_varint(number)))


@given(st.binary(max_size=12))
def test_a_number_that_is_read_is_in_its_shortest_form(data):
    found = parsed(parse_varint, data)
    assert found is None or encode_varint(found[0]) == data[: found[1]]


links = st.builds(Link, cids, st.none() | st.binary(max_size=200), st.none() | numbers)
nodes = st.builds(Node, st.lists(links, max_size=4).map(tuple), st.none() | st.binary(max_size=200))
messages = st.builds(
    Message,
    st.sampled_from(Kind),
    st.none() | st.binary(max_size=200),
    st.none() | numbers,
    st.lists(numbers, max_size=4).map(tuple),
    st.none() | numbers,
    st.none() | numbers,
    st.none() | st.integers(0, 2**32 - 1),
    st.none() | st.builds(Mtime, st.integers(-(2**63), 2**63 - 1), st.none() | st.integers(1, 999_999_999)),
)


@given(nodes, st.booleans())
def test_a_node_is_read_back_in_either_order(node, data_first):
    node = replace(node, data_first=data_first and bool(node.links) and node.data is not None)
    assert parse_node(encode_node(node)) == node


@given(messages)
def test_a_message_is_read_back(message):
    assert parse_message(encode_message(message)) == message


@st.composite
def nearly(draw, encoded):
    """Bytes of a good encoding with one place cut out, replaced or put in."""
    data = draw(encoded)
    start = draw(st.integers(0, len(data)))
    end = draw(st.integers(start, min(len(data), start + 3)))
    return data[:start] + draw(st.binary(max_size=3)) + data[end:]


@given(st.binary(max_size=60) | nearly(nodes.map(encode_node)))
def test_a_node_that_is_read_encodes_to_its_bytes(data):
    node = parsed(parse_node, data)
    assert node is None or encode_node(node) == data


@given(st.binary(max_size=60) | nearly(messages.map(encode_message)))
def test_a_message_that_is_read_encodes_to_its_bytes(data):
    message = parsed(parse_message, data)
    assert message is None or encode_message(message) == data


SMALL = replace(UNIXFS_V1_2025, chunk_size=3, max_links=2)


def naive_file(pieces):
    """The balanced tree, top down: the smallest power of two of leaves a child that is enough."""
    if len(pieces) == 1:
        return block_cid(RAW, pieces[0]), len(pieces[0]), len(pieces[0])
    below = 1
    while below * 2 < len(pieces):
        below *= 2

    def subtree(part, leaves):
        if leaves == 1:
            return naive_file(part)
        return node(
            [subtree(part[at : at + leaves // 2], leaves // 2) for at in range(0, len(part), leaves // 2)]
        )

    def node(children):
        sizes = tuple(size for _, size, _ in children)
        data = encode_message(Message(Kind.FILE, None, sum(sizes), sizes))
        block = encode_node(Node(tuple(Link(cid, b"", tsize) for cid, _, tsize in children), data))
        return block_cid(DAG_PB, block), sum(sizes), len(block) + sum(tsize for _, _, tsize in children)

    return node([subtree(pieces[at : at + below], below) for at in range(0, len(pieces), below)])


@given(st.binary(max_size=100), st.integers(0, 110), st.integers(0, 110))
def test_a_file_is_a_balanced_tree_whose_leaves_are_its_bytes(content, start, stop):
    pieces = [content[at : at + 3] for at in range(0, len(content), 3)] or [b""]
    blocks = {block_cid(RAW, piece): piece for piece in pieces}

    root = file_graph(
        b"".join(hashlib.sha256(piece).digest() for piece in pieces),
        len(content),
        blocks.__setitem__,
        profile=SMALL,
    )

    assert root == naive_file(pieces)
    leaves = list(file_leaves(blocks.__getitem__, root.cid))
    assert b"".join(read_leaf(blocks.__getitem__, leaf) for leaf in leaves) == content
    touched = [leaf for leaf in leaves if leaf.offset < stop and leaf.offset + leaf.length > start]
    if content:
        assert list(file_leaves(blocks.__getitem__, root.cid, start=start, stop=stop)) == touched


entries = st.builds(Entry, cids, st.integers(0, 2**40), st.integers(0, 2**40))


@given(st.dictionaries(names, entries, max_size=40), st.randoms(), st.integers(-2, 2))
def test_a_directory_is_sharded_exactly_above_the_threshold_and_holds_its_entries(children, random, beside):
    block = encode_node(
        Node(
            tuple(Link(entry.cid, name, entry.tsize) for name, entry in sorted(children.items())),
            encode_message(Message(Kind.DIRECTORY)),
        )
    )
    profile = replace(UNIXFS_V1_2025, shard_above=max(0, len(block) + beside))
    shuffled = list(children.items())
    random.shuffle(shuffled)
    blocks = {}

    root = directory(shuffled, blocks.__setitem__, profile=profile)

    sharded = len(block) > profile.shard_above and bool(children)
    assert (blocks[root.cid] != block) is sharded
    assert root.size == sum(entry.size for entry in children.values())
    listed = {child.name: (child.cid, child.tsize) for child in list_directory(blocks.__getitem__, root.cid)}
    assert listed == {name: (entry.cid, entry.tsize) for name, entry in children.items()}
    assert root.tsize == sum(map(len, blocks.values())) + sum(entry.tsize for entry in children.values())


trees = st.recursive(
    entries, lambda children: st.dictionaries(names, children, max_size=4), max_leaves=15
).filter(lambda tree: isinstance(tree, dict))


def naive_tree(tree):
    if isinstance(tree, Entry):
        return tree
    return directory([(name, naive_tree(child)) for name, child in tree.items()], lambda *_: None)


def paths(tree, path=()):
    for name, child in tree.items():
        if isinstance(child, Entry):
            yield (*path, name), child
        elif child:
            yield from paths(child, (*path, name))
        else:
            yield (*path, name), None


@given(trees)
def test_a_tree_that_is_fed_path_by_path_is_the_one_made_folder_by_folder(tree):
    blocks = {}
    builder = TreeBuilder(blocks.__setitem__)
    for path, entry in paths(tree):
        if entry is None:
            builder.add_directory(path)
        else:
            builder.add(path, entry)

    root = builder.finish()

    assert root == naive_tree(tree)
    for name, child in tree.items():
        if isinstance(child, dict):
            assert builder.first_level(name) == naive_tree(child)


@given(st.dictionaries(st.tuples(names) | st.tuples(names, names), st.binary(max_size=9), max_size=12))
def test_every_path_of_a_tree_is_found_and_walked(files):
    folders = {path[0] for path in files if len(path) == 2}
    files = {path: content for path, content in files.items() if len(path) == 2 or path[0] not in folders}
    blocks = {block_cid(RAW, content): content for content in files.values()}
    builder = TreeBuilder(blocks.__setitem__)
    for path, content in sorted(files.items()):
        builder.add(path, Entry(block_cid(RAW, content), len(content), len(content)))
    root = builder.finish()

    for path, content in files.items():
        assert blocks[resolve(blocks.__getitem__, root.cid, path).cid] == content
    visited = {
        visit.path: visit.cid for visit in walk(blocks.__getitem__, root.cid) if visit.kind is Kind.FILE
    }
    assert visited == {path: block_cid(RAW, content) for path, content in files.items()}


@given(st.lists(st.binary(max_size=50)), st.lists(cids, max_size=30))
def test_a_car_is_read_back(contents, roots):
    blocks = [(block_cid(RAW, content), content) for content in contents]
    car = open_car(io.BytesIO(b"".join(encode_car(roots, blocks))).read)
    assert (list(car.roots), list(car.blocks)) == (roots, blocks)


@given(
    st.binary(max_size=80)
    | nearly(st.lists(st.binary(max_size=9), max_size=3).map(lambda all_: b"".join(
        encode_car([block_cid(RAW, b"")], [(block_cid(RAW, one), one) for one in all_])
    )))
)  # fmt: skip
def test_a_car_that_is_read_encodes_to_its_bytes(data):
    def read(data):
        car = open_car(io.BytesIO(data).read)
        return car.roots, list(car.blocks)

    found = parsed(read, data)
    assert found is None or b"".join(encode_car(*found)) == data


@given(st.lists(st.tuples(names, entries), max_size=6), st.booleans())
def test_a_directory_builder_refuses_or_holds_everything(children, sharded):
    blocks = {}
    builder = DirectoryBuilder(
        blocks.__setitem__, profile=replace(UNIXFS_V1_2025, shard_above=0 if sharded else 1000)
    )
    for name, entry in children:
        builder.add(name, entry)
    unique = len({name for name, _ in children}) == len(children)
    root = parsed(lambda _: builder.finish(), None)
    assert (root is not None) is unique
