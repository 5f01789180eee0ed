"""Blocks from peers that lie, withhold, cut off or never end: nothing bad is taken, others are asked."""

import gzip
import json
import os
import time
import tracemalloc

import pytest

from heritage_ledger.content.car import encode_car, encode_header, encode_section
from heritage_ledger.content.cid import DAG_PB, RAW, block_cid, format_cid, parse_cid
from heritage_ledger.content.dagpb import Link, Node, encode_node, parse_node
from heritage_ledger.content.exchange import Waits
from heritage_ledger.content.varint import encode_varint
from heritage_ledger.errors import EvidenceInvalid, EvidenceMissing
from heritage_ledger.federation import source as source_module
from heritage_ledger.federation.client import Client
from heritage_ledger.federation.peers import Peer
from heritage_ledger.federation.protocol import Protocols
from heritage_ledger.federation.source import MAX_NODES, Nodes, PeerBlocks
from heritage_ledger.federation.speaking import Speaker
from heritage_ledger.home.layout import Home
from heritage_ledger.identity.keys import Ed25519Signer
from heritage_testkit.sockets import answer, talking

BLOCKS = {block_cid(RAW, data): data for data in (os.urandom(200_000) for _ in range(8))}
CIDS = list(BLOCKS)
ROOT = CIDS[0]
PEAK = 24 << 20
"""Bytes that one request for these blocks may hold, whatever is answered."""


def car(*pairs, roots=(ROOT,)):
    return b"".join(encode_car(roots, pairs or BLOCKS.items()))


def head(*headers, status="200 OK"):
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "Connection: close", "", ""]).encode()


def endless(piece, first=b""):
    def say(sock):
        sock.sendall(head() + first)
        while True:
            sock.sendall(piece)

    return say


def drip(sock):
    sock.sendall(head("Content-Length: 100000"))
    for byte in car():
        sock.sendall(bytes([byte]))
        time.sleep(0.05)


STRANGE = block_cid(RAW, b"strange")
FLIPPED = (CIDS[3], bytes([BLOCKS[CIDS[3]][0] ^ 1]) + BLOCKS[CIDS[3]][1:])
ALL = list(BLOCKS.items())
BAD = {
    "withholds everything": (answer(car(roots=())[:0] + b"".join(encode_car([ROOT], []))), None),
    "withholds some": (answer(car(*ALL[:3])), None),
    "one flipped bit": (answer(car(*ALL[:3], FLIPPED, *ALL[4:])), "block-damaged"),
    "a block that nobody asked for": (answer(car(*ALL[:3], (STRANGE, b"strange"))), "peer-unasked-block"),
    "a block twice": (answer(car(*ALL[:3], ALL[0])), "peer-unasked-block"),
    "the same block for ever": (
        endless(b"".join(encode_section(*ALL[0])), first=car(ALL[0])),
        "peer-unasked-block",
    ),
    "zeroes for ever": (endless(bytes(65536)), "car-malformed"),
    "a header for ever": (endless(encode_varint(60_000) + bytes(65536)), "car-malformed"),
    "a section of a gigabyte": (
        answer(encode_header([ROOT]) + encode_varint(1 << 30) + bytes(1 << 20)),
        "car-too-large",
    ),
    "a true block, then zeroes for ever": (
        endless(bytes(65536), first=car(ALL[0])),
        "car-malformed",
    ),
    "cut off within a block": (answer(car()[:500_000]), "car-cut-off"),
    "cut off within its length": (answer(car()[:500_000], "Content-Length: 1600000"), "peer-unreachable"),
    "nothing": (lambda _: None, "peer-unreachable"),
    "no HTTP": (lambda sock: sock.sendall(b"\x16\x03\x01" * 1_000), "peer-unreachable"),
    "a bomb": (answer(gzip.compress(bytes(50 << 20)), "Content-Encoding: gzip"), "peer-answer"),
    "100,000 headers": (answer(b"", *(f"X-{at}: y" for at in range(100_000))), "peer-unreachable"),
    "somewhere else": (answer(b"", "Location: http://127.0.0.1:1/", status="302 Found"), "peer-refused"),
    "a refusal": (answer(b"{}", "Heritage-Protocol: 2", status="401 Unauthorized"), "peer-refused"),
    "release 0.1 again": (answer(b"{}", status="401 Unauthorized"), "peer-protocol"),
    "too busy": (answer(b"", status="503 Service Unavailable"), "peer-busy"),
    "JSON": (answer(b'{"blocks": []}'), "car-cut-off"),
    "drops": (drip, "peer-silent"),
}


WAITS = Waits(connect=5.0, headers=2.0, silent=1.0, slowest=4 << 20)


def honestly(said):
    """Answer with what was asked for."""

    def say(sock):
        wanted = json.loads(said.requests[-1].partition(b"\r\n\r\n")[2])["cids"]
        answer(b"".join(encode_car([ROOT], [(parse_cid(cid), BLOCKS[parse_cid(cid)]) for cid in wanted])))(
            sock
        )

    return say


def peer(name, url):
    return Peer(f"{name}.example/ledger/1", name.title(), url, (), (), "", "")


@pytest.fixture
def speaker(client, tmp_path):
    key = Ed25519Signer.from_seed(bytes(32))
    one = Speaker(client, lambda: key, "museum.example/ledger/1", Protocols(Home(tmp_path)))
    one.protocols.of = lambda _peer, _client: 2
    return one


