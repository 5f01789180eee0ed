"""Every case of specs/vectors/archives.json."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from heritage_ledger.bags.archives.unpack import extract, is_archive
from heritage_ledger.errors import HeritageError

FILE = Path(__file__).resolve().parents[2] / "specs" / "vectors" / "archives.json"
CASES = json.loads(FILE.read_text(encoding="ascii"))["cases"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_archive(case, tmp_path):
    """What comes out, or why nothing does."""
    archive, expect = tmp_path / "archive", case["expect"]
    archive.write_bytes(
        b"".join(
            bytes(part) if isinstance(part, int) else bytes.fromhex(part) for part in case["given"]["archive"]
        )
    )
    assert is_archive(archive) or expect.get("error") == "archive-damaged"
    (tmp_path / "out").mkdir()
    if "error" in expect:
        with pytest.raises(HeritageError) as caught:
            extract(archive, tmp_path / "out")
        assert caught.value.code == expect["error"]
        assert [finding.code for finding in caught.value.findings] == expect["entries"]
        return
    out = extract(archive, tmp_path / "out")
    found = {
        str(path.relative_to(out.root.parent)): path.read_bytes().hex()
        for path in out.root.rglob("*")
        if path.is_file()
    }
    assert (out.root.name, found) == ("bag", expect["files"])
    assert [finding.code for finding in out.findings] == expect["warnings"]


def test_at_least_as_many_are_wrong_as_right():
    wrong = sum("error" in case["expect"] for case in CASES)
    assert wrong * 2 >= len(CASES)
