"""All kinds of key sign: whoever takes a log's word asks for a signature by every key that entry 0 names."""

import pytest

from heritage_ledger import Ledger
from heritage_ledger.deposit.books import log_signers, witness_signers
from heritage_ledger.errors import EvidenceInvalid
from heritage_ledger.federation.forks import is_frozen, keep_fork
from heritage_ledger.federation.mirroring import mirror_evidence, sync_mirror
from heritage_ledger.federation.peers import discover
from heritage_ledger.federation.witnessing import standing
from heritage_ledger.home.keyring import open_node_keys
from heritage_ledger.home.state import StateStore
from heritage_ledger.log.checkpoint import Checkpoint, sign_checkpoint
from heritage_ledger.log.fork import ForkProof
from heritage_ledger.log.mirror import Mirror
from heritage_ledger.log.note import Signature, format_note, parse_note
from heritage_ledger.log.policy import parse_policy
from heritage_ledger.log.witness import AddCheckpoint, Witness, WitnessRefusal, format_request
from heritage_testkit.papers import Papers, befriend, without_kind

URL = "https://archive.example"
ORIGIN = "archive.example/ledger/1"
OWN = "museum.example/ledger/1"
KINDS = [1, 6]


def deposit(ledger, folder):
    folder.mkdir()
    (folder / "page.txt").write_text(folder.name)
    ledger.ingest(folder, asset=f"urn:example:{folder.name}")


@pytest.fixture
def archive(tmp_path):
    with Ledger.init(tmp_path / "archive", institution="Archive", origin=ORIGIN, passphrase=None) as one:
        deposit(one, tmp_path / "theirs")
        yield one


@pytest.fixture
def museum(tmp_path):
    with Ledger.init(tmp_path / "museum", institution="Museum", origin=OWN, passphrase=None) as one:
        yield one


@pytest.fixture
def peer(museum, archive):
    befriend(museum, archive.home.root, URL)
    return museum.federation.peers.get(ORIGIN)


def cut(archive, kind):
    return without_kind(archive.checkpoint(), [key.vkey for key in archive.log_keys()], kind)


def refused(call, *given, code="checkpoint-unsigned"):
    with pytest.raises(EvidenceInvalid) as caught:
        call(*given)
    assert caught.value.code == code


@pytest.mark.parametrize("kind", KINDS)
def test_a_peer_is_not_believed_by_one_kind(archive, kind):
    papers = Papers(URL, archive.home.root)
    assert discover(papers, URL).origin == ORIGIN
    papers.change["log/checkpoint"] = cut(archive, kind)
    refused(discover, papers, URL)


