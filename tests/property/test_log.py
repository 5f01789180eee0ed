"""Laws of the log: parsers give back what they were given, and a growing log agrees with the definitions."""

import contextlib
import hashlib
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from heritage_ledger.errors import EvidenceInvalid
from heritage_ledger.home.state import StateStore
from heritage_ledger.identity.keys import Ed25519Signer
from heritage_ledger.log import merkle
from heritage_ledger.log.append import Appender
from heritage_ledger.log.checkpoint import (
    format_checkpoint,
    open_checkpoint,
    parse_checkpoint,
    sign_checkpoint,
)
from heritage_ledger.log.cosignature import Ed25519NoteSigner, open_vkey
from heritage_ledger.log.files import LogFiles
from heritage_ledger.log.note import format_note, open_note, parse_note, sign_note
from heritage_ledger.log.proof import TlogProof, check_tlog_proof, format_tlog_proof, parse_tlog_proof
from heritage_ledger.log.tiles import decode_bundle, encode_bundle, parse_path
from heritage_ledger.log.verify import check_log
from vectors import make_log as naive

ORIGIN = "museum.example/ledger/1"
SIGNER = Ed25519NoteSigner.of(
    ORIGIN, Ed25519Signer.from_seed(hashlib.sha256(b"log test key, do not use").digest())
)
KEYS = [SIGNER.verifier]

lines = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters=[chr(code) for code in range(32)]),
    max_size=40,
)


@given(st.lists(lines, min_size=1, max_size=8))
def test_note_round_trip(text_lines):
    text = "".join(line + "\n" for line in text_lines).encode()
    data = sign_note(text, [SIGNER], time=0)
    assert open_note(data, KEYS).text == text
    parsed = parse_note(data)
    assert format_note(parsed.text, parsed.signatures) == data


GOOD = sign_note(f"{ORIGIN}\n1\n{naive.b64(naive.tree_root([b'x']))}\n".encode(), [SIGNER], time=0)
PROOF = format_tlog_proof(TlogProof(0, (), GOOD, b"extra"))


def mutations(data):
    """Small damage: a byte changed, taken out, put in, or a piece copied."""
    at = st.integers(0, len(data) - 1)
    change = st.builds(lambda i, b: data[:i] + bytes([b]) + data[i + 1 :], at, st.integers(0, 255))
    cut = st.builds(lambda i, n: data[:i] + data[i + n :], at, st.integers(1, 4))
    insert = st.builds(lambda i, b: data[:i] + b + data[i:], at, st.binary(min_size=1, max_size=3))
    copy = st.builds(lambda i, j: data[:i] + data[min(i, j) : max(i, j)] + data[i:], at, at)
    return st.one_of(change, cut, insert, copy)


@given(mutations(GOOD))
def test_changed_checkpoint_is_refused_or_says_the_same(data):
    try:
        checkpoint, note = open_checkpoint(data, KEYS, ORIGIN)
    except EvidenceInvalid:
        return
    assert checkpoint == parse_checkpoint(parse_note(GOOD).text)
    assert format_note(note.text, parse_note(data).signatures) == data


@given(mutations(PROOF))
def test_changed_proof_is_refused_or_proves_the_same(data):
    try:
        proof = parse_tlog_proof(data)
    except EvidenceInvalid:
        return
    assert format_tlog_proof(proof) == data
    try:
        check_tlog_proof(proof, b"x", KEYS, ORIGIN)
    except EvidenceInvalid:
        return
    assert (proof.index, proof.hashes) == (0, ())


@given(mutations(SIGNER.verifier.vkey.encode()))
def test_changed_verifier_key_is_refused(data):
    if data == SIGNER.verifier.vkey.encode():
        return
    with pytest.raises(EvidenceInvalid):
        open_vkey(data.decode("latin-1"))


@given(st.one_of(st.binary(max_size=200), mutations(b"tile/0/x001/234.p/56")))
def test_parsers_raise_nothing_but_their_own_errors(data):
    text = data.decode("latin-1")
    for call in (
        lambda: parse_note(data),
        lambda: parse_checkpoint(data),
        lambda: parse_tlog_proof(data),
        lambda: open_vkey(text),
        lambda: decode_bundle(data, 3),
        lambda: parse_path(text),
    ):
        with contextlib.suppress(EvidenceInvalid):
            call()


@given(mutations(b"tile/0/x001/234.p/56"))
def test_path_has_one_spelling(data):
    with contextlib.suppress(EvidenceInvalid):
        assert parse_path(data.decode("latin-1")).path == data.decode("latin-1")


