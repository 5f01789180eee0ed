"""Nothing is signed by a home that may be an old copy: every restore of a home that nobody witnesses."""

import contextlib
import shutil
import subprocess
from pathlib import Path

import pytest

from heritage_ledger import Ledger
from heritage_ledger.deposit.books import log_signers
from heritage_ledger.errors import EvidenceMissing, HeritageError, OperationFailed
from heritage_ledger.federation.forks import keep_fork
from heritage_ledger.home.layout import Home
from heritage_ledger.home.marks import read_unsure
from heritage_ledger.home.state import MARKED, StateStore
from heritage_ledger.log.checkpoint import Checkpoint, sign_checkpoint
from heritage_ledger.log.fork import ForkProof

ORIGIN = "museum.example/ledger/1"


@pytest.fixture
def home(tmp_path, outside):
    with Ledger.init(tmp_path / "home", institution="Museum", origin=ORIGIN, passphrase=None):
        pass
    return tmp_path / "home"


def deposit(home, tmp_path, number):
    folder = tmp_path / f"scan-{number}"
    folder.mkdir(exist_ok=True)
    (folder / "page.txt").write_text(f"page {number}")
    with Ledger.open(home) as ledger:
        return ledger.ingest(folder, asset=f"urn:example:{number}").log_index


def lose_marks(outside):
    """What another machine, or another user, does not have."""
    for folder in outside:
        shutil.rmtree(folder, ignore_errors=True)


def reboot(outside):
    shutil.rmtree(outside[0])
    outside[0].mkdir(mode=0o700)


def cp(backup, home):
    subprocess.run(["cp", "-a", f"{backup}/.", home], check=True)


def cp_anew(backup, home):
    subprocess.run(["chmod", "-R", "u+w", home], check=True)
    shutil.rmtree(home)
    subprocess.run(["cp", "-a", backup, home], check=True)


def cp_without_times(backup, home):
    subprocess.run(["chmod", "-R", "u+w", home], check=True)
    shutil.rmtree(home)
    subprocess.run(["cp", "-r", backup, home], check=True)


def tar(backup, home):
    subprocess.run(f"tar -C {backup} -cf - . | tar -C {home} -xf -", shell=True, check=True)


def only_state(backup, home):
    for path in home.glob("state.db*"):
        path.unlink()
    for path in backup.glob("state.db*"):
        shutil.copy2(path, home)


RESTORES = [cp, cp_anew, cp_without_times, tar, only_state]


@pytest.mark.parametrize("elsewhere", ["same-boot", "after-reboot", "other-machine"])
@pytest.mark.parametrize("restore", RESTORES, ids=lambda one: one.__name__)
def test_a_restored_home_signs_nothing_before_somebody_says_that_it_is_the_newest(
    home, tmp_path, outside, restore, elsewhere
):
    deposit(home, tmp_path, 1)
    backup = tmp_path / "backup"
    subprocess.run(["cp", "-a", home, backup], check=True)
    assert deposit(home, tmp_path, 2) == 2
    restore(backup, home)
    if elsewhere == "after-reboot":
        reboot(outside)
    elif elsewhere == "other-machine":
        lose_marks(outside)
    for _ in range(2):  # and not at the second try either
        with pytest.raises(HeritageError) as caught:
            deposit(home, tmp_path, 3)
        assert caught.value.code in {"log-unsure", "log-state-behind"}
    assert read_unsure(Home(home)).own


def test_what_a_reboot_changes_is_no_doubt(home, tmp_path, outside):
    deposit(home, tmp_path, 1)
    reboot(outside)
    assert deposit(home, tmp_path, 2) == 2
    lose_marks(outside)
    assert deposit(home, tmp_path, 3) == 3
    assert read_unsure(Home(home)) is None


def test_touched_files_are_no_doubt_while_a_mark_outside_vouches(home, tmp_path):
    deposit(home, tmp_path, 1)
    subprocess.run(["cp", "-a", home / ".standing", home / "kept"], check=True)
    (home / "kept").rename(home / ".standing")  # another inode
    assert deposit(home, tmp_path, 2) == 2


def as_of_a_release_without_marks(home):
    with StateStore.open(home / "state.db") as state:
        heads = state.heads()
    for path in home.glob("state.db*"):
        path.unlink()
    with StateStore.create(home / "state.db") as state:
        for origin, head in heads.items():
            if origin != MARKED:
                state.create_head(origin, head)


def test_a_home_of_a_release_without_marks_goes_on(home, tmp_path, outside):
    deposit(home, tmp_path, 1)
    for text in ('{"machine": "x", "keys": 1, "clean": true}\n', None):
        lose_marks(outside)
        (home / ".standing").unlink()
        if text is not None:
            (home / ".standing").write_text(text)
        as_of_a_release_without_marks(home)
        deposit(home, tmp_path, 2)
    assert read_unsure(Home(home)) is None


def test_a_copy_without_its_marks_is_no_home_of_such_a_release(home, tmp_path, outside):
    """`cp -a home/* new/` leaves out what begins with a dot."""
    deposit(home, tmp_path, 1)
    lose_marks(outside)
    (home / ".standing").unlink()
    with pytest.raises(EvidenceMissing) as caught:
        deposit(home, tmp_path, 2)
    assert caught.value.code == "log-unsure"


