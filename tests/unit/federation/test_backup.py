"""A backup is taken from a home in use, holds what is whole, and gives back a home that signs nothing."""

import secrets
import shutil
import subprocess
import threading

import pytest

from heritage_ledger import Ledger
from heritage_ledger.errors import (
    DiskProblem,
    EvidenceInvalid,
    EvidenceMissing,
    HeritageError,
    HomeLocked,
    OperationFailed,
)
from heritage_ledger.federation import backup
from heritage_ledger.federation.backup_files import read_note
from heritage_ledger.home import lock
from heritage_ledger.home.layout import Home
from heritage_ledger.home.marks import read_unsure
from heritage_testkit.restores import need_root
from heritage_testkit.running import make_home, running

ORIGIN = "museum.example/ledger/1"


@pytest.fixture
def home(tmp_path):
    with Ledger.init(tmp_path / "home", institution="Museum", origin=ORIGIN, passphrase=None):
        pass
    return tmp_path / "home"


def deposit(home, tmp_path, *, asset="urn:example:1", text="page"):
    folder = tmp_path / "source"
    folder.mkdir(exist_ok=True)
    (folder / "same.txt").write_text("the same in every version")
    (folder / "page.txt").write_text(text)
    with Ledger.open(home) as ledger:
        return ledger.ingest(folder, asset=asset)


def back_up(home, folder):
    with Ledger.open(home) as ledger:
        return ledger.backup(folder)


def is_whole(home):
    with Ledger.open(home) as ledger:
        return [
            verdict.subject for verdict in ledger.verify(deep=True) if verdict.outcome.value != "pass"
        ] == []


def test_a_backup_grows_by_what_is_new_and_gives_everything_back(home, tmp_path):
    deposit(home, tmp_path, text="1")
    first = back_up(home, tmp_path / "backup")
    assert (first.size, first.copied, first.held, first.findings) == (2, 1, 0, ())
    deposit(home, tmp_path, text="2")
    second = back_up(home, tmp_path / "backup")
    assert (second.size, second.copied, second.held) == (3, 1, 1)
    third = back_up(home, tmp_path / "backup")
    assert (third.size, third.copied, third.held, third.bytes) == (3, 0, 2, 0)
    assert read_note(tmp_path / "backup").size == 3
    with Ledger.restore(tmp_path / "backup", tmp_path / "again") as ledger:
        assert ledger.checkpoint() == Ledger.open(home).checkpoint()
        assert sorted(one.asset for one in ledger.assets()) == ["urn:example:1"]
    assert is_whole(tmp_path / "again")
    versions = tmp_path / "again" / "packages"
    one, two = sorted(versions.glob("*/*/data/same.txt"))
    assert one.stat().st_ino == two.stat().st_ino  # shared in the home, the backup, and the home again
    assert one.stat().st_mtime_ns == next((home / "packages").glob("*/1/data/same.txt")).stat().st_mtime_ns


def test_a_restored_home_signs_nothing_before_it_is_known_to_be_the_newest(home, tmp_path):
    deposit(home, tmp_path)
    back_up(home, tmp_path / "backup")
    Ledger.restore(tmp_path / "backup", tmp_path / "again").close()
    with pytest.raises(EvidenceMissing) as caught:
        deposit(tmp_path / "again", tmp_path)
    assert caught.value.code == "log-unsure"
    with Ledger.open(tmp_path / "again") as ledger:
        assert ledger.recover(newest=True).size == 2
    assert deposit(tmp_path / "again", tmp_path).log_index == 2
    assert read_unsure(Home(tmp_path / "again")).all_floors


def test_a_damaged_bag_never_replaces_a_good_one_and_never_comes_in(home, tmp_path):
    place = deposit(home, tmp_path).bag_path
    back_up(home, tmp_path / "backup")
    other = deposit(home, tmp_path, asset="urn:example:2").bag_path
    for bag in (place, other):
        (bag / "data").chmod(0o755)
        (bag / "data" / "page.txt").chmod(0o644)
        (bag / "data" / "page.txt").write_text("rot")
    done = back_up(home, tmp_path / "backup")
    assert (done.copied, done.held) == (0, 1)
    assert {one.code for one in done.findings} & {"digest-mismatch", "file-changed", "package-cid", "digest"}
    kept = tmp_path / "backup" / place.relative_to(home)
    assert (kept / "data" / "page.txt").read_text() == "page"
    assert not (tmp_path / "backup" / other.relative_to(home)).exists()


