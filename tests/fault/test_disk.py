"""A disk that is full or read-only: said with its code, nothing half-made, reads go on, work resumes."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from heritage_ledger import Ledger
from heritage_ledger.errors import DiskProblem, ExitCode
from heritage_ledger.fixity.verdict import Outcome

SMALL = 12 << 20


@pytest.fixture
def small_disk(tmp_path):
    """A tmpfs of a few MiB; needs root."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    place = tmp_path / "disk"
    place.mkdir()
    options = f"size={SMALL},mode=0755"
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {done.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def _remount(place: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(place)], check=True)


def _home(place: Path) -> Path:
    home = place / "home"
    Ledger.init(home, institution="Museum", origin="museum.example/ledger/1", passphrase=None).close()
    return home


def _source(tmp_path: Path, name: str, size: int) -> Path:
    folder = tmp_path / name
    folder.mkdir()
    (folder / "file.bin").write_bytes(os.urandom(size))
    return folder


def _passes(home: Path) -> bool:
    with Ledger.open(home) as ledger:
        return all(verdict.outcome is Outcome.PASS for verdict in ledger.verify(deep=True))


def test_a_source_that_does_not_fit_is_refused_before_a_byte_is_copied(small_disk, tmp_path):
    home = _home(small_disk)
    with Ledger.open(home) as ledger, pytest.raises(DiskProblem) as caught:
        ledger.ingest(_source(tmp_path, "large", SMALL))
    assert caught.value.code == "disk-full"
    assert caught.value.exit_code is ExitCode.DISK
    assert list((home / "staging").iterdir()) == []
    assert list((home / "packages").iterdir()) == []


@pytest.mark.parametrize("room", [0, 100_000, 400_000, 700_000, 1_000_000, 1_060_000, 1_150_000, 1_300_000])
def test_a_disk_that_fills_up_on_the_way(small_disk, tmp_path, monkeypatch, room):
    home = _home(small_disk)
    source = _source(tmp_path, "source", 1_000_000)
    with Ledger.open(home) as ledger:
        first = ledger.ingest(_source(tmp_path, "first", 1_000), asset="urn:example:first")
        # the check before the copy is told that there is room, so that the disk fills up later
        monkeypatch.setattr("heritage_ledger.deposit.ingest.ROOM_TO_SPARE", -(1 << 40))
        free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
        ballast = small_disk / "ballast"
        with ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(free - room, 1))
        try:
            ledger.ingest(source, asset="urn:example:second")
            recorded = {"urn:example:first", "urn:example:second"}
        except DiskProblem as error:
            assert error.code == "disk-full"  # noqa: PT017 - full or not depends on the room
            recorded = {"urn:example:first"}
    ballast.unlink()
    with Ledger.open(home) as ledger:
        ledger.ingest(source, asset="urn:example:third")
        assert {asset.asset for asset in ledger.assets()} == recorded | {"urn:example:third"}
        assert ledger.show("urn:example:first").packages[0].folder == first.bag_path
    assert _passes(home)
    assert list((home / "staging").iterdir()) == []


def test_a_read_only_disk_can_be_read_and_verified(small_disk, tmp_path, monkeypatch):
    monkeypatch.setattr("heritage_ledger.deposit.ingest.ROOM_TO_SPARE", 0)
    home = _home(small_disk)
    source = _source(tmp_path, "source", 1_000)
    with Ledger.open(home) as ledger:
        ledger.ingest(source, asset="urn:example:kept")
    _remount(small_disk, "ro")
    try:
        assert _passes(home)
        with Ledger.open(home) as ledger:
            assert [asset.asset for asset in ledger.assets()] == ["urn:example:kept"]
            assert [verdict.outcome for verdict in ledger.verify()] == [Outcome.PASS]
            assert ledger.prove("urn:example:kept")
            with pytest.raises(DiskProblem) as caught:
                ledger.ingest(source)
        assert caught.value.code == "disk-read-only"
    finally:
        _remount(small_disk, "rw")
    with Ledger.open(home) as ledger:
        assert ledger.ingest(source, asset="urn:example:kept").version == 2


def test_no_room_for_a_home(small_disk):
    with (small_disk / "ballast").open("wb") as file:
        free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
        os.posix_fallocate(file.fileno(), 0, free - 8192)
    with pytest.raises(DiskProblem) as caught:
        _home(small_disk)
    assert caught.value.code == "disk-full"
    (small_disk / "ballast").unlink()
    assert _passes(_home(small_disk))


def test_a_snapshot_of_a_home_in_use_that_cannot_be_written_is_told_as_one(small_disk, tmp_path, monkeypatch):
    """Its -wal came along and its -shm did not: `verify --deep` reads it, the rest says what to do."""
    monkeypatch.setattr("heritage_ledger.deposit.ingest.ROOM_TO_SPARE", 0)
    home = _home(tmp_path)
    with Ledger.open(home) as ledger:
        ledger.ingest(_source(tmp_path, "source", 1_000), asset="urn:example:kept")
        list(ledger.assets())
        copy = small_disk / "copy"
        shutil.copytree(home, copy, ignore=shutil.ignore_patterns("*-shm"))
    assert (copy / "index.db-wal").stat().st_size
    _remount(small_disk, "ro")
    try:
        with Ledger.open(copy) as ledger:
            with pytest.raises(DiskProblem) as caught:
                list(ledger.assets())
            assert caught.value.code == "disk-read-only"
            assert "copy the home from the snapshot" in caught.value.advice
            assert any(verdict.outcome is Outcome.PASS for verdict in ledger.verify(deep=True))
    finally:
        _remount(small_disk, "rw")
    with Ledger.open(copy) as ledger:
        assert [asset.asset for asset in ledger.assets()] == ["urn:example:kept"]
