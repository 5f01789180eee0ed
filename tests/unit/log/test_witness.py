"""Witnessing: every status of C2SP tlog-witness, and never two histories, nor one after a restart."""

import threading

import pytest

from heritage_ledger.errors import DiskProblem
from heritage_ledger.home.state import StateStore
from heritage_ledger.identity.keys import Ed25519Signer, MLDSA44Signer
from heritage_ledger.log.cosignature import (
    Ed25519CosignatureSigner,
    MLDSA44CosignatureSigner,
    cosignature_time,
)
from heritage_ledger.log.note import open_note
from heritage_ledger.log.witness import (
    AddCheckpoint,
    Witness,
    WitnessRefusal,
    format_request,
    parse_request,
    witnessed_name,
)

ORIGIN = "museum.example/ledger/1"
NAME = "archive.example/witness"
SIGNERS = (
    Ed25519CosignatureSigner.of(NAME, Ed25519Signer.from_seed(b"w" * 32)),
    MLDSA44CosignatureSigner.of(NAME, MLDSA44Signer.from_seed(b"w" * 32)),
)


@pytest.fixture
def log(new_log):
    return new_log(5)


@pytest.fixture
def state(tmp_path):
    with StateStore.create(tmp_path / "witness.db") as store:
        yield store


@pytest.fixture
def witness(state, log):
    return Witness(state, SIGNERS, lambda origin: log.verifiers if origin == ORIGIN else [])


def request(log, old, size=None):
    checkpoint = log.files.read_checkpoint()
    size = size or log.state.head(ORIGIN).size
    proof = log.files.prove_consistency(old, size) if old else ()
    return format_request(AddCheckpoint(old, proof, checkpoint))


def refused(witness, data):
    with pytest.raises(WitnessRefusal) as caught:
        witness.add_checkpoint(data, time=7)
    return caught.value.status, caught.value.code


def test_growing_log_is_cosigned_by_every_key(witness, log):
    for old, entries in ((0, 0), (5, 3), (8, 600)):
        if entries:
            log.append([b"more %d" % at for at in range(entries)])
        lines = witness.add_checkpoint(request(log, old), time=1_800_000_000)
        note = open_note(log.files.read_checkpoint() + lines, [signer.verifier for signer in SIGNERS])
        assert len(note.verified) == 2
    latest = open_note(witness.latest(ORIGIN), [*log.verifiers, *(signer.verifier for signer in SIGNERS)])
    assert len(latest.verified) == 3


def test_same_checkpoint_is_cosigned_again(witness, log):
    witness.add_checkpoint(request(log, 0), time=1)
    assert witness.add_checkpoint(request(log, 5), time=2) != b""


def test_statuses(witness, log, new_log, tmp_path):
    good = request(log, 0)
    assert refused(witness, good.replace(b"old 0", b"old 6")) == (400, "witness-old-size")
    assert refused(witness, good.replace(ORIGIN.encode(), b"other.example/l/1")) == (404, "witness-origin")
    broken = good.replace(b"\n5\n", b"\n6\n")
    assert refused(witness, broken) == (403, "witness-signature")
    assert refused(witness, request(log, 3)) == (409, "witness-conflict")
    hashed = format_request(AddCheckpoint(0, (b"h" * 32,), log.files.read_checkpoint()))
    assert refused(witness, hashed) == (422, "witness-proof")
    witness.add_checkpoint(good, time=1)
    assert refused(witness, good) == (409, "witness-conflict")
    log.append([b"x"])
    lied = format_request(AddCheckpoint(5, (b"h" * 32,) * 3, log.files.read_checkpoint()))
    assert refused(witness, lied) == (422, "witness-proof")
    other = new_log(4, name="other")
    other.append([b"another fifth"])
    assert refused(witness, request(other, 5, 5)) == (422, "witness-root")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"old 0\n",
        b"old 00\n\n",
        b"old -1\n\n",
        b"new 0\n\n",
        b"old 0\nxx\n\n",
        b"old 0\r\n\n",
        b"old 0\n" + b"aGVsbG8gd29ybGQgaGVsbG8gd29ybGQgaGVsbG8gd28=\n" * 64 + b"\n",
        b"old 0\n\nno note",
    ],
)
def test_malformed_requests_get_400(witness, data):
    assert refused(witness, data) == (400, "witness-request")


def test_requests_read_back(log):
    data = request(log, 3)
    assert format_request(parse_request(data)) == data


def test_conflict_names_the_size(witness, log):
    witness.add_checkpoint(request(log, 0), time=1)
    log.append([b"x"])
    with pytest.raises(WitnessRefusal) as caught:
        witness.add_checkpoint(request(log, 4), time=1)
    assert caught.value.size == 5


def test_answer_waits_for_the_disk(log, state):
    class Failing:
        def head(self, name):
            return state.head(name)

        def create_head(self, name, head):
            raise DiskProblem("disk-sync-failed", "the disk did not take it")

    witness = Witness(Failing(), SIGNERS, lambda _: log.verifiers)
    with pytest.raises(DiskProblem):
        witness.add_checkpoint(request(log, 0), time=1)
    assert state.heads() == {}


def test_of_two_branches_at_once_one_is_cosigned(new_log, state):
    """Sixteen threads bring two histories of one size; only one of them ever gets a cosignature."""
    logs = [new_log(1, name=f"log{branch}") for branch in range(2)]
    for branch, log in enumerate(logs):
        log.append([b"branch %d" % branch])
    witness = Witness(state, SIGNERS[:1], lambda _: logs[0].verifiers)
    gate = threading.Barrier(16)
    won, lost = [], []

    def work(at):
        gate.wait()
        try:
            witness.add_checkpoint(request(logs[at % 2], 0), time=1)
            won.append(at % 2)
        except WitnessRefusal as refusal:
            lost.append(refusal.status)

    threads = [threading.Thread(target=work, args=(at,)) for at in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert lost == [409] * 15


def test_a_floor_names_no_earlier_time_than_was_named_before(tmp_path, state, log):
    """Restored to before it cosigned at 9,000: others show that, and its clock stands at 7."""
    checkpoint = log.files.read_checkpoint()
    with StateStore.create(tmp_path / "before.db") as other:
        Witness(other, SIGNERS, lambda _: log.verifiers).add_checkpoint(request(log, 0), time=9_000)
        shown = other.head(witnessed_name(ORIGIN)).checkpoint
    restored = Witness(state, SIGNERS, lambda _: log.verifiers)
    restored.raise_floor(checkpoint, prefix_root=log.files.root, seen=[checkpoint, shown], time=7)
    assert restored.last_time(restored.latest(ORIGIN)) == 9_000
    log.append([b"more"])
    lines = restored.add_checkpoint(request(log, 5), time=8)
    assert restored.last_time(restored.latest(ORIGIN)) == 9_000
    text = log.files.read_checkpoint().partition(b"\n\n")[0] + b"\n"
    note = open_note(text + b"\n" + lines, [one.verifier for one in SIGNERS])
    assert {cosignature_time(one.payload) for one in note.verified} == {9_000}
    restored.raise_floor(checkpoint, prefix_root=log.files.root, seen=[shown], time=5)
    assert restored.last_time(restored.latest(ORIGIN)) == 9_000  # and asked again
