"""Archives: only plain files and folders come out, within limits, whatever the archive says."""

from __future__ import annotations

import gzip
import os
import stat
import struct
import tarfile
import zipfile

import pytest

from heritage_ledger.bags.archives import target, tars, zips
from heritage_ledger.bags.archives.limits import Limits
from heritage_ledger.bags.archives.unpack import extract, is_archive
from heritage_ledger.errors import DiskProblem, EvidenceInvalid, HeritageError, OperationFailed
from heritage_ledger.home.room import Room
from heritage_testkit.archives import info, tar_of, zip_info, zip_of

BAG = {"bag/bagit.txt": b"x", "bag/data/a": b"one", "bag/data/sub/b": b"two"}


@pytest.fixture
def unpack(tmp_path):
    def run(data: bytes, **limits):
        archive = tmp_path / "archive"
        archive.write_bytes(data)
        folder = tmp_path / "target"
        folder.mkdir()
        return extract(archive, folder, limits=Limits(**limits)).root

    return run


@pytest.fixture
def refusal(unpack, tmp_path):
    def run(data: bytes, **limits) -> str:
        before = sorted(path.name for path in tmp_path.iterdir())
        with pytest.raises((EvidenceInvalid, OperationFailed)) as caught:
            unpack(data, **limits)
        assert caught.value.advice
        assert str(caught.value).encode()
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted({*before, "archive", "target"})
        for path in (tmp_path / "target").rglob("*"):
            assert not path.is_symlink()
            assert stat.S_IFMT(path.lstat().st_mode) in {stat.S_IFREG, stat.S_IFDIR}
            assert path.is_dir() or path.stat().st_nlink == 1
        return caught.value.code

    return run


@pytest.mark.parametrize(
    "data",
    [
        tar_of(*BAG.items()),
        tar_of(*BAG.items(), form=tarfile.GNU_FORMAT),
        tar_of(*BAG.items(), form=tarfile.USTAR_FORMAT),
        tar_of(*BAG.items(), mode="w:gz"),
        zip_of(*BAG.items()),
        zip_of(*BAG.items(), method=zipfile.ZIP_STORED),
        tar_of(*((f"./{name}", data) for name, data in BAG.items())),
        tar_of(
            (info("./", type=tarfile.DIRTYPE), None), (info("bag", type=tarfile.DIRTYPE), None), *BAG.items()
        ),
        zip_of(("bag/", b""), *BAG.items(), ("bag/data/empty/", b"")),
        zip_of(*((zip_info(name, 0o100644), data) for name, data in BAG.items())),
    ],
)
def test_a_bag_in_one_folder_comes_out(unpack, tmp_path, data):
    root = unpack(data)
    assert root == tmp_path / "target" / "bag"
    assert {
        f"bag/{path.relative_to(root)}": path.read_bytes() for path in root.rglob("*") if path.is_file()
    } == BAG
    assert is_archive(tmp_path / "archive")


@pytest.mark.parametrize("make", [tar_of, zip_of])
def test_a_bag_without_a_folder_comes_out(unpack, tmp_path, make):
    assert unpack(make(("bagit.txt", b"x"), ("data/a", b"y"))) == tmp_path / "target"


@pytest.mark.parametrize("make", [tar_of, zip_of])
def test_long_and_foreign_names_come_out(unpack, make):
    name = "bag/data/" + "é" * 100 + "/" + "x" * 200
    assert (unpack(make(("bag/bagit.txt", b"x"), (name, b"y"))).parent / name).read_bytes() == b"y"


def test_names_that_are_not_utf8_keep_their_bytes(unpack):
    name = os.fsdecode(b"bag/caf\xe9")
    root = unpack(tar_of(("bag/bagit.txt", b"x"), (name, b"y"), form=tarfile.GNU_FORMAT))
    assert (root / os.fsdecode(b"caf\xe9")).read_bytes() == b"y"


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "//x",
        "../x",
        "bag/../../x",
        "bag/..",
        "..",
        "~/x",
        "~root/x",
        "bag//x",
        "bag/./x",
        "C:/x",
        "C:x",
        "\\\\server\\x",
        "bag\\..\\..\\x",
        "././x",
        "./../x",
        "./",
    ],
)
@pytest.mark.parametrize("make", [tar_of, zip_of])
def test_paths_that_lead_out_are_refused(refusal, make, name):
    assert refusal(make((name, b"x"))) in ({"not-a-bag"} if name == "./" else {"archive-refused"})