@pytest.fixture
def client():
    with Client(allow_private=True, waits=WAITS) as one:
        yield one


def blocks(speaker, *peers):
    return PeerBlocks(speaker, peers)


@pytest.mark.parametrize("how", BAD)
def test_a_bad_peer_costs_nothing_but_time(speaker, how):
    say, code = BAD[how]
    with talking() as bad, talking() as honest:
        bad.say, honest.say = say, honestly(honest)
        source = blocks(speaker, peer("bad", bad.url), peer("honest", honest.url))
        tracemalloc.start()
        found = source.get_many(CIDS, sum(map(len, BLOCKS.values())))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert found == BLOCKS
        assert peak < PEAK
        assert source.given["honest.example/ledger/1"] > 0
        assert [finding.code for finding in source.findings][:1] == ([] if code is None else [code])
        if code is not None:
            assert source.findings[0].message.startswith("bad.example/ledger/1: ")
        # one that lied is not asked again; one that was only away is, where nobody else gives
        before = len(bad.requests)
        honest.say = answer(b"", status="503 Service Unavailable")
        source.get_many(CIDS)
        lied = code is not None and code.startswith(("block-", "car-mal", "car-too", "peer-un", "peer-ans"))
        assert (len(bad.requests) == before) is (lied and code != "peer-unreachable")


def test_more_bytes_than_the_tree_says_are_not_taken(speaker):
    with talking() as one:
        one.say = answer(car())
        source = blocks(speaker, peer("bad", one.url))
        assert len(source.get_many(CIDS, 300_000)) < len(CIDS)
        assert source.findings[0].code in {"peer-too-large", "car-too-large"}
        with pytest.raises(EvidenceMissing) as caught:
            source.get(CIDS[0])
        assert caught.value.code == "block-missing"


def test_every_request_is_signed_anew_for_that_peer(speaker):
    with talking() as first, talking() as second:
        first.say = second.say = answer(b"".join(encode_car([ROOT], [])))
        source = blocks(speaker, peer("first", first.url), peer("second", second.url))
        source.get_many(CIDS)
        source.get_many(CIDS)
        requests = [*first.requests, *second.requests]
        bodies = [json.loads(one.partition(b"\r\n\r\n")[2])["cids"] for one in requests]
        assert bodies == [list(map(format_cid, CIDS))] * 4
        lines = [one.lower().splitlines() for one in requests]
        nonces = {next(line for line in one if line.startswith(b"signature-input")) for one in lines}
        audiences = [next(line for line in one if line.startswith(b"heritage-audience")) for one in lines]
        assert len(nonces) == 4
        assert [line.partition(b": ")[2].decode() for line in audiences] == [
            *["first.example/ledger/1"] * 2,
            *["second.example/ledger/1"] * 2,
        ]


def tree(width, depth):
    """A tree of nodes, `width` below each; its nodes by CID, and its root."""
    nodes = {}

    def make(level, name):
        links = [make(level - 1, f"{name}{at}") for at in range(width)] if level else []
        block = encode_node(Node([Link(cid, b"%d" % at, 1) for at, cid in enumerate(links)], name.encode()))
        cid = block_cid(DAG_PB, block)
        nodes[cid] = block
        return cid

    return nodes, make(depth, "n")


@pytest.mark.parametrize("order", ["depth first", "breadth first"])
def test_nodes_come_in_few_requests_and_little_memory(order):
    nodes, root = tree(6, 3)
    asked = []

    def get_many(cids):
        asked.append(len(cids))
        return {cid: nodes[cid] for cid in cids}

    get = Nodes(lambda cid: get_many([cid])[cid], get_many)
    todo, seen = [root], 0
    while todo:
        cid = todo.pop() if order == "depth first" else todo.pop(0)
        block = get(cid)
        assert block == nodes[cid] == get(cid)
        seen += 1
        links = [link.cid for link in parse_node(block).links]
        todo.extend(reversed(links) if order == "depth first" else links)
    assert seen == len(nodes) == 259
    assert max(asked) <= MAX_NODES
    assert len(asked) < 12
    assert sum(asked) == len(nodes)  # each once


def test_nodes_that_come_along_are_bounded(monkeypatch):
    monkeypatch.setattr(source_module, "HELD_BYTES", 2_000)
    nodes, root = tree(40, 2)

    def get_many(cids):
        return {cid: nodes[cid] for cid in cids}

    get = Nodes(lambda cid: nodes[cid], get_many)
    todo = [root]
    while todo:
        todo += [link.cid for link in parse_node(get(todo.pop())).links]
        most = 2_000 + MAX_NODES * max(map(len, nodes.values()))
        assert sum(map(len, get._held.values())) <= most


def test_a_damaged_node_is_refused_though_it_came_along():
    nodes, root = tree(3, 1)
    bad = {cid: block if cid == root else block + b"x" for cid, block in nodes.items()}
    get = Nodes(lambda cid: bad[cid], lambda cids: {cid: bad[cid] for cid in cids})
    get(root)
    with pytest.raises(EvidenceInvalid) as caught:
        get(next(cid for cid in nodes if cid != root))
    assert caught.value.code == "block-damaged"
