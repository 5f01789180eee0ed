"""The Library of Congress conformance suite, bagit-python on our bags, and real bags from the wild."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import bagit
import pytest

from heritage_ledger.bags.validate import validate_bag
from heritage_ledger.bags.write import BagWriter
from heritage_ledger.content.reading import read_file
from heritage_ledger.errors import OperationFailed, Severity
from heritage_testkit import outside

pytestmark = pytest.mark.external

BROKEN_IN_GIT = {
    "duplicate-file-with-different-case": "file-missing",
    "same-filename-listed-twice-with-different-normalization": "file-missing",
    "special-system-files": "file-missing",
}
"""Warning cases of which git or the file system kept only a part, so that they really are incomplete."""
WARNINGS = {
    "made-with-md5sum-tools": "manifest-star",
    "relative-path": "manifest-dot-slash",
    "same-filename-listed-twice-with-the-same-hash": "manifest-repeated",
}


def _cases(kind: str) -> list[Path]:
    root = Path(os.environ.get("HERITAGE_VECTORS", outside.SHARED / "vectors")) / "bagit-conformance-suite"
    return sorted(path for path in root.glob(f"v*/{kind}/*") if path.is_dir())


def _named(paths):
    return [pytest.param(path, id="/".join(path.parts[-3:])) for path in paths]


def test_the_suite_is_whole():
    outside.vectors("bagit-conformance-suite")
    assert [len(_cases(kind)) for kind in ("valid", "invalid", "linux-only", "warning")] == [27, 15, 6, 6]


@pytest.mark.parametrize("bag", _named(_cases("valid")))
def test_valid(bag):
    report = validate_bag(bag)
    assert [finding for finding in report.findings if finding.severity is Severity.ERROR] == []


@pytest.mark.parametrize("bag", _named(_cases("invalid") + _cases("linux-only") + _cases("windows-only")))
def test_invalid(bag):
    report = validate_bag(bag)
    errors = [finding for finding in report.findings if finding.severity is Severity.ERROR]
    assert errors
    assert all(finding.code and finding.message for finding in errors)


@pytest.mark.parametrize("bag", _named(_cases("warning")))
def test_warning(bag):
    report = validate_bag(bag)
    codes = {finding.code for finding in report.findings}
    if bag.name in BROKEN_IN_GIT:
        assert BROKEN_IN_GIT[bag.name] in codes
        assert not report.is_valid
    else:
        assert report.is_valid
        assert WARNINGS[bag.name] in codes


def test_bagit_python_accepts_what_we_write(tmp_path):
    names = ["a.txt", "sub/ä.txt", "sub/deep/with space.bin", "empty"]
    for number, name in enumerate(names):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * number)
    writer = BagWriter(tmp_path, algorithms=["sha512", "sha256"])
    for name in names:
        digests = read_file(tmp_path / "data" / name, ["sha512", "sha256"])
        writer.add_payload(f"data/{name}", digests)
    writer.seal([("Source-Organization", "Müseum"), ("Payload-Oxum", "6.4")])
    bag = bagit.Bag(str(tmp_path))
    bag.validate()
    report = validate_bag(tmp_path)
    assert report.findings == ()
    assert report.algorithms == ("sha256", "sha512")


def test_bagit_python_refuses_what_we_refuse(tmp_path):
    test_bagit_python_accepts_what_we_write(tmp_path)
    (tmp_path / "data" / "a.txt").write_bytes(b"changed")
    with pytest.raises(bagit.BagValidationError):
        bagit.Bag(str(tmp_path)).validate()
    report = validate_bag(tmp_path)
    damaged = [finding for finding in report.findings if finding.code == "file-damaged"]
    assert {finding.path for finding in damaged} == {"data/a.txt"}
    assert len(damaged) == 2


def test_validation_writes_nothing(tmp_path):
    for number, bag in enumerate(_cases("invalid") + _cases("valid")):
        copy = tmp_path / str(number)
        shutil.copytree(bag, copy)
        before = {path: path.stat().st_mtime_ns for path in copy.rglob("*")}
        validate_bag(copy)
        assert {path: path.stat().st_mtime_ns for path in copy.rglob("*")} == before


def test_a_folder_that_is_no_bag(tmp_path):
    with pytest.raises(OperationFailed) as caught:
        validate_bag(tmp_path)
    assert caught.value.code == "not-a-bag"
