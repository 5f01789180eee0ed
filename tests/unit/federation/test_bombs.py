"""Every walk over a foreign tree ends where its budget ends: in files, folders, bytes, nodes and memory.

`heritage_testkit.bombs` has the kinds; here are the places where such a tree is met.
"""

from __future__ import annotations

import json
import os
import tracemalloc
from collections import Counter
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from heritage_ledger import Ledger
from heritage_ledger.content import budget
from heritage_ledger.content.budget import TreeBudget
from heritage_ledger.content.car import MAX_SECTION, encode_header, encode_section, open_car
from heritage_ledger.content.cid import RAW, block_cid, format_cid
from heritage_ledger.content.varint import encode_varint
from heritage_ledger.errors import DiskProblem, EvidenceInvalid, EvidenceMissing
from heritage_ledger.federation.assembly import bad_pieces, tree_files
from heritage_ledger.federation.pledges import Duties, Pledge
from heritage_ledger.federation.repair import Repair
from heritage_ledger.federation.replicas import Replicator
from heritage_ledger.home.room import ENDLESS, Room
from heritage_ledger.home.settings import change_settings
from heritage_ledger.index.rows import EventRow, PackageRow
from heritage_ledger.index.store import Index
from heritage_ledger.log.fork import MAX_FORK_SIZE, TYPE, VERSION, parse_fork
from heritage_testkit.bombs import KINDS, Blocks, make
from heritage_testkit.peers import peer

PEAK = 64 << 20
"""Bytes that a walk may hold, the bomb's own blocks not counted."""
MOST_FILES = 1_000
REFUSED = {"replica-too-large", "replica-path", "unixfs-malformed", "dagpb-malformed"}
SOURCE = "evil.example/ledger/1"


class Source:
    """What `PeerBlocks` is to those who use it, over blocks in memory."""

    def __init__(self, blocks):
        self.blocks = blocks
        self.given = Counter()
        self.findings = ()
        self.get = blocks.get
        self.get_many = blocks.get_many


@pytest.fixture
def ledger(tmp_path):
    made = Ledger.init(
        tmp_path / "home", institution="Museum", origin="museum.example/ledger/1", passphrase=None
    )
    with made:
        assert made.books  # opened before there is a witness to ask
        yield made


@pytest.fixture
def few(monkeypatch):
    """Little beside what the event says, so that the tests are quick."""
    monkeypatch.setattr(budget, "SPARE_FOLDERS", 300)
    monkeypatch.setattr(budget, "SPARE_FILES", 300)


@contextmanager
def measured():
    """What is held at most in the block must be less than `PEAK`."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < PEAK
    finally:
        tracemalloc.stop()


def count(folder):
    return sum(len(folders) + len(files) for _, folders, files in os.walk(folder))


def walked(blocks, root, bound):
    pieces = 0
    for file in tree_files(blocks.get, root, bound):
        for _ in bad_pieces(Path(os.devnull), blocks.get, file) if file.cid else ():
            pieces += 1
    return pieces


@pytest.mark.parametrize("claim", [(1, 1), (500, 1 << 34)], ids=["small", "large"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_walk_ends_and_fills_no_memory(kind, claim):
    blocks, root = make(kind)
    files, size = claim
    with measured(), pytest.raises(EvidenceInvalid) as caught:
        walked(blocks, root, TreeBudget("bomb", files=files, size=size))
    assert caught.value.code in REFUSED


@pytest.mark.parametrize("kind", ["folders", "empty files", "many names", "a file of 2^40 bytes"])
def test_room_bounds_what_the_event_would_allow(kind):
    """An event of the bomb's own institution may claim what it likes."""
    blocks, root = make(kind)
    with pytest.raises(DiskProblem) as caught:
        walked(blocks, root, TreeBudget("bomb", files=1 << 40, size=1 << 60, room=Room(1 << 30, 1 << 12)))
    assert caught.value.code == "disk-full"
    with pytest.raises(DiskProblem):
        walked(
            blocks, root, TreeBudget("bomb", files=1 << 40, size=1 << 60, room=Room(1 << 24, ENDLESS.files))
        )


