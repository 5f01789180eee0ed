"""Every case of specs/vectors/home.json."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from heritage_ledger.errors import HeritageError
from heritage_ledger.home.layout import asset_folder
from heritage_ledger.home.release import format_released, parse_released
from heritage_ledger.home.settings import parse_settings

VECTORS = Path(__file__).resolve().parents[2] / "specs" / "vectors" / "home.json"
CASES = json.loads(VECTORS.read_text(encoding="ascii"))["cases"]


def outcome(given):
    """What the software makes of the case."""
    if "asset" in given:
        return {"folder": asset_folder(given["asset"])}
    if "note" in given:
        released = parse_released(given["note"].encode())
        assert format_released(released) == given["note"].encode()
        return {"package_cid": released.package_cid, "tag_files": released.tag_files}
    settings = parse_settings(given["settings"].encode())
    return {"engine": settings.content.engine, "keeps": settings.keeps_bag("default")}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_case(case):
    """The value, or the code of the refusal."""
    try:
        found = outcome(case["given"])
    except HeritageError as error:
        found = {"error": error.code}
    assert found == case["expect"]
