"""Every case of specs/vectors/event.json, and the files of the contract."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from heritage_ledger.errors import EvidenceInvalid
from heritage_ledger.events.context import context_bytes
from heritage_ledger.events.event import open_event, sign_event
from heritage_ledger.events.schema import schema_bytes
from heritage_ledger.identity.keys import Ed25519Signer

SPECS = Path(__file__).resolve().parents[2] / "specs"
CASES = json.loads((SPECS / "vectors" / "event.json").read_text(encoding="ascii"))["cases"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_case(case):
    """The signed bytes and back, or the code of the refusal."""
    given, expect = case["given"], case["expect"]
    if given["op"] == "sign":
        signer = Ed25519Signer.from_seed(bytes.fromhex(given["seed"]))
        data = sign_event(given["body"], signer, created=given["created"])
        assert data.decode() == expect["data"]
        event = open_event(data)
        assert event.verification_key == signer.public
        assert {key: value for key, value in event.document.items() if key != "proof"} == given["body"]
    else:
        with pytest.raises(EvidenceInvalid) as caught:
            open_event(given["text"].encode())
        assert caught.value.code == expect["error"]


def test_ids_are_unique_and_wrong_cases_outnumber_right_ones():
    """What the specs promise of every vector file."""
    assert len({case["id"] for case in CASES}) == len(CASES)
    wrong = [case for case in CASES if "error" in case["expect"]]
    assert 2 * len(wrong) >= len(CASES)


def test_the_published_contract_is_what_the_library_carries():
    """specs/ and the package hold the same bytes."""
    assert (SPECS / "contexts" / "event-v1.jsonld").read_bytes() == context_bytes()
    assert (SPECS / "schemas" / "event-v1.json").read_bytes() == schema_bytes()


def test_the_worked_example_is_the_vector():
    """The page shows the ingestion event of the vectors."""
    page = (SPECS / "event.md").read_text(encoding="utf-8")
    shown = page.partition("```json\n")[2].partition("```")[0]
    vector = next(case for case in CASES if case["id"] == "ingestion")
    assert json.loads(shown) == json.loads(vector["expect"]["data"])
    assert f"{len(vector['expect']['data'].encode()):,} bytes" in page
