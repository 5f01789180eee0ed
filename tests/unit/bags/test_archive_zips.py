"""Zips as people's computers make them: names in several encodings, companions, times, volumes."""

from __future__ import annotations

import datetime as dt
import stat
import struct
import unicodedata
import zipfile
import zlib

import pytest

from heritage_ledger.bags.archives.unpack import extract, is_archive
from heritage_ledger.bags.validate import validate_bag
from heritage_ledger.errors import EvidenceInvalid, OperationFailed
from heritage_testkit.archives import BAGIT, bag, raw_zip, tar_of, zip_info, zip_of

NAMES = {"Montréal.txt": b"x\n", "Straße/über.txt": b"y\n", "plain.txt": b"z\n"}
UTF8_FLAG = 0x800


def encoded(files: dict[str, bytes], encoding: str) -> list[tuple[bytes, bytes]]:
    return [(name.encode(encoding), data) for name, data in files.items()]


@pytest.fixture
def unpack(tmp_path):
    made = iter(range(1000))

    def run(data: bytes):
        archive, folder = tmp_path / "archive", tmp_path / f"out-{next(made)}"
        archive.write_bytes(data)
        folder.mkdir()
        assert is_archive(archive)
        return extract(archive, folder)

    return run


def unicode_path(name: bytes, *, of: bytes | None = None) -> bytes:
    """The Info-ZIP field for a name of which the directory has cp437."""
    told = name.decode("cp437").encode()
    return struct.pack("<HHBL", 0x7075, 5 + len(told), 1, zlib.crc32(name if of is None else of)) + told


@pytest.mark.parametrize("top", ["bag/", ""])
@pytest.mark.parametrize(
    ("encoding", "flags"), [("utf-8", 0), ("utf-8", UTF8_FLAG), ("cp437", 0), ("cp850", 0)]
)
def test_names_are_read_as_they_were_meant(unpack, top, encoding, flags):
    out = unpack(raw_zip(encoded(bag(NAMES, top), encoding), flags=flags))
    assert validate_bag(out.root).findings == ()
    assert {path.name for path in (out.root / "data").iterdir()} == {"Montréal.txt", "Straße", "plain.txt"}


@pytest.mark.parametrize("order", [1, -1])
def test_the_order_of_entries_does_not_matter(unpack, order):
    files = encoded(bag({"æ┬.txt": b"x", "Ñandú.txt": b"y"}), "cp437")
    assert validate_bag(unpack(raw_zip(files[::order])).root).is_valid


def test_the_manifest_decides_where_two_readings_are_possible(unpack):
    """The bytes of `é` in UTF-8 are `├⌐` in cp437; a bag may mean either, even one beside the other."""
    for meant in ("├⌐.txt", "é.txt"):
        files = encoded(bag({meant: b"x"}), "cp437" if meant[0] == "├" else "utf-8")
        assert files[-1][0] == b"bag/data/\xc3\xa9.txt"
        assert (unpack(raw_zip(files)).root / "data" / meant).read_bytes() == b"x"


def test_what_no_manifest_lists_has_its_first_reading(unpack):
    files = [*encoded(bag(NAMES), "utf-8"), ("bag/data/extra-é".encode(), b""), (b"bag/data/\x82", b"")]
    report = validate_bag(unpack(raw_zip(files)).root)
    assert [(found.code, found.path) for found in report.findings] == [
        ("file-extra", "data/extra-é"),
        ("file-extra", "data/é"),
    ]


def test_a_name_in_another_unicode_form_is_that_of_the_manifest(unpack):
    files = bag({"é.txt": b"x"})
    files = {unicodedata.normalize("NFD", name): data for name, data in files.items()}
    report = validate_bag(unpack(raw_zip(encoded(files, "utf-8"))).root)
    assert [found.code for found in report.findings] == ["name-normalisation"]


def test_a_folder_with_an_accent_around_the_bag(unpack):
    for encoding in ("utf-8", "cp437"):
        out = unpack(raw_zip(encoded(bag(NAMES, "Dépôt/"), encoding)))
        assert (out.root.name, validate_bag(out.root).is_valid) == ("Dépôt", True)


