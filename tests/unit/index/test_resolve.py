"""What a person names is found, in one order, and what nothing is named is said so."""

from __future__ import annotations

import hashlib

import pytest

from heritage_ledger.content.cid import DAG_PB, RAW, block_cid, format_cid, format_cid_v0, make_cid
from heritage_ledger.content.package import FileRow
from heritage_ledger.errors import EvidenceMissing
from heritage_ledger.index.resolve import MAX_PLACES
from heritage_ledger.index.rows import AssetRow, EventRow, FileFound, PackageRow
from heritage_ledger.index.store import Index

ORIGIN = "museum.example/ledger/1"
SCAN = "https://museum.example/object/1887.12"
MARKED = "https://museum.example/object#1887"
TWO = "urn:uuid:6f9619ff-8b86-4d01-b42d-00cf4fc964ff"


def event_id(number: int) -> str:
    return f"urn:uuid:00000000-0000-4000-8000-{number:012x}"


def package(number: int, asset: str, version: int) -> PackageRow:
    made = [
        make_cid(DAG_PB, hashlib.sha256(b"%s %d" % (kind, number)).digest()) for kind in (b"bag", b"payload")
    ]
    return PackageRow(number, asset, version, *made, f"packages/p{number}", "1.0", 2, 20, 5, "ingest")


def file(path: str, content: bytes) -> FileRow:
    return FileRow(path, len(content), block_cid(RAW, content), b"")


PACKAGES = [
    (package(0, SCAN, 1), [file("data/a.tif", b"one"), file("data/b#c.tif", b"hash"), file("7", b"tag")]),
    (package(1, SCAN, 2), [file("data/a.tif", b"new"), file("data/d.tif", b"one")]),
    (package(2, MARKED, 1), [file("data/a.tif", b"marked")]),
    (package(3, TWO, 1), [file(f"data/{number:03}", b"") for number in range(MAX_PLACES + 1)]),
]


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    with Index.open(tmp_path_factory.mktemp("index") / "index.db", origin=ORIGIN) as made:
        with made.begin() as writer:
            for row, files in PACKAGES:
                number = row.log_index
                writer.add_event(
                    EventRow(number, ORIGIN, event_id(number), ("ingestion",), "t", "a", "k", asset=row.asset)
                )
                writer.add_package(row)
                writer.add_files(number, files)
            writer.set_absorbed(len(PACKAGES))
        yield made


def places(found: object) -> list[tuple[int, str]]:
    assert isinstance(found, FileFound)
    return [(place.package.log_index, place.file.path) for place in found.places]


@pytest.mark.parametrize("asset", [SCAN, MARKED, TWO])
def test_an_asset_by_its_uri(index, asset):
    found = index.resolve(asset)
    assert isinstance(found, AssetRow)
    assert found.asset == asset


def test_an_event_by_its_id_and_by_its_log_index(index):
    assert index.resolve(event_id(2)) == index.resolve("2") == index.event(2)


def test_a_package_by_its_address_and_its_payloads_in_any_spelling(index):
    row = PACKAGES[1][0]
    for cid in (row.package_cid, row.payload_cid):
        for text in (format_cid(cid), format_cid(cid).upper(), "f" + cid.hex(), format_cid_v0(cid)):
            assert index.resolve(text) == row


def test_a_file_by_its_address(index):
    assert places(index.resolve(format_cid(block_cid(RAW, b"one")))) == [(0, "data/a.tif"), (1, "data/d.tif")]


def test_a_file_of_an_asset_in_all_its_versions(index):
    assert places(index.resolve(f"{SCAN}#data/a.tif")) == [(0, "data/a.tif"), (1, "data/a.tif")]
    assert places(index.resolve(f"{SCAN}#data/b#c.tif")) == [(0, "data/b#c.tif")]


def test_a_file_of_an_asset_whose_uri_has_a_fragment(index):
    assert places(index.resolve(f"{MARKED}#data/a.tif")) == [(2, "data/a.tif")]


def test_a_file_by_its_whole_path_in_all_packages(index):
    assert places(index.resolve("data/a.tif")) == [(0, "data/a.tif"), (1, "data/a.tif"), (2, "data/a.tif")]


def test_digits_that_are_no_log_index_may_be_a_path(index):
    assert places(index.resolve("7")) == [(0, "7")]


def test_a_file_that_occurs_often_is_cut_short_and_says_so(index):
    assert places(index.resolve(f"{TWO}#data/000")) == [(3, "data/000")]
    found = index.resolve(format_cid(block_cid(RAW, b"")))
    assert len(found.places) == MAX_PLACES
    assert found.more
    assert not index.resolve("data/a.tif").more


@pytest.mark.parametrize(
    "what",
    [
        "",
        "#",
        "4",
        "9223372036854775807",
        "9223372036854775808",
        "99999999999999999999",
        "-1",
        "٣",
        "urn:uuid:00000000-0000-4000-8000-0000000000ff",
        f"{SCAN}#data/none.tif",
        f"{SCAN}#",
        "a.tif",
        "data/A.TIF",
        "data/",
        format_cid(block_cid(RAW, b"none")),
        "b" * 600,
        "z" * 600,
        "Qm" + "1" * 44,
        "\ud800",
        "f\udcff",
        "data/\x00",
        "%_",
    ],
)
def test_what_nothing_is_named_is_not_found(index, what):
    with pytest.raises(EvidenceMissing) as refused:
        index.resolve(what)
    assert refused.value.code == "not-found"
    assert refused.value.advice
