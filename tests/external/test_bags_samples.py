"""Real bags as archives keep them: folders, tar.gz and zip, judged as a person who looked at each would."""

from __future__ import annotations

from typing import TYPE_CHECKING

import bagit
import pytest

from heritage_ledger.bags.archives.unpack import extract, is_archive
from heritage_ledger.bags.names import encode_path
from heritage_ledger.bags.validate import validate_bag
from heritage_ledger.bags.write import BagWriter
from heritage_ledger.content.reading import read_file
from heritage_ledger.errors import Severity
from heritage_testkit import outside

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.external

MISSING = {
    "data/View_from_lookout_over_Queenstown_towards_the_Remarkables_in_spring.jpg",
    "data/artwork/MARBLES.TGA",
    "data/beihai.tif",
    "data/bird.mp3",
}
"""The large files that were left out of the published copy of one bag."""
VERDICTS = {
    "UnzippedBags/BagTransfer": (["sha512"], 3, set()),
    "UnzippedBags/BaggedDemoTransferCSV": (
        ["sha256", "sha512"],
        2,
        {("file-missing", path) for path in MISSING}
        | {("oxum-mismatch", "bag-info.txt"), ("bag-info-repeated", "bag-info.txt")},
    ),
    "UnzippedBags/SimpleBagWithProcessingMCP": (
        ["sha256", "sha512"],
        4,
        {("bag-info-repeated", "bag-info.txt")},
    ),
    "UnzippedBags/UnzippedBag": (["md5"], 2, {("algorithm-weak", None)}),
    "TarGzBags/BagTransfer.tar.gz": (["sha512"], 3, set()),
    "TarGzBags/SimpleBagWithProcessingMCP.tar.gz": (
        ["sha256", "sha512"],
        4,
        {("bag-info-repeated", "bag-info.txt")},
    ),
    "TarGzBags/TarredBag.tar.gz": (["md5"], 2, {("algorithm-weak", None)}),
    "ZippedBags/BagTransfer.zip": (["sha512"], 3, set()),
    "ZippedBags/SimpleBagWithProcessingMCP.zip": (
        ["sha256", "sha512"],
        4,
        {("bag-info-repeated", "bag-info.txt")},
    ),
    "ZippedBags/ZippedBag.zip": (["md5"], 2, {("algorithm-weak", None)}),
}


def opened(path: Path, target: Path) -> Path:
    return extract(path, target).root if is_archive(path) else path


def test_every_sample_has_a_verdict():
    root = outside.samples("BagExamples")
    assert {f"{path.parent.name}/{path.name}" for path in root.glob("*Bags/*")} == set(VERDICTS)


@pytest.mark.parametrize("name", VERDICTS)
def test_each_sample(name, tmp_path):
    algorithms, files, findings = VERDICTS[name]
    report = validate_bag(opened(outside.samples("BagExamples") / name, tmp_path))
    assert {(finding.code, finding.path) for finding in report.findings} == findings
    assert len(report.findings) == len(findings)
    assert (report.version, list(report.algorithms), report.files) == ("0.97", algorithms, files)


@pytest.mark.parametrize("name", VERDICTS)
def test_bagit_python_says_the_same_of_each(name, tmp_path):
    root = opened(outside.samples("BagExamples") / name, tmp_path)
    assert bagit.Bag(str(root)).is_valid() == validate_bag(root).is_valid


@pytest.mark.parametrize("name", ["Images", "OCRImage", "DemoTransferCSV"])
def test_real_transfers_in_bags_of_ours_are_valid_for_bagit_python_too(name, tmp_path):
    source = outside.samples(name)
    algorithms = ["sha512", "sha256", "md5"]
    writer = BagWriter(tmp_path, algorithms=algorithms)
    files = sorted(path for path in source.rglob("*") if path.is_file())
    size = 0
    for path in files:
        target = tmp_path / "data" / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
        digests = read_file(target, algorithms)
        size += digests.size
        writer.add_payload(f"data/{path.relative_to(source)}", digests)
    writer.seal([("Source-Organization", "Museum"), ("Payload-Oxum", f"{size}.{len(files)}")])
    bagit.Bag(str(tmp_path)).validate(processes=1)
    report = validate_bag(tmp_path)
    assert report.is_valid
    assert report.algorithms == ("md5", "sha256", "sha512")


@pytest.mark.parametrize("name", ["with\nbreak", "with\rreturn"])
def test_bagit_python_reads_the_line_breaks_that_are_written(name, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / name).write_bytes(b"x")
    writer = BagWriter(tmp_path)
    writer.add_payload(f"data/{name}", read_file(tmp_path / "data" / name, ["sha512"]))
    writer.seal([])
    assert encode_path(name) in (tmp_path / "manifest-sha512.txt").read_text()
    assert bagit.Bag(str(tmp_path)).is_valid()
    assert all(finding.severity is Severity.WARNING for finding in validate_bag(tmp_path).findings)


@pytest.mark.parametrize("name", ["plain", "with\nbreak", "100%", "a%0Ab", "caf\u00e9", "trailing "])
def test_bags_that_bagit_python_makes_are_valid(name, tmp_path):
    (tmp_path / name).write_bytes(b"x")
    bagit.make_bag(str(tmp_path), checksums=["sha256"])
    assert validate_bag(tmp_path).is_valid
