"""What others pack comes out here as it does with them: GNU tar, bsdtar, Info-ZIP, 7-Zip, zstd."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from heritage_ledger.bags.archives.unpack import extract
from heritage_ledger.bags.validate import validate_bag
from heritage_ledger.errors import EvidenceInvalid
from heritage_testkit.archives import bag

pytestmark = pytest.mark.external

NAMES = [
    "plain.txt",
    "Montréal/né.txt",
    "日本.txt",
    "with space ",
    "%25.txt",
    "-rf",
    "quote'\".txt",
    "new\nline",
]
PAYLOAD = {name.replace("\n", "%0A").replace("%25", "%2525"): name.encode() * 50 for name in NAMES}
SECOND = 946_684_801

PACK = {
    "gnu.tar": ["tar", "-cf", "{out}", "bag"],
    "gnu.pax.tar": ["tar", "--format=pax", "-cf", "{out}", "bag"],
    "gnu.v7.tar": ["tar", "--format=v7", "-cf", "{out}", "bag"],
    "gnu.ustar.tar": ["tar", "--format=ustar", "-cf", "{out}", "bag"],
    "gnu.sparse.tar": ["tar", "-S", "-cf", "{out}", "bag"],
    "gnu.labelled.tar": ["tar", "-V", "deposit 7", "-cf", "{out}", "bag"],
    "gnu.tar.gz": ["tar", "-czf", "{out}", "bag"],
    "gnu.tar.xz": ["tar", "-cJf", "{out}", "bag"],
    "gnu.tar.bz2": ["tar", "-cjf", "{out}", "bag"],
    "gnu.tar.zst": ["tar", "--zstd", "-cf", "{out}", "bag"],
    "bsd.tar": ["bsdtar", "-cf", "{out}", "bag"],
    "bsd.pax.tar.xz": ["bsdtar", "--format=pax", "-cJf", "{out}", "bag"],
    "bsd.zip": ["bsdtar", "--format=zip", "-cf", "{out}", "bag"],
    "bsd.7z": ["bsdtar", "--format=7zip", "-cf", "{out}", "bag"],
    "info.zip": ["zip", "-qr", "{out}", "bag"],
    "info.stored.zip": ["zip", "-0qr", "{out}", "bag"],
    "seven.zip": ["7z", "a", "-bd", "-tzip", "{out}", "bag"],
    "seven.7z": ["7z", "a", "-bd", "{out}", "bag"],
    "seven.bzip2.7z": ["7z", "a", "-bd", "-m0=bzip2", "{out}", "bag"],
    "seven.files.7z": ["7z", "a", "-bd", "-ms=off", "{out}", "bag"],
}
UNPACK = {
    "tar": ["tar", "-xf", "{out}"],
    "zip": ["unzip", "-q", "{out}"],
    "7z": ["7z", "x", "-bd", "{out}"],
}


def run(command: list[str], folder, out) -> None:
    if shutil.which(command[0]) is None:
        message = f"{command[0]} is not installed"
        pytest.skip(message)
    words = [word.format(out=out) for word in command]
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    subprocess.run(words, cwd=folder, check=True, capture_output=True, env=environment)


@pytest.fixture
def source(tmp_path):
    for name, data in bag(PAYLOAD).items():
        path = tmp_path / name.replace("%0A", "\n").replace("%25", "%")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, (SECOND, SECOND))
    return tmp_path


def tree(root) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(root)): (path.read_bytes(), int(path.stat().st_mtime))
        for path in root.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("name", PACK)
def test_what_they_pack_comes_out_whole(source, tmp_path, name):
    out, here, there = tmp_path / name, tmp_path / "here", tmp_path / "there"
    run(PACK[name], source, out)
    here.mkdir()
    there.mkdir()
    root = extract(out, here).root
    assert validate_bag(root).is_valid
    ours = tree(root)
    assert ours == tree(source / "bag")
    kind = name.rpartition(".")[2] if name.endswith((".zip", ".7z")) else "tar"
    run(UNPACK[kind], there, out)
    theirs = {path.replace("\n", ""): data for path, (data, _) in tree(there / "bag").items()}
    assert theirs == {path.replace("\n", ""): data for path, (data, _) in ours.items()}  # unzip drops them


SPLIT = {
    "7z": (["7z", "a", "-bd", "-v5k", "{out}", "bag"], "bag.7z.001"),
    "zip": (["zip", "-qr", "-s", "64k", "{out}", "bag"], "bag.zip"),
    "tar": (["split", "-b", "20k", "bag.tar", "bag.tar."], "bag.tar.aa"),
}


@pytest.mark.parametrize("form", SPLIT)
def test_one_volume_of_several_is_never_taken_for_the_whole(source, form):
    (source / "bag" / "data" / "noise").write_bytes(os.urandom(300_000))
    command, first = SPLIT[form]
    if form == "tar":
        run(PACK["gnu.tar"], source, source / "bag.tar")
    run(command, source, source / f"bag.{form}")
    (source / "here").mkdir()
    with pytest.raises(EvidenceInvalid) as caught:
        extract(source / first, source / "here")
    assert caught.value.code == ("archive-damaged" if form == "tar" else "archive-volumes")


ENCRYPTED = {
    "plain.zip": ["zip", "-qr", "-P", "secret", "{out}", "bag"],
    "aes.zip": ["7z", "a", "-bd", "-tzip", "-psecret", "-mem=AES256", "{out}", "bag"],
    "plain.7z": ["7z", "a", "-bd", "-psecret", "{out}", "bag"],
    "names.7z": ["7z", "a", "-bd", "-psecret", "-mhe=on", "{out}", "bag"],
}


@pytest.mark.parametrize("name", ENCRYPTED)
def test_what_they_encrypt_is_told(source, name):
    run(ENCRYPTED[name], source, source / name)
    (source / "here").mkdir()
    with pytest.raises(EvidenceInvalid) as caught:
        extract(source / name, source / "here")
    assert caught.value.code == "archive-encrypted"


def test_a_window_of_zstd_that_is_too_long_is_told(source):
    run(PACK["gnu.tar"], source, source / "bag.tar")
    with (source / "bag.tar").open("rb") as plain, (source / "bag.zst").open("wb") as packed:
        if shutil.which("zstd") is None:
            pytest.skip("zstd is not installed")
        subprocess.run(["zstd", "-q", "--long=31"], stdin=plain, stdout=packed, check=True)
    (source / "here").mkdir()
    with pytest.raises(EvidenceInvalid) as caught:
        extract(source / "bag.zst", source / "here")
    assert caught.value.code == "archive-memory"
