"""Which formats are read, which are told by name, and what is refused before memory is taken."""

from __future__ import annotations

import io
import lzma
import os
import stat
import struct
import subprocess
import sys
import tarfile
import zlib

import py7zr
import pytest

from heritage_ledger.bags.archives import sevenzip, zstd
from heritage_ledger.bags.archives.entries import MAX_MEMORY
from heritage_ledger.bags.archives.limits import Limits
from heritage_ledger.bags.archives.unpack import extract, is_archive
from heritage_ledger.bags.validate import validate_bag
from heritage_ledger.errors import DiskProblem, EvidenceInvalid, HeritageError, OperationFailed
from heritage_ledger.home.room import Room
from heritage_testkit.archives import FORMATS, PACKERS, bag, info, seven_zip_of, tar_of, zip_of
from heritage_testkit.archives import zstd as library

BAG = bag({"a.txt": b"one", "empty": b"", "sub/b.bin": bytes(range(256)) * 40, "é/Ж.txt": b"x"})


@pytest.fixture
def unpack(tmp_path):
    made = iter(range(1000))

    def run(data: bytes, *, name="archive", room=None, **limits):
        archive, folder = tmp_path / name, tmp_path / f"out-{next(made)}"
        archive.write_bytes(data)
        folder.mkdir()
        return extract(archive, folder, limits=Limits(**limits), room=room)

    return run


def code_of(unpack, data: bytes, **options) -> str:
    with pytest.raises(HeritageError) as caught:
        unpack(data, **options)
    assert caught.value.advice
    return caught.value.code


@pytest.mark.parametrize("form", FORMATS)
def test_a_bag_comes_out_of_each(unpack, tmp_path, form):
    out = unpack(FORMATS[form](*BAG.items()))
    assert is_archive(tmp_path / "archive")
    assert validate_bag(out.root).findings == ()
    assert {str(path.relative_to(out.root.parent)) for path in out.root.rglob("*") if path.is_file()} == set(
        BAG
    )


@pytest.mark.parametrize(
    ("start", "name"),
    [
        (b"Rar!\x1a\x07\x00", "rar"),
        (b"Rar!\x1a\x07\x01\x00", "rar"),
        (b"070701" + b"0" * 104, "cpio"),
        (b"070707" + b"0" * 104, "cpio"),
        (b"\xc7\x71" + bytes(30), "cpio"),
        (b"\x1f\x9d\x90", "compress (.Z)"),
        (b"LZIP\x01", "lzip"),
        (b"\x04\x22\x4d\x18", "lz4"),
        (b"!<arch>\n", "ar"),
        (bytes(32_769) + b"CD001", "iso"),
    ],
)
def test_what_is_not_read_is_told_by_its_name(unpack, tmp_path, start, name):
    with pytest.raises(OperationFailed) as caught:
        unpack(start + bytes(600))
    assert is_archive(tmp_path / "archive")
    assert (caught.value.code, caught.value.found) == ("archive-format", name)
    assert name in caught.value.message


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"II*\0" + bytes(range(256)) * 20, "a single file"),
        (b"short", "a single file"),
        (b"070701" + b"0" * 700, "cpio"),
        (zip_of(("bag/a", b"x")), "zip"),
    ],
)
def test_a_packed_file_that_is_no_tar_is_told(unpack, packer, content, words):
    with pytest.raises(OperationFailed) as caught:
        unpack(PACKERS[packer](content))
    assert caught.value.code == "archive-format"
    assert words in caught.value.message


def test_a_text_that_begins_like_bzip2_is_no_archive(tmp_path):
    (tmp_path / "text").write_text("BZhello, this is a letter" * 40)
    assert not is_archive(tmp_path / "text")


@pytest.mark.parametrize("form", ["tar.zst", "7z"])
def test_without_the_extra_it_is_said_how_to_get_it(unpack, monkeypatch, form):
    data = FORMATS[form](*BAG.items())
    monkeypatch.setattr(zstd, "_library", lambda: None)
    monkeypatch.setitem(sys.modules, "py7zr", None)
    with pytest.raises(OperationFailed) as caught:
        unpack(data)
    assert caught.value.code == "archive-needs-extra"
    assert caught.value.expected == "pip install 'heritage-ledger[archives]'"
    assert unpack(FORMATS["tar.xz"](*BAG.items()))


def large_window(tar: bytes) -> bytes:
    packer = library.ZstdCompressor(
        options={
            library.CompressionParameter.window_log: 27,
            library.CompressionParameter.enable_long_distance_matching: 1,
        }
    )
    return packer.compress(tar) + packer.flush()


