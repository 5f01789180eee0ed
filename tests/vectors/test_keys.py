"""Every case of specs/vectors/keys.json."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from heritage_ledger.errors import HeritageError
from heritage_ledger.identity.didkey import (
    format_did_key,
    format_multikey,
    format_verification_method,
    parse_did_key,
    parse_multikey,
    parse_verification_method,
)
from heritage_ledger.identity.keys import check_ed25519
from heritage_ledger.identity.sealed import open_key

FILE = Path(__file__).resolve().parents[2] / "specs" / "vectors" / "keys.json"
CASES = json.loads(FILE.read_text(encoding="ascii"))["cases"]

NAMES = {
    "parse-multikey": (parse_multikey, format_multikey),
    "parse-did-key": (parse_did_key, format_did_key),
    "parse-verification-method": (parse_verification_method, format_verification_method),
}


def _run(given):
    if given["op"] == "check-ed25519":
        fields = (bytes.fromhex(given[name]) for name in ("public", "message", "signature"))
        check_ed25519(*fields)
        return {}
    if given["op"] == "open-key":
        phrase = given["passphrase"]
        key = open_key(given["file"].encode(), None if phrase is None else phrase.encode())
        return {"role": key.role, "kind": key.kind, "public": key.public.hex(), "secret": key.secret.hex()}
    parse, write = NAMES[given["op"]]
    public = parse(given["text"])
    assert write(public) == given["text"]
    return {"public": public.hex()}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_case(case):
    """The result, or the code of the refusal."""
    if "error" in case["expect"]:
        with pytest.raises(HeritageError) as caught:
            _run(case["given"])
        assert caught.value.code == case["expect"]["error"]
    else:
        assert _run(case["given"]) == case["expect"]


def test_ids_are_unique_and_wrong_cases_outnumber_right_ones():
    """What the specs promise of every vector file."""
    assert len({case["id"] for case in CASES}) == len(CASES)
    wrong = [case for case in CASES if "error" in case["expect"]]
    assert 2 * len(wrong) >= len(CASES)


def test_the_worked_example_is_the_vector():
    """The page shows the sealed key file of the vectors, byte for byte."""
    page = FILE.parents[1].joinpath("keys.md").read_text(encoding="utf-8")
    shown = page.partition("```json\n")[2].partition("```")[0]
    assert shown == next(case["given"]["file"] for case in CASES if case["id"] == "file-sealed")