def test_the_unicode_path_field_is_believed_where_its_sum_fits(unpack):
    files = encoded(bag({"├⌐.txt": b"x"}), "cp437")
    assert validate_bag(unpack(raw_zip(files, extra=unicode_path)).root).is_valid
    stale = raw_zip(encoded(bag(NAMES), "utf-8"), extra=lambda name: unicode_path(name, of=b"another"))
    assert validate_bag(unpack(stale).root).is_valid


@pytest.mark.parametrize(
    "extra", [b"\x75\x70\x05\x00\x01\0\0\0\0", b"\x75\x70\x05\x00\x02\0\0\0\0", b"\x75\x70"]
)
def test_a_field_of_another_name_or_version_is_passed_over(unpack, extra):
    out = unpack(raw_zip(encoded(bag(NAMES), "utf-8"), extra=lambda name: extra))
    assert validate_bag(out.root).is_valid


@pytest.mark.parametrize("extra", [b"\x75\x70\0\0", b"\x75\x70\x01\x00\x02"])
def test_a_field_that_is_cut_is_damage(unpack, extra):
    """Some versions of zipfile say so, others pass it over; the verdict is one."""
    with pytest.raises(EvidenceInvalid) as caught:
        unpack(raw_zip(encoded(bag(NAMES), "utf-8"), extra=lambda name: extra))
    assert caught.value.code == "archive-damaged"


COMPANIONS = {"__MACOSX/._bag": b"x", "__MACOSX/bag/._bagit.txt": b"y", "._bag": b"z", ".DS_Store": b""}


@pytest.mark.parametrize("make", [tar_of, zip_of])
@pytest.mark.parametrize("order", [1, -1])
def test_what_a_desktop_leaves_beside_the_bag_is_told_and_left_out(unpack, make, order):
    files = bag({"._inside": b"payload", "a.txt": b"x"})
    out = unpack(make(*[*COMPANIONS.items(), *files.items()][::order]))
    assert [(found.code, found.path, found.found) for found in out.findings] == [
        ("archive-left-out", ".DS_Store", "1 file"),
        ("archive-left-out", "._bag", "1 file"),
        ("archive-left-out", "__MACOSX", "2 files"),
    ]
    assert validate_bag(out.root).findings == ()
    assert (out.root / "data" / "._inside").read_bytes() == b"payload"


def test_in_a_bag_without_a_folder_they_are_files_like_others(unpack):
    out = unpack(zip_of(*bag({"a": b"x"}, "").items(), ("__MACOSX/x", b"y"), (".DS_Store", b"")))
    assert out.findings == ()
    assert validate_bag(out.root).is_valid
    assert (out.root / ".DS_Store").exists()


def test_something_else_beside_the_bag_is_not_left_out(unpack):
    with pytest.raises(OperationFailed) as caught:
        unpack(zip_of(*bag({"a": b"x"}).items(), ("notes.txt", b"y")))
    assert caught.value.code == "not-a-bag"


@pytest.mark.parametrize("system", [0, 10, 11, 14])
def test_backslashes_as_separators_are_told_in_true_words(unpack, system):
    files = [(name.replace(b"/", b"\\"), data) for name, data in encoded(bag(NAMES), "utf-8")]
    with pytest.raises(EvidenceInvalid) as caught:
        unpack(raw_zip(files, system=system))
    assert caught.value.code == "archive-refused"
    assert "backslashes in the place of slashes" in caught.value.message


def test_backslashes_from_unix_are_letters(unpack):
    out = unpack(raw_zip(encoded(bag({"scan\\007f.txt": b"x"}), "utf-8"), system=3))
    codes = [found.code for found in validate_bag(out.root).findings]
    assert codes == ["name-windows-character", "name-misread"]


def filetime(seconds: int) -> int:
    return (seconds + 11_644_473_600) * 10**7


SECONDS = 946_684_801