def large_dictionary(tar: bytes) -> bytes:
    return lzma.compress(tar, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 128 << 20}])


def seven_zip_with(**options) -> bytes:
    return seven_zip_of(*BAG.items(), filters=[options])


TOO_MUCH = {
    "zstd": lambda: large_window(tar_of(*BAG.items())),
    "xz": lambda: large_dictionary(tar_of(*BAG.items())),
    "7z lzma2": lambda: seven_zip_with(id=py7zr.FILTER_LZMA2, dict_size=128 << 20),
    "7z lzma": lambda: seven_zip_with(id=py7zr.FILTER_LZMA, dict_size=128 << 20),
}


@pytest.mark.parametrize("kind", TOO_MUCH)
def test_too_large_a_dictionary_is_refused_before_it_is_taken(unpack, tmp_path, kind):
    data = TOO_MUCH[kind]()
    assert code_of(unpack, data) == "archive-memory"
    script = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "import py7zr, lzma\n"
        "from heritage_ledger.bags.archives.unpack import extract\n"
        "from heritage_ledger.errors import HeritageError\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: extract(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "except HeritageError: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    (tmp_path / "target").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "archive", tmp_path / "target"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) < MAX_MEMORY >> 10


def test_64_mib_are_taken(unpack):
    tar = tar_of(*BAG.items())
    dictionary = lzma.compress(tar, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": MAX_MEMORY}])
    window = library.compress(tar, options={library.CompressionParameter.window_log: 26})
    for data in (dictionary, window, seven_zip_with(id=py7zr.FILTER_LZMA2, dict_size=MAX_MEMORY)):
        assert unpack(data)


@pytest.mark.parametrize("header", [False, True])
def test_an_encrypted_7z_is_told(unpack, header):
    data = seven_zip_of(*BAG.items(), password="secret", header_encryption=header)
    assert code_of(unpack, data) == "archive-encrypted"


@pytest.mark.parametrize(
    "options",
    [
        {"id": py7zr.FILTER_DEFLATE},
        {"id": py7zr.FILTER_ZSTD, "level": 3},
        {"id": py7zr.FILTER_BROTLI, "level": 3},
        {"id": py7zr.FILTER_PPMD, "order": 6, "mem": 24},
    ],
    ids=["deflate", "zstd", "brotli", "ppmd"],
)
def test_methods_whose_readers_know_no_bounds_are_not_read(unpack, options):
    assert code_of(unpack, seven_zip_with(**options)) == "archive-refused"


@pytest.mark.parametrize(
    "filters",
    [
        [{"id": py7zr.FILTER_COPY}],
        [{"id": py7zr.FILTER_BZIP2}],
        [{"id": py7zr.FILTER_LZMA}],
        [{"id": py7zr.FILTER_DELTA}, {"id": py7zr.FILTER_LZMA2, "preset": 1}],
        [{"id": py7zr.FILTER_X86}, {"id": py7zr.FILTER_LZMA}],
        [{"id": py7zr.FILTER_ARM}, {"id": py7zr.FILTER_LZMA2, "preset": 1}],
    ],
)
def test_each_method_of_7z_that_is_read(unpack, filters):
    files = {**BAG, **bag({"noise": os.urandom(3 << 20), "zeros": bytes(3 << 20)})}
    files["bag/manifest-sha512.txt"] = bag(
        {name.removeprefix("bag/data/"): data for name, data in files.items() if name.startswith("bag/data/")}
    )["bag/manifest-sha512.txt"]
    assert validate_bag(unpack(seven_zip_of(*files.items(), filters=filters)).root).is_valid


def test_the_first_volume_of_a_7z_is_told(unpack):
    data = seven_zip_of(*BAG.items())
    assert code_of(unpack, data[:200], name="bag.7z.001") == "archive-volumes"
    assert code_of(unpack, data[:200], name="bag.7z") == "archive-damaged"


def seven_zip_directory(length: int, size: int | None = None) -> bytes:
    """A 7z whose directory says that it has `length` bytes; it has `size`, zeros."""
    header = bytes(length if size is None else size)
    rest = struct.pack("<QQL", 0, length, zlib.crc32(header))
    return b"7z\xbc\xaf\x27\x1c\0\4" + struct.pack("<L", zlib.crc32(rest)) + rest + header


def test_a_directory_of_a_7z_has_a_limit(unpack, monkeypatch):
    monkeypatch.setattr(sevenzip, "MAX_HEADER", 1_000)
    assert code_of(unpack, seven_zip_directory(1_001)) == "archive-refused"
    assert code_of(unpack, seven_zip_directory(1_000)) == "archive-damaged"
    assert code_of(unpack, seven_zip_directory(1 << 40, 100)) == "archive-damaged"
    many = [(f"bag/{at:040}", b"") for at in range(200)]
    assert code_of(unpack, seven_zip_of(*many)) == "archive-refused"  # packed it is short


def test_a_7z_lists_no_more_names_than_are_read(unpack, monkeypatch):
    monkeypatch.setattr(sevenzip, "MAX_NAMES", len(BAG))
    assert unpack(seven_zip_of(*BAG.items()))
    monkeypatch.setattr(sevenzip, "MAX_NAMES", len(BAG) - 1)
    assert code_of(unpack, seven_zip_of(*BAG.items())) == "archive-refused"


def test_links_in_a_7z_are_named(unpack, tmp_path):
    folder = tmp_path / "bag"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "one").symlink_to("../bagit.txt")
    (folder / "data" / "two").symlink_to("../bagit.txt")
    (folder / "bagit.txt").write_bytes(b"x")
    out = io.BytesIO()
    with py7zr.SevenZipFile(out, "w") as packed:
        packed.writeall(folder, "bag")
    with pytest.raises(EvidenceInvalid) as caught:
        unpack(out.getvalue())
    assert {(found.code, found.path) for found in caught.value.findings} == {
        ("bag-link", "bag/data/one"),
        ("bag-link", "bag/data/two"),
    }


