"""Times that contradict the log, and cosignatures: what check, trace, show, verify and an append say."""

from datetime import UTC, datetime, timedelta

import pytest

from heritage_ledger import Ledger
from heritage_ledger.deposit.books import Books
from heritage_ledger.errors import EvidenceInvalid
from heritage_ledger.fixity.verdict import Outcome
from heritage_ledger.identity.keys import Ed25519Signer, MLDSA44Signer
from heritage_ledger.log.cosignature import Ed25519CosignatureSigner, MLDSA44CosignatureSigner
from heritage_ledger.log.note import Signature, format_note, parse_note
from heritage_ledger.provenance.check import check_proof
from heritage_ledger.provenance.proof import ProofFile, format_proof, parse_proof
from heritage_testkit.papers import without_kind

ORIGIN = "museum.example/ledger/1"
WITNESSES = {
    "old": Ed25519CosignatureSigner.of("w.example/witness", Ed25519Signer.from_seed(b"w" * 32)),
    "new": MLDSA44CosignatureSigner.of("w.example/witness", MLDSA44Signer.from_seed(b"w" * 32)),
    "alone": Ed25519CosignatureSigner.of("litewitness.example", Ed25519Signer.from_seed(b"l" * 32)),
}


def now():
    """The true time: entry 0 has it too, whatever a test sets the clock to afterwards."""
    return datetime.now(UTC)


class Clock:
    """What the machine's clock says in this test."""

    def __init__(self):
        self._at = None

    def set(self, moment):
        self._at = moment

    def moment(self):
        return self._at or now()


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(Books, "moment", lambda _: clock.moment())
    return clock


@pytest.fixture
def told():
    return []


@pytest.fixture
def ledger(tmp_path, told):
    Ledger.init(tmp_path / "home", institution="Museum", origin=ORIGIN, passphrase=None).close()
    with Ledger.open(tmp_path / "home", warn=told.append) as one:
        yield one


@pytest.fixture
def deposit(ledger, tmp_path):
    def make(number):
        folder = tmp_path / f"scan-{number}"
        folder.mkdir()
        (folder / "page.txt").write_text(f"page {number}")
        return ledger.ingest(folder, asset=f"urn:example:{number}")

    return make


def keys(ledger):
    return [key.vkey for key in ledger.log_keys()]


def policy(*, quorum="all", log=None):
    lines = [] if log is None else [f"log {log}"]
    lines += [f"witness {name} {signer.verifier.vkey}" for name, signer in WITNESSES.items()]
    lines += ["group institution all old new", f"group both {quorum} institution alone", "quorum both"]
    return "".join(f"{line}\n" for line in lines).encode()


def cosigned(checkpoint, times):
    note = parse_note(checkpoint)
    lines = [
        Signature(WITNESSES[name].name, WITNESSES[name].key_id, WITNESSES[name].sign(note.text, seconds))
        for name, seconds in times.items()
    ]
    return format_note(note.text, [*note.signatures, *lines])


def with_checkpoint(data, change):
    proof = parse_proof(data)
    return format_proof(ProofFile(change(proof.checkpoint), proof.context, proof.entries))


def stage(verdict, name):
    return next(one for one in verdict.stages if one.name == name)


def codes(findings):
    return [finding.code for finding in findings]


def test_a_backdated_event_is_told_everywhere(ledger, deposit, clock, told):
    deposit(1)
    clock.set(datetime(1998, 1, 1, tzinfo=UTC))
    receipt = deposit(2)
    assert codes(receipt.findings) == codes(told) == ["clock-behind-log"]
    expected = ["event-before-previous", "event-before-genesis"]
    proof = ledger.prove("urn:example:2")
    verdict = check_proof(proof, keys(ledger))
    assert verdict.outcome is Outcome.PASS
    assert codes(stage(verdict, "event").findings) == expected
    (step,) = ledger.trace("urn:example:2").steps
    assert codes(step.findings) == expected
    assert step.signature is Outcome.PASS
    for what in ("urn:example:2", "2", receipt.package_cid):
        assert codes(ledger.show(what).findings) == expected
    (verdict,) = ledger.verify(["urn:example:2"])
    assert (verdict.outcome, codes(verdict.findings)) == (Outcome.PASS, expected)
    for whole in (ledger.verify_log(), list(ledger.verify(deep=True))[-1]):
        found = stage(whole, "log").findings
        assert codes(found) == expected
        assert {finding.path for finding in found} == {"entry 2"}
    for what in ("urn:example:1", "0"):
        assert ledger.show(what).findings == ()
        assert codes(check_proof(ledger.prove(what), keys(ledger)).findings) == []


