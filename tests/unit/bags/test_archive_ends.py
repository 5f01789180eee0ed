"""What a container says about its own end is checked: a cut upload is told, in every format."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import lzma
import tarfile
from pathlib import Path

import pytest

from heritage_ledger.bags.archives.unpack import extract, is_archive
from heritage_ledger.errors import HeritageError
from heritage_testkit.archives import FORMATS, PACKERS, bag, tar_of, zip_of, zstd_of

BAG = bag({"a.txt": b"one", "sub/b.bin": bytes(range(256)) * 9})
SHORT = tar_of(*BAG.items())
END = len(SHORT.rstrip(b"\0")) // tarfile.BLOCKSIZE * tarfile.BLOCKSIZE + tarfile.BLOCKSIZE
"""Where the two blocks of zeros begin."""


@pytest.fixture
def outcome(tmp_path):
    """`ok`, or the code of the refusal."""
    made = iter(range(1 << 20))

    def run(data: bytes) -> str:
        archive, folder = tmp_path / "archive", tmp_path / f"out-{next(made)}"
        archive.write_bytes(data)
        folder.mkdir()
        try:
            root = extract(archive, folder).root
        except HeritageError as error:
            return error.code
        found = {str(path.relative_to(root.parent)): path.read_bytes() for path in root.rglob("*.*")}
        assert found == BAG
        return "ok"

    return run


@pytest.mark.parametrize("form", FORMATS)
def test_a_whole_one_is_whole(outcome, tmp_path, form):
    assert outcome(FORMATS[form](*BAG.items())) == "ok"
    assert is_archive(tmp_path / "archive")


@pytest.mark.parametrize("form", [form for form in FORMATS if form != "tar"])
def test_any_of_the_last_bytes_cut_off_is_told(outcome, form):
    data = FORMATS[form](*BAG.items())
    assert {cut: outcome(data[:-cut]) for cut in range(1, 40)} == dict.fromkeys(
        range(1, 40), "archive-damaged"
    )


@pytest.mark.parametrize("form", [*(f"tar.{name}" for name in PACKERS), "7z"])
def test_any_flipped_bit_of_the_trailer_is_told(outcome, form):
    data = FORMATS[form](*BAG.items())
    for at in range(1, 9 if form != "tar.zst" else 5):
        for bit in range(8):
            wrong = bytearray(data)
            wrong[-at] ^= 1 << bit
            assert (at, bit, outcome(bytes(wrong))) == (
                at,
                bit,
                "ok" if form == "tar.bz2" and at == 1 and _is_padding(data, bit) else "archive-damaged",
            )


def _is_padding(data: bytes, bit: int) -> bool:
    """bzip2 fills its last byte up with bits that mean nothing."""
    wrong = bytearray(data)
    wrong[-1] ^= 1 << bit
    try:
        return bz2.decompress(bytes(wrong)) == bz2.decompress(data)
    except OSError:
        return False


@pytest.mark.parametrize("form", ["zip", "stored.zip", "7z", *(f"tar.{name}" for name in PACKERS)])
def test_something_behind_the_end_is_told(outcome, form):
    data = FORMATS[form](*BAG.items())
    assert outcome(data + b"rest of another upload") == "archive-damaged"


@pytest.mark.parametrize("name", PACKERS)
def test_streams_one_after_another_are_one(outcome, name):
    pack, middle = PACKERS[name], 3_000
    assert outcome(pack(SHORT[:middle]) + pack(b"") + pack(SHORT[middle:])) == "ok"
    assert outcome(pack(SHORT[:middle]) + pack(SHORT[middle:])[:-1]) == "archive-damaged"
    assert outcome(pack(SHORT) + bytes(1_024)) == "ok"
    assert outcome(pack(SHORT) + bytes(1_024) + b"x") == "archive-damaged"


@pytest.mark.parametrize("pack", [lambda data: data, *PACKERS.values()])
def test_a_tar_ends_with_two_blocks_of_zeros(outcome, pack):
    assert outcome(pack(SHORT[: END + 1_024])) == "ok"
    for length in (END + 1_023, END + 513, END + 512, END + 511, END + 1, END, END - 1, END - 512):
        assert (length, outcome(pack(SHORT[:length]))) == (length, "archive-damaged")


def test_a_tar_is_a_whole_number_of_blocks(outcome):
    for cut in (1, 100, 511, 513):
        assert (cut, outcome(SHORT[:-cut])) == (cut, "archive-damaged")
    assert outcome(SHORT[:-512]) == "ok"
    assert outcome(SHORT + bytes(700)) == "archive-damaged"


def test_what_stands_in_a_tars_last_record_is_undefined(outcome):
    """POSIX: the last record may hold anything behind the end mark, as old tapes do."""
    assert outcome(SHORT[:-512] + b"old buffer".ljust(512, b".")) == "ok"
    assert outcome(SHORT + b"x".ljust(512, b"\0")) == "archive-damaged"
    assert outcome(SHORT + bytes(1 << 20)) == "ok"


def test_a_second_tar_behind_the_end_is_not_passed_over(outcome):
    assert outcome(SHORT + tar_of(("bag/data/lost", b"x"))) == "archive-damaged"
    assert outcome(SHORT[: END + 1_024] + tar_of(("bag/data/lost", b"x"))) == "archive-damaged"


def test_a_broken_header_is_no_end(outcome):
    at = SHORT.index(b"bag/data/a.txt")
    wrong = bytearray(SHORT)
    wrong[at] ^= 1
    assert outcome(bytes(wrong)) == "archive-damaged"
    assert outcome(SHORT[:at] + b"x" * 512 + SHORT[at + 512 :]) == "archive-damaged"


def test_a_zip_whose_end_counts_others_is_told(outcome):
    data = bytearray(zip_of(*BAG.items()))
    at = data.rfind(b"PK\x05\x06")
    data[at + 10] += 1
    assert outcome(bytes(data)) == "archive-damaged"


def test_the_sums_are_those_of_the_formats():
    """The packers of these tests write the check sums that are cut and flipped."""
    assert gzip.decompress(gzip.compress(SHORT)) == SHORT
    assert lzma.decompress(lzma.compress(SHORT)) == SHORT
    with pytest.raises(lzma.LZMAError):
        lzma.decompress(lzma.compress(SHORT)[:-1])
    assert zstd_of(b"")[4] & 4


@pytest.mark.parametrize("form", FORMATS)
def test_a_disk_that_cannot_be_read_is_not_called_damage(tmp_path, monkeypatch, form):
    """Each read in turn fails; whatever is told, it is not that the archive is wrong."""
    archive = tmp_path / "archive"
    archive.write_bytes(FORMATS[form](*BAG.items()) if form != "tar" else SHORT + bytes(1 << 17))
    reads = []

    class Failing(io.FileIO):
        fails = 0

        def readinto(self, buffer, /):
            reads.append(1)
            if len(reads) == self.fails:
                raise OSError(errno.EIO, "Input/output error")
            return super().readinto(buffer)

    real = Path.open
    monkeypatch.setattr(
        Path,
        "open",
        lambda path, *words, **rest: Failing(path) if path == archive else real(path, *words, **rest),
    )
    codes = set()
    for Failing.fails in range(1, 30):
        reads.clear()
        folder = tmp_path / f"failing-{Failing.fails}"
        folder.mkdir()
        try:
            extract(archive, folder)
        except HeritageError as error:
            codes.add(error.code)
    assert codes == {"archive-unreadable"}
