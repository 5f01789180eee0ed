"""Every case of `specs/vectors/addresses.json`."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import pytest

from heritage_ledger.content.car import open_car
from heritage_ledger.content.cid import RAW, block_cid, codec_of, digest_of, format_cid, parse_cid
from heritage_ledger.content.dagpb import parse_node
from heritage_ledger.content.directory import list_directory
from heritage_ledger.content.message import Kind, parse_message
from heritage_ledger.content.tree import TreeBuilder
from heritage_ledger.content.unixfs import CHUNK_SIZE, Entry, directory, file_graph
from heritage_ledger.errors import HeritageError

SPECS = Path(__file__).resolve().parents[2] / "specs"
DOCUMENT = json.loads((SPECS / "vectors" / "addresses.json").read_text(encoding="utf-8"))
X = Entry(block_cid(RAW, b"x"), 1, 1)


def addressed(entry: Entry):
    return {"cid": format_cid(entry.cid), "size": entry.size, "tsize": entry.tsize}


def run_cid(text):
    cid = parse_cid(text)
    assert format_cid(cid) == text
    return {"codec": "raw" if codec_of(cid) == RAW else "dag-pb", "digest": digest_of(cid).hex()}


def run_file(given):
    content = bytes.fromhex(given["byte"]) * given["size"]
    pieces = [content[at : at + CHUNK_SIZE] for at in range(0, len(content), CHUNK_SIZE)] or [b""]
    leaves = b"".join(hashlib.sha256(piece).digest() for piece in pieces)
    return addressed(file_graph(leaves, len(content), lambda *_: None))


def run_leaves(given):
    return addressed(file_graph(bytes.fromhex(given["digests"]), given["size"], lambda *_: None))


def run_directory(given):
    return made(
        (bytes.fromhex(one["name"]), Entry(parse_cid(one["cid"]), one["size"], one["tsize"])) for one in given
    )


def run_numbered(given):
    numbered = [(b"%0*d" % (given["width"], number), X) for number in range(given["count"])]
    return made([*numbered, (given["last"].encode(), X)])


def made(entries):
    blocks = {}
    root = directory(entries, blocks.__setitem__)
    kind = parse_message(parse_node(blocks[root.cid]).data).kind
    return {**addressed(root), "sharded": kind is Kind.SHARD}


def run_tree(paths):
    return built(dict.fromkeys(paths, X))


def run_contents(given):
    contents = {path: bytes.fromhex(content) for path, content in given.items()}
    return built(
        {
            path: Entry(block_cid(RAW, content), len(content), len(content))
            for path, content in contents.items()
        }
    )


def built(files):
    builder = TreeBuilder(lambda *_: None)
    for path, entry in files.items():
        builder.add(path, entry)
    root = builder.finish()
    return {**addressed(root), "data": addressed(builder.first_level("data"))}


def run_node(block):
    node = parse_node(bytes.fromhex(block))
    links = [
        {"target": link.target.hex(), "name": link.name.hex(), "tsize": link.tsize} for link in node.links
    ]
    return {
        "links": links,
        "data": None if node.data is None else node.data.hex(),
        "data_first": node.data_first,
    }


def run_message(data):
    message = parse_message(bytes.fromhex(data))
    found = {"kind": message.kind.name}
    if message.filesize is not None:
        found |= {"filesize": message.filesize, "blocksizes": list(message.blocksizes)}
    return found


def run_list(given):
    blocks = given["blocks"]
    if isinstance(blocks, list):
        store = {block_cid(0x70, bytes.fromhex(block)): bytes.fromhex(block) for block in blocks}
    else:
        store = {parse_cid(cid): bytes.fromhex(block) for cid, block in blocks.items()}
    return {
        "names": [child.name.hex() for child in list_directory(store.__getitem__, parse_cid(given["root"]))]
    }


def run_car(data):
    car = open_car(io.BytesIO(bytes.fromhex(data)).read)
    blocks = [{"cid": format_cid(cid), "block": block.hex()} for cid, block in car.blocks]
    return {"roots": [format_cid(cid) for cid in car.roots], "blocks": blocks}


RUN = {
    "cid": run_cid,
    "file": run_file,
    "leaves": run_leaves,
    "directory": run_directory,
    "numbered": run_numbered,
    "tree": run_tree,
    "contents": run_contents,
    "node": run_node,
    "message": run_message,
    "list": run_list,
    "car": run_car,
}


@pytest.mark.parametrize("case", DOCUMENT["cases"], ids=lambda case: case["id"])
def test_address_vector(case):
    ((what, given),) = case["given"].items()
    if "error" not in case["expect"]:
        assert RUN[what](given) == case["expect"]
        return
    with pytest.raises(HeritageError) as caught:
        RUN[what](given)
    assert caught.value.code == case["expect"]["error"]


def test_ids_are_unique_and_there_are_as_many_wrong_cases_as_right_ones():
    cases = DOCUMENT["cases"]
    wrong = sum("error" in case["expect"] for case in cases)
    assert len({case["id"] for case in cases}) == len(cases)
    assert wrong >= len(cases) - wrong


def test_the_worked_example_has_the_addresses_of_its_vector():
    page = (SPECS / "addresses.md").read_text(encoding="utf-8")
    (example,) = (case for case in DOCUMENT["cases"] if case["id"] == "tree-example")
    expect = example["expect"]
    contents = [bytes.fromhex(content) for content in example["given"]["contents"].values()]
    for text in (
        expect["cid"],
        expect["data"]["cid"],
        *(format_cid(block_cid(RAW, one)) for one in contents),
    ):
        assert text in page