def test_a_backup_is_no_home(home, tmp_path):
    deposit(home, tmp_path)
    back_up(home, tmp_path / "backup")
    with pytest.raises(OperationFailed) as caught:
        deposit(tmp_path / "backup", tmp_path)
    assert caught.value.code == "home-is-backup"
    with Ledger.open(tmp_path / "backup") as ledger:
        assert [one.asset for one in ledger.assets()] == ["urn:example:1"]


@pytest.mark.parametrize("place", ["home", "home/inside", ".", "other"])
def test_a_backup_goes_only_where_it_can_do_no_harm(home, tmp_path, place):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.odt").write_text("mine")
    with pytest.raises(OperationFailed) as caught:
        back_up(home, tmp_path / place)
    assert caught.value.code == "backup-foreign"
    assert (tmp_path / "other" / "thesis.odt").read_text() == "mine"


def test_a_backup_of_another_log_is_left_alone(home, tmp_path):
    back_up(home, tmp_path / "backup")
    with Ledger.init(
        tmp_path / "b", institution="Archive", origin="archive.example/ledger/1", passphrase=None
    ):
        pass
    with pytest.raises(OperationFailed):
        back_up(tmp_path / "b", tmp_path / "backup")
    assert read_note(tmp_path / "backup").origin == ORIGIN