def test_a_file_of_the_first_release_without_the_entry_before_is_bounded_by_genesis(ledger, deposit, clock):
    deposit(1)
    clock.set(now() - timedelta(days=2))
    deposit(2)
    proof = parse_proof(ledger.prove("urn:example:2"))
    older = ProofFile(proof.checkpoint, proof.context, (proof.entries[0], proof.entries[-1]))
    verdict = check_proof(format_proof(older), keys(ledger))
    assert codes(stage(verdict, "event").findings) == ["event-before-genesis"]


def test_an_append_with_a_clock_that_contradicts_warns_and_is_not_refused(ledger, deposit, clock, told):
    assert deposit(1).findings == ()
    clock.set(now() + timedelta(days=800))
    assert codes(deposit(2).findings) == ["clock-ahead-of-log"]
    clock.set(now())
    assert codes(deposit(3).findings) == ["clock-behind-log"]
    assert codes(deposit(4).findings) == []  # entry 3 is the last one now
    assert codes(told) == ["clock-ahead-of-log", "clock-behind-log"]


def test_an_append_behind_a_witness_warns(ledger, deposit, clock):
    deposit(1)
    later = int((now() + timedelta(hours=1)).timestamp())
    ledger.home.witnessed.write_bytes(cosigned(ledger.checkpoint(), {"alone": later}))
    (found,) = deposit(2).findings
    assert found.code == "clock-behind-log"
    assert "litewitness.example says" in found.expected


def test_cosignature_times_are_shown_and_bound_the_event(ledger, deposit):
    deposit(1)
    at = int(now().timestamp())
    times = {"old": at + 60, "new": at + 50, "alone": at + 70}
    proof = with_checkpoint(ledger.prove("1"), lambda data: cosigned(data, times))
    verdict = check_proof(proof, keys(ledger), policy=policy(log=keys(ledger)[1]))
    assert verdict.outcome is Outcome.PASS
    assert verdict.findings == ()
    shown = {name: datetime.fromtimestamp(seconds, UTC) for name, seconds in times.items()}
    texts = {name: moment.strftime("%Y-%m-%dT%H:%M:%SZ") for name, moment in shown.items()}
    assert stage(verdict, "witnesses").detail == (
        f"cosigned by alone at {texts['alone']}, new at {texts['new']}, old at {texts['old']}; "
        f"in the log no later than {texts['new']}"
    )


def test_an_event_after_its_cosignature_is_warned_of(ledger, deposit):
    deposit(1)
    at = int((now() - timedelta(days=1)).timestamp())
    proof = with_checkpoint(
        ledger.prove("1"), lambda data: cosigned(data, {"old": at, "new": at, "alone": at})
    )
    verdict = check_proof(proof, keys(ledger), policy=policy())
    assert codes(stage(verdict, "event").findings) == ["event-after-cosignature"]
    assert verdict.outcome is Outcome.PASS
    ledger.home.policy.write_bytes(policy())
    ledger.home.witnessed.write_bytes(cosigned(ledger.checkpoint(), {"alone": at}))
    (step,) = ledger.trace("1").steps
    assert codes(step.findings) == ["event-after-cosignature"]


@pytest.mark.parametrize("seconds", [0, 2**63 - 1])
def test_times_that_can_be_none_count_for_the_quorum_and_bound_nothing(ledger, deposit, seconds):
    deposit(1)
    proof = with_checkpoint(
        ledger.prove("1"), lambda data: cosigned(data, {"old": seconds, "new": seconds, "alone": seconds})
    )
    verdict = check_proof(proof, keys(ledger), policy=policy())
    assert verdict.outcome is Outcome.PASS
    assert set(codes(stage(verdict, "witnesses").findings)) == {"cosignature-time-implausible"}
    assert "no later than" not in stage(verdict, "witnesses").detail
    assert stage(verdict, "event").findings == ()


