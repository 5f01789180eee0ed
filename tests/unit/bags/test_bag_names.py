"""Names: how manifests spell them, which lead out of the bag, and which will not travel."""

from __future__ import annotations

import tracemalloc

import pytest

from heritage_ledger.bags.names import (
    MAX_NAME_BYTES,
    DirectoryNames,
    TreeNames,
    check_path,
    decode_path,
    encode_path,
    is_junk,
    is_utf8,
    show_path,
)
from heritage_ledger.errors import EvidenceInvalid, Severity

OLD = (0, 97)
NEW = (1, 0)


def codes(*names: str) -> list[str]:
    folder = DirectoryNames()
    return [finding.code for name in names for finding in folder.add(name)]


@pytest.mark.parametrize(
    ("path", "written"),
    [
        ("data/plain.txt", "data/plain.txt"),
        ("data/100%.txt", "data/100%25.txt"),
        ("data/file%0A1.txt", "data/file%250A1.txt"),
        ("data/a\nb", "data/a%0Ab"),
        ("data/a\rb", "data/a%0Db"),
        ("data/%25", "data/%2525"),
        ("data/a b\tä\u2028", "data/a b\tä\u2028"),
    ],
)
def test_only_three_characters_are_encoded_and_come_back(path, written):
    assert encode_path(path, NEW) == written
    assert decode_path(written, NEW) == (path, True)


def test_lower_case_escapes_are_read():
    assert decode_path("a%0ab%0dc", NEW) == ("a\nb\rc", True)


@pytest.mark.parametrize("written", ["100%", "a%20b", "a%2fb", "%%25", "%2", "%0", "%0B", "%E4"])
def test_any_other_percent_is_literal_and_told(written):
    path, is_right = decode_path(written, NEW)
    assert not is_right
    assert path == written.replace("%25", "%")


def test_old_versions_encode_nothing():
    assert encode_path("a%\n", OLD) == "a%\n"
    assert decode_path("a%0Ab%25", OLD) == ("a%0Ab%25", True)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "~/x",
        "~root/x",
        "..",
        "../x",
        "data/../x",
        "data/..",
        "data/../../bag-sibling/x",
        ".",
        "./x",
        "data/./x",
        "data//x",
        "data/x/",
        "data/\0",
        "C:/x",
        "c:x",
        "\\\\server\\share",
        "\\x",
        "data\\..\\..\\x",
        "..\\x",
        "data/..\\x",
    ],
)
def test_paths_that_lead_out_are_refused(path):
    with pytest.raises(EvidenceInvalid) as caught:
        check_path(path)
    assert caught.value.code == "path-unsafe"
    assert caught.value.advice


@pytest.mark.parametrize(
    "path",
    [
        "data/x",
        "data/.hidden",
        "data/...",
        "data/..x",
        "data/x..",
        "data/a\\b",
        "data/~x",
        "data/C:/x",
        "data/\n",
        "data/..\n",
    ],
)
def test_odd_names_within_the_bag_are_not(path):
    check_path(path)


def test_bytes_that_are_no_utf8_can_be_shown():
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    assert not is_utf8(name)
    assert show_path(name) == "caf\\xe9"
    assert is_utf8("café")


def test_unicode_twins_are_errors_and_case_twins_warnings():
    folder = DirectoryNames()
    assert folder.add("caf\u00e9") == []
    (twin,) = folder.add("cafe\u0301", prefix="x/")
    assert (twin.code, twin.severity, twin.path) == (
        "name-normalisation-twin",
        Severity.ERROR,
        "x/cafe\u0301",
    )
    assert "caf\\xe9" in twin.found
    (case,) = folder.add("CAFÉ")
    assert (case.code, case.severity) == ("name-case-twin", Severity.WARNING)


def test_twins_of_one_folder_only():
    assert codes("a", "A") == ["name-case-twin"]
    assert codes("a") + codes("A") == []


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("con", "name-windows-reserved"),
        ("NUL.txt", "name-windows-reserved"),
        ("com1", "name-windows-reserved"),
        ("lpt9.tar.gz", "name-windows-reserved"),
        ("a:b", "name-windows-character"),
        ("what?", "name-windows-character"),
        ("a\\b", "name-windows-character"),
        ("trailing.", "name-trailing"),
        ("trailing ", "name-trailing"),
        ("trailing\u00a0", "name-trailing"),
        (" leading", "name-trailing"),
        ("bell\x07", "name-control"),
        ("line\nbreak", "name-control"),
        ("x" * (MAX_NAME_BYTES + 1), "name-too-long"),
        ("ä" * 128, "name-too-long"),
    ],
)
def test_names_that_do_not_travel_are_warnings(name, code):
    findings = DirectoryNames().add(name)
    assert {finding.code for finding in findings} - {"name-misread"} == {code}
    assert all(finding.severity is Severity.WARNING and finding.advice for finding in findings)


@pytest.mark.parametrize(
    "name",
    [
        "a",
        "scan 001.tif",
        "console",
        "com",
        "com10.txt",
        "IMG_0001.JPG",
        "été.txt",
        "a.b.c",
        ".keep",
        "x" * MAX_NAME_BYTES,
    ],
)
def test_ordinary_names_say_nothing(name):
    assert DirectoryNames().add(name) == []


def test_junk_is_known_in_any_case():
    assert all(map(is_junk, [".DS_Store", "Thumbs.db", "THUMBS.DB", "desktop.ini", "._scan.tif"]))
    assert not any(map(is_junk, ["scan.tif", ".hidden", "thumbs", "_.x"]))


def test_twin_folders_are_found_though_other_folders_lie_between():
    tree = TreeNames()
    found = [
        *tree.add_file("data/x"),
        *tree.add_file("data/Caf\u00e9/deep/x"),
        *tree.add_file("data/Caf\u00e9/deep2/x"),
        *tree.add_folder("data/Cafe\u0301"),
        *tree.add_file("data/X/x"),
    ]
    assert [(finding.code, finding.path) for finding in found] == [
        ("name-normalisation-twin", "data/Cafe\u0301"),
        ("name-case-twin", "data/X"),
    ]


def test_a_folder_that_is_not_utf8_is_told_once():
    folder = b"data/\xff".decode("utf-8", "surrogateescape")
    tree = TreeNames()
    found = [*tree.add_file(f"{folder}/a"), *tree.add_file(f"{folder}/b"), *tree.add_file(f"{folder}/c/d")]
    assert [(finding.code, finding.path, finding.found) for finding in found] == [
        ("name-not-utf8", "data/\\xff", "ff")
    ]


def test_many_names_cost_little_memory():
    names = [f"scan-{number:06}.tif" for number in range(50_000)]
    tracemalloc.start()
    folder = DirectoryNames()
    for name in names:
        folder.add(name)
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert size < 110 * len(names)