def test_times_folders_and_modes_of_a_7z(unpack, tmp_path):
    folder = tmp_path / "bag"
    (folder / "data" / "none").mkdir(parents=True)
    (folder / "bagit.txt").write_bytes(b"x")
    os.utime(folder / "bagit.txt", ns=(0, 946_684_800_123_456_700))
    out = io.BytesIO()
    with py7zr.SevenZipFile(out, "w") as packed:
        packed.writeall(folder, "bag")
    root = unpack(out.getvalue()).root
    assert (root / "data" / "none").is_dir()
    status = (root / "bagit.txt").stat()
    assert abs(status.st_mtime_ns - 946_684_800_123_456_700) <= 1_000
    assert stat.S_IMODE(status.st_mode) == 0o600


BOMB = ("bag/x", b"\0" * (4 << 20))


@pytest.mark.parametrize("form", [form for form in FORMATS if form not in {"tar", "stored.zip"}])
def test_a_bomb_is_stopped_in_every_format(unpack, tmp_path, form):
    data = FORMATS[form](BOMB)
    assert code_of(unpack, data, ratio=50, ratio_from=1 << 20) == "archive-too-large"
    assert sum(path.stat().st_size for path in tmp_path.glob("out-*/bag/x")) <= 1 << 20


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    ("limits", "members"),
    [
        ({"size": 9}, [("bag/bagit.txt", b"x" * 10)]),
        ({"files": 2}, [("bag/bagit.txt", b"x"), ("bag/a", b"x"), ("bag/b", b"x")]),
        ({"depth": 3}, [("bag/a/b/c", b"x")]),
        ({"path": 20}, [("bag/" + "x" * 20, b"x")]),
        ({"spare_folders": 5, "folders": 1}, [("bag/" + "d/" * 20 + "x", b"x")]),
    ],
    ids=["size", "files", "depth", "path", "folders"],
)
def test_limits_hold_in_every_format(unpack, form, limits, members):
    assert code_of(unpack, FORMATS[form](*members), **limits) == "archive-too-large"


@pytest.mark.parametrize("form", FORMATS)
def test_what_does_not_fit_is_refused_before_its_first_byte(unpack, tmp_path, form):
    data = FORMATS[form](("bag/bagit.txt", b"x"), ("bag/data/f", os.urandom(2 << 20)))
    with pytest.raises(DiskProblem):
        unpack(data, room=Room(1 << 20, 1 << 20))
    assert sum(path.stat().st_size for path in tmp_path.glob("out-*/bag/data/*")) == 0


@pytest.mark.parametrize("form", FORMATS)
def test_names_that_no_file_system_takes(unpack, form):
    assert code_of(unpack, FORMATS[form](("bag/" + "x" * 256, b"y"))) == "archive-refused"


def test_the_header_of_a_packed_tar_has_a_limit_too(unpack):
    header = info("x", type=tarfile.XHDTYPE, size=7 << 30).tobuf(tarfile.USTAR_FORMAT)
    for pack in PACKERS.values():
        assert code_of(unpack, pack(header + b"9" * (4 << 20))) == "archive-refused"