@pytest.mark.parametrize("again", [cp, cp_anew, tar], ids=lambda one: one.__name__)
def test_who_restores_twice_meets_the_doubt_again(home, tmp_path, outside, again):
    deposit(home, tmp_path, 1)
    backup = tmp_path / "backup"
    subprocess.run(["cp", "-a", home, backup], check=True)
    deposit(home, tmp_path, 2)
    for restore in (cp, again, again):
        restore(backup, home)
        with pytest.raises(EvidenceMissing) as caught:
            deposit(home, tmp_path, 3)
        assert caught.value.code == "log-unsure"
        assert read_unsure(Home(home)).needs_floor("archive.example/ledger/1")


def test_marks_that_travel_with_the_backup_vouch_for_nothing(home, tmp_path, outside):
    deposit(home, tmp_path, 1)
    everything = [home, *outside]
    for at, place in enumerate(everything):
        subprocess.run(["cp", "-a", place, tmp_path / f"kept-{at}"], check=True)
    deposit(home, tmp_path, 2)
    for at, place in enumerate(everything):
        subprocess.run(["chmod", "-R", "u+w", place], check=True)
        shutil.rmtree(place)
        subprocess.run(["cp", "-a", tmp_path / f"kept-{at}", place], check=True)
    reboot(outside)
    with pytest.raises(EvidenceMissing):
        deposit(home, tmp_path, 3)


def test_a_folder_of_marks_within_the_home_is_none(home, tmp_path, outside, monkeypatch):
    monkeypatch.setenv("HERITAGE_MARKS", str(home / "marks"))
    deposit(home, tmp_path, 1)
    assert not (home / "marks").exists()


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null"])
def test_what_was_open_and_cannot_be_read_stays_open(home, tmp_path, data):
    deposit(home, tmp_path, 1)
    (home / ".unsure").write_bytes(data)
    for _ in range(2):
        with pytest.raises(EvidenceMissing) as caught:
            deposit(home, tmp_path, 2)
        assert caught.value.code == "log-unsure"


def test_a_moved_folder_is_the_same_home(home, tmp_path):
    deposit(home, tmp_path, 1)
    home.rename(tmp_path / "moved")
    assert deposit(tmp_path / "moved", tmp_path, 2) == 2


def test_of_two_copies_the_second_to_write_is_stopped(home, tmp_path):
    deposit(home, tmp_path, 1)
    subprocess.run(["cp", "-a", home, tmp_path / "twin"], check=True)
    assert deposit(tmp_path / "twin", tmp_path, 2) == 2
    with pytest.raises(EvidenceMissing) as caught:
        deposit(home, tmp_path, 3)
    assert caught.value.code == "log-unsure"


@pytest.mark.parametrize("restore", [cp, only_state, tar], ids=lambda one: one.__name__)
def test_a_restore_below_an_open_ledger_signs_no_size_twice(home, tmp_path, restore):
    """What a process holds open may outlive the files below it: it goes on from there, or stops."""
    deposit(home, tmp_path, 1)
    backup = tmp_path / "backup"
    subprocess.run(["cp", "-a", home, backup], check=True)
    folder = tmp_path / "scan-9"
    folder.mkdir()
    (folder / "page.txt").write_text("page")
    signed: dict[int, set[str]] = {}

    def take(ledger, number):
        receipt = ledger.ingest(folder, asset=f"urn:example:{number}")
        _, size, root, *_ = receipt.checkpoint.decode().split("\n")
        signed.setdefault(int(size), set()).add(root)

    with Ledger.open(home) as ledger:
        take(ledger, 9)
        restore(backup, home)
        with contextlib.suppress(HeritageError):
            take(ledger, 10)
    with contextlib.suppress(HeritageError), Ledger.open(home) as ledger:
        take(ledger, 11)
    assert all(len(roots) == 1 for roots in signed.values()), signed


def test_a_note_that_proves_nothing_stops_nobody(home, tmp_path):
    (home / ".behind").write_text('{"witness": "https://archive.example", "found": "9 entries"}')
    assert deposit(home, tmp_path, 1) == 1
    assert not (home / ".behind").exists()


def test_a_checkpoint_of_ones_own_that_is_larger_stops_a_process_that_writes(home, tmp_path):
    folder = tmp_path / "scan"
    folder.mkdir()
    (folder / "page.txt").write_text("page")
    with Ledger.open(home) as ledger:
        ledger.ingest(folder, asset="urn:example:1")
        signers = log_signers(ORIGIN, ledger.books.keys)
        note = sign_checkpoint(Checkpoint(ORIGIN, 9, bytes(32)), signers, time=1)
        (home / ".behind").write_bytes(note)
        with pytest.raises(EvidenceMissing) as caught:
            ledger.ingest(folder, asset="urn:example:2")
        assert caught.value.code == "log-tail-missing"
        assert (home / ".behind").read_bytes() == note


def test_a_fork_proof_about_the_own_log_stops_a_process_that_writes(home, tmp_path):
    folder = tmp_path / "scan"
    folder.mkdir()
    (folder / "page.txt").write_text("page")
    with Ledger.open(home) as ledger:
        ledger.ingest(folder, asset="urn:example:1")
        signers = log_signers(ORIGIN, ledger.books.keys)
        notes = [sign_checkpoint(Checkpoint(ORIGIN, 2, bytes([at]) * 32), signers, time=1) for at in (1, 2)]
        keep_fork(ledger.home, ForkProof(*notes, bytes([2]) * 32, ()), ledger.federation.verifiers, ORIGIN)
        with pytest.raises(OperationFailed) as caught:
            ledger.ingest(folder, asset="urn:example:2")
        assert caught.value.code == "log-frozen"
        assert len(list(Path(home / "log").glob("checkpoint"))) == 1
