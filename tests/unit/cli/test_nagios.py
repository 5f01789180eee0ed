"""`doctor --nagios` answers as plugins do: a line with numbers, and 0, 1, 2 or 3."""

import re

import pytest

from heritage_ledger import Ledger
from heritage_ledger.home.layout import Home
from heritage_ledger.home.marks import Unsure, keep_unsure
from heritage_testkit.command import run_command
from heritage_testkit.running import NODE, make_home, running

LINE = re.compile(
    r"HERITAGE (OK|WARNING|CRITICAL|UNKNOWN) - [^|]+ \| errors=(\d+);;0 warnings=(\d+);0 checks=(\d+)"
)
ORIGIN = "museum.example/ledger/1"


@pytest.fixture
def home(tmp_path):
    Ledger.init(tmp_path / "home", institution="M", origin=ORIGIN, passphrase=b"word").close()
    return tmp_path / "home"


def ask(home, *words):
    done = run_command("--home", home, *words, "doctor", "--nagios")
    found = LINE.fullmatch(done.out.splitlines()[0])
    assert found, done.out
    assert {"OK": 0, "WARNING": 1, "CRITICAL": 2, "UNKNOWN": 3}[found[1]] == done.code
    return found[1], int(found[2]), done


def test_a_home_in_good_order(home, tmp_path):
    with (home / "heritage.toml").open("a") as file:
        file.write(NODE)
    with running(make_home(tmp_path, "archive")) as node, Ledger.open(home) as ledger:
        ledger.federation.peers.add(ledger.federation.discover(node.url))
    status, errors, done = ask(home)
    is_old = "doctor-sqlite" in done.out  # the library of the machine, which nobody here can mend
    assert (status, errors) == ("WARNING" if is_old else "OK", 0), done.out
    assert len(done.out.splitlines()) == 1


def test_what_is_only_to_be_thought_about_is_a_warning(home):
    status, errors, done = ask(home)
    assert (status, errors) == ("WARNING", 0)
    assert "nobody witnesses this log" in done.out


def test_what_is_wrong_is_critical_and_named_first(home):
    keep_unsure(Home(home), Unsure(1, "the home was restored"))
    (home / "log" / "checkpoint").write_bytes(b"x | y")
    status, errors, done = ask(home)
    assert status == "CRITICAL"
    assert errors >= 1
    lines = done.out.splitlines()
    assert lines[0].startswith("HERITAGE CRITICAL - note-malformed: ")
    assert any(line.startswith("log-unsure: ") for line in lines)
    assert not any("|" in line for line in lines[1:])


def test_no_home_is_unknown(tmp_path):
    status, _, done = ask(tmp_path / "none")
    assert status == "UNKNOWN"
    assert "home-missing" in done.out
