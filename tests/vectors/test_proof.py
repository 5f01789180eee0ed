"""Every case of specs/vectors/proof.json."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from heritage_ledger.errors import EvidenceInvalid
from heritage_ledger.fixity.verdict import Outcome
from heritage_ledger.provenance.check import check_proof
from heritage_ledger.provenance.proof import format_proof, parse_proof

SPECS = Path(__file__).resolve().parents[2] / "specs"
VECTORS = json.loads((SPECS / "vectors" / "proof.json").read_text(encoding="ascii"))
CASES = VECTORS["cases"]
CONTEXT = json.dumps(
    (SPECS / "contexts" / "event-v1.jsonld").read_text(encoding="utf-8"), ensure_ascii=False
)[1:-1]


def data(given: dict[str, str]) -> bytes:
    """The bytes of the case's file."""
    text = VECTORS["files"][given["file"]]
    if "old" in given:
        assert text.count(given["old"]) == 1
        text = text.replace(given["old"], given["new"])
    return text.replace("@context@", CONTEXT).encode()


def said(stage) -> str:
    """The outcome of a stage, or the code of what failed."""
    return stage.findings[0].code if stage.findings else stage.outcome.value


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_case(case):
    """What each stage says, or the code of the refusal."""
    given, expect = case["given"], case["expect"]
    if "stages" not in expect:
        with pytest.raises(EvidenceInvalid) as caught:
            check_proof(data(given), [given["log_key"]])
        assert caught.value.code == expect["error"]
        return
    verdict = check_proof(data(given), [given["log_key"]])
    stages = {stage.name: stage for stage in verdict.stages}
    assert [said(stages.pop(name)) for name in ("checkpoint", "inclusion", "event")] == expect["stages"]
    assert stages.keys() == {"witnesses", "bag", "digests", "cid"}
    assert {stage.outcome for stage in stages.values()} == {Outcome.NOT_CHECKED}
    if "event" in expect:
        assert verdict.subject == f"proof of {expect['event']}"
        assert format_proof(parse_proof(data(given))) == data(given)


def test_ids_are_unique_and_wrong_cases_outnumber_right_ones():
    """What the specs promise of every vector file."""
    assert len({case["id"] for case in CASES}) == len(CASES)
    wrong = [case for case in CASES if "error" in case["expect"]]
    assert 2 * len(wrong) >= len(CASES)
