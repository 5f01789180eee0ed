"""Every case of specs/vectors/canonical.json."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from heritage_ledger.errors import EvidenceInvalid
from heritage_ledger.events.canonical import format_canonical, parse_canonical

FILE = Path(__file__).resolve().parents[2] / "specs" / "vectors" / "canonical.json"
CASES = json.loads(FILE.read_text(encoding="ascii"))["cases"]


def _bytes(given):
    if "repeat" in given:
        return b"".join(bytes.fromhex(text) * count for text, count in given["repeat"])
    return bytes.fromhex(given["hex"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_case(case):
    """The canonical bytes, or the code of the refusal."""
    if "canonical" in case["expect"]:
        data = bytes.fromhex(case["expect"]["canonical"])
        value = json.loads(case["given"]["json"])
        assert format_canonical(value) == data
        assert parse_canonical(data) == value
    else:
        with pytest.raises(EvidenceInvalid) as caught:
            parse_canonical(_bytes(case["given"]))
        assert caught.value.code == case["expect"]["error"]


def test_ids_are_unique_and_wrong_cases_outnumber_right_ones():
    """What the specs promise of every vector file."""
    assert len({case["id"] for case in CASES}) == len(CASES)
    wrong = [case for case in CASES if "error" in case["expect"]]
    assert 2 * len(wrong) >= len(CASES)