def replicator(ledger, blocks, root, *, files=1, size=1):
    """A home that promised to hold `root`, which the mirror's index has as a package of that size."""
    origin = SOURCE
    ledger.federation.peers.add(peer("evil"))
    place = ledger.home.mirror_of(origin)
    place.log.mkdir(parents=True, exist_ok=True)
    text = format_cid(root)
    with Index.open(place.index, origin=origin) as index, index.begin() as writer:
        writer.add_event(
            EventRow(0, origin, "urn:uuid:1", ("A", "B"), "", "", "", "", "", None, "urn:x", 1, root)
        )
        writer.add_package(
            PackageRow(
                0, "urn:x", 1, root, root, f"replicas/{origin}/{text}", "1.0", files, size, 0, "ingest"
            )
        )
        writer.set_absorbed(1)
    promise = Pledge(origin, "9999-12-31T00:00:00Z", (), None, 1, "2026-01-01T00:00:00Z")
    duties = Duties(pledges={origin: promise})
    made = Replicator(ledger.home, ledger.books, ledger.federation.peers, duties, nullcontext())
    return lambda: list(made.run(lambda _: Source(blocks)))


@pytest.mark.parametrize("kind", KINDS)
def test_replication_leaves_nothing_of_a_bomb_and_does_not_try_it_again(ledger, few, kind):
    blocks, root = make(kind)
    run = replicator(ledger, blocks, root)
    (done,) = run()
    assert done.findings[0].code in REFUSED
    assert count(ledger.home.replicas) == 1  # .incoming alone, without locks
    asked = blocks.asked
    assert [one.findings for one in run()] == [done.findings]  # told again, not asked for again
    assert blocks.asked == asked


@pytest.mark.parametrize(("files", "size"), [(2**63 - 1, 1), (1, 2**63 - 1), (2**62, 2**62)])
def test_what_the_event_says_is_compared_with_the_room_before_the_first_byte(ledger, files, size):
    blocks, root = make("folders")
    run = replicator(ledger, blocks, root, files=files, size=size)
    (done,) = run()
    assert done.findings[0].code == "disk-full"
    assert (blocks.asked, count(ledger.home.replicas)) == (0, 1)
    assert [one.findings for one in run()] == [done.findings]  # not tried while there is no more room
    assert blocks.asked == 0


@pytest.mark.parametrize("name", ["replicas_mib", "peer_replicas_mib"])
def test_a_quota_is_told_as_one_and_names_its_setting(ledger, name):
    ledger.close()
    change_settings(ledger.home.settings, "node", name, 1)
    with Ledger.open(ledger.home.root) as opened:
        blocks, root = make("folders")
        run = replicator(opened, blocks, root, files=3, size=2 << 20)
        (done,) = run()
        assert done.findings[0].code == "replica-quota"
        assert name in done.findings[0].advice
        assert [one.findings for one in run()] == [done.findings]
        assert blocks.asked == 0


@pytest.mark.parametrize("kind", KINDS)
def test_repair_ends_too(ledger, few, tmp_path, kind):
    blocks, root = make(kind)
    work = Repair(ledger.home, blocks.get, Source(blocks))
    done = work.run(tmp_path / "bag", root, TreeBudget("bomb", files=1, size=1), origin="x")
    assert {one.code for one in done.findings} == {"repair-no-source"}
    assert count(tmp_path / "bag") <= MOST_FILES


def test_an_honest_tree_with_deep_and_empty_folders_passes():
    blocks = Blocks()
    cid = blocks.folder(f=(blocks.raw(b"x"), 1))
    for _ in range(300):
        cid = blocks.folder(a=(cid, 1), empty=(blocks.folder(), 4))
    found = list(tree_files(blocks.get, cid, TreeBudget("deep", files=1, size=1)))
    assert len(found) == 601
    assert found[-1].path.count("/") <= 300