@given(
    lines.filter(lambda line: 0 < len(line.encode()) <= 255),
    st.integers(1, 2**63 - 1),
    st.binary(min_size=32, max_size=32),
)
def test_checkpoint_round_trip(origin, size, root):
    text = f"{origin}\n{size}\n{naive.b64(root)}\n".encode()
    assert format_checkpoint(parse_checkpoint(text)) == text
    signed = sign_checkpoint(parse_checkpoint(text), [SIGNER], time=0)
    assert open_checkpoint(signed, KEYS, origin)[0].root == root


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=256))
def test_bundle_round_trip(entries):
    assert decode_bundle(encode_bundle(entries), len(entries)) == entries


@given(st.data(), st.integers(1, 300))
@settings(max_examples=50)
def test_proofs_agree_with_the_definitions(data, size):
    entries = [bytes([index & 255, index >> 8]) for index in range(size)]
    root = naive.tree_root(entries)

    def read(subtrees):
        return [
            naive.tree_root(entries[index << height : (index + 1) << height]) for height, index in subtrees
        ]

    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))
    assert list(merkle.prove_inclusion(index, size, read)) == naive.path(index, entries)
    assert list(merkle.prove_consistency(old, size, read)) == naive.consistency(old, entries)
    merkle.check_inclusion(naive.sha(b"\0" + entries[index]), index, size, naive.path(index, entries), root)
    merkle.check_consistency(old, size, naive.consistency(old, entries), naive.tree_root(entries[:old]), root)


class GrowingLog(RuleBasedStateMachine):
    """Two writers in turns, restarts, and files removed: the log is always the list of its entries."""

    @initialize()
    def begin(self):
        self.home = Path(tempfile.mkdtemp())
        (self.home / "log").mkdir()
        self.state = StateStore.create(self.home / "state.db")
        self.files = LogFiles(self.home / "log")
        self.entries = []
        self.roots = {0: merkle.EMPTY_ROOT}
        self.writers = [self.open_writer(), self.open_writer()]
        self.writers[0].create(time=0)

    def open_writer(self):
        return Appender(self.home / "log", self.state, ORIGIN, [SIGNER])

    @rule(
        writer=st.integers(0, 1),
        new=st.one_of(
            st.lists(st.binary(max_size=9), min_size=1, max_size=4),
            st.integers(240, 520).map(lambda count: [b"%d" % index for index in range(count)]),
        ),
    )
    def append(self, writer, new):
        appended = self.writers[writer].append(new, time=0)
        assert appended.first_index == len(self.entries)
        self.entries += new
        self.roots[len(self.entries)] = appended.root
        assert appended.root == naive.tree_root(self.entries)

    @rule(writer=st.integers(0, 1))
    def restart(self, writer):
        self.writers[writer] = self.open_writer()
        assert self.writers[writer].recover().size == len(self.entries)

    @precondition(lambda self: self.entries)
    @rule(data=st.data())
    def prove(self, data):
        size = data.draw(st.sampled_from(sorted(self.roots)[1:]))
        index = data.draw(st.integers(0, size - 1))
        root = self.roots[size]
        proof = self.files.prove_inclusion(index, size, root)
        merkle.check_inclusion(merkle.leaf_hash(self.entries[index]), index, size, proof, root)
        assert self.files.read_entry(index, size) == self.entries[index]
        old = data.draw(st.sampled_from([known for known in self.roots if 0 < known <= size]))
        grown = self.files.prove_consistency(old, size)
        merkle.check_consistency(old, size, grown, self.roots[old], root)

    @rule(data=st.data())
    @precondition(lambda self: self.entries)
    def damage_is_found(self, data):
        # partial files of older sizes are judged too; temporary files are not
        paths = sorted(path for path in self.files.folder.rglob("*") if path.is_file())
        path = data.draw(st.sampled_from(paths))
        good = path.read_bytes()
        at = data.draw(st.integers(0, len(good) - 1))
        path.chmod(0o644)
        path.write_bytes(good[:at] + bytes([good[at] ^ data.draw(st.integers(1, 255))]) + good[at + 1 :])
        found = {finding.path for finding in self.check()}
        assert path.relative_to(self.files.folder).as_posix() in found
        path.write_bytes(good)

    @invariant()
    def whole(self):
        if hasattr(self, "files"):
            assert self.check() == []

    def check(self):
        return list(check_log(self.files, ORIGIN, KEYS, read_head=lambda: self.state.head(ORIGIN)))

    def teardown(self):
        if hasattr(self, "home"):
            for writer in self.writers:
                writer.close()
            self.state.close()
            shutil.rmtree(self.home)


GrowingLog.TestCase.settings = settings(max_examples=15, stateful_step_count=12, deadline=None)
TestGrowingLog = GrowingLog.TestCase
