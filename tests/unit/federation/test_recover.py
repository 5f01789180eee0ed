"""A home that was copied file by file, or has lost its heads, is told of and comes back."""

import shutil

import pytest

from heritage_ledger import Ledger
from heritage_ledger.errors import EvidenceMissing, HeritageError, OperationFailed
from heritage_ledger.fixity.heads import examine_heads
from heritage_ledger.home.layout import Home
from heritage_ledger.home.marks import read_unsure
from heritage_ledger.home.settings import read_settings

ORIGIN = "museum.example/ledger/1"


@pytest.fixture
def home(tmp_path):
    with Ledger.init(tmp_path / "home", institution="Museum", origin=ORIGIN, passphrase=None):
        pass
    return tmp_path / "home"


def deposit(home, tmp_path, number):
    folder = tmp_path / "source"
    folder.mkdir(exist_ok=True)
    (folder / "page.txt").write_text(f"page {number}")
    with Ledger.open(home) as ledger:
        return ledger.ingest(folder, asset=f"urn:example:{number}").log_index


def put_back(home, kept, pattern):
    for path in home.glob(pattern):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in kept.glob(pattern):
        shutil.copytree(path, home / path.name) if path.is_dir() else shutil.copy2(path, home)


def findings(home):
    return [one.code for one in examine_heads(Home(home), read_settings(home / "heritage.toml"))]


def recover(home, **words):
    with Ledger.open(home) as ledger:
        return ledger.recover(**words)


@pytest.fixture
def kept(home, tmp_path):
    """The home after one deposit; it goes on to three."""
    deposit(home, tmp_path, 1)
    shutil.copytree(home, tmp_path / "kept")
    deposit(home, tmp_path, 2)
    deposit(home, tmp_path, 3)
    assert findings(home) == []
    return tmp_path / "kept"


def test_heads_older_than_the_log_are_told_of_and_raised(home, kept, tmp_path):
    put_back(home, kept, "state.db*")
    assert "log-state-behind" in findings(home)
    assert "log-unsure" in findings(home)
    with pytest.raises(HeritageError):
        deposit(home, tmp_path, 4)
    with pytest.raises(EvidenceMissing) as caught:
        recover(home)
    assert caught.value.code == "log-unsure"
    assert "log-state-behind" not in findings(home)  # the head rose: this log has signed it
    done = recover(home, newest=True)
    assert (done.size, done.basis) == (4, "the word of a person")
    assert findings(home) == []
    assert deposit(home, tmp_path, 4) == 4
    with Ledger.open(home) as ledger:
        assert all(verdict.outcome.value == "pass" for verdict in ledger.verify(deep=True))


def test_what_a_person_said_is_noted_by_the_next_event_alone(home, kept, tmp_path):
    put_back(home, kept, "state.db*")
    recover(home, newest=True)
    deposit(home, tmp_path, 4)
    deposit(home, tmp_path, 5)
    with Ledger.open(home) as ledger:
        entries = [ledger.show(str(at)).document for at in range(6)]
    notes = ["declared this home the newest copy" in entry for entry in entries]
    assert notes == [False, False, False, False, True, False]
    assert read_unsure(Home(home)).newest is None


def test_a_log_older_than_its_heads_is_told_of(home, kept, tmp_path):
    put_back(home, kept, "log")
    assert findings(home)
    with pytest.raises(HeritageError):
        deposit(home, tmp_path, 4)
    with pytest.raises(EvidenceMissing) as caught:
        recover(home)
    assert caught.value.code == "log-tail-missing"


def test_a_person_may_give_entries_up_that_nobody_has(home, kept, tmp_path):
    put_back(home, kept, "log")
    done = recover(home, newest=True)
    assert (done.old_size, done.size) == (4, 2)
    assert (home / done.aside / "state.db").is_file()  # what they were signed as is kept
    assert findings(home) == []
    assert deposit(home, tmp_path, 4) == 2


@pytest.mark.parametrize("damage", ["lost", "torn"])
def test_lost_heads_are_begun_anew_from_what_is_signed(home, kept, tmp_path, damage):
    for path in home.glob("state.db*"):
        path.unlink()
    if damage == "torn":
        (home / "state.db").write_bytes((kept / "state.db").read_bytes()[:5_000] + bytes(3_192))
    assert findings(home)
    with pytest.raises(HeritageError):
        recover(home)
    assert read_unsure(Home(home)).own
    done = recover(home, newest=True)
    assert done.size == 4
    assert (done.aside is not None) == (damage == "torn") or done.old_size == 4
    assert deposit(home, tmp_path, 4) == 4


def test_a_home_in_good_order_is_left_as_it_is(home, kept):
    done = recover(home)
    assert (done.old_size, done.size, done.aside) == (4, 4, None)
    assert done.basis == "the marks of this home"


def test_nothing_is_recovered_from_a_log_that_forked_or_is_not_there(home, kept):
    for path in home.glob("state.db*"):
        path.unlink()
    shutil.rmtree(home / "log")
    (home / "log").mkdir()
    with pytest.raises(HeritageError) as caught:
        recover(home, newest=True)
    assert not isinstance(caught.value, OperationFailed)
    assert not (home / "state.db").exists()
