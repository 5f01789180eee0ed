"""Tars: hard links and holes are plain bytes, old tars are tars, names and times come out as they went in."""

from __future__ import annotations

import os
import stat
import subprocess
import tarfile

import pytest

from heritage_ledger.bags.archives.limits import Limits
from heritage_ledger.bags.archives.unpack import extract, is_archive
from heritage_ledger.bags.validate import validate_bag
from heritage_ledger.errors import DiskProblem, EvidenceInvalid, Severity
from heritage_ledger.home.room import Room
from heritage_testkit.archives import PACKERS, bag, info, tar_of

BAG = bag({"a.txt": b"one", "b.txt": b"two"})


def link(name: str, to: str, kind=tarfile.LNKTYPE) -> tuple[tarfile.TarInfo, None]:
    return info(name, type=kind, linkname=to), None


@pytest.fixture
def unpack(tmp_path):
    made = iter(range(1000))

    def run(data: bytes, *, room=None, **limits):
        archive, folder = tmp_path / "archive", tmp_path / f"out-{next(made)}"
        archive.write_bytes(data)
        folder.mkdir()
        return extract(archive, folder, limits=Limits(**limits), room=room).root

    return run


def refusal(unpack, data, **limits) -> EvidenceInvalid:
    with pytest.raises(EvidenceInvalid) as caught:
        unpack(data, **limits)
    return caught.value


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
@pytest.mark.parametrize("spelling", ["bag/data/a.txt", "./bag/data/a.txt"])
def test_a_hard_link_is_the_bytes_of_the_earlier_file(unpack, form, spelling):
    root = unpack(tar_of(*BAG.items(), link("bag/data/c.txt", spelling), form=form))
    first, second = (root / "data" / "a.txt", root / "data" / "c.txt")
    assert second.read_bytes() == b"one"
    assert first.stat().st_ino != second.stat().st_ino, "a later write must not change both"
    assert {path.stat().st_nlink for path in root.rglob("*.*")} == {1}


def test_a_link_to_a_link_and_a_second_mention_of_a_file(unpack):
    data = tar_of(
        *BAG.items(),
        link("bag/data/c", "bag/data/a.txt"),
        link("bag/data/d", "bag/data/c"),
        link("bag/data/a.txt", "bag/data/a.txt"),  # GNU tar, where a file is named twice on its command line
    )
    assert (unpack(data) / "data" / "d").read_bytes() == b"one"


@pytest.mark.parametrize(
    "to",
    ["bag/data/z.txt", "bag/data/later.txt", "../outside", "/etc/passwd", "bag/data", "bag", "", "a\\..\\b"],
)
def test_a_hard_link_to_anything_else_is_named(unpack, tmp_path, to):
    (tmp_path / "outside").write_text("secret")
    data = tar_of(*BAG.items(), link("bag/data/c.txt", to), ("bag/data/later.txt", b"x"))
    error = refusal(unpack, data)
    assert error.code == "archive-refused"
    assert [(found.code, found.path) for found in error.findings] == [("archive-link", "bag/data/c.txt")]


def test_everything_that_may_not_be_there_is_named_at_once(unpack):
    bad = [
        link("bag/data/c.txt", "/etc/passwd", tarfile.SYMTYPE),
        link("bag/data/d", ".", tarfile.SYMTYPE),
        (info("bag/data/pipe", type=tarfile.FIFOTYPE), None),
        ("bag/data/e.txt", b"x"),
        link("bag/data/f.txt", "nowhere"),  # nothing can be said of it: no file is written any more
        (info("bag/data/disk", type=tarfile.BLKTYPE, devmajor=8), None),
    ]
    error = refusal(unpack, tar_of(*BAG.items(), *bad))
    assert [(found.code, found.path.rpartition("/")[2]) for found in error.findings] == [
        ("bag-link", "c.txt"),
        ("bag-link", "d"),
        ("bag-special", "pipe"),
        ("bag-special", "disk"),
    ]
    assert "and 3 more" in error.found