def test_what_was_cut_off_is_finished_by_the_next(home, tmp_path, monkeypatch):
    deposit(home, tmp_path)
    monkeypatch.setattr(backup._Backup, "take_rest", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        back_up(home, tmp_path / "backup")
    with pytest.raises(EvidenceMissing):
        Ledger.restore(tmp_path / "backup", tmp_path / "again")
    monkeypatch.undo()
    assert back_up(home, tmp_path / "backup").held == 1
    Ledger.restore(tmp_path / "backup", tmp_path / "again").close()
    assert is_whole(tmp_path / "again")


STEPS = ("begin", "take_heads", "take_logs", "take_bags", "take_rest", "finish")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_killed_at_any_step_it_is_the_backup_before_it_or_the_new_one(
    home, tmp_path, monkeypatch, step, when
):
    deposit(home, tmp_path, text="1")
    back_up(home, tmp_path / "backup")
    deposit(home, tmp_path, text="2")
    real = getattr(backup._Backup, step)

    def killed(self, **how):
        if when == "after":
            real(self, **how)
        raise KeyboardInterrupt

    monkeypatch.setattr(backup._Backup, step, killed)
    with pytest.raises(KeyboardInterrupt):
        back_up(home, tmp_path / "backup")
    monkeypatch.undo()
    with Ledger.restore(tmp_path / "backup", tmp_path / "then") as ledger:
        assert ledger.log_size() in {2, 3}  # the entry may be there before its bag: then that is told
    with Ledger.open(tmp_path / "then") as ledger:
        ledger.recover(newest=True)
    with Ledger.open(tmp_path / "then") as ledger:
        wrong = {one.code for verdict in ledger.verify(deep=True) for one in verdict.findings}
    assert wrong <= {"package-missing"}
    assert back_up(home, tmp_path / "backup").size == 3
    with Ledger.restore(tmp_path / "backup", tmp_path / "now") as ledger:
        assert ledger.log_size() == 3
    assert is_whole(tmp_path / "now")


def test_what_rotted_in_the_backup_is_found_when_it_is_read(home, tmp_path):
    place = deposit(home, tmp_path).bag_path
    back_up(home, tmp_path / "backup")
    kept = tmp_path / "backup" / place.relative_to(home) / "data" / "page.txt"
    kept.parent.chmod(0o755)
    kept.chmod(0o644)
    kept.write_text("rot!")
    assert back_up(home, tmp_path / "backup").copied == 0  # it says that it holds it, and has not looked
    with Ledger.open(home) as ledger:
        done = ledger.backup(tmp_path / "backup", check=True)
    assert (done.copied, done.held) == (1, 0)
    assert kept.read_text() == "page"
    assert [path.read_text() for path in (tmp_path / "backup").rglob("page.txt") if path != kept] == ["rot!"]


def test_one_backup_writes_at_a_time(home, tmp_path):
    back_up(home, tmp_path / "backup")
    with lock.hold(tmp_path / "backup" / backup.LOCK), pytest.raises(HomeLocked):
        back_up(home, tmp_path / "backup")


def test_a_backup_that_is_newer_than_the_home_is_left_alone(home, tmp_path):
    deposit(home, tmp_path, text="1")
    shutil.copytree(home, tmp_path / "older")
    deposit(home, tmp_path, text="2")
    back_up(home, tmp_path / "backup")
    with pytest.raises(OperationFailed) as caught:
        back_up(tmp_path / "older", tmp_path / "backup")
    assert caught.value.code == "backup-newer"
    assert read_note(tmp_path / "backup").size == 3


def test_a_backup_that_was_copied_over_a_home_is_told_and_made_a_home_again(home, tmp_path):
    deposit(home, tmp_path, text="1")
    back_up(home, tmp_path / "backup")
    deposit(home, tmp_path, text="2")
    subprocess.run(["cp", "-a", f"{tmp_path / 'backup'}/.", home], check=True)
    with pytest.raises(OperationFailed) as caught:
        deposit(home, tmp_path, text="3")
    assert caught.value.code == "home-is-backup"
    with Ledger.open(home) as ledger:
        codes = {finding.code for stage in ledger.doctor() for finding in stage.findings}
        assert "home-is-backup" in codes
    with Ledger.open(home) as ledger:
        ledger.recover(newest=True)
    assert deposit(home, tmp_path, text="4").log_index in {2, 3}
    assert is_whole(home)


def test_a_home_in_use_is_backed_up_at_one_moment(home, tmp_path):
    deposit(home, tmp_path)
    stop = threading.Event()
    taken = []

    def write():
        while not stop.is_set():
            taken.append(deposit(home, tmp_path, asset=f"urn:example:{len(taken) + 10}").log_index)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for at in range(4):
            back_up(home, tmp_path / "backup")
            Ledger.restore(tmp_path / "backup", tmp_path / f"again-{at}").close()
            assert is_whole(tmp_path / f"again-{at}")
    finally:
        stop.set()
        writer.join()
    assert len(taken) > 1


@pytest.mark.parametrize("note", [b"", b"{}", b'{"version": 2}', b"[]"])
def test_a_note_that_cannot_be_read_is_no_backup(tmp_path, note):
    (tmp_path / "backup").mkdir()
    (tmp_path / "backup" / "backup.json").write_bytes(note)
    with pytest.raises(EvidenceInvalid) as caught:
        read_note(tmp_path / "backup")
    assert caught.value.code == "backup-damaged"


def test_restore_refuses_a_folder_with_something_in_it(home, tmp_path):
    back_up(home, tmp_path / "backup")
    for place in (home, tmp_path / "other"):
        place.mkdir(exist_ok=True)
        (place / "x").write_text("x")
        with pytest.raises(HeritageError):
            Ledger.restore(tmp_path / "backup", place)
    shutil.rmtree(tmp_path / "other")


def test_a_disk_that_is_full_leaves_the_backup_before_it(home, tmp_path):
    """The next one, when there is room, goes on."""
    need_root()
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", place], check=True)
    try:
        deposit(home, tmp_path, text="1")
        assert back_up(home, place / "backup").size == 2
        with Ledger.open(home) as ledger:
            (tmp_path / "source" / "big.bin").write_bytes(secrets.token_bytes(16 << 20))
            ledger.ingest(tmp_path / "source", asset="urn:example:big")
        with pytest.raises(DiskProblem) as caught:
            back_up(home, place / "backup")
        assert caught.value.code == "disk-full"
        assert read_note(place / "backup").size == 2
        Ledger.restore(place / "backup", tmp_path / "then").close()
        with Ledger.open(tmp_path / "then") as ledger:
            assert sum(1 for _ in ledger.assets()) == 1
        subprocess.run(["mount", "-o", "remount,size=64m", place], check=True)
        assert back_up(home, place / "backup").size == 3
        Ledger.restore(place / "backup", tmp_path / "now").close()
        assert is_whole(tmp_path / "now")
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def test_a_damaged_mirror_keeps_nothing_else_out(tmp_path):
    museum, archive = (make_home(tmp_path, name) for name in ("museum", "archive"))
    deposit(archive, tmp_path)
    deposit(museum, tmp_path)
    with running(archive) as node, Ledger.open(museum) as ledger:
        ledger.federation.peers.add(ledger.federation.discover(node.url))
        assert [one.findings for one in ledger.federation.sync()] == [()]
    bundle = next((museum / "mirrors").glob("**/entries/**/000.p/2"))
    bundle.chmod(0o644)
    bundle.write_bytes(b"rot")
    done = back_up(museum, tmp_path / "backup")
    assert (done.size, done.copied) == (2, 1)
    assert [one.path.startswith("mirrors/archive.example") for one in done.findings] == [True]
    Ledger.restore(tmp_path / "backup", tmp_path / "again").close()
    with (
        running(archive) as node,
        Ledger.open(tmp_path / "again") as ledger,
    ):
        (peer,) = ledger.federation.peers
        path = next((tmp_path / "again" / "peers").rglob("*.json"))
        path.write_text(path.read_text().replace(peer.url, node.url))
        assert [one.size for one in ledger.federation.sync()] == [2]
