"""Policies: C2SP tlog-policy, read, written, judged, and looked over for unsafe quorums."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heritage_ledger.errors import EvidenceInvalid
from heritage_ledger.identity.keys import Ed25519Signer, MLDSA44Signer
from heritage_ledger.log.checkpoint import Checkpoint, format_checkpoint
from heritage_ledger.log.cosignature import (
    Ed25519CosignatureSigner,
    Ed25519NoteSigner,
    MLDSA44CosignatureSigner,
)
from heritage_ledger.log.note import open_note, sign_note
from heritage_ledger.log.policy import Policy, format_policy, lint_policy, parse_policy

ORIGIN = "museum.example/ledger/1"
LOG = Ed25519NoteSigner.of(ORIGIN, Ed25519Signer.from_seed(b"L" * 32))
WITNESSES = [
    Ed25519CosignatureSigner.of(f"w{at}.example/w", Ed25519Signer.from_seed(bytes([at]) * 32))
    for at in range(9)
]
QUANTUM = MLDSA44CosignatureSigner.of("w0.example/w", MLDSA44Signer.from_seed(b"Q" * 32))


def text(count, threshold="all", *, quorum="everyone"):
    names = [f"w{at}" for at in range(count)]
    lines = [f"log {LOG.verifier.vkey} https://museum.example/log"]
    lines += [f"witness {name} {WITNESSES[at].verifier.vkey}" for at, name in enumerate(names)]
    lines += [f"group everyone {threshold} {' '.join(names)}", f"quorum {quorum}"]
    return "\n".join(lines).encode() + b"\n"


def test_nested_groups_count_each_witness_once():
    lines = text(6, quorum="both").decode().split("\n")
    lines[-3:] = [
        "group x 2 w0 w1 w2",
        "# the others",
        "\tgroup y any w3 w4 w5",
        "group both all x y  ",
        "quorum both",
        "",
    ]
    policy = parse_policy("\n".join(lines).encode())
    assert not policy.is_met({"w0", "w1"})
    assert not policy.is_met({"w0", "w3", "w4", "w5"})
    assert policy.is_met({"w0", "w2", "w5"})
    assert not policy.is_met({"x", "y"})  # names of groups are nobody's signature
    assert parse_policy(format_policy(policy)) == policy


def test_none_asks_for_nothing():
    policy = parse_policy(b"quorum none\n")
    assert policy.is_met(())
    assert [finding.code for finding in lint_policy(policy, {})] == ["policy-no-quorum"]


def test_cosigners_of_a_checkpoint_are_named_with_their_times():
    policy = parse_policy(text(2) + b"")
    checkpoint = format_checkpoint(Checkpoint(ORIGIN, 1, b"r" * 32))
    data = sign_note(checkpoint, [LOG, *WITNESSES[1:3]], time=1_700_000_000)
    note = open_note(data, [LOG.verifier, *policy.verifiers])
    assert policy.cosigned(note) == {"w1": 1_700_000_000}
    assert not policy.is_met(policy.cosigned(note))


WRONG = {
    "no quorum": b"",
    "two quorums": b"quorum none\nquorum none\n",
    "unknown quorum": b"quorum nobody\n",
    "control character": b"quorum none\r\n",
    "unknown word": b"audience none\nquorum none\n",
    "witness without key": b"witness w\nquorum none\n",
    "a log's key for a witness": f"witness w {LOG.verifier.vkey}\nquorum none\n".encode(),
    "a witness's key for a log": f"log {WITNESSES[0].verifier.vkey}\nquorum none\n".encode(),
    "the same key twice": f"witness a {WITNESSES[0].verifier.vkey}\nwitness b {WITNESSES[0].verifier.vkey}\n"
    "quorum none\n".encode(),
    "the same log twice": f"log {LOG.verifier.vkey}\nlog {LOG.verifier.vkey}\nquorum none\n".encode(),
    "a name twice": f"witness a {WITNESSES[0].verifier.vkey}\nwitness a {WITNESSES[1].verifier.vkey}\n"
    "quorum none\n".encode(),
    "a witness called none": f"witness none {WITNESSES[0].verifier.vkey}\nquorum none\n".encode(),
    "none in a group": b"group g any none\nquorum g\n",
    "a group of nobody": b"group g any\nquorum none\n",
    "a group before its member": b"group g any w\nquorum g\n",
    "a group of itself": b"group g any g\nquorum g\n",
    "a member of two groups": text(1) + b"group h any w0\n",
    "threshold 0": text(2, "0"),
    "threshold above all": text(2, "3"),
    "threshold with a zero before it": text(2, "02"),
    "broken key": b"log museum.example+00000000+AQ==\nquorum none\n",
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_policies_are_refused(name):
    with pytest.raises(EvidenceInvalid) as caught:
        parse_policy(WRONG[name])
    assert caught.value.code in {"policy-malformed", "note-vkey"}


def test_a_file_without_end_is_refused():
    with pytest.raises(EvidenceInvalid) as caught:
        parse_policy(b"# \n" * 5_000 + b"quorum none\n")
    assert caught.value.code == "policy-too-large"


@pytest.mark.parametrize(
    ("witnesses", "threshold", "codes"),
    [
        (1, "all", {"policy-few-operators"}),
        (3, "all", {"policy-few-operators"}),
        (3, "2", {"policy-few-operators", "policy-weak-quorum"}),
        (4, "3", set()),
        (4, "2", {"policy-weak-quorum"}),
        (8, "5", {"policy-weak-quorum"}),
        (8, "6", set()),
        (7, "5", set()),
    ],
)
def test_lint_wants_two_thirds_of_the_operators(witnesses, threshold, codes):
    policy = parse_policy(text(witnesses, threshold))
    assert {finding.code for finding in lint_policy(policy, {})} == codes


def test_lint_counts_operators_and_not_keys():
    policy = parse_policy(text(8, "6"))
    one_body = {f"w{at}": "museum.example" for at in range(5)}
    codes = {finding.code for finding in lint_policy(policy, one_body, own="museum.example")}
    assert {"policy-self-witness", "policy-few-operators"} <= codes


@given(st.binary(max_size=200))
def test_any_bytes_are_a_policy_or_refused(data):
    try:
        policy = parse_policy(data)
    except EvidenceInvalid:
        return
    assert isinstance(policy, Policy)
    assert parse_policy(format_policy(policy)) == policy


def test_both_kinds_of_witness_key_count():
    data = (
        f"witness old {WITNESSES[0].verifier.vkey}\nwitness new {QUANTUM.verifier.vkey}\n"
        "group museum any old new\nquorum museum\n"
    ).encode()
    policy = parse_policy(data)
    checkpoint = format_checkpoint(Checkpoint(ORIGIN, 1, b"r" * 32))
    note = open_note(sign_note(checkpoint, [LOG, QUANTUM], time=5), [LOG.verifier, *policy.verifiers])
    assert policy.cosigned(note) == {"new": 5}
    assert policy.is_met(policy.cosigned(note))
