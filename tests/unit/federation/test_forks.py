"""Fork proofs: one a log, small whatever was sent, and a file that is none harms nobody."""

from __future__ import annotations

import pytest

from heritage_ledger import Ledger
from heritage_ledger.errors import EvidenceInvalid
from heritage_ledger.federation.forks import is_frozen, keep_fork, stored_forks, stray_forks
from heritage_ledger.home.layout import asset_folder
from heritage_ledger.identity.keys import Ed25519Signer
from heritage_ledger.log.checkpoint import Checkpoint, sign_checkpoint
from heritage_ledger.log.cosignature import Ed25519NoteSigner
from heritage_ledger.log.fork import MAX_FORK_SIZE, ForkProof, format_fork, parse_fork
from heritage_ledger.log.note import Signature, format_note, parse_note

ORIGIN = "evil.example/ledger/1"
SIGNER = Ed25519NoteSigner.of(ORIGIN, Ed25519Signer.from_seed(b"e" * 32))
VERIFIERS = (SIGNER.verifier,)


@pytest.fixture
def ledger(tmp_path):
    made = Ledger.init(
        tmp_path / "home", institution="Museum", origin="museum.example/ledger/1", passphrase=None
    )
    with made:
        yield made


def proof(number=0, *, padding=0):
    """Two trees of one size; with `padding` each checkpoint bears so many bytes of strangers' signatures."""

    def signed(root):
        data = sign_checkpoint(Checkpoint(ORIGIN, number + 1, root), [SIGNER], time=1)
        if not padding:
            return data
        note = parse_note(data)
        strangers = [
            Signature(f"stranger{at}.example", bytes(4), b"x" * 12_000) for at in range(padding // 17_000)
        ]
        return format_note(note.text, [*note.signatures, *strangers])

    return ForkProof(signed(b"a" * 32), signed(b"b" * 32), b"b" * 32, ())


def test_one_proof_a_log_is_kept_and_the_first_stays(ledger):
    first = keep_fork(ledger.home, proof(0), VERIFIERS, ORIGIN)
    for number in range(1, 50):
        assert keep_fork(ledger.home, proof(number), VERIFIERS, ORIGIN) == first
    assert [path.name for path in ledger.home.forks.iterdir()] == [first.path.name]
    assert is_frozen(ledger.home, ORIGIN)
    assert not is_frozen(ledger.home, "evil.example/ledger/2")


def test_strangers_signatures_are_not_kept(ledger):
    sent = proof(padding=900_000)
    assert len(format_fork(sent)) > 1_000_000
    kept = keep_fork(ledger.home, sent, VERIFIERS, ORIGIN)
    assert kept.path.stat().st_size < 2_000
    assert parse_fork(kept.path.read_bytes()) == proof()


def test_what_shows_no_fork_leaves_nothing(ledger):
    good = proof()
    with pytest.raises(EvidenceInvalid):
        keep_fork(ledger.home, ForkProof(good.first, good.first, b"a" * 32, ()), VERIFIERS, ORIGIN)
    assert not ledger.home.forks.exists()


NAME = f"{asset_folder(ORIGIN)}-1-1.fork.json"
BAD = {
    "no sizes": ("x-copy.fork.json", format_fork(proof())),
    "sizes that are none": (f"{asset_folder(ORIGIN)}-1-x.fork.json", format_fork(proof())),
    "a size of 30 digits": (f"{asset_folder(ORIGIN)}-1-{'9' * 30}.fork.json", format_fork(proof())),
    "another log's name": (f"{asset_folder('museum.example/ledger/1')}-1-1.fork.json", format_fork(proof())),
    "half": (NAME, format_fork(proof())[:100]),
    "nothing": (NAME, b""),
    "junk": (NAME, b"\xff" * 1000),
    "deep": (NAME, b"[" * 60_000),
    "too large": (NAME, b" " * (MAX_FORK_SIZE + 1)),
}


@pytest.mark.parametrize(("name", "data"), BAD.values(), ids=BAD)
def test_a_stray_file_is_named_and_freezes_nobody(ledger, tmp_path, name, data):
    ledger.home.forks.mkdir()
    (ledger.home.forks / name).write_bytes(data)
    assert list(stored_forks(ledger.home)) == []
    assert not is_frozen(ledger.home, ORIGIN)
    assert not is_frozen(ledger.home, "museum.example/ledger/1")
    assert [one.path for one in ledger.federation.strays()] == [str(ledger.home.forks / name)]
    assert list(ledger.federation.status()) == []
    source = tmp_path / "file.txt"
    source.write_text("kept")
    ledger.ingest(source, asset="urn:example:1")  # the append path looks at forks too
    kept = keep_fork(ledger.home, proof(), VERIFIERS, ORIGIN)  # a true one takes the place of a bad one
    assert list(stored_forks(ledger.home)) == [kept]


def test_a_home_with_many_proofs_of_one_log_reads_one(ledger):
    """Homes of 0.1 kept every proof that came."""
    ledger.home.forks.mkdir()
    for number in range(100):
        name = f"{asset_folder(ORIGIN)}-{number + 1}-{number + 1}.fork.json"
        (ledger.home.forks / name).write_bytes(format_fork(proof(number)))
    found = list(stored_forks(ledger.home))
    assert len(found) == 1
    assert list(stray_forks(ledger.home)) == []
    assert list(stored_forks(ledger.home, ORIGIN)) == found