def test_a_block_that_nobody_gives_is_no_bomb(ledger):
    """What is missing now may come: it is kept, and asked for again."""
    blocks = Blocks()
    root = blocks.folder(a=(block_cid(0x55, b"absent"), 6))
    run = replicator(ledger, blocks, root)
    (done,) = run()
    assert done.findings[0].code == "replica-incomplete"
    (again,) = run()
    assert again.findings[0].code == "replica-incomplete"
    assert (ledger.home.replicas / ".incoming" / format_cid(root)).is_dir()


class Stream:
    """What a CAR is read from: pieces that may never end, counted."""

    def __init__(self, head, piece):
        self._left = head
        self._piece = piece
        self.given = 0

    def read(self, size):
        if not self._left:
            self._left = self._piece
        part, self._left = self._left[:size], self._left[size:]
        self.given += len(part)
        return part


def varint(value):
    return encode_varint(value) if value < 1 << 63 else b"\xff" * 9 + b"\x01"


SAME = b"".join(encode_section(block_cid(RAW, b"x" * 1000), b"x" * 1000))
CARS = {
    "a header of 2^62 bytes": (varint(1 << 62), b"\0" * 65_536),
    "a number without an end": (b"", b"\xff" * 65_536),
    "more roots than any package": (
        varint(60_000) + b"\xa2\x65roots\x99\xff\xff" + (b"\xd8\x2a\x58\x25\0" + SAME[2:38]) * 1_400,
        b"",
    ),
    "a header of a header of a header": (varint(60_000) + b"\xa2\x65roots" + b"\x81" * 60_000, b""),
    "a section of 2^62 bytes": (encode_header([]) + varint(1 << 62), b"\0" * 65_536),
    "sections of length zero": (encode_header([]), b"\0" * 65_536),
    "one block for ever": (encode_header([]), SAME * 60),
    "a section that is cut off": (encode_header([]) + SAME[:500], b""),
}


@pytest.mark.parametrize("kind", CARS)
def test_a_car_ends_where_its_budget_ends(kind):
    stream, bound = Stream(*CARS[kind]), 1 << 20
    with measured(), pytest.raises((EvidenceInvalid, EvidenceMissing)) as caught:
        for _ in open_car(stream.read, max_size=bound).blocks:
            pass
    assert caught.value.code in {"car-malformed", "car-too-large", "car-cut-off", "cid-malformed"}
    assert stream.given <= bound + MAX_SECTION


def proof(**changed):
    """The bytes of a fork proof with other members than it may have."""
    members = {
        "type": TYPE,
        "version": VERSION,
        "first": "a\n",
        "second": "b\n",
        "prefix_root": "A",
        "hashes": [],
    }
    return json.dumps(members | changed).encode()


FORKS = {
    "lists in lists": b"[" * MAX_FORK_SIZE,
    "objects in objects": b'{"a":' * (MAX_FORK_SIZE // 6) + b"1",
    "a long number": b'{"a":' + b"9" * (MAX_FORK_SIZE - 10) + b"}",
    "an exponent without end": b'{"a":1e' + b"9" * (MAX_FORK_SIZE - 10) + b"}",
    "a million hashes": proof(hashes=["A" * 44] * 1_000_000),
    "a long text": proof(first="A" * (MAX_FORK_SIZE - 1_000)),
    "as many hashes as fit": proof(hashes=["A"] * (MAX_FORK_SIZE // 6)),
    "the same key for ever": b"{" + b",".join([b'"a":1'] * (MAX_FORK_SIZE // 6)) + b"}",
}


@pytest.mark.parametrize("kind", FORKS)
def test_a_fork_proof_is_refused_before_it_costs_anything(ledger, kind):
    data = FORKS[kind]
    with measured(), pytest.raises(EvidenceInvalid) as caught:
        parse_fork(data)
    assert caught.value.code == "fork-malformed"
    ledger.home.forks.mkdir(exist_ok=True)
    (ledger.home.forks / "0123.fork.json").write_bytes(data)
    with measured():
        assert ledger.federation.strays()
