"""The fourteen vectors of IPIP-499 and the blocks of IPIP-0550: CIDs that Kubo and boxo made.

File bytes are a ChaCha20 key stream under the SHA-256 of a seed; nothing is downloaded.
"""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

from heritage_ledger.content.cid import DAG_PB, RAW, block_cid, format_cid, format_cid_v0, make_cid, parse_cid
from heritage_ledger.content.dagpb import encode_node, parse_node
from heritage_ledger.content.directory import list_directory
from heritage_ledger.content.unixfs import (
    UNIXFS_V0_2015,
    UNIXFS_V1_2025,
    DirectoryBuilder,
    Entry,
    Profile,
    file_graph,
    leaf_block,
)
from heritage_ledger.content.walk import resolve

pytestmark = pytest.mark.external

TEXT = {UNIXFS_V1_2025: format_cid, UNIXFS_V0_2015: format_cid_v0}
LETTERS = "abcdefghijklmnopqrstuvwxyz01234567890-_"


def key_stream(seed: str):
    cipher = Cipher(ChaCha20(hashlib.sha256(seed.encode()).digest(), bytes(16)), mode=None).encryptor()
    return lambda count: cipher.update(bytes(count))


def leaves_of(seed: str, size: int, profile: Profile) -> bytes:
    read = key_stream(seed)
    digests = []
    while size:
        chunk = read(min(size, profile.chunk_size))
        digests.append(hashlib.sha256(leaf_block(chunk, profile=profile)).digest())
        size -= len(chunk)
    return b"".join(digests)


def address(leaves: bytes, size: int, profile: Profile) -> tuple[str, dict]:
    blocks = {}
    entry = file_graph(leaves, size, blocks.__setitem__, profile=profile)
    return TEXT[profile](entry.cid), blocks


def small(content: bytes, profile: Profile) -> Entry:
    digest = hashlib.sha256(leaf_block(content, profile=profile)).digest()
    return file_graph(digest, len(content), lambda *_: None, profile=profile)


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        (UNIXFS_V1_2025, "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"),
        (UNIXFS_V0_2015, "Qmf412jQZiuVUtdgnB36FXFX7xg5V6KEbSJ4dpQuhkLyfD"),
    ],
)
def test_a_small_file_has_kubos_address(profile, expected):
    assert TEXT[profile](small(b"hello world", profile).cid) == expected


@pytest.mark.parametrize(
    ("profile", "seed", "at", "over"),
    [
        (
            UNIXFS_V1_2025,
            "chunk-v1-seed",
            "bafkreiacndfy443ter6qr2tmbbdhadvxxheowwf75s6zehscklu6ezxmta",
            "bafybeigmix7t42i6jacydtquhet7srwvgpizfg7gjbq7627d35mjomtu64",
        ),
        (
            UNIXFS_V0_2015,
            "chunk-v0-seed",
            "QmWmRj3dFDZdb6ABvbmKhEL6TmPbAfBZ1t5BxsEyJrcZhE",
            "QmYyLxtzZyW22zpoVAtKANLRHpDjZtNeDjQdJrcQNWoRkJ",
        ),
    ],
    ids=["v1", "v0"],
)
def test_a_file_of_one_chunk_and_one_byte_more_have_kubos_addresses(profile, seed, at, over):
    size = profile.chunk_size

    assert address(leaves_of(seed, size, profile), size, profile)[0] == at
    assert address(leaves_of(seed, size + 1, profile), size + 1, profile)[0] == over


@pytest.mark.parametrize(
    ("profile", "seed", "at", "over"),
    [
        (
            UNIXFS_V1_2025,
            "v1-2025-seed",
            "bafybeihmf37wcuvtx4hpu7he5zl5qaf2ineo2lqlfrapokkm5zzw7zyhvm",
            "bafybeibdsi225ugbkmpbdohnxioyab6jsqrmkts3twhpvfnzp77xtzpyhe",
        ),
        (
            UNIXFS_V0_2015,
            "v0-seed",
            "QmUbBALi174SnogsUzLpYbD4xPiBSFANF4iztWCsHbMKh2",
            "QmV81WL765sC8DXsRhE5fJv2rwhS4icHRaf3J9Zk5FdRnW",
        ),
    ],
    ids=["v1", "v0"],
)
def test_a_full_node_of_chunks_and_one_byte_more_have_kubos_addresses(profile, seed, at, over):
    size = profile.chunk_size * profile.max_links
    leaves = leaves_of(seed, size + 1, profile)

    text, blocks = address(leaves[:-32], size, profile)
    assert text == at
    assert len(blocks) == 1

    text, blocks = address(leaves, size + 1, profile)
    assert text == over
    assert len(parse_node(list(blocks.values())[-1]).links) == 2


