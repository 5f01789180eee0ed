"""Peer files and the policy: keys belong to one institution, and one bad file harms nobody else."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest

from heritage_ledger import Ledger
from heritage_ledger.errors import DiskProblem, EvidenceInvalid, EvidenceMissing, UsageError
from heritage_ledger.federation import peers as module
from heritage_ledger.federation.forks import is_frozen
from heritage_ledger.federation.peers import Peers, format_peer, parse_peer
from heritage_ledger.home.layout import asset_folder
from heritage_ledger.log.cosignature import Ed25519CosignatureSigner, Ed25519NoteSigner, _key_id
from heritage_ledger.log.note import VerifierKey, format_vkey, parse_vkey
from heritage_testkit.peers import peer, signer

OWN = "museum.example/ledger/1"


@pytest.fixture
def ledger(tmp_path):
    with Ledger.init(tmp_path / "home", institution="Museum", origin=OWN, passphrase=None) as made:
        yield made


@pytest.fixture
def peers(ledger):
    return ledger.federation.peers


def files(ledger):
    folder = ledger.home.peers
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    policy = ledger.home.policy.read_bytes() if ledger.home.policy.exists() else None
    return [(path.name, path.read_bytes()) for path in found], policy


def refused(peers, one):
    with pytest.raises(EvidenceInvalid) as caught:
        peers.add(one)
    return caught.value.code


def test_witness_keys_of_another_institution_are_refused_before_anything_is_written(ledger, peers):
    peers.add(peer("archive"))
    before = files(ledger)
    assert refused(peers, peer("evil", witness_of="archive")) == "peer-key-name"
    assert files(ledger) == before
    peers.add(peer("library"))
    assert [one.origin for one in peers] == ["archive.example/ledger/1", "library.example/ledger/1"]


def test_whoever_comes_first_with_anothers_keys_does_not_keep_it_out(ledger, peers):
    assert refused(peers, peer("evil", witness_of="archive")) == "peer-key-name"
    assert files(ledger) == ([], None)
    peers.add(peer("archive"))
    assert ledger.federation.peers.policy().quorum == "federation"


def copied(kind):
    """A peer whose own keys are in order but for one, whose bytes are those of the archive."""
    archive, evil = peer("archive"), peer("evil")
    if kind == "node":
        return replace(evil, node_key=archive.node_key)
    of, name = (
        (Ed25519NoteSigner, evil.origin)
        if kind == "log"
        else (Ed25519CosignatureSigner, f"{evil.origin}/witness")
    )
    return replace(evil, **{f"{kind}_keys": (of.of(name, signer("archive", kind)).verifier.vkey,)})


@pytest.mark.parametrize("kind", ["log", "witness", "node"])
def test_no_two_institutions_share_a_key_whatever_name_it_bears(ledger, peers, kind):
    peers.add(peer("archive"))
    before = files(ledger)
    assert refused(peers, copied(kind)) == "peer-key-shared"
    assert files(ledger) == before


def test_ones_own_log_key_is_no_peers(ledger, peers):
    own = parse_vkey(ledger.log_keys()[0].vkey)
    name = "evil.example/ledger/1"
    made = Ed25519NoteSigner.of(name, signer("x")).verifier
    stolen = replace(made, public=own.public)
    assert refused(peers, peer("evil", log_keys=(stolen.vkey,))) == "peer-key-shared"


@pytest.mark.parametrize("kind", [0x01, 0x02, 0x05])
def test_a_witness_key_is_one_that_cosigns(peers, kind):
    good = parse_vkey(peer("archive").witness_keys[0])
    made = VerifierKey(good.name, _key_id(good.name, kind, good.public), kind, good.public)
    if kind == 0x01:
        text = Ed25519NoteSigner.of(good.name, signer("archive", "witness")).verifier.vkey
    else:
        text = format_vkey(made)
    assert refused(peers, peer("archive", witness_keys=(text,))) in {"peer-key-name", "note-key-kind"}


def test_other_keys_or_another_genesis_under_a_known_origin_are_refused(ledger, peers):
    peers.add(peer("archive"))
    before = files(ledger)
    assert refused(peers, peer("archive", genesis="11" * 32)) == "peer-changed"
    assert files(ledger) == before
    peers.add(peer("archive", url="https://new.example"))
    assert peers.get("archive.example/ledger/1").url == "https://new.example"


@pytest.mark.parametrize("act", ["add", "move", "remove"])
@pytest.mark.parametrize("fails", range(4))
def test_peer_file_and_policy_change_together_or_not_at_all(ledger, peers, monkeypatch, act, fails):
    """Each write of the change in turn finds no room."""
    peers.add(peer("archive"))
    before = files(ledger)
    done = {"writes": 0}
    real = module.write_file

    def full(*arguments, **options):
        done["writes"] += 1
        if done["writes"] == fails + 1:
            raise DiskProblem("disk-full", "no room")
        real(*arguments, **options)

    monkeypatch.setattr(module, "write_file", full)
    do = {
        "add": lambda: peers.add(peer("library")),
        "move": lambda: peers.add(peer("archive", url="https://new.example")),
        "remove": lambda: peers.remove("archive.example/ledger/1"),
    }[act]
    try:
        do()
    except DiskProblem:
        assert files(ledger) == before
    else:
        assert files(ledger) != before
        assert done["writes"] <= fails


BAD = {
    "half": b"{",
    "nothing": b"",
    "a list": b"[]",
    "other keys": b'{"origin": "x"}',
    "deep": b"[" * 60_000,
    "too large": b" " * 70_000,
    "key not a key": format_peer(peer("bad", log_keys=("not a key",))),
    "node key bad": format_peer(peer("bad", node_key="did:key:bad")),
    "no log key": format_peer(peer("bad", log_keys=())),
    "another's witness": format_peer(peer("bad", witness_of="archive")),
    "number": json.dumps({**json.loads(format_peer(peer("bad"))), "url": 5}).encode(),
    "under another name": format_peer(peer("archive")),
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
def test_one_bad_file_is_named_and_passed_over(ledger, peers, data):
    peers.add(peer("archive"))
    bad = ledger.home.peers / f"{asset_folder('bad.example/ledger/1')}.json"
    bad.write_bytes(data)
    federation = ledger.federation
    assert [one.origin for one in peers] == ["archive.example/ledger/1"]
    assert [status.peer.origin for status in federation.status()] == ["archive.example/ledger/1"]
    assert peers.find("bad.example/ledger/1") is None
    named = federation.strays()
    assert [one.path for one in named] == [str(bad)]
    peers.add(peer("library"))
    assert federation.peers.policy().quorum == "federation"
    peers.remove("bad.example/ledger/1")
    assert not bad.exists()
    with pytest.raises(EvidenceMissing):
        peers.remove("bad.example/ledger/1")


@pytest.mark.parametrize("folder", ["peers", "forks"])
def test_what_would_block_whoever_opens_it_is_named_too(ledger, peers, folder):
    peers.add(peer("archive"))
    place = getattr(ledger.home, folder)
    place.mkdir(exist_ok=True)
    bad = place / (f"{'a' * 32}-1-2.fork.json" if folder == "forks" else "x.json")
    os.mkfifo(bad)
    (place / f"null{''.join(bad.suffixes)}").symlink_to("/dev/zero")
    assert [one.origin for one in peers] == ["archive.example/ledger/1"]
    assert str(bad) in [one.path for one in ledger.federation.strays()]
    assert len(ledger.federation.strays()) == 2
    assert not is_frozen(ledger.home, "archive.example/ledger/1")


def test_a_file_that_may_not_be_read_is_named_too(ledger, peers):
    peers.add(peer("archive"))
    bad = ledger.home.peers / "x.json"
    bad.mkdir()
    bad.chmod(0)
    assert [one.origin for one in peers] == ["archive.example/ledger/1"]
    assert len(ledger.federation.strays()) == 1


def test_a_peer_file_reads_back(tmp_path):
    made = peer("archive")
    assert parse_peer(format_peer(made)) == made


def test_nobody_is_a_peer_of_itself(ledger):
    with pytest.raises(UsageError):
        Peers(ledger.home, "archive.example/ledger/1", ()).add(peer("archive"))