def test_a_thousand_are_named_and_all_are_counted(unpack):
    error = refusal(unpack, tar_of(*(link(f"bag/{at}", "x", tarfile.SYMTYPE) for at in range(1_200))))
    assert len(error.findings) == 1_000
    assert "and 1199 more" in error.found


def test_links_are_counted_as_the_bytes_that_they_are(unpack):
    """A megabyte and ten thousand names for it would be ten gigabytes."""
    data = tar_of(
        ("bag/bagit.txt", b"x"),
        ("bag/big", b"x" * (1 << 20)),
        *(link(f"bag/{at}", "bag/big") for at in range(100)),
    )
    assert refusal(unpack, data, size=50 << 20).code == "archive-too-large"
    assert refusal(unpack, data, ratio=10, ratio_from=1 << 20).code == "archive-too-large"
    with pytest.raises(DiskProblem):
        unpack(data, room=Room(20 << 20, 1 << 20))


def test_a_bomb_behind_something_refused_is_still_a_bomb(unpack):
    bomb = ("bag/x", b"\0" * (4 << 20))
    odd = (info("bag/odd", type=b"Q"), b"\0" * (4 << 20))
    for member in (bomb, odd):
        data = PACKERS["gz"](tar_of(link("bag/l", "x", tarfile.SYMTYPE), member))
        assert refusal(unpack, data, ratio=50, ratio_from=1 << 20).code == "archive-too-large"


def holes(*sizes, size: int, data: bytes) -> bytes:
    """A sparse file in the form 0.1 of pax."""
    member = info(
        "bag/data/disk.img",
        pax_headers={"GNU.sparse.map": ",".join(map(str, sizes)), "GNU.sparse.size": str(size)},
    )
    return tar_of(("bag/bagit.txt", b"x"), (member, data), ("bag/last", b"end"))


def test_holes_are_zeros(unpack):
    root = unpack(holes(0, 3, 4_096, 3, size=9_000, data=b"onetwo"))
    assert (root / "data/disk.img").read_bytes() == b"one" + bytes(4_093) + b"two" + bytes(9_000 - 4_099)
    assert (root / "last").read_bytes() == b"end"


@pytest.mark.parametrize(
    ("sizes", "size", "data"),
    [
        ((0, 3, 1, 3), 9_000, b"onetwo"),
        ((10, 3, 0, 3), 9_000, b"onetwo"),
        ((0, 9_001), 9_000, b"onetwo"),
        ((0, 4_000), 9_000, b"onetwo"),
        ((-5, 3), 9_000, b"onetwo"),
        ((0, -3), 9_000, b"onetwo"),
    ],
    ids=["overlap", "order", "past the end", "not there", "before", "negative"],
)
def test_a_map_of_holes_that_cannot_be_is_damage(unpack, sizes, size, data):
    assert refusal(unpack, holes(*sizes, size=size, data=data)).code == "archive-damaged"


def test_holes_count_as_bytes_before_they_are_written(unpack, tmp_path):
    data = holes(0, 3, size=99_999_999_999, data=b"one")
    with pytest.raises(DiskProblem) as caught:
        unpack(data, room=Room(1 << 30, 1 << 20))
    assert caught.value.code == "disk-full"
    assert sum(path.stat().st_size for path in tmp_path.glob("out-*/**/*.img")) == 0


@pytest.mark.parametrize("form", ["gnu", "pax"])
def test_what_gnu_tar_packs_comes_out(unpack, tmp_path, form):
    source = tmp_path / "bag"
    (source / "data").mkdir(parents=True)
    for name, data in BAG.items():
        (tmp_path / name).write_bytes(data)
    with (source / "data" / "disk.img").open("wb") as image:
        for at in range(0, 4 << 20, 1 << 18):  # more pieces than the first header has places for
            image.seek(at)
            image.write(b"here")
        image.truncate(5 << 20)
    os.link(source / "data" / "a.txt", source / "data" / "z.txt")
    done = subprocess.run(
        ["tar", "-S", f"--format={form}", "-C", tmp_path, "-cf", tmp_path / "made.tar", "bag"], check=False
    )
    if done.returncode:
        pytest.skip("no GNU tar")
    root = unpack((tmp_path / "made.tar").read_bytes())
    for path in source.rglob("*.*"):
        assert (root / path.relative_to(source)).read_bytes() == path.read_bytes()