def test_an_institution_counts_by_all_of_its_kinds_of_key(ledger, deposit):
    deposit(1)
    at = int(now().timestamp())
    for names, met in ((["old", "new", "alone"], True), (["old", "alone"], False), (["new", "alone"], False)):
        proof = with_checkpoint(
            ledger.prove("1"), lambda data, names=names: cosigned(data, dict.fromkeys(names, at))
        )
        verdict = check_proof(proof, keys(ledger), policy=policy())
        assert (verdict.outcome is Outcome.PASS) is met
        if not met:
            assert codes(verdict.findings) == ["witness-quorum"]
    proof = with_checkpoint(ledger.prove("1"), lambda data: cosigned(data, {"alone": at}))
    assert check_proof(proof, keys(ledger), policy=policy(quorum="any")).outcome is Outcome.PASS


def test_a_policy_counts_only_for_the_logs_that_it_names(ledger, deposit, tmp_path):
    deposit(1)
    at = int(now().timestamp())
    proof = with_checkpoint(
        ledger.prove("1"), lambda data: cosigned(data, {"old": at, "new": at, "alone": at})
    )
    with Ledger.init(tmp_path / "o", institution="O", origin="o.example/l/1", passphrase=None) as other:
        foreign = keys(other)[0]
    verdict = check_proof(proof, keys(ledger), policy=policy(log=foreign))
    assert verdict.outcome is Outcome.FAIL
    assert codes(stage(verdict, "witnesses").findings) == ["policy-other-log"]
    for named in keys(ledger):
        assert check_proof(proof, keys(ledger), policy=policy(log=named)).outcome is Outcome.PASS
    none = check_proof(proof, keys(ledger), policy=f"log {foreign}\nquorum none\n".encode())
    assert none.outcome is Outcome.FAIL
    none = check_proof(proof, keys(ledger), policy=b"quorum none\n")
    assert none.outcome is Outcome.NOT_CHECKED


def test_a_log_that_is_a_witness_of_itself_counts_for_nothing(ledger, deposit):
    deposit(1)
    own = next(key for key in keys(ledger) if len(key) > 1_000)
    rule = f"witness self {own}\nquorum self\n".encode()
    verdict = check_proof(ledger.prove("1"), keys(ledger), policy=rule)
    assert codes(verdict.findings) == ["witness-quorum"]


def test_a_checkpoint_is_checked_by_all_keys_that_are_held(ledger, deposit):
    deposit(1)
    whole = ledger.prove("1")
    both = keys(ledger)
    for kind, left in ((1, both[1]), (6, both[0])):
        cut = with_checkpoint(whole, lambda data, kind=kind: without_kind(data, both, kind))
        verdict = check_proof(cut, both)
        assert verdict.outcome is Outcome.FAIL
        assert codes(stage(verdict, "checkpoint").findings) == ["checkpoint-unsigned"]
        stranger = check_proof(cut, [left])
        assert (stranger.outcome, codes(stranger.findings)) == (Outcome.PASS, ["checkpoint-one-kind"])
        assert "did not sign" in stranger.findings[0].found
        stranger = check_proof(whole, [left])
        assert (stranger.outcome, codes(stranger.findings)) == (Outcome.PASS, ["checkpoint-one-kind"])
        assert "signed too" in stranger.findings[0].found
    assert check_proof(whole, both).findings == ()
    broken = with_checkpoint(whole, lambda data: data[:-40] + bytes([data[-40] ^ 1]) + data[-39:])
    assert check_proof(broken, both[:1]).outcome is Outcome.FAIL


def test_the_own_checkpoint_is_shown_only_when_both_keys_signed_it(ledger, deposit):
    deposit(1)
    path = ledger.home.log / "checkpoint"
    signed = path.read_bytes()
    for damaged in (without_kind(signed, keys(ledger), 6), b"garbage"):
        path.chmod(0o644)
        path.write_bytes(damaged)
        assert ledger.log_size() is None
        with pytest.raises(EvidenceInvalid):
            ledger.checkpoint()
        with pytest.raises(EvidenceInvalid):
            ledger.prove("1")
        verdict = ledger.verify_log()
        assert verdict.outcome is Outcome.FAIL
        assert stage(verdict, "log").detail == "2 entries"
    assert ledger.show("1").event is not None


def test_log_verify_reads_the_head_that_it_says_it_reads(ledger, deposit):
    deposit(1)
    verdict = ledger.verify_log()
    assert [(one.name, one.outcome) for one in verdict.stages] == [
        ("log", Outcome.PASS),
        ("state", Outcome.PASS),
    ]
    ledger.close()
    ledger.home.state.unlink()
    assert ledger.verify_log().outcome is Outcome.FAIL
