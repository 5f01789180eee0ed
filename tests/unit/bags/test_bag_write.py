"""Writing: BagIt 1.0, every tag file in the tag manifests, nothing that a reader would trip over."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from heritage_ledger.bags.validate import validate_bag
from heritage_ledger.bags.write import BagWriter
from heritage_ledger.content.cid import format_cid
from heritage_ledger.content.package import PackageGraph, read_package
from heritage_ledger.content.reading import read_small
from heritage_ledger.errors import HeritageError, UsageError
from heritage_ledger.progress import SILENT


@pytest.fixture
def write(tmp_path):
    def run(files, *, algorithms=("sha512",), info=(), extra=()):
        (tmp_path / "data").mkdir()
        writer = BagWriter(tmp_path, algorithms=algorithms)
        for name, data in files.items():
            (tmp_path / "data" / name).write_bytes(data)
            writer.add_payload(f"data/{name}", read_small(data, writer.algorithms))
        return writer.seal(info, extra)

    return run


def test_the_tag_files_byte_for_byte(write, tmp_path):
    names = write({"100%\n": b"x"}, info=[("Source-Organization", "Müseum"), ("Payload-Oxum", "1.1")])
    assert names == ["bag-info.txt", "bagit.txt", "manifest-sha512.txt", "tagmanifest-sha512.txt"]
    texts = {name: (tmp_path / name).read_bytes() for name in names}
    assert texts["bagit.txt"] == b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"
    assert texts["bag-info.txt"] == "Source-Organization: Müseum\nPayload-Oxum: 1.1\n".encode()
    digest = hashlib.sha512(b"x").hexdigest()
    assert texts["manifest-sha512.txt"] == f"{digest}  data/100%25%0A\n".encode()
    assert texts["tagmanifest-sha512.txt"].decode() == "".join(
        f"{hashlib.sha512(texts[name]).hexdigest()}  {name}\n" for name in names[:3]
    )


def test_extra_tag_files_come_after_those_of_the_root_and_are_listed(write, tmp_path):
    for name in ("metadata/b.json", "metadata/a.json", "zoo.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    names = write(
        {"a": b""}, algorithms=("sha512", "md5"), extra=["metadata/b.json", "zoo.txt", "metadata/a.json"]
    )
    assert names == [
        "bag-info.txt",
        "bagit.txt",
        "manifest-md5.txt",
        "manifest-sha512.txt",
        "tagmanifest-md5.txt",
        "tagmanifest-sha512.txt",
        "zoo.txt",
        "metadata/a.json",
        "metadata/b.json",
    ]
    for algorithm in ("md5", "sha512"):
        lines = (tmp_path / f"tagmanifest-{algorithm}.txt").read_text().splitlines()
        assert {line.split("  ")[1] for line in lines} == {
            name for name in names if "tagmanifest" not in name
        }
    report = validate_bag(tmp_path)
    assert report.findings == ()
    assert report.tag_files == len(names)


def test_an_empty_bag_is_valid(write, tmp_path):
    write({})
    assert validate_bag(tmp_path).findings == ()


def test_an_algorithm_given_twice_is_one(write, tmp_path):
    write({"a": b"x"}, algorithms=("sha256", "sha256"))
    assert len((tmp_path / "manifest-sha256.txt").read_text().splitlines()) == 1


@pytest.mark.parametrize(
    "algorithms", [(), ("md5",), ("sha1", "md5"), ("sha512", "blake3"), ("sha512", "../x"), ("shake128",)]
)
def test_algorithms_that_would_show_nothing_are_refused(tmp_path, algorithms):
    with pytest.raises(UsageError) as caught:
        BagWriter(tmp_path, algorithms=algorithms)
    assert caught.value.code == "bag-algorithm"
    assert list(tmp_path.iterdir()) == []


def test_a_value_that_does_not_fit_in_a_line_is_refused(write):
    with pytest.raises(UsageError) as caught:
        write({}, info=[("Source-Organization", "two\nlines")])
    assert caught.value.code == "bag-info-value"


def test_a_manifest_is_never_written_over(tmp_path):
    (tmp_path / "manifest-sha512.txt").write_text("here")
    with pytest.raises(HeritageError):
        BagWriter(tmp_path, algorithms=["sha256", "sha512"])
    assert (tmp_path / "manifest-sha512.txt").read_text() == "here"


def test_a_deposit_that_is_given_up_leaves_no_file_open(tmp_path):
    with BagWriter(tmp_path) as writer:
        writer.add_payload("data/a", read_small(b"x", ["sha512"]))
    with pytest.raises(ValueError, match="closed"):
        writer.add_payload("data/b", read_small(b"x", ["sha512"]))


def test_the_worked_example_of_the_specification(tmp_path):
    (tmp_path / "data").mkdir()
    with (
        BagWriter(tmp_path, algorithms=["sha256"]) as writer,
        PackageGraph() as payload,
        PackageGraph() as whole,
    ):
        for name, data in (("100%.txt", b"all of it\n"), ("hello.txt", b"hello world\n")):
            (tmp_path / "data" / name).write_bytes(data)
            digests = read_small(data, ["sha256"])
            writer.add_payload(f"data/{name}", digests)
            payload.add(f"data/{name}", digests)
        info = [
            ("Source-Organization", "Museum of Examples"),
            ("External-Identifier", "https://museum.example/id/7"),
            ("Bagging-Date", "2026-01-02"),
            ("Payload-Oxum", "22.2"),
            ("Payload-CID", format_cid(payload.folder("data").cid)),
            ("CID-Profile", "unixfs-v1-2025"),
        ]
        names = writer.seal(info)
        read_package(tmp_path, whole, SILENT)
        package_cid = format_cid(whole.finish().cid)
    page = (Path(__file__).resolve().parents[3] / "specs" / "bag-profile.md").read_text()
    for name in names:
        for line in (tmp_path / name).read_text().splitlines():
            assert line in page
    assert package_cid in page
