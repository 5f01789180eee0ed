"""Every case of specs/vectors/federation.json."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from heritage_ledger.errors import HeritageError
from heritage_ledger.log.cosignature import open_vkey
from heritage_ledger.log.fork import check_fork, format_fork, parse_fork
from heritage_ledger.log.policy import parse_policy

VECTORS = Path(__file__).resolve().parents[2] / "specs" / "vectors" / "federation.json"
CASES = json.loads(VECTORS.read_text(encoding="ascii"))["cases"]


def outcome(given):
    """What the software makes of the case."""
    if "policy" in given:
        return {"met": parse_policy(given["policy"].encode()).is_met(given["cosigned"])}
    data = given["fork"].encode()
    proof = parse_fork(data)
    assert format_fork(proof) == data
    verifier = open_vkey(given["log_key"])
    fork = check_fork(proof, [verifier], verifier.name)
    return {"origin": fork.origin, "sizes": [fork.first.size, fork.second.size]}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_case(case):
    """The value, or the code of the refusal."""
    try:
        found = outcome(case["given"])
    except HeritageError as error:
        found = {"error": error.code}
    assert found == case["expect"]
