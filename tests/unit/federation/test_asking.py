"""What witnesses say before a home signs: what confirms it, what stops it, and what does neither."""

import contextlib
import subprocess

import pytest

from heritage_ledger import Ledger
from heritage_ledger.errors import EvidenceMissing, HeritageError
from heritage_ledger.federation import asking, guard
from heritage_ledger.federation.freshness import Basis
from heritage_ledger.home.layout import Home
from heritage_ledger.home.marks import read_unsure
from heritage_testkit.witnesses import LIES, witness

ORIGIN = "museum.example/ledger/1"


@pytest.fixture
def home(tmp_path, outside):
    with Ledger.init(tmp_path / "home", institution="Museum", origin=ORIGIN, passphrase=None):
        pass
    with (tmp_path / "home" / "heritage.toml").open("a") as file:
        file.write("\n[node]\nallow_private = true\n")
    return tmp_path / "home"


@pytest.fixture
def watched(home):
    """Let witnesses watch the home: two of three, or the one."""
    with contextlib.ExitStack() as held:

        def watch(*ways):
            ones = [held.enter_context(witness(number, how)) for number, how in enumerate(ways, 1)]
            names = [f"w{one.number}" for one in ones]
            lines = [
                f"witness {name} {one.signer.verifier.vkey} {one.url}"
                for name, one in zip(names, ones, strict=True)
            ]
            lines += [
                f"group all-of-us {2 if len(ones) > 1 else 1} {' '.join(names)}",
                "quorum all-of-us",
                "",
            ]
            (home / "policy").write_text("\n".join(lines))
            return ones

        yield watch


def deposit(home, tmp_path, number):
    folder = tmp_path / "scan"
    folder.mkdir(exist_ok=True)
    (folder / "page.txt").write_text(f"page {number}")
    with Ledger.open(home) as ledger:
        ledger.ingest(folder, asset=f"urn:example:{number}")
        with contextlib.suppress(HeritageError):
            ledger.federation.collect()
        return ledger.federation.guard.basis


def reboot(outside):
    for path in outside[0].iterdir():
        path.unlink()


@contextlib.contextmanager
def put_back(home, tmp_path):
    """Restore, after the block, the home as it was before it."""
    backup = tmp_path / "backup"
    subprocess.run(["cp", "-a", home, backup], check=True)
    yield
    subprocess.run(["cp", "-a", f"{backup}/.", home], check=True)


@pytest.mark.parametrize("lie", LIES)
def test_one_liar_among_three_stops_nobody(home, tmp_path, outside, watched, lie):
    *_, liar = watched("true", "true", "true")
    deposit(home, tmp_path, 1)
    liar.how = lie
    assert deposit(home, tmp_path, 2) is Basis.WITNESSES
    reboot(outside)
    assert deposit(home, tmp_path, 3) is Basis.WITNESSES
    assert read_unsure(Home(home)) is None


@pytest.mark.parametrize("lie", LIES)
def test_a_liar_who_is_alone_stops_nobody_while_the_machine_runs(home, tmp_path, watched, lie):
    (one,) = watched("true")
    deposit(home, tmp_path, 1)
    one.how = lie
    assert deposit(home, tmp_path, 2) is Basis.MARKS


@pytest.mark.parametrize("lie", [one for one in LIES if one not in {"silent", "replay"}])
def test_a_claim_of_one_who_is_alone_stops_after_a_reboot(home, tmp_path, outside, watched, lie):
    """However slow the proof of it is: a claim is made when it is said."""
    (one,) = watched("true")
    deposit(home, tmp_path, 1)
    reboot(outside)
    one.how = lie
    for _ in range(2):
        with pytest.raises(EvidenceMissing) as caught:
            deposit(home, tmp_path, 2)
        assert caught.value.code == "log-unsure"
    one.how = "true"
    assert deposit(home, tmp_path, 2) is Basis.WITNESSES


@pytest.mark.parametrize("quiet", ["silent", "replay"])
def test_silence_stops_nobody_after_a_reboot(home, tmp_path, outside, watched, quiet):
    (one,) = watched("true")
    deposit(home, tmp_path, 1)
    reboot(outside)
    one.how = quiet
    assert deposit(home, tmp_path, 2) is Basis.MARKS


@pytest.mark.parametrize("lie", LIES)
def test_in_doubt_no_liar_says_that_a_home_is_the_newest(home, tmp_path, watched, lie):
    (one,) = watched("true")
    deposit(home, tmp_path, 1)
    with put_back(home, tmp_path):
        deposit(home, tmp_path, 2)
    one.how = lie
    for _ in range(2):
        with pytest.raises(HeritageError) as caught:
            deposit(home, tmp_path, 3)
        assert caught.value.code in {"log-unsure", "witnesses-silent"}
    assert read_unsure(Home(home)).own


def test_a_witness_that_saw_more_stops_a_home_and_one_that_saw_as_much_settles_it(home, tmp_path, watched):
    (one,) = watched("true")
    deposit(home, tmp_path, 1)
    with put_back(home, tmp_path):
        pass
    assert deposit(home, tmp_path, 2) is Basis.WITNESSES  # nothing was lost
    unsure = read_unsure(Home(home))
    assert unsure is None or not unsure.own  # floors of others are another question
    (tmp_path / "backup").rename(tmp_path / "older")
    with put_back(home, tmp_path):
        deposit(home, tmp_path, 3)
    with pytest.raises(EvidenceMissing) as caught:
        deposit(home, tmp_path, 4)
    assert caught.value.code == "log-unsure"
    assert one.size == 4


def test_an_answer_that_grew_old_while_a_deposit_was_copied_is_none(home, tmp_path, watched, monkeypatch):
    (one,) = watched("true")
    deposit(home, tmp_path, 1)
    now = asking.uptime()
    clock = [now]
    for module in (asking, guard):
        monkeypatch.setattr(module, "uptime", lambda: clock[0])
    with Ledger.open(home) as ledger:
        ledger.federation.guard.begin()
        ledger.federation.guard.ensure()
        before = len(one.asked)
        clock[0] += guard.RECENT_SECONDS - 1
        ledger.federation.guard.ensure()
        assert len(one.asked) == before
        clock[0] += 2  # counted from when it was asked
        ledger.federation.guard.ensure()
        assert len(one.asked) > before
