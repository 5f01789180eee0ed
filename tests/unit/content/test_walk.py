"""Reading believes nothing but the root CID: blocks are hashed, sizes and names must agree."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from heritage_ledger.content.cid import DAG_PB, RAW, block_cid, make_cid
from heritage_ledger.content.dagpb import Link, Node, encode_node, parse_node
from heritage_ledger.content.directory import Child, list_directory
from heritage_ledger.content.message import MAX_FANOUT, Kind, Message, encode_message, parse_message
from heritage_ledger.content.murmur3 import murmur3_x64_64
from heritage_ledger.content.tree import TreeBuilder
from heritage_ledger.content.unixfs import (
    UNIXFS_V0_2015,
    UNIXFS_V1_2025,
    Entry,
    directory,
    file_graph,
    leaf_block,
)
from heritage_ledger.content.walk import (
    MAX_FILE_DEPTH,
    MAX_PATH_PARTS,
    Leaf,
    block_cids,
    file_leaves,
    read_leaf,
    resolve,
    walk,
)
from heritage_ledger.errors import EvidenceInvalid, EvidenceMissing, OperationFailed

SMALL = replace(UNIXFS_V1_2025, chunk_size=4, max_links=3)
OLD = replace(UNIXFS_V0_2015, chunk_size=4, max_links=3)
SHARDED = replace(UNIXFS_V1_2025, shard_above=0)
TEXT = b"the quick brown fox jumps over the lazy dog"


class Store(dict):
    """Blocks by CID; what is absent is missing evidence."""

    def get(self, cid):
        if cid not in self:
            raise EvidenceMissing("block-missing", "not here")
        return self[cid]

    def put(self, block, codec=DAG_PB):
        cid = block_cid(codec, block)
        self[cid] = block
        return cid

    def put_node(self, message, *links):
        return self.put(encode_node(Node(links, encode_message(message))))

    def put_file(self, content, profile=SMALL):
        codec = RAW if profile.raw_leaves else DAG_PB
        pieces = [content[at : at + profile.chunk_size] for at in range(0, len(content), profile.chunk_size)]
        blocks = [leaf_block(piece, profile=profile) for piece in pieces or [b""]]
        digests = b"".join(self.put(block, codec)[4:] for block in blocks)
        return file_graph(digests, len(content), self.__setitem__, profile=profile)


@pytest.fixture
def store():
    return Store()


def malformed(call) -> str:
    with pytest.raises(EvidenceInvalid) as caught:
        call()
    assert caught.value.code == "unixfs-malformed", caught.value
    return caught.value.message


@pytest.mark.parametrize("profile", [SMALL, OLD], ids=["raw-leaves", "wrapped-leaves"])
@pytest.mark.parametrize("size", [0, 1, 4, 5, 12, 13, 43])
def test_the_leaves_of_a_file_are_its_bytes_in_order(store, profile, size):
    root = store.put_file(TEXT[:size], profile)

    leaves = list(file_leaves(store.get, root.cid))

    assert b"".join(read_leaf(store.get, leaf) for leaf in leaves) == TEXT[:size]
    assert [leaf.offset for leaf in leaves] == list(range(0, max(size, 1), 4))
    assert sum(leaf.length for leaf in leaves) == size


@pytest.mark.parametrize(
    ("start", "stop"), [(0, 1), (3, 5), (4, 8), (10, 10), (11, 30), (40, None), (43, None), (0, 0)]
)
def test_a_range_reads_only_the_leaves_and_nodes_it_needs(store, start, stop):
    root = store.put_file(TEXT)
    asked = []

    def get(cid):
        asked.append(cid)
        return store.get(cid)

    leaves = list(file_leaves(get, root.cid, start=start, stop=stop))

    end = len(TEXT) if stop is None else stop
    wanted = [at for at in range(0, len(TEXT), 4) if at < end and min(at + 4, len(TEXT)) > start]
    assert [leaf.offset for leaf in leaves] == wanted
    assert len(asked) <= 1 + 3 * max(1, len(wanted))


def test_a_whole_file_is_found_though_a_block_outside_the_range_is_missing(store):
    root = store.put_file(TEXT)
    del store[block_cid(RAW, TEXT[20:24])]

    assert read_leaf(store.get, next(file_leaves(store.get, root.cid, start=40))) == TEXT[40:43]
    with pytest.raises(EvidenceMissing):
        [read_leaf(store.get, leaf) for leaf in file_leaves(store.get, root.cid)]


def test_bytes_inside_a_node_come_before_its_children(store):
    leaf = store.put(b"world", RAW)
    root = store.put_node(Message(Kind.FILE, b"hello ", 11, (5,)), Link(leaf, b"", 5))

    assert list(file_leaves(store.get, root)) == [Leaf(root, 0, 6, b"hello "), Leaf(leaf, 6, 5)]
    assert list(file_leaves(store.get, root, start=6)) == [Leaf(leaf, 6, 5)]
    assert list(file_leaves(store.get, root, stop=6)) == [Leaf(root, 0, 6, b"hello ")]


def test_a_block_that_is_not_what_its_cid_names_is_never_believed(store):
    root = store.put_file(TEXT)
    entry = directory([(b"a", root)], store.__setitem__)
    for cid in list(block_cids(store.get, entry.cid)):
        whole = store[cid]
        store[cid] = whole[:-1] + bytes((whole[-1] ^ 1,))
        with pytest.raises(EvidenceInvalid) as caught:
            [
                read_leaf(store.get, leaf)
                for leaf in file_leaves(store.get, resolve(store.get, entry.cid, "a").cid)
            ]
        assert caught.value.code == "block-damaged"
        store[cid] = whole


def link(cid, tsize=4, name=b""):
    return Link(cid, name, tsize)


def test_files_whose_sizes_do_not_agree_are_refused(store):
    leaf = store.put(b"abcd", RAW)
    inner = store.put_node(Message(Kind.FILE, None, 4, (4,)), link(leaf))
    wrong = [
        (Message(Kind.FILE, None, 4, ()), [link(leaf)]),
        (Message(Kind.FILE, None, 4, (4, 4)), [link(leaf)]),
        (Message(Kind.FILE, None, 5, (4,)), [link(leaf)]),
        (Message(Kind.FILE, None, None, (4,)), [link(leaf)]),
        (Message(Kind.FILE, b"x", 4, (4,)), [link(leaf)]),
        (Message(Kind.FILE, None, 4, (0, 4)), [link(leaf), link(leaf)]),
        (Message(Kind.FILE, None, 5, (5,)), [link(inner)]),
        (Message(Kind.FILE, None, 4, (4,)), [link(leaf, name=b"a")]),
        (Message(Kind.DIRECTORY), []),
        (Message(Kind.SYMLINK, b"a"), []),
    ]
    for message, links in wrong:
        malformed(
            lambda message=message, links=links: list(file_leaves(store.get, store.put_node(message, *links)))
        )

    longer = store.put_node(Message(Kind.FILE, None, 5, (5,)), link(leaf))
    found = next(file_leaves(store.get, longer))
    malformed(lambda: read_leaf(store.get, found))


def test_a_file_of_too_many_levels_is_refused(store):
    cid = store.put(b"abcd", RAW)
    for _ in range(MAX_FILE_DEPTH):
        cid = store.put_node(Message(Kind.FILE, None, 4, (4,)), link(cid))
    assert len(list(file_leaves(store.get, cid))) == 1

    cid = store.put_node(Message(Kind.FILE, None, 4, (4,)), link(cid))
    malformed(lambda: list(file_leaves(store.get, cid)))


@pytest.mark.parametrize("profile", [UNIXFS_V1_2025, SHARDED], ids=["basic", "sharded"])
def test_a_directory_is_listed_and_each_name_found_and_no_other(store, profile):
    names = [b"%d.txt" % number for number in range(600)]
    files = {name: store.put_file(name) for name in names}
    root = directory(files.items(), store.__setitem__, profile=profile)

    listed = list(list_directory(store.get, root.cid))

    assert sorted(listed, key=lambda child: child.name) == sorted(
        (Child(name, file.cid, file.tsize) for name, file in files.items()), key=lambda child: child.name
    )
    for name, file in files.items():
        found = resolve(store.get, root.cid, [name])
        assert (found.cid, found.kind, found.size) == (file.cid, Kind.FILE, len(name))
        assert found.blocks[0] == root.cid
    for name in (b"600.txt", b"1.tx", b"", b".", b"..", b"a/b", b"00"):
        with pytest.raises(OperationFailed) as caught:
            resolve(store.get, root.cid, [name])
        assert caught.value.code == "path-not-found"


@pytest.fixture
def tree(store):
    builder = TreeBuilder(store.__setitem__)
    for path in ("bagit.txt", "data/a/x.tif", "data/a/y.tif", "data/b"):
        builder.add(path, store.put_file(path.encode()))
    return builder.finish()


def test_a_path_is_resolved_with_the_blocks_that_prove_it(store, tree):
    found = resolve(store.get, tree.cid, "data/a/x.tif")

    assert found.size == len("data/a/x.tif")
    assert len(found.blocks) == 3
    proof = {cid: store[cid] for cid in (*found.blocks, found.cid)}
    assert resolve(proof.__getitem__, tree.cid, "/data//a/x.tif/") == found
    assert resolve(store.get, tree.cid, "").cid == tree.cid
    assert resolve(store.get, tree.cid, "data/a").kind is Kind.DIRECTORY


@pytest.mark.parametrize(
    "path", ["nothing", "data/a/x.tif/y", "bagit.txt/data", "data/..", "data/./a", "d\udcff"]
)
def test_a_path_that_is_not_there_is_named(store, tree, path):
    with pytest.raises(OperationFailed) as caught:
        resolve(store.get, tree.cid, path)
    assert caught.value.code == "path-not-found"


def test_a_symlink_is_found_and_not_followed(store):
    target = store.put_node(Message(Kind.SYMLINK, b"../../etc/passwd"))
    root = store.put_node(Message(Kind.DIRECTORY), Link(target, b"s", 9))

    assert resolve(store.get, root, "s").kind is Kind.SYMLINK
    with pytest.raises(OperationFailed):
        resolve(store.get, root, "s/x")


def test_a_walk_visits_folders_before_what_is_in_them(store, tree):
    visits = [
        (b"/".join(visit.path).decode(), visit.kind.name, visit.size) for visit in walk(store.get, tree.cid)
    ]

    assert visits == [
        ("", "DIRECTORY", None),
        ("bagit.txt", "FILE", 9),
        ("data", "DIRECTORY", None),
        ("data/a", "DIRECTORY", None),
        ("data/a/x.tif", "FILE", 12),
        ("data/a/y.tif", "FILE", 12),
        ("data/b", "FILE", 6),
    ]


def test_every_block_is_named_once_parents_first(store):
    file = store.put_file(TEXT)
    root = directory([(b"a", file), (b"b", file)], store.__setitem__)

    cids = list(block_cids(store.get, root.cid))

    assert cids[0] == root.cid
    assert sorted(cids) == sorted(store)


def test_paths_and_trees_are_as_deep_as_the_limit_and_no_deeper(store):
    entry = store.put_file(b"x")
    for _ in range(MAX_PATH_PARTS):
        entry = directory([(b"a", entry)], store.__setitem__)
    assert resolve(store.get, entry.cid, "a/" * MAX_PATH_PARTS).size == 1
    assert sum(1 for _ in walk(store.get, entry.cid)) == MAX_PATH_PARTS + 1

    entry = directory([(b"a", entry)], store.__setitem__)
    with pytest.raises(OperationFailed):
        resolve(store.get, entry.cid, "a/" * (MAX_PATH_PARTS + 1))
    malformed(lambda: list(walk(store.get, entry.cid)))


@pytest.mark.parametrize("name", [b"", b".", b"..", b"a/b", b"a\0", None])
def test_a_directory_with_a_name_that_none_may_have_is_refused(store, name):
    cid = store.put_node(Message(Kind.DIRECTORY), Link(store.put(b"x", RAW), name, 1))
    malformed(lambda: list(list_directory(store.get, cid)))


def test_what_is_no_directory_cannot_be_listed(store):
    leaf = store.put(b"x", RAW)
    one = Link(leaf, b"a", 1)
    malformed(lambda: list(list_directory(store.get, leaf)))
    malformed(lambda: list(list_directory(store.get, store.put_node(Message(Kind.FILE, b"x", 1)))))
    malformed(lambda: list(list_directory(store.get, store.put_node(Message(Kind.DIRECTORY), one, one))))
    malformed(lambda: list(list_directory(store.get, store.put(encode_node(Node((one,)))))))
    malformed(lambda: list(list_directory(store.get, store.put(encode_node(Node((one,), b""))))))


def shard(bits, *, fanout=256, hash_type=0x22):
    return Message(Kind.SHARD, bits, hash_type=hash_type, fanout=fanout)


def test_shards_that_do_not_agree_with_themselves_are_refused(store):
    leaf = store.put(b"x", RAW)
    bits = b"\x80" + bytes(27)
    good = Link(leaf, b"DFhello.txt", 1)
    assert [child.name for child in list_directory(store.get, store.put_node(shard(bits), good))] == [
        b"hello.txt"
    ]

    basic = store.put_node(Message(Kind.DIRECTORY), Link(leaf, b"hello.txt", 1))
    narrow = store.put_node(shard(b"\x01", fanout=8), Link(leaf, b"0hello.txt", 1))  # its next three bits
    wrong = [
        (shard(bits), [Link(leaf, b"dfhello.txt", 1)]),
        (shard(bits), [Link(leaf, b"D", 1)]),
        (shard(bits), [Link(leaf, b"", 1)]),
        (shard(bits), [Link(leaf, b"+Dx", 1)]),
        (shard(bits), [Link(leaf, b"GGhello.txt", 1)]),
        (shard(bits), [good, Link(leaf, b"DFother", 1)]),
        (shard(bits), [good, good]),
        (shard(bits), [Link(leaf, b"DFhello.txd", 1)]),
        (shard(b"\x01"), [Link(leaf, b"00hello.txt", 1)]),
        (shard(b"\x01"), [good]),
        (shard(b""), [good]),
        (shard(None), [good]),
        (shard(b"\x80" + bytes(26) + b"\x01"), [good]),
        (shard(bits, hash_type=0x12), [good]),
        (shard(bits, fanout=None), [good]),
        (shard(bits, fanout=4), []),
        (shard(bits, fanout=100), []),
        (shard(b"", fanout=2 * MAX_FANOUT), []),
        (shard(bits), [Link(basic, b"DF", 1)]),
        (shard(bits), [Link(leaf, b"DF", 1)]),
        (shard(bits), [Link(narrow, b"DF", 1)]),
    ]
    for message, links in wrong:
        malformed(
            lambda message=message, links=links: list(
                list_directory(store.get, store.put_node(message, *links))
            )
        )


@pytest.mark.parametrize("name", [b".", b"..", b"a/b", b"a\0"])
def test_a_shard_with_a_name_that_none_may_have_is_refused_and_the_name_not_found(store, name):
    bucket = murmur3_x64_64(name)[0]
    bits = (1 << bucket).to_bytes(bucket // 8 + 1)
    cid = store.put_node(shard(bits), Link(store.put(b"x", RAW), b"%02X" % bucket + name, 1))

    malformed(lambda: list(list_directory(store.get, cid)))
    with pytest.raises(OperationFailed):
        resolve(store.get, cid, [name])


def test_shards_of_other_fanouts_are_read(store):
    leaf = store.put(b"x", RAW)
    hashed = int.from_bytes(bytes.fromhex("df19ab11523994d9"))
    for fanout, width in ((8, 1), (MAX_FANOUT, 3)):
        bucket = hashed >> 64 - (fanout.bit_length() - 1)
        bits = (1 << bucket).to_bytes(bucket // 8 + 1)
        cid = store.put_node(shard(bits, fanout=fanout), Link(leaf, b"%0*Xhello.txt" % (width, bucket), 1))
        assert [child.name for child in list_directory(store.get, cid)] == [b"hello.txt"]
        assert resolve(store.get, cid, "hello.txt").cid == leaf


def test_shards_deeper_than_the_hash_are_refused(store):
    leaf = store.put(b"x", RAW)
    cid = store.put_node(shard(b"\x01"), Link(leaf, b"00x", 1))
    for _ in range(8):
        cid = store.put_node(shard(b"\x80" + bytes(27)), Link(cid, b"DF", 1))
    malformed(lambda: list(list_directory(store.get, cid)))

    way = "df19ab11523994d9"
    for at in range(0, 16, 2):
        cid = store.put_node(
            shard((1 << (bucket := int(way[14 - at : 16 - at], 16))).to_bytes(bucket // 8 + 1)),
            Link(cid, b"%02X" % bucket, 1),
        )
    malformed(lambda: resolve(store.get, cid, "hello.txt"))


def test_old_nodes_with_links_of_version_0_are_read(store):
    file = store.put_file(TEXT, OLD)
    root = directory([(b"fox", file)], store.__setitem__, profile=UNIXFS_V0_2015)
    assert len(parse_node(store[root.cid]).links[0].target) == 34

    found = resolve(store.get, root.cid, "fox")
    assert b"".join(leaf.data for leaf in file_leaves(store.get, found.cid)) == TEXT


def test_a_malformed_block_is_named(store):
    leaf = make_cid(RAW, hashlib.sha256(b"x").digest())
    cid = store.put(b"\x12\x00")
    root = directory([(b"a", Entry(cid, 0, 2)), (b"b", Entry(leaf, 1, 1))], store.__setitem__)
    with pytest.raises(EvidenceInvalid) as caught:
        resolve(store.get, root.cid, "a/b")
    assert caught.value.code == "dagpb-malformed"
    assert caught.value.path.startswith("bafybei")
    assert parse_message(parse_node(store[root.cid]).data).kind is Kind.DIRECTORY
