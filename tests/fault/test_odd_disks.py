"""File systems that lack what others have: stable inode numbers, hard links. Real ones, through FUSE."""

from __future__ import annotations

import errno
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from heritage_ledger import Ledger
from heritage_ledger.errors import OperationFailed
from heritage_ledger.fixity.verdict import Outcome
from heritage_ledger.home.durable import link_file, name_new, write_file
from heritage_testkit.passthrough import passed_through
from heritage_testkit.restores import need_root, run

ASSET = "urn:example:odd"
NO_LINKS = [errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK]


def _fill(folder: Path) -> Path:
    (folder / "below").mkdir(parents=True)
    for number in range(3):
        (folder / f"scan {number}.tif").write_bytes(os.urandom(5_000))
    (folder / "below" / "notes.txt").write_text("notes")
    return folder


def _init(home: Path) -> Ledger:
    return Ledger.init(home, institution="Museum", origin="museum.example/ledger/1", passphrase=None)


def _sound(ledger) -> bool:
    return all(verdict.outcome is Outcome.PASS for verdict in ledger.verify(deep=True))


@pytest.fixture
def unstable(tmp_path):
    """A source whose inode numbers are new at each look."""
    with passed_through(_fill(tmp_path / "real"), tmp_path / "source", inodes=False) as place:
        assert (place / "below").stat().st_ino != (place / "below").stat().st_ino
        yield place


def test_a_source_without_stable_numbers_is_taken_in(tmp_path, unstable):
    with _init(tmp_path / "home") as ledger:
        receipt = ledger.ingest(unstable, asset=ASSET)
        again = ledger.ingest(unstable, asset=ASSET)
        assert (receipt.files, again.version) == (4, 2)
        assert [finding.code for finding in receipt.findings] == []
        assert _sound(ledger)


def test_what_such_a_source_gives_up_is_what_was_read(tmp_path, unstable):
    with _init(tmp_path / "home") as ledger:
        receipt = ledger.ingest(unstable, asset=ASSET, move=True)
        assert not list((tmp_path / "real").iterdir())
        assert receipt.findings == ()
        assert (receipt.bag_path / "data" / "below" / "notes.txt").read_text() == "notes"
        assert _sound(ledger)


def test_what_such_a_source_has_instead_stays_and_is_told(tmp_path, unstable, monkeypatch):
    """Another file of the same size and time: only its bytes tell."""
    real = tmp_path / "real" / "below" / "notes.txt"
    times = real.stat().st_atime_ns, real.stat().st_mtime_ns
    rename = os.rename

    def replaced(path, *words):
        if os.fsencode(path).endswith(b"source/below/notes.txt"):
            real.write_text("other")
            os.utime(real, ns=times)
        return rename(path, *words)

    monkeypatch.setattr(os, "rename", replaced)
    with _init(tmp_path / "home") as ledger:
        receipt = ledger.ingest(unstable, asset=ASSET, move=True)
        assert [(one.code, one.path) for one in receipt.findings] == [("source-kept", "below/notes.txt")]
        assert [path.read_text() for path in (tmp_path / "real").rglob("*") if path.is_file()] == ["other"]
        assert (receipt.bag_path / "data" / "below" / "notes.txt").read_text() == "notes"
        assert _sound(ledger)


def _live(home: Path, backup: Path, source: Path) -> None:
    """The whole life of a home, on whatever it lies."""
    with _init(home) as ledger:
        first = ledger.ingest(source, asset=ASSET)
        second = ledger.ingest(source, asset=ASSET)
        assert (first.shared, second.version) == (0, 2)
        ledger.adopt(first.bag_path, asset="urn:example:adopted")
        assert _sound(ledger)
        assert [stage for stage in ledger.doctor() if stage.outcome is Outcome.FAIL] == []
        ledger.backup(backup)
    with Ledger.open(home) as ledger:
        assert len(list(ledger.assets())) == 2
        ledger.ingest(source, asset=ASSET, move=True)
        assert not source.exists() or not any(source.rglob("*.tif"))
        ledger.backup(backup)
        assert _sound(ledger)
    assert not list(home.rglob(".*.tmp"))
    with Ledger.restore(backup, home.with_name("again")) as ledger:
        assert _sound(ledger)


