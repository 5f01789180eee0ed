"""Every case of specs/vectors/federation.json."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest

from heritage_ledger.errors import HeritageError
from heritage_ledger.home.state import StateStore
from heritage_ledger.identity.keys import Ed25519Signer
from heritage_ledger.log.cosignature import Ed25519CosignatureSigner, open_vkey
from heritage_ledger.log.fork import check_fork, format_fork, parse_fork
from heritage_ledger.log.note import open_note
from heritage_ledger.log.policy import parse_policy
from heritage_ledger.log.witness import Witness, WitnessRefusal

VECTORS = Path(__file__).resolve().parents[2] / "specs" / "vectors" / "federation.json"
CASES = json.loads(VECTORS.read_text(encoding="ascii"))["cases"]


def outcome(given):
    """What the software makes of the case."""
    if "policy" in given:
        return {"met": parse_policy(given["policy"].encode()).is_met(given["cosigned"])}
    if "request" in given:
        return witnessed(given)
    data = given["fork"].encode()
    proof = parse_fork(data)
    assert format_fork(proof) == data
    verifiers = log_keys(given)
    fork = check_fork(proof, verifiers, verifiers[0].name)
    return {"origin": fork.origin, "sizes": [fork.first.size, fork.second.size]}


def log_keys(given):
    """The keys of the log that are held."""
    return [open_vkey(key) for key in (given["log_key"], *given.get("more_keys", ()))]


def witnessed(given):
    """What a witness answers, that has cosigned some things before."""
    verifiers = log_keys(given)
    signer = Ed25519CosignatureSigner.of("w.example/w", Ed25519Signer.from_seed(bytes(32)))
    with tempfile.TemporaryDirectory() as folder, StateStore.create(Path(folder) / "state.db") as state:
        witness = Witness(state, [signer], lambda origin: verifiers if origin == verifiers[0].name else [])
        for request in given["before"]:
            witness.add_checkpoint(request.encode(), time=1)
        try:
            lines = witness.add_checkpoint(given["request"].encode(), time=2)
        except WitnessRefusal as refusal:
            size = {} if refusal.size is None else {"size": refusal.size}
            return {"status": refusal.status, "error": refusal.code, **size}
        text = given["request"].partition("\n\n")[2].partition("\n\n")[0] + "\n"
        open_note(text.encode() + b"\n" + lines, [signer.verifier])
        return {"status": 200}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_case(case):
    """The value, or the code of the refusal."""
    try:
        found = outcome(case["given"])
    except HeritageError as error:
        found = {"error": error.code}
    assert found == case["expect"]
