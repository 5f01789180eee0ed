"""Every case of specs/vectors/bags.json."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from heritage_ledger.bags.names import check_path, decode_path, encode_path
from heritage_ledger.bags.validate import validate_bag
from heritage_ledger.errors import EvidenceInvalid, Severity

FILE = Path(__file__).resolve().parents[2] / "specs" / "vectors" / "bags.json"
CASES = json.loads(FILE.read_text(encoding="ascii"))["cases"]


def of_kind(kind: str):
    return [
        pytest.param(case["given"][kind], case["expect"], id=case["id"])
        for case in CASES
        if kind in case["given"]
    ]


@pytest.mark.parametrize(("path", "expect"), of_kind("path"))
def test_name(path, expect):
    """The spelling, and back."""
    assert encode_path(path) == expect["written"]
    assert decode_path(expect["written"], (1, 0)) == (path, True)


@pytest.mark.parametrize(("written", "expect"), of_kind("written"))
def test_literal_name(written, expect):
    """What a wrong spelling is read as."""
    assert expect["warning"] == "percent-literal"
    assert decode_path(written, (1, 0)) == (expect["path"], False)


@pytest.mark.parametrize(("path", "expect"), of_kind("unsafe"))
def test_unsafe_name(path, expect):
    """The refusal."""
    with pytest.raises(EvidenceInvalid) as caught:
        check_path(path)
    assert caught.value.code == expect["error"]


@pytest.mark.parametrize(("files", "expect"), of_kind("files"))
def test_bag(files, expect, tmp_path):
    """The codes of a whole bag."""
    (tmp_path / "data").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_bytes(text.encode())
    report = validate_bag(tmp_path)
    told = {
        severity: sorted({finding.code for finding in report.findings if finding.severity is severity})
        for severity in Severity
    }
    assert told[Severity.ERROR] == expect.get("errors", [])
    assert told[Severity.WARNING] == expect.get("warnings", told[Severity.WARNING])
    assert report.is_valid == ("error" not in expect)


def test_every_case_is_run_and_wrong_cases_outnumber_right_ones():
    """What the specs promise of every vector file."""
    assert len({case["id"] for case in CASES}) == len(CASES)
    assert len(CASES) == sum(len(of_kind(kind)) for kind in ("path", "written", "unsafe", "files"))
    assert 2 * sum("error" in case["expect"] for case in CASES) >= len(CASES)