@pytest.mark.parametrize("kind", KINDS)
def test_a_mirror_takes_nothing_by_one_kind(museum, archive, peer, tmp_path, kind):
    deposit(archive, tmp_path / "more")
    papers = Papers(URL, archive.home.root)
    papers.change["log/checkpoint"] = cut(archive, kind)
    synced = sync_mirror(museum.home, museum.federation.state, peer, papers, settings=museum.settings.node)
    assert [finding.code for finding in synced.findings] == ["checkpoint-unsigned"]
    assert synced.size == 2
    papers.change.clear()
    assert (
        sync_mirror(museum.home, museum.federation.state, peer, papers, settings=museum.settings.node).size
        == 3
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_mirror_whose_checkpoint_was_cut_shows_no_checkpoint(museum, archive, peer, kind):
    path = museum.home.mirror_of(ORIGIN).log / "checkpoint"
    assert mirror_evidence(museum.home, peer).checkpoint is not None
    path.chmod(0o644)
    path.write_bytes(cut(archive, kind))
    evidence = mirror_evidence(museum.home, peer)
    assert evidence.checkpoint is None
    assert [finding.code for finding in evidence.checkpoint_findings] == ["checkpoint-unsigned"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_witness_cosigns_nothing_by_one_kind(museum, archive, peer, kind):
    signers = witness_signers(OWN, open_node_keys(museum.home, None))
    witness = Witness(museum.federation.state, signers, lambda _: peer.verifiers)
    with pytest.raises(WitnessRefusal) as caught:
        witness.add_checkpoint(format_request(AddCheckpoint(0, (), cut(archive, kind))), time=5)
    assert (caught.value.status, caught.value.code, caught.value.found) == (
        403,
        "witness-signature",
        "checkpoint-unsigned",
    )
    assert witness.latest(ORIGIN) is None
    assert witness.add_checkpoint(format_request(AddCheckpoint(0, (), archive.checkpoint())), time=5)


@pytest.mark.parametrize("at", [0, 1])
def test_a_fork_proof_by_one_kind_freezes_nobody(museum, archive, peer, at):
    signers = log_signers(ORIGIN, archive.books.keys)
    trees = [Checkpoint(ORIGIN, 2, bytes([root]) * 32) for root in (1, 2)]
    one_kind = [sign_checkpoint(tree, signers[at : at + 1], time=1) for tree in trees]
    whole = [sign_checkpoint(tree, signers, time=1) for tree in trees]
    for notes in (one_kind, [one_kind[0], whole[1]], [whole[0], one_kind[1]]):
        proof = ForkProof(*notes, bytes([2]) * 32, ())
        refused(keep_fork, museum.home, proof, peer.verifiers, ORIGIN)
    assert not is_frozen(museum.home, ORIGIN)
    keep_fork(museum.home, ForkProof(*whole, bytes([2]) * 32, ()), peer.verifiers, ORIGIN)
    assert is_frozen(museum.home, ORIGIN)


@pytest.mark.parametrize("kind", KINDS)
def test_a_lost_log_comes_back_by_both_kinds_only(archive, tmp_path, kind):
    """What a restore does with a mirror that another institution shows it of the own log."""
    with StateStore.create(tmp_path / "state.db") as state:
        mirror = Mirror(tmp_path / "log", state, ORIGIN, archive.federation.verifiers, name=ORIGIN)
        refused(mirror.pull, archive.log, cut(archive, kind))
        assert mirror.head() is None
        assert mirror.pull(archive.log, archive.checkpoint()).size == 2


def befriend_by_hand(archive, museum):
    """The museum is a peer of the archive, and its witness."""
    known = discover(Papers("https://museum.example", museum.home.root), "https://museum.example")
    archive.federation.peers.add(known)


def vouch(archive, museum, names):
    """The archive's checkpoint, cosigned by the museum with the keys of these kinds."""
    signers = [
        signer
        for signer in witness_signers(OWN, open_node_keys(museum.home, None))
        if signer.verifier.vkey in names
    ]
    note = parse_note(archive.checkpoint())
    lines = [Signature(one.name, one.key_id, one.sign(note.text, 1_700_000_000)) for one in signers]
    archive.home.witnessed.write_bytes(format_note(note.text, [*note.signatures, *lines]))


@pytest.mark.parametrize("written", ["all", "any"])
def test_institutions_count_by_all_kinds_whatever_an_older_release_wrote(museum, archive, written):
    befriend_by_hand(archive, museum)
    path = archive.home.policy
    made = path.read_text()
    assert "group museum.example/ledger/1 2 " in made
    if written == "any":
        path.write_text(made.replace("ledger/1 2 ", "ledger/1 1 "))
    peers = archive.federation.peers
    names = [witness.vkey for witness in peers.policy().witnesses]
    for given, size in ((names[:1], 0), (names[1:], 0), (names, 2)):
        vouch(archive, museum, given)
        assert standing(archive.home, peers.policy(), archive.federation.verifiers, ORIGIN).size == size
    peers.remove(OWN)
    befriend_by_hand(archive, museum)
    assert path.read_text() == made


def test_a_policy_kept_by_hand_means_what_it_says(museum, archive):
    befriend_by_hand(archive, museum)
    path = archive.home.policy
    by_hand = path.read_text().split("\n", 1)[1].replace("ledger/1 2 ", "ledger/1 any ")
    path.write_text(by_hand)
    policy = archive.federation.peers.policy()
    assert policy == parse_policy(by_hand.encode())
    vouch(archive, museum, [policy.witnesses[0].vkey])
    assert standing(archive.home, policy, archive.federation.verifiers, ORIGIN).size == 2


def test_a_witness_alone_does_not_make_a_checkpoint_the_logs(museum, archive):
    befriend_by_hand(archive, museum)
    policy = archive.federation.peers.policy()
    vouch(archive, museum, [witness.vkey for witness in policy.witnesses])
    for kind in KINDS:
        data = without_kind(
            archive.home.witnessed.read_bytes(), [key.vkey for key in archive.log_keys()], kind
        )
        archive.home.witnessed.write_bytes(data)
        assert standing(archive.home, policy, archive.federation.verifiers, ORIGIN).size == 0