@pytest.mark.parametrize(
    "member",
    [
        info("link", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        info("link", type=tarfile.SYMTYPE, linkname="bag/data/a"),
        info("link", type=tarfile.SYMTYPE, linkname="."),
        info("link", type=tarfile.LNKTYPE, linkname="/etc/passwd"),
        info("pipe", type=tarfile.FIFOTYPE),
        info("device", type=tarfile.CHRTYPE, devmajor=1, devminor=5),
        info("disk", type=tarfile.BLKTYPE, devmajor=8),
    ],
    ids=lambda member: f"{member.name}-{member.linkname}",
)
def test_anything_but_files_and_folders_is_refused(refusal, member):
    assert refusal(tar_of(*BAG.items(), (member, None))) == "archive-refused"


def test_nothing_is_written_through_a_link(refusal, tmp_path):
    link = info("bag/data/out", type=tarfile.SYMTYPE, linkname=str(tmp_path))
    assert (
        refusal(tar_of(("bag/bagit.txt", b"x"), (link, None), ("bag/data/out/x", b"y"))) == "archive-refused"
    )


@pytest.mark.parametrize(
    "mode", [stat.S_IFLNK | 0o777, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK, stat.S_IFDIR]
)
def test_special_files_in_a_zip_are_refused(refusal, mode):
    assert refusal(zip_of(*BAG.items(), (zip_info("bag/x", mode), b"/etc/passwd"))) == "archive-refused"


def test_a_link_that_calls_itself_a_folder_is_refused(refusal):
    assert refusal(zip_of(*BAG.items(), (zip_info("bag/x/", stat.S_IFLNK | 0o777), b""))) == "archive-refused"


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("make", [tar_of, zip_of])
@pytest.mark.parametrize(
    "names",
    [
        ["bag/a", "bag/a"],
        ["bag/a", "./bag/a"],
        ["bag/a", "bag/a/b"],
        ["bag/a/b", "bag/a"],
    ],
)
def test_paths_that_are_in_it_twice_are_refused(refusal, make, names):
    assert refusal(make(*((name, b"x") for name in names))) == "archive-refused"


def test_a_folder_in_the_place_of_a_file_is_refused(refusal):
    assert refusal(tar_of(("bag/a", b"x"), (info("bag/a", type=tarfile.DIRTYPE), None))) == "archive-refused"


def test_a_folder_below_a_file_is_refused(refusal):
    assert refusal(zip_of(("bag/a", b"x"), ("bag/a/b/", b""))) == "archive-refused"


@pytest.mark.parametrize("make", [tar_of, zip_of])
def test_limits_hold_at_the_limit_and_refuse_one_more(make, tmp_path):
    cases = [
        ("size", [("bag/bagit.txt", b"x" * 4), ("bag/a", b"x" * 6)], 10),
        ("files", [("bag/bagit.txt", b"x"), ("bag/a", b"x")], 2),
        ("depth", [("bag/bagit.txt", b"x"), ("bag/a/b/c", b"x")], 4),
        ("path", [("bag/bagit.txt", b"x"), ("bag/" + "x" * 40, b"x")], 44),
    ]
    for name, members, limit in cases:
        archive = tmp_path / "archive"
        archive.write_bytes(make(*members))
        (tmp_path / f"{name}-fits").mkdir()
        extract(archive, tmp_path / f"{name}-fits", limits=Limits(**{name: limit}))
        (tmp_path / name).mkdir()
        with pytest.raises(EvidenceInvalid) as caught:
            extract(archive, tmp_path / name, limits=Limits(**{name: limit - 1}))
        assert caught.value.code == "archive-too-large"


@pytest.mark.parametrize(
    "data", [tar_of(("bag/x", b"\0" * (4 << 20)), mode="w:gz"), zip_of(("bag/x", b"\0" * (4 << 20)))]
)
def test_bombs_are_stopped_while_they_come_out(refusal, tmp_path, data):
    assert refusal(data, ratio=50, ratio_from=1 << 20) == "archive-too-large"
    assert (tmp_path / "target" / "bag" / "x").stat().st_size <= 1 << 20


def test_what_is_small_may_be_packed_well(unpack):
    unpack(zip_of(("bag/bagit.txt", b"\0" * (4 << 20))))


def test_sizes_in_headers_are_not_believed(refusal):
    data = bytearray(zip_of(("bag/bagit.txt", b"x" * 1000), method=zipfile.ZIP_STORED))
    at = data.rfind(b"PK\x01\x02")
    struct.pack_into("<LL", data, at + 20, 10, 10)
    assert refusal(bytes(data)) in {"archive-damaged", "not-a-bag"}


def test_a_long_name_is_not_read_into_memory(refusal):
    header = info("././@LongLink", type=tarfile.GNUTYPE_LONGNAME, size=64 << 30).tobuf(tarfile.GNU_FORMAT)
    body = gzip.compress(header + b"x" * (8 << 20))
    assert refusal(body) == "archive-refused"


def test_long_attributes_are_not_read_into_memory(refusal):
    header = info("x", type=tarfile.XHDTYPE, size=7 << 30).tobuf(tarfile.USTAR_FORMAT)
    assert refusal(gzip.compress(header + b"9" * (8 << 20))) == "archive-refused"


def test_headers_have_a_limit(unpack, refusal, tmp_path):
    fits = info("bag/bagit.txt", pax_headers={"comment": "x" * (tars.MAX_HEADER - 20_000)})
    assert unpack(tar_of((fits, b"x")))
    (tmp_path / "target").rename(tmp_path / "first")
    too_long = info("bag/bagit.txt", pax_headers={"comment": "x" * tars.MAX_HEADER})
    assert refusal(tar_of((too_long, b"x"))) == "archive-refused"


def test_many_headers_one_after_another(refusal):
    header = info("././@LongLink", type=tarfile.GNUTYPE_LONGNAME, size=1).tobuf(tarfile.GNU_FORMAT)
    assert refusal((header + b"x".ljust(512, b"\0")) * 5000) == "archive-refused"


def test_the_directory_of_a_zip_has_a_limit(unpack, refusal, monkeypatch, tmp_path):
    data = zip_of(*BAG.items())
    length = struct.unpack_from("<L", data, data.rfind(b"PK\x05\x06") + 12)[0]
    monkeypatch.setattr(zips, "MAX_DIRECTORY", length)
    assert unpack(data)
    (tmp_path / "target").rename(tmp_path / "first")
    monkeypatch.setattr(zips, "MAX_DIRECTORY", length - 1)
    assert refusal(data) == "archive-refused"


def _zip64(length: int | None, where: bytes = b"") -> bytes:
    data = zip_of(*BAG.items())
    at = data.rfind(b"PK\x05\x06")
    real, start = struct.unpack_from("<LL", data, at + 12)
    record = struct.pack(
        "<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 3, 3, real if length is None else length, start
    )
    pointer = struct.pack("<4sLQL", b"PK\x06\x07", 0, at, 1)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return data[:at] + record + where + pointer + end


def test_a_zip_with_long_records_comes_out(unpack):
    assert unpack(_zip64(None)).name == "bag"


def test_long_records_do_not_get_round_the_limit(refusal):
    assert refusal(_zip64(zips.MAX_DIRECTORY + 1)) == "archive-refused"


def test_long_records_elsewhere_are_refused(refusal):
    assert refusal(_zip64(None, b"x" * 8)) == "archive-damaged"


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_rare_ways_of_packing_are_refused(refusal, method):
    assert refusal(zip_of(*BAG.items(), method=method)) == "archive-refused"


def test_encrypted_files_are_refused(refusal):
    data = bytearray(zip_of(("bag/bagit.txt", b"x")))
    data[data.find(b"PK\x03\x04") + 6] |= 1
    data[data.find(b"PK\x01\x02") + 8] |= 1
    assert refusal(bytes(data)) == "archive-encrypted"


def test_a_zip_whose_two_headers_disagree_is_refused(refusal):
    data = zip_of(("bag/a", b"x"), ("bag/b", b"y")).replace(b"bag/a", b"bag/c", 1)
    assert refusal(data) == "archive-damaged"


def test_a_wrong_checksum_is_damage(refusal):
    data = zip_of(("bag/a", b"some content"), method=zipfile.ZIP_STORED).replace(b"some", b"sole")
    assert refusal(data) == "archive-damaged"


@pytest.mark.parametrize(
    "whole", [tar_of(*BAG.items()), tar_of(*BAG.items(), mode="w:gz"), zip_of(*BAG.items())]
)
def test_a_cut_archive_never_passes_for_a_whole_one(whole, tmp_path):
    archive = tmp_path / "archive"
    for cut in range(0, len(whole) - 1, max(1, len(whole) // 97)):
        archive.write_bytes(whole[:cut])
        folder = tmp_path / f"target-{cut}"
        folder.mkdir()
        codes = []
        try:
            extract(archive, folder)
        except HeritageError as error:
            codes.append(error.code)
        out = {
            str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()
        }
        assert codes or all(BAG[name] == data for name, data in out.items())
        assert set(codes) <= {"archive-damaged", "not-a-bag"}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        b"PK\x03\x04",
        b"PK\x05\x06",
        b"\x1f\x8b",
        b"\x1f\x8b\x08" + b"\xff" * 600,
        b"\0" * 10_240,
        b"x" * 2_000,
        gzip.compress(b"", mtime=0),
    ],
)
def test_what_is_no_archive(refusal, data):
    assert refusal(data) in {"archive-damaged", "not-a-bag"}


@pytest.mark.parametrize("make", [tar_of, zip_of])
def test_an_archive_without_a_bag(refusal, make):
    assert refusal(make(("a", b"x"), ("b", b"y"))) == "not-a-bag"


def test_two_folders_are_no_bag(refusal):
    assert refusal(zip_of(*BAG.items(), ("other/x", b"y"))) == "not-a-bag"


def test_a_name_that_no_file_system_takes(refusal):
    assert refusal(zip_of(("bag/" + "x" * 256, b"y"))) == "archive-refused"


def test_nulls_in_names(refusal):
    data = zip_of(("bag/aXb", b"y")).replace(b"aXb", b"a\0b")
    assert refusal(data) in {"archive-refused", "archive-damaged", "not-a-bag"}


def test_what_comes_out_is_private_and_plain(unpack):
    member = info("bag/bagit.txt", mode=0o6777, uid=0, gid=0)
    path = unpack(tar_of((member, b"x"))) / "bagit.txt"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_disk_that_refuses_is_not_called_damage(tmp_path, monkeypatch):
    def full(*_):
        raise DiskProblem("disk-full", "the disk is full", advice="free space")

    monkeypatch.setattr(target, "write_all", full)
    (tmp_path / "archive").write_bytes(tar_of(*BAG.items()))
    (tmp_path / "target").mkdir()
    with pytest.raises(DiskProblem):
        extract(tmp_path / "archive", tmp_path / "target")


def test_what_is_not_there_or_no_file_is_no_archive(tmp_path):
    assert not is_archive(tmp_path)
    assert not is_archive(tmp_path / "nowhere")
    (tmp_path / "text").write_text("text")
    assert not is_archive(tmp_path / "text")
    with pytest.raises(OperationFailed) as caught:
        extract(tmp_path / "nowhere", tmp_path)
    assert caught.value.code == "archive-unreadable"


@pytest.mark.parametrize("make", [tar_of, zip_of])
def test_folders_that_paths_imply_are_counted(tmp_path, make):
    """1,500 entries of 22 kB with 62 folders each were 93,000 inodes."""
    deep = "/".join("d" * 62)
    archive = tmp_path / "archive"
    archive.write_bytes(make(*((f"bag/{at}/{deep}/f", b"") for at in range(400))))
    (tmp_path / "out").mkdir()
    with pytest.raises(EvidenceInvalid) as caught:
        extract(archive, tmp_path / "out", limits=Limits(spare_folders=1_000))
    assert caught.value.code == "archive-too-large"
    assert sum(len(folders) for _, folders, _ in os.walk(tmp_path / "out")) <= 4 * 400 + 1_000


def test_an_honest_deep_archive_comes_out(unpack):
    unpack(tar_of(("bag/bagit.txt", b"x"), ("bag/data/" + "/".join("d" * 60) + "/f", b"x")))


@pytest.mark.parametrize(
    ("make", "room"),
    [
        (tar_of, Room(1 << 20, 1 << 20)),
        (zip_of, Room(1 << 20, 1 << 20)),
        (lambda *members: tar_of(*members, mode="w:gz"), Room(1 << 20, 1 << 20)),
        (tar_of, Room(1 << 40, 3)),
    ],
    ids=["tar", "zip", "tar.gz", "inodes"],
)
def test_what_does_not_fit_is_refused_before_its_first_byte(tmp_path, make, room):
    archive = tmp_path / "archive"
    archive.write_bytes(make(("bag/bagit.txt", b"x"), ("bag/data/f", os.urandom(2 << 20)), ("bag/g", b"")))
    (tmp_path / "out").mkdir()
    with pytest.raises(DiskProblem) as caught:
        extract(archive, tmp_path / "out", room=room)
    assert caught.value.code == "disk-full"
    written = [path.stat().st_size for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert sum(written) <= 1