@pytest.mark.parametrize(
    ("extra", "kept"),
    [
        (b"", dt.datetime(2024, 1, 1, tzinfo=dt.UTC).timestamp() * 10**9),
        (struct.pack("<HHBl", 0x5455, 5, 1, SECONDS), SECONDS * 10**9),
        (struct.pack("<HHBl", 0x5455, 5, 1, -SECONDS), -SECONDS * 10**9),
        (struct.pack("<HHll", 0x5855, 8, 5, SECONDS), SECONDS * 10**9),
        (
            struct.pack("<HHL2H3Q", 0x000A, 32, 0, 1, 24, filetime(SECONDS) + 5, 0, 0),
            SECONDS * 10**9 + 500,
        ),
        (
            struct.pack("<HHBl", 0x5455, 5, 1, 7)
            + struct.pack("<HHL2H3Q", 0x000A, 32, 0, 1, 24, filetime(SECONDS), 0, 0),
            SECONDS * 10**9,
        ),
        (
            struct.pack("<HHBl", 0x5455, 5, 0, SECONDS),
            dt.datetime(2024, 1, 1, tzinfo=dt.UTC).timestamp() * 10**9,
        ),
    ],
    ids=["dos", "unix", "before 1970", "macos", "ntfs", "the finer one", "no time in it"],
)
@pytest.mark.parametrize("zone", ["UTC", "America/Montreal"])
def test_times_of_change_are_kept(unpack, monkeypatch, extra, kept, zone):
    monkeypatch.setenv("TZ", zone)
    out = unpack(raw_zip([(b"bagit.txt", BAGIT), (b"data/a", b"x")], extra=lambda name: extra))
    assert (out.root / "data" / "a").stat().st_mtime_ns == kept


def test_every_entry_that_may_not_be_there_is_named(unpack):
    bad = [(zip_info(f"bag/data/{at}", stat.S_IFLNK | 0o777), b"/etc/passwd") for at in range(3)]
    with pytest.raises(EvidenceInvalid) as caught:
        unpack(zip_of(*bag(NAMES).items(), *bad, (zip_info("bag/pipe", stat.S_IFIFO), b"")))
    assert [found.code for found in caught.value.findings] == ["bag-link"] * 3 + ["bag-special"]


def test_a_program_before_the_zip_and_a_comment_behind_it(unpack):
    files = encoded(bag(NAMES), "utf-8")
    shifted = raw_zip(files, prefix=b"#!/bin/sh\nexec unzip\n", comment=b"Deposit 2024-03")
    assert validate_bag(unpack(shifted).root).is_valid
    assert validate_bag(unpack(b"MZ" + bytes(700) + raw_zip(files)).root).is_valid


def _end(data: bytes, at: int, value: int) -> bytes:
    changed = bytearray(data)
    struct.pack_into("<H", changed, data.rfind(b"PK\5\6") + at, value)
    return bytes(changed)


@pytest.mark.parametrize(
    "data",
    [
        b"PK\7\x08" + raw_zip([(b"bag/a", b"x")]),
        _end(raw_zip([(b"bag/a", b"x")]), 4, 2),
        _end(raw_zip([(b"bag/a", b"x")]), 6, 1),
    ],
    ids=["first", "last", "directory elsewhere"],
)
def test_one_of_several_volumes_is_told(unpack, data):
    with pytest.raises(EvidenceInvalid) as caught:
        unpack(data)
    assert caught.value.code == "archive-volumes"


@pytest.mark.parametrize("flags", [0x1, 0x41, 0x2000])
def test_encrypted_is_told(unpack, flags):
    with pytest.raises(EvidenceInvalid) as caught:
        unpack(raw_zip([(b"bag/a", b"x")], flags=flags))
    assert caught.value.code == "archive-encrypted"


def test_a_file_shorter_than_the_directory_says(unpack):
    data = bytearray(zip_of(("bag/bagit.txt", b"x" * 100), method=zipfile.ZIP_DEFLATED))
    at = data.rfind(b"PK\1\2")
    struct.pack_into("<L", data, at + 24, 200)
    with pytest.raises(EvidenceInvalid) as caught:
        unpack(bytes(data))
    assert caught.value.code == "archive-damaged"
