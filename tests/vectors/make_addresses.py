"""Writes `specs/vectors/addresses.json`: `python tests/vectors/make_addresses.py`.

The values are made here by a second, naive implementation that shares no code with the library: names are put
into the HAMT one by one, files are cut recursively, every encoding is spelled out.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

OUT = Path(__file__).resolve().parents[2] / "specs" / "vectors" / "addresses.json"
ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
MIB = 1 << 20
MASK = (1 << 64) - 1


def varint(number):
    out = []
    while True:
        number, low = number >> 7, number & 127
        out.append(low | (128 if number else 0))
        if not number:
            return bytes(out)


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def cid(codec, block):
    return bytes([1, codec, 0x12, 32]) + hashlib.sha256(block).digest()


def text(binary):
    bits = "".join(f"{byte:08b}" for byte in binary)
    bits += "0" * (-len(bits) % 5)
    return "b" + "".join(ALPHABET[int(bits[at : at + 5], 2)] for at in range(0, len(bits), 5))


def node(links, message):
    parts = [field(2, field(1, target) + field(2, name) + field(3, tsize)) for target, name, tsize in links]
    return b"".join(parts) + field(1, message)


def murmur(data):
    """MurmurHash3 x64-128 as its author wrote it, byte by byte; the first half, big-endian."""

    def left(value, bits):
        return (value << bits | value >> 64 - bits) & MASK

    def mix1(key):
        return left(key * 0x87C37B91114253D5 & MASK, 31) * 0x4CF5AD432745937F & MASK

    def mix2(key):
        return left(key * 0x4CF5AD432745937F & MASK, 33) * 0x87C37B91114253D5 & MASK

    def final(value):
        value = (value ^ value >> 33) * 0xFF51AFD7ED558CCD & MASK
        value = (value ^ value >> 33) * 0xC4CEB9FE1A85EC53 & MASK
        return value ^ value >> 33

    one = two = at = 0
    while at + 16 <= len(data):
        one ^= mix1(int.from_bytes(data[at : at + 8], "little"))
        one = (left(one, 27) + two) * 5 + 0x52DCE729 & MASK
        two ^= mix2(int.from_bytes(data[at + 8 : at + 16], "little"))
        two = (left(two, 31) + one) * 5 + 0x38495AB5 & MASK
        at += 16
    tail = data[at:].ljust(16, b"\0")
    two ^= mix2(int.from_bytes(tail[8:], "little"))
    one ^= mix1(int.from_bytes(tail[:8], "little"))
    one ^= len(data)
    two ^= len(data)
    one = one + two & MASK
    two = two + one & MASK
    return (final(one) + final(two) & MASK).to_bytes(8, "big")


def file(content):
    pieces = [content[at : at + MIB] for at in range(0, len(content), MIB)] or [b""]
    level = [(cid(0x55, piece), len(piece), len(piece)) for piece in pieces]
    while len(level) > 1:
        level = [above(level[at : at + 1024]) for at in range(0, len(level), 1024)]
    return level[0]


def above(children):
    message = field(1, 2) + field(3, sum(size for _, size, _ in children))
    message += b"".join(field(4, size) for _, size, _ in children)
    block = node([(target, b"", tsize) for target, _, tsize in children], message)
    return (
        cid(0x70, block),
        sum(child[1] for child in children),
        len(block) + sum(child[2] for child in children),
    )


def basic(entries):
    return node([(target, name, tsize) for name, (target, _, tsize) in sorted(entries.items())], field(1, 1))


def put(shard, name, entry, depth=0):
    bucket = murmur(name)[depth]
    there = shard.get(bucket)
    if there is None:
        shard[bucket] = (name, entry)
    elif isinstance(there, dict):
        put(there, name, entry, depth + 1)
    else:
        shard[bucket] = {}
        put(shard[bucket], *there, depth + 1)
        put(shard[bucket], name, entry, depth + 1)


def write_shard(shard):
    links, total, bits = [], 0, 0
    for bucket in sorted(shard):
        bits |= 1 << bucket
        prefix = b"%02X" % bucket
        if isinstance(shard[bucket], dict):
            target, tsize = write_shard(shard[bucket])
            links.append((target, prefix, tsize))
        else:
            name, (target, _, tsize) = shard[bucket]
            links.append((target, prefix + name, tsize))
        total += tsize
    bitfield = bits.to_bytes(32, "big").lstrip(b"\0")
    block = node(links, field(1, 5) + field(2, bitfield) + field(5, 0x22) + field(6, 256))
    return cid(0x70, block), total + len(block)


def folder(entries):
    size = sum(entry[1] for entry in entries.values())
    block = basic(entries)
    if len(block) <= 262144:
        return cid(0x70, block), size, len(block) + sum(entry[2] for entry in entries.values())
    root = {}
    for name, entry in entries.items():
        put(root, name, entry)
    target, tsize = write_shard(root)
    return target, size, tsize


def tree(paths):
    here, below = {}, {}
    for path, entry in paths.items():
        name, slash, rest = path.partition("/")
        if slash:
            below.setdefault(name, {})[rest] = entry
        else:
            here[name.encode()] = entry
    here.update({name.encode(): tree(inner) for name, inner in below.items()})
    return folder(here)


def addressed(entry):
    return {"cid": text(entry[0]), "size": entry[1], "tsize": entry[2]}


X = file(b"x")
EMPTY = file(b"")
CASES = []


def case(name, why, given, expect):
    CASES.append({"id": name, "why": why, "given": given, "expect": expect})


def wrong(name, why, given, code):
    case(name, why, given, {"error": code})


def cid_cases():
    hello = cid(0x55, b"hello world")
    directory = cid(0x70, field(1, field(1, 1)))
    for name, codec, binary in (("raw", "raw", hello), ("dag-pb", "dag-pb", directory)):
        case(
            f"cid-{name}", "the one text", {"cid": text(binary)}, {"codec": codec, "digest": binary[4:].hex()}
        )
    good = text(hello)
    wrong("cid-v0", "version 0", {"cid": "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn"}, "cid-unsupported")
    wrong("cid-base16", "another multibase", {"cid": "f" + hello.hex()}, "cid-unsupported")
    wrong("cid-base32-upper", "another multibase", {"cid": good.upper()}, "cid-unsupported")
    for name, binary in (
        ("dag-cbor", bytes([1, 0x71, 0x12, 32]) + hello[4:]),
        ("sha2-512", bytes([1, 0x55, 0x13, 64]) + bytes(64)),
        ("identity", bytes([1, 0x55, 0, 0])),
    ):
        wrong(f"cid-{name}", "another kind", {"cid": text(binary)}, "cid-unsupported")
    assert good.endswith("5e")
    wrong("cid-spare-bits", "unused bits are not zero", {"cid": good[:-1] + "f"}, "cid-malformed")
    wrong("cid-cut-off", "one letter is missing", {"cid": good[:-1]}, "cid-malformed")
    wrong("cid-longer", "one letter too many", {"cid": good + "a"}, "cid-malformed")
    wrong("cid-padding", "base32 padding", {"cid": good + "======"}, "cid-malformed")
    wrong("cid-mixed-case", "an upper-case letter", {"cid": good[:-1] + "E"}, "cid-malformed")
    wrong("cid-long-varint", "version 1 in two bytes", {"cid": text(b"\x81\0" + hello[1:])}, "cid-malformed")
    wrong("cid-short-digest", "31 bytes that say 32", {"cid": text(hello[:-1])}, "cid-malformed")
    wrong("cid-empty", "nothing", {"cid": ""}, "cid-malformed")


def file_cases():
    for name, size in (
        ("empty", 0),
        ("one-byte", 1),
        ("one-chunk", MIB),
        ("one-more", MIB + 1),
        ("three", 3 * MIB),
    ):
        given = {"file": {"byte": "61", "size": size}}
        case(f"file-{name}", f"{size} bytes", given, addressed(file(b"a" * size)))
    for name, leaves, size in (
        ("no-leaf", "", 0),
        ("leaf-too-few", X[0][4:].hex(), MIB + 1),
        ("leaf-too-many", X[0][4:].hex() * 2, MIB),
        ("half-leaf", X[0][4:20].hex(), 1),
    ):
        wrong(
            f"file-{name}",
            "leaves do not fit the size",
            {"leaves": {"digests": leaves, "size": size}},
            "leaf-count",
        )


def listing(entries):
    return [{"name": name.hex(), **addressed(entry)} for name, entry in entries]


def directory_cases():
    three = [(b"b", X), (b"a", file(b"aa")), ("é".encode(), EMPTY)]
    expect = {**addressed(folder(dict(three))), "sharded": False}
    case("directory-three", "sorted as bytes", {"directory": listing(three)}, expect)
    case("directory-empty", "no entry", {"directory": []}, {**addressed(folder({})), "sharded": False})
    for name, last, sharded in (("at", 21, False), ("over", 22, True)):
        entries = {b"%011d" % number: X for number in range(4765)} | {b"z" * last: X}
        assert len(basic(entries)) == 262144 + sharded
        given = {"numbered": {"count": 4765, "width": 11, "last": "z" * last}}
        why = f"a block of {len(basic(entries)):,} bytes"
        case(f"directory-{name}-threshold", why, given, {**addressed(folder(entries)), "sharded": sharded})
    given = {"numbered": {"count": 20000, "width": 5, "last": "z"}}
    entries = {b"%05d" % number: X for number in range(20000)} | {b"z": X}
    case("directory-20001", "shards of shards", given, {**addressed(folder(entries)), "sharded": True})
    for name, entry in (("empty", b""), ("dot", b"."), ("dots", b".."), ("slash", b"a/b"), ("nul", b"a\0b")):
        wrong(f"directory-name-{name}", "not a name", {"directory": listing([(entry, X)])}, "entry-name")
    wrong("directory-name-long", "1,025 bytes", {"directory": listing([(b"a" * 1025, X)])}, "entry-name")
    wrong(
        "directory-twice",
        "one name twice",
        {"directory": listing([(b"a", X), (b"a", EMPTY)])},
        "entry-duplicate",
    )


def tree_cases():
    paths = ["bag-info.txt", "data/.hidden", "data/a/1", "data/a/2", "data/a b/1", "manifest-sha512.txt"]
    root = tree(dict.fromkeys(paths, X))
    data = tree({path[5:]: X for path in paths if path.startswith("data/")})
    expect = {**addressed(root), "data": addressed(data)}
    contents = {
        "bagit.txt": b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n",
        "data/hello.txt": b"hello world\n",
    }
    example = tree({path: file(content) for path, content in contents.items()})
    given = {"contents": {path: content.hex() for path, content in contents.items()}}
    inner = {**addressed(example), "data": addressed(tree({"hello.txt": file(contents["data/hello.txt"])}))}
    case("tree-example", "the worked example of specs/addresses.md", given, inner)
    case("tree-bag", "every file is the byte x", {"tree": paths}, expect)
    case("tree-bag-reversed", "another depth-first order", {"tree": paths[::-1]}, expect)
    wrong("tree-order", "a folder in two pieces", {"tree": ["data/1", "tags/1", "data/2"]}, "tree-order")
    wrong("tree-file-and-folder", "one name, a file and a folder", {"tree": ["a", "a/b"]}, "entry-duplicate")
    wrong("tree-absolute", "an empty first part", {"tree": ["/a"]}, "entry-name")
    wrong("tree-up", "a part that is ..", {"tree": ["../a"]}, "entry-name")


def node_cases():
    link = field(1, X[0]) + field(2, b"a") + field(3, 1)
    data = field(1, field(1, 1))
    parts = {"target": X[0].hex(), "name": "61", "tsize": 1}
    for name, block, first in (
        ("links-first", field(2, link) + data, False),
        ("data-first", data + field(2, link), True),
    ):
        expect = {"links": [parts], "data": "0801", "data_first": first}
        case(f"node-{name}", "both orders are read", {"node": block.hex()}, expect)
    case("node-empty", "no field at all", {"node": ""}, {"links": [], "data": None, "data_first": False})
    bad = {
        "both-sides": (field(2, link) + data + field(2, link), "links on both sides of the data"),
        "two-data": (data + data, "data twice"),
        "unknown": (data + field(3, b""), "a field 3"),
        "link-order": (field(2, field(2, b"a") + field(1, X[0])), "Name before Hash"),
        "link-twice": (field(2, link + field(3, 1)), "Tsize twice"),
        "link-unknown": (field(2, link + field(4, 1)), "a field 4 in a link"),
        "link-no-hash": (field(2, field(2, b"a")), "no Hash"),
        "link-bad-hash": (field(2, field(1, X[0][:-1])), "a Hash that is no CID"),
        "long-varint": (b"\x0a\x82\x00\x08\x01", "a length in two bytes that fits one"),
        "cut-off": (field(2, link)[:-1], "the last byte is missing"),
    }
    for name, (block, why) in bad.items():
        wrong(f"node-{name}", why, {"node": block.hex()}, "dagpb-malformed")


def message_cases():
    case("message-directory", "the least", {"message": "0801"}, {"kind": "DIRECTORY"})
    good = field(1, 2) + field(3, 3) + field(4, 2) + field(4, 1)
    case(
        "message-file",
        "two chunks",
        {"message": good.hex()},
        {"kind": "FILE", "filesize": 3, "blocksizes": [2, 1]},
    )
    bad = {
        "no-type": (field(3, 0), "no Type"),
        "unknown-type": (field(1, 6), "Type 6"),
        "packed": (field(1, 2) + field(3, 3) + field(4, b"\x02\x01"), "packed blocksizes"),
        "order": (field(1, 2) + field(4, 1) + field(3, 1), "filesize after blocksizes"),
        "twice": (field(1, 2) + field(3, 1) + field(3, 1), "filesize twice"),
        "unknown": (field(1, 1) + field(9, 1), "a field 9"),
        "mtime-zero-fraction": (field(1, 1) + field(8, field(1, 1) + b"\x15\0\0\0\0"), "a fraction of 0"),
    }
    for name, (data, why) in bad.items():
        wrong(f"message-{name}", why, {"message": data.hex()}, "unixfs-malformed")


def read_cases():
    def given(root, *blocks):
        return {"list": {"root": text(cid(0x70, root)), "blocks": [block.hex() for block in (root, *blocks)]}}

    def shard(links, bits):
        message = field(1, 5) + field(2, bits) + field(5, 0x22) + field(6, 256)
        return node([(X[0], name, 1) for name in links], message)

    bits = b"\x80" + bytes(27)
    case(
        "list-shard",
        "hello.txt is in bucket DF",
        given(shard([b"DFhello.txt"], bits)),
        {"names": [b"hello.txt".hex()]},
    )
    bad = {
        "shard-wrong-bucket": (shard([b"00hello.txt"], b"\x01"), "a name where its hash does not lead"),
        "shard-bitfield": (shard([b"DFhello.txt"], b"\x01"), "a bitfield that names another bucket"),
        "shard-little-endian": (
            shard([b"DFhello.txt"], bytes(27) + b"\x80"),
            "a bitfield the wrong way round",
        ),
        "shard-lower-case": (shard([b"dfhello.txt"], bits), "a bucket in lower case"),
        "shard-bucket-twice": (shard([b"DFhello.txt", b"DFhello"], bits), "two links of one bucket"),
        "duplicate": (node([(X[0], b"a", 1)] * 2, field(1, 1)), "one name twice"),
        "dots": (node([(X[0], b"..", 1)], field(1, 1)), "a name that leads out"),
        "file": (node([], field(1, 2) + field(2, b"a") + field(3, 1)), "a file"),
        "no-message": (field(2, field(1, X[0])), "no data"),
    }
    for name, (root, why) in bad.items():
        wrong(f"list-{name}", why, given(root), "unixfs-malformed")
    root = shard([b"DFhello.txt"], bits)
    damaged = {
        "list": {"root": text(cid(0x70, root)), "blocks": {text(cid(0x70, root)): (root + b"\0").hex()}}
    }
    wrong("list-damaged", "a block that does not hash to its CID", damaged, "block-damaged")


def car_cases():
    root = b"\xd8\x2a\x58\x25\0" + X[0]
    header = b"\xa2\x65roots\x81" + root + b"\x67version\x01"

    def car(header, *sections):
        return b"".join(varint(len(part)) + part for part in (header, *sections))

    expect = {"roots": [text(X[0])], "blocks": [{"cid": text(X[0]), "block": "78"}]}
    good = car(header, X[0] + b"x")
    case("car-one-block", "a header and a block", {"car": good.hex()}, expect)
    bad = {
        "version-2": (car(header[:-1] + b"\x02"), "car-malformed", "another version"),
        "v2-pragma": (bytes.fromhex("0aa16776657273696f6e02"), "car-malformed", "a CARv2"),
        "key-order": (
            car(b"\xa2\x67version\x01\x65roots\x81" + root),
            "car-malformed",
            "keys the other way round",
        ),
        "empty-section": (car(header, b""), "car-malformed", "a section of length zero"),
        "wrong-block": (car(header, X[0] + b"y"), "block-damaged", "another block than the CID says"),
        "foreign-cid": (car(header, b"\x01\x71" + X[0][2:] + b"x"), "cid-unsupported", "codec dag-cbor"),
        "cut-off": (good[:-1], "car-cut-off", "the last byte is missing"),
        "large": (car(header) + varint((2 << 20) + 37), "car-too-large", "a section above the limit"),
    }
    for name, (data, code, why) in bad.items():
        wrong(f"car-{name}", why, {"car": data.hex()}, code)


def main():
    for make in (
        cid_cases,
        file_cases,
        directory_cases,
        tree_cases,
        node_cases,
        message_cases,
        read_cases,
        car_cases,
    ):
        make()
    document = {
        "spec": "addresses/v1",
        "about": "Texts of CIDs, addresses under unixfs-v1-2025, and blocks and streams that must be read or "
        "refused. Binary values are hexadecimal. Made by tests/vectors/make_addresses.py.",
        "cases": CASES,
    }
    OUT.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