def names(seed: str, count: int, length: int, last: int) -> list[bytes]:
    read = key_stream(seed)
    lengths = [length] * (count - 1) + [last]
    return ["".join(LETTERS[byte % len(LETTERS)] for byte in read(size)).encode() for size in lengths]


@pytest.mark.parametrize(
    ("profile", "files", "one_block", "expected"),
    [
        (UNIXFS_V1_2025, (4766, 11, 21), True, "bafybeic3h7rwruealwxkacabdy45jivq2crwz6bufb5ljwupn36gicplx4"),
        (
            UNIXFS_V1_2025,
            (4766, 11, 22),
            False,
            "bafybeiegvuterwurhdtkikfhbxcldohmxp566vpjdofhzmnhv6o4freidu",
        ),
        (UNIXFS_V0_2015, (4096, 30, 30), True, "QmX5GtRk3TSSEHtdrykgqm4eqMEn3n2XhfkFAis5fjyZmN"),
        (UNIXFS_V0_2015, (4033, 31, 31), False, "QmeMiJzmhpJAUgynAcxTQYek5PPKgdv3qEvFsdV3XpVnvP"),
    ],
    ids=["v1-at", "v1-over", "v0-at", "v0-over"],
)
def test_directories_at_and_over_the_threshold_have_kubos_addresses(profile, files, one_block, expected):
    blocks = {}
    builder = DirectoryBuilder(blocks.__setitem__, profile=profile)
    file = small(b"x", profile)
    every = names("hamt-" + profile.name, *files)
    for name in every:
        builder.add(name, file)
    root = builder.finish()

    assert TEXT[profile](root.cid) == expected
    assert (len(blocks) == 1) is one_block
    assert sorted(entry.name for entry in list_directory(blocks.__getitem__, root.cid)) == sorted(every)


HELLO = parse_cid("bafkreicysg23kiwv34eg2d7qweipxwosdo2py4ldv42nbauguluen5v6am")
DIRECTORY_LINK = "12330a24" + HELLO.hex() + "120968656c6c6f2e7478741806"
SHARD_LINK = "12350a24" + HELLO.hex() + "120b444668656c6c6f2e7478741806"
SHARD_DATA = "0a250805121c8" + "0" * 55 + "2822308002"


@pytest.mark.parametrize(
    ("block", "cid", "data_first"),
    [
        ("0a020801" + DIRECTORY_LINK, "bafybeigqvyloizmfcdy6scaxnyltftzptaruqa3hnnplfzsbf4sqteiwlm", True),
        (DIRECTORY_LINK + "0a020801", "bafybeigdcg7pksx2zk5336vrfsktjodlr4rbfz37qr3koc5xboxe5ekv24", False),
        (SHARD_DATA + SHARD_LINK, "bafybeicwgy2rlqmqqu3yy2tqvm2wbgdvy3snu4sbbv4wqpvpnoplpzxz74", True),
        (SHARD_LINK + SHARD_DATA, "bafybeicjwkfslu7gwyywffvqgse5kiibojtktxcdqhgv7ldj5fjdacuceq", False),
    ],
)
def test_both_field_orders_are_read_and_give_back_their_bytes(block, cid, data_first):
    block, cid = bytes.fromhex(block), parse_cid(cid)
    assert block_cid(DAG_PB, block) == cid

    node = parse_node(block)

    assert node.data_first is data_first
    assert encode_node(node) == block
    found = resolve({cid: block, HELLO: b"hello\n"}.__getitem__, cid, "hello.txt")
    assert (found.cid, found.size) == (HELLO, 6)


