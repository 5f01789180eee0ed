"""Bags in archives through `adopt` and `verify --bag`: what comes in, what is told, what is left behind."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile

import pytest

from heritage_ledger.errors import DiskProblem, EvidenceInvalid, HeritageError, OperationFailed, ProblemsFound
from heritage_ledger.fixity import bag as fixity
from heritage_ledger.fixity.bag import verify_bag
from heritage_ledger.fixity.verdict import Outcome
from heritage_ledger.home.room import Room
from heritage_ledger.progress import Silent
from heritage_ledger.provenance.check import check_proof
from heritage_testkit.archives import FORMATS, PACKERS, bag, info, tar_of, zip_info, zip_of

FILES = bag({"a.txt": b"one\n", "deep/é.txt": b"two\n"})
ASSET = "urn:example:archived"


@pytest.fixture
def aside(tmp_path, monkeypatch):
    """Where temporary files lie; it is empty before and after."""
    folder = tmp_path / "aside"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield folder
    assert list(folder.iterdir()) == []


def written(folder, name, data):
    (folder / name).write_bytes(data)
    return folder / name


def staged(ledger):
    return list((ledger.home.root / "staging").iterdir())


@pytest.mark.parametrize("form", FORMATS)
def test_each_format_is_adopted_and_verified(ledger, tmp_path, aside, form):
    archive = written(tmp_path, f"bag.{form}", FORMATS[form](*FILES.items()))
    receipt = ledger.adopt(archive, asset=ASSET)
    assert receipt.files == 2
    assert {verdict.outcome for verdict in ledger.verify(deep=True)} == {Outcome.PASS}
    assert staged(ledger) == []
    verdict = verify_bag(archive)
    assert verdict.outcome is Outcome.PASS
    assert verdict.package_cid == receipt.package_cid
    assert verdict.subject == str(archive)


@pytest.mark.parametrize("form", ["tar.gz", "zip"])
def test_a_proof_is_checked_with_the_bag_in_an_archive(ledger, tmp_path, aside, form):
    ledger.adopt(written(tmp_path, "bag", FORMATS[form](*FILES.items())), asset=ASSET)
    keys = [key.vkey for key in ledger.log_keys()]
    proof = ledger.prove(ASSET)
    assert check_proof(proof, keys, bag=tmp_path / "bag").outcome is Outcome.PASS
    other = written(tmp_path, "other", FORMATS[form](*bag({"a.txt": b"other"}).items()))
    verdict = check_proof(proof, keys, bag=other)
    assert "package-cid" in {found.code for found in verdict.findings}


@pytest.mark.parametrize("form", FORMATS)
def test_a_damaged_file_in_an_archive_is_named_as_in_a_folder(tmp_path, aside, form):
    wrong = {**FILES, "bag/data/a.txt": b"0ne\n"}
    verdict = verify_bag(written(tmp_path, "bag", FORMATS[form](*wrong.items())))
    assert verdict.outcome is Outcome.FAIL
    assert [(found.code, found.path) for found in verdict.findings] == [("file-damaged", "data/a.txt")]


def test_our_own_second_version_packed_by_tar_is_adopted(ledger, tmp_path):
    """Versions share equal files by hard links; handing one on as a tar is the plain way."""
    source = tmp_path / "source"
    source.mkdir()
    for name in ("a.tif", "b.tif"):
        (source / name).write_bytes(b"x" * 5_000)
    ledger.ingest(source, asset=ASSET)
    (source / "c.tif").write_bytes(b"new")
    second = ledger.ingest(source, asset=ASSET)
    folder = second.bag_path
    members = [(info(str(path.relative_to(folder.parent))), path) for path in sorted(folder.rglob("*.*"))]
    first: dict[int, str] = {}
    packed = []
    for member, path in members:
        if path.is_file():
            known = first.setdefault(path.stat().st_ino, member.name)
            linked = known != member.name
            packed.append(
                (info(member.name, type=b"1", linkname=known), None)
                if linked
                else (member.name, path.read_bytes())
            )
    packed.append((info("2/data/z.tif", type=b"1", linkname="2/data/a.tif"), None))
    archive = written(tmp_path, "v2.tar", tar_of(*packed))
    with pytest.raises(ProblemsFound) as caught:  # the extra name shows that the link came out
        ledger.adopt(archive)
    assert {found.code for found in caught.value.findings if found.path == "data/z.tif"} == {"file-extra"}
    archive = written(tmp_path, "v2.tar", tar_of(*packed[:-1]))
    receipt = ledger.adopt(archive, asset="urn:example:handed-on")
    assert receipt.package_cid == second.package_cid


def test_what_lies_beside_the_bag_stands_in_the_receipt_and_the_verdict(ledger, tmp_path, aside):
    archive = written(tmp_path, "bag.zip", zip_of(("__MACOSX/._bag", b"x"), *FILES.items()))
    receipt = ledger.adopt(archive, asset=ASSET)
    assert [found.code for found in receipt.findings] == ["archive-left-out"]
    assert not list(receipt.bag_path.rglob("*MACOSX*"))
    verdict = verify_bag(archive)
    assert (verdict.outcome, [found.code for found in verdict.findings]) == (
        Outcome.PASS,
        ["archive-left-out"],
    )


def _folder_with_links(tmp_path):
    root = tmp_path / "linked"
    for name, data in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (root / "bag" / "data" / "broken").symlink_to("nowhere")
    (root / "bag" / "data" / "folder").symlink_to(tmp_path)
    os.mkfifo(root / "bag" / "data" / "pipe")
    return root / "bag"


LINKS = {
    "tar": lambda: tar_of(
        *FILES.items(),
        (info("bag/data/broken", type=b"2", linkname="nowhere"), None),
        (info("bag/data/folder", type=b"2", linkname="/tmp"), None),
        (info("bag/data/pipe", type=b"6"), None),
    ),
    "zip": lambda: zip_of(
        *FILES.items(),
        *((zip_info(f"bag/data/{name}", stat.S_IFLNK | 0o777), b"x") for name in ("broken", "folder")),
        (zip_info("bag/data/pipe", stat.S_IFIFO), b""),
    ),
}


@pytest.mark.parametrize("form", ["folder", *LINKS])
def test_every_link_and_special_file_is_named_at_once(ledger, tmp_path, form):
    bag_at = _folder_with_links(tmp_path) if form == "folder" else written(tmp_path, "x", LINKS[form]())
    with pytest.raises((ProblemsFound, EvidenceInvalid)) as caught:
        ledger.adopt(bag_at)
    assert [(found.code, found.path.rpartition("/")[2]) for found in caught.value.findings] == [
        ("bag-link", "broken"),
        ("bag-link", "folder"),
        ("bag-special", "pipe"),
    ]
    assert staged(ledger) == []


def test_times_of_change_come_from_archives_as_from_folders(ledger, tmp_path):
    moment = 946_684_800_500_000_000
    members = [(info(name, pax_headers={"mtime": "946684800.5"}), data) for name, data in FILES.items()]
    receipt = ledger.adopt(written(tmp_path, "bag.tar", tar_of(*members)), asset=ASSET)
    assert {path.stat().st_mtime_ns for path in (receipt.bag_path / "data").rglob("*.txt")} == {moment}


@pytest.mark.parametrize("form", FORMATS)
def test_an_archive_is_one_file_for_ingest(ledger, tmp_path, form):
    archive = written(tmp_path, f"bag.{form}", FORMATS[form](*FILES.items()))
    receipt = ledger.ingest(archive, asset=ASSET)
    assert (receipt.bag_path / "data" / f"bag.{form}").read_bytes() == archive.read_bytes()


@pytest.mark.parametrize("packer", PACKERS)
def test_a_cut_upload_is_told_and_leaves_nothing(ledger, tmp_path, aside, packer):
    archive = written(tmp_path, "bag", PACKERS[packer](tar_of(*FILES.items()))[:-3])
    for take in (ledger.adopt, verify_bag):
        with pytest.raises(EvidenceInvalid) as caught:
            take(archive)
        assert caught.value.code == "archive-damaged"
    assert staged(ledger) == []


class Interrupted(Silent):
    def begin(self, phase, **rest):
        if phase == "verify":
            raise KeyboardInterrupt


def test_nothing_is_left_aside_after_an_interruption(tmp_path, aside):
    archive = written(tmp_path, "bag.zip", zip_of(*FILES.items()))
    with pytest.raises(KeyboardInterrupt):
        verify_bag(archive, progress=Interrupted())


def test_what_does_not_fit_aside_is_told_before_it_is_written(tmp_path, aside, monkeypatch):
    real = fixity.extract
    monkeypatch.setattr(
        fixity, "extract", lambda archive, folder: real(archive, folder, room=Room(10_000, 1 << 20))
    )
    archive = written(tmp_path, "bag.zip", zip_of(*FILES.items(), ("bag/data/big", bytes(100_000))))
    with pytest.raises(DiskProblem) as caught:
        verify_bag(archive)
    assert caught.value.code == "disk-full"


def test_without_a_wish_the_place_with_most_room_is_taken(tmp_path, monkeypatch):
    small, large = tmp_path / "small", tmp_path / "large"
    for folder in (small, large):
        folder.mkdir()
    monkeypatch.delenv("TMPDIR", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(small))
    monkeypatch.setattr(fixity, "_LARGE", large)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(
        fixity.shutil, "disk_usage", lambda path: usage._replace(free=10 if path == small else 20)
    )
    with fixity._aside() as folder:
        assert folder.parent == large
    assert list(large.iterdir()) == []


@pytest.mark.parametrize(
    "data", [b"", b"text", b"Rar!\x1a\x07\x00" + bytes(600), zip_of(("a", b"x"), ("b", b"y"))]
)
def test_what_is_no_bag_is_told(ledger, tmp_path, aside, data):
    archive = written(tmp_path, "x", data)
    for take in (ledger.adopt, verify_bag):
        with pytest.raises(HeritageError) as caught:
            take(archive)
        assert isinstance(caught.value, OperationFailed)
        assert caught.value.code in {"not-a-bag", "archive-format"}