def v7(name: str, data: bytes, kind: bytes = b"\0") -> bytes:
    """A header as it was before there was a mark: name, mode, owner, size, time, check sum, link."""
    block = bytearray(info(name, size=len(data), mtime=1).tobuf(tarfile.USTAR_FORMAT)[:512])
    block[156:] = kind + bytes(355)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + data + bytes(-len(data) % 512)


@pytest.mark.parametrize("pack", [lambda data: data, *PACKERS.values()])
def test_tars_without_a_mark_are_tars(unpack, tmp_path, pack):
    data = v7("bag/", b"") + b"".join(v7(*member) for member in BAG.items()) + bytes(1_024)
    assert b"ustar" not in data
    root = unpack(pack(data))
    assert (root / "data" / "a.txt").read_bytes() == b"one"
    assert is_archive(tmp_path / "archive")


def test_a_backslash_is_a_letter_as_in_a_folder(unpack):
    files = bag({"scan\\007f.txt": b"x", "plain.txt": b"y"})
    report = validate_bag(unpack(tar_of(*files.items())))
    assert {(found.code, found.severity) for found in report.findings} == {
        ("name-windows-character", Severity.WARNING),
        ("name-misread", Severity.WARNING),
    }


@pytest.mark.parametrize(
    ("mtime", "kept"),
    [
        (946_684_800, 946_684_800_000_000_000),
        ("946684800.123456789", 946_684_800_123_456_789),
        ("-1.5", -1_500_000_000),
    ],
)
def test_times_of_change_are_kept_to_the_last_digit(unpack, mtime, kept):
    member = info("bag/bagit.txt", pax_headers={"mtime": str(mtime)})
    assert (unpack(tar_of((member, b"x"))) / "bagit.txt").stat().st_mtime_ns == kept


@pytest.mark.parametrize("mtime", ["1e400", "nan", "9" * 40, "soon"])
def test_a_time_that_is_none_stops_nothing(unpack, mtime):
    member = info("bag/bagit.txt", pax_headers={"mtime": mtime})
    assert unpack(tar_of((member, b"x")))


def test_a_label_is_no_file_and_a_second_volume_is_told(unpack):
    label = (info("my label", type=b"V"), None)
    assert unpack(tar_of(label, *BAG.items(), form=tarfile.GNU_FORMAT)).name == "bag"
    rest = (info("bag/data/rest", type=b"M"), None)
    assert refusal(unpack, tar_of(*BAG.items(), rest)).code == "archive-volumes"


def test_a_size_below_nothing_does_not_go_round_in_circles(unpack):
    data = bytearray(tar_of(("bag/bagit.txt", b""), ("bag/data/a", b"x")))
    data[124:136] = b"\xff" * 11 + b"\0"  # base 256: below zero
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    assert refusal(unpack, bytes(data)).code == "archive-damaged"


def test_nothing_is_read_that_is_larger_than_it_may_be(unpack):
    """One read of 64 GiB would be asked of the memory first."""
    header = info("././@LongLink", type=tarfile.GNUTYPE_LONGNAME, size=64 << 30).tobuf(tarfile.GNU_FORMAT)
    assert refusal(unpack, header + bytes(2_048)).code == "archive-refused"


def test_what_comes_out_is_private(unpack):
    root = unpack(tar_of(*BAG.items(), link("bag/data/c", "bag/data/a.txt")))
    assert {stat.S_IMODE(path.stat().st_mode) for path in root.rglob("*") if path.is_file()} == {0o600}
