"""Nothing forks: every way in which a home comes back from the past, with foreign witnesses as the only ones.

They give no checkpoint that would prove how far they are, only a number; so it takes the marks of the home,
or a person, to decide. `tests/e2e/test_restores.py` has the same with nodes of ours, which do prove it.
"""

import contextlib
import shutil

import pytest

from heritage_ledger import Ledger
from heritage_ledger.errors import HeritageError
from heritage_testkit.foreign import FOREIGN
from heritage_testkit.restores import RESTORES

pytestmark = [pytest.mark.external, pytest.mark.xdist_group("restores")]
ORIGIN = "museum.example/ledger/1"
MIXED = {"rsync", "rsync-sizes"}
MARKED = {"the quorum of its policy confirmed its head", "nothing speaks against the marks of the home"}


class Institution:
    """A home that one witness watches; remembers every tree that it signed."""

    def __init__(self, home, folder):
        self.home = home
        self.folder = folder
        self.signed = {}

    def begin(self):
        with Ledger.init(self.home, institution="Museum", origin=ORIGIN, passphrase=None) as ledger:
            keys = [key.vkey for key in ledger.log_keys()]
        settings = self.home / "heritage.toml"
        settings.write_text(settings.read_text() + "\n[node]\nallow_private = true\n")
        return keys[0]

    def trust(self, url, vkey):
        (self.home / "policy").write_text(f"witness one {vkey} {url}\nquorum one\n")

    def deposit(self, number, *, collect=True):
        source = self.folder / "source"
        source.mkdir(exist_ok=True)
        (source / "page.txt").write_text(f"page {number}")
        with Ledger.open(self.home) as ledger:
            receipt = ledger.ingest(source, asset=f"urn:example:{number}")
            _, size, root, *_ = receipt.checkpoint.decode().split("\n")
            self.signed.setdefault(int(size), set()).add(root)
            if collect:
                assert ledger.federation.collect().is_met
        return receipt.log_index

    def has_forked(self):
        return any(len(roots) > 1 for roots in self.signed.values())


def lose_the_others(outside, how):
    """What else came back from the past with the home, or is not there."""
    if how in {"reboot", "machine"}:  # memory is gone
        shutil.rmtree(outside[0])
        outside[0].mkdir(mode=0o700)
    if how == "machine":  # and the disk with the user's state is another one, or was rolled back too
        shutil.rmtree(outside[1], ignore_errors=True)


@pytest.mark.parametrize("how", ["same-boot", "reboot", "machine"])
@pytest.mark.parametrize("kind", RESTORES)
@pytest.mark.parametrize("witness", FOREIGN)
def test_a_home_from_the_past_signs_nothing(tmp_path, outside, witness, kind, how):
    with RESTORES[kind](tmp_path) as past:
        museum = Institution(past.home, tmp_path)
        vkey = museum.begin()
        with FOREIGN[witness](tmp_path / "witness", {ORIGIN: vkey}) as (url, key):
            museum.trust(url, key)
            assert museum.deposit(1) == 1
            past.take()
            assert museum.deposit(2) == 2
            past.restore()
            lose_the_others(outside, how)
            for number in (3, 4):
                # rsync leaves what has the same size and second: such a mixture may hold the newest heads
                with (
                    pytest.raises(HeritageError) if kind not in MIXED else contextlib.suppress(HeritageError)
                ):
                    assert museum.deposit(number) > 2
            with Ledger.open(museum.home) as ledger, contextlib.suppress(HeritageError):
                assert ledger.recover().basis in MARKED
            with contextlib.suppress(HeritageError):
                museum.deposit(5, collect=False)
        assert not museum.has_forked(), museum.signed


@pytest.mark.parametrize("witness", FOREIGN)
def test_the_home_itself_goes_on_whatever_happens_to_the_witness(tmp_path, outside, witness):
    museum = Institution(tmp_path / "home", tmp_path)
    vkey = museum.begin()
    with FOREIGN[witness](tmp_path / "witness", {ORIGIN: vkey}) as (url, key):
        museum.trust(url, key)
        assert [museum.deposit(1), museum.deposit(2)] == [1, 2]
        lose_the_others(outside, "reboot")
        assert museum.deposit(3) == 3
    assert museum.deposit(4, collect=False) == 4  # it is away: the marks decide
    lose_the_others(outside, "reboot")
    assert museum.deposit(5, collect=False) == 5  # and what a reboot changes is never enough alone
    assert not museum.has_forked()


@pytest.mark.parametrize("witness", FOREIGN)
def test_a_witness_that_lost_everything_is_no_witness(tmp_path, outside, witness):
    """It would cosign an old copy gladly; the home's own files show that it cosigned more."""
    museum = Institution(tmp_path / "home", tmp_path)
    vkey = museum.begin()
    with FOREIGN[witness](tmp_path / "witness", {ORIGIN: vkey}) as (url, key):
        museum.trust(url, key)
        museum.deposit(1)
    for path in (tmp_path / "witness").glob("w.db*"):
        path.unlink()
    with FOREIGN[witness](tmp_path / "witness", {ORIGIN: vkey}) as (url, key):
        museum.trust(url, key)
        with Ledger.open(museum.home) as ledger:
            answers = ledger.federation.guard.ask_all()
        assert [type(one).__name__ for one in answers.values()] == ["Forgot"], answers