def test_a_home_is_refused_where_numbers_are_not_stable(tmp_path):
    with passed_through(tmp_path / "real", tmp_path / "disk", inodes=False) as disk:
        with pytest.raises(OperationFailed) as caught:
            _init(disk / "homes" / "home")
        assert caught.value.code == "disk-numbers"
        assert list(disk.iterdir()) == []


def test_a_name_that_is_taken_is_refused_without_hard_links_too(tmp_path):
    with passed_through(tmp_path / "real", tmp_path / "disk", links=errno.EPERM) as disk:
        (disk / "taken").write_text("kept")
        (disk / "new").write_text("new")
        with pytest.raises(FileExistsError):
            name_new(disk / "new", disk / "taken")
        assert ((disk / "taken").read_text(), (disk / "new").read_text()) == ("kept", "new")
        name_new(disk / "new", disk / "free")
        assert ((disk / "free").read_text(), (disk / "new").exists()) == ("new", False)
        assert not link_file(disk / "free", disk / "other")
        write_file(disk / "file", b"one")
        with pytest.raises(OperationFailed) as caught:
            write_file(disk / "file", b"two")
        assert caught.value.code == "file-exists"
        assert sorted(path.name for path in disk.iterdir()) == ["file", "free", "taken"]


def test_of_several_that_take_one_name_without_hard_links_one_does(tmp_path):
    with passed_through(tmp_path / "real", tmp_path / "disk", links=errno.EPERM) as disk:

        def take(number: int) -> bool:
            (disk / f"new {number}").write_text(str(number))
            try:
                name_new(disk / f"new {number}", disk / "name")
            except FileExistsError:
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            taken = [number for number, done in enumerate(pool.map(take, range(24))) if done]
        assert [(disk / "name").read_text()] == [str(number) for number in taken]


@pytest.mark.parametrize("code", NO_LINKS, ids=errno.errorcode.get)
def test_a_home_lives_where_there_are_no_hard_links(tmp_path, code):
    source = _fill(tmp_path / "source")
    with passed_through(tmp_path / "real", tmp_path / "disk", links=code) as disk:
        (disk / "a").write_text("a")
        with pytest.raises(OSError, match="disk/a") as caught:
            (disk / "b").hardlink_to(disk / "a")
        assert caught.value.errno in {code, errno.EPERM}  # the kernel says EPERM for ENOSYS
        _live(disk / "home", disk / "backup", source)


def test_a_home_lives_on_exfat(tmp_path):
    need_root("mkfs.exfat", "mount.exfat-fuse", "losetup")
    image, disk = tmp_path / "disk.img", tmp_path / "disk"
    run("truncate", "-s", "96M", image)
    run("mkfs.exfat", image)
    disk.mkdir()
    loop = subprocess.check_output(["losetup", "-f", "--show", image], text=True).strip()
    try:
        run("mount.exfat-fuse", "-o", "umask=0077", loop, disk)  # the mount says which modes files have
        try:
            _live(disk / "home", disk / "backup", _fill(tmp_path / "source"))
            (tmp_path / "source" / "below").mkdir(parents=True)
            (tmp_path / "source" / "below" / "a:b?.txt").write_text("x")
            with Ledger.open(disk / "home") as ledger:
                with pytest.raises(OperationFailed) as caught:
                    ledger.ingest(tmp_path / "source", asset=ASSET)
                assert (caught.value.code, caught.value.path) == ("source-name-refused", "below/a:b?.txt")
                assert _sound(ledger)
        finally:
            run("umount", "-l", disk)
    finally:
        run("losetup", "-d", loop)