def test_a_file_of_five_chunks_and_directories_over_it_have_the_addresses_of_the_unixfs_appendix():
    leaves = b"".join(
        parse_cid(text)[4:]
        for text in (
            "bafkreie5noke3mb7hqxukzcy73nl23k6lxszxi5w3dtmuwz62wnvkpsscm",
            "bafkreih4ephajybraj6wnxsbwjwa77fukurtpl7oj7t7pfq545duhot7cq",
            "bafkreigu7buvm3cfunb35766dn7tmqyh2um62zcio63en2btvxuybgcpue",
            "bafkreicll3huefkc3qnrzeony7zcfo7cr3nbx64hnxrqzsixpceg332fhe",
            "bafkreifst3pqztuvj57lycamoi7z34b4emf7gawxs74nwrc2c7jncmpaqm",
        )
    )
    profile = Profile("256 bytes", 256, 1024, True, 1, 1 << 18, UNIXFS_V1_2025.shard_measure)
    blocks = {}
    file = file_graph(leaves, 1026, blocks.__setitem__, profile=profile)
    assert format_cid(file.cid) == "bafybeigcisqd7m5nf3qmuvjdbakl5bdnh4ocrmacaqkpuh77qjvggmt2sa"
    assert file.tsize == 1271

    ascii_file = Entry(parse_cid("bafkreifkam6ns4aoolg3wedr4uzrs3kvq66p4pecirz6y2vlrngla62mxm"), 31, 31)
    hello = Entry(parse_cid("bafkreifjjcie6lypi6ny7amxnfftagclbuxndqonfipmb64f2km2devei4"), 12, 12)
    builder = DirectoryBuilder(blocks.__setitem__)
    for name, entry in (
        (b"multiblock.txt", file),
        (b"ascii.txt", ascii_file),
        (b"hello.txt", hello),
        (b"ascii-copy.txt", ascii_file),
    ):
        builder.add(name, entry)
    root = builder.finish()
    assert format_cid(root.cid) == "bafybeihchr7vmgjaasntayyatmp5sv6xza57iy2h4xj7g46bpjij6yhrmy"
    assert root.tsize == 1572


def test_a_sharded_directory_of_a_thousand_files_has_the_address_of_the_unixfs_appendix():
    file = Entry(parse_cid("bafybeigcisqd7m5nf3qmuvjdbakl5bdnh4ocrmacaqkpuh77qjvggmt2sa"), 1026, 1271)
    profile = Profile("always sharded", 256, 1024, True, 1, 0, UNIXFS_V1_2025.shard_measure)
    blocks = {}
    builder = DirectoryBuilder(blocks.__setitem__, profile=profile)
    for number in range(1, 1001):
        builder.add(b"%d.txt" % number, file)
    root = builder.finish()

    assert format_cid(root.cid) == "bafybeidbclfqleg2uojchspzd4bob56dqetqjsj27gy2cq3klkkgxtpn4i"
    assert len(blocks[root.cid]) == 12046
    shard = parse_cid("bafybeiaebmuestgbpqhkkbrwl2qtjtvs3whkmp2trkbkimuod4yv7oygni")
    assert {link.name for link in parse_node(blocks[shard]).links} == {b"6E470.txt", b"FF742.txt"}


@pytest.mark.parametrize(
    ("cid", "block"),
    [
        ("bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku", b""),
        ("bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354", b"\x0a\x02\x08\x01"),
        ("bafybeif7ztnhq65lumvvtr4ekcwd2ifwgm3awq4zfr3srh462rwyinlb4y", b"\x0a\x04\x08\x02\x18\x00"),
    ],
)
def test_empty_blocks_have_their_well_known_addresses(cid, block):
    codec = DAG_PB if cid.startswith("bafybei") else RAW
    assert format_cid(block_cid(codec, block)) == cid


def test_empty_file_and_directory_are_those_of_both_profiles():
    assert format_cid(small(b"", UNIXFS_V1_2025).cid).endswith("jevtenxquvyku")
    assert format_cid_v0(small(b"", UNIXFS_V0_2015).cid) == "QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH"
    empty = DirectoryBuilder(lambda *_: None).finish()
    assert format_cid_v0(empty.cid) == "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn"
    assert make_cid(DAG_PB, empty.cid[4:]) == empty.cid
