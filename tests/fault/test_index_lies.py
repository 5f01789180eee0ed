"""A plain verify believes no row that it uses, and finds those that were struck out."""

from __future__ import annotations

import os
import shutil
import sqlite3

import pytest

from heritage_ledger import Ledger
from heritage_ledger.errors import OperationFailed
from heritage_ledger.fixity.verdict import Outcome

FIRST, SECOND = "https://m.example/1", "https://m.example/2"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    root = tmp_path_factory.mktemp("lies")
    source = root / "source"
    source.mkdir()
    (source / "page.txt").write_text("one")
    with Ledger.init(
        root / "home", institution="Museum", origin="museum.example/ledger/1", passphrase=None
    ) as ledger:
        ledger.ingest(source, asset=FIRST, title="First title")
        ledger.ingest(source, asset=SECOND, title="A title")
        (source / "page.txt").write_text("two")
        ledger.ingest(source, asset=FIRST)
    return root / "home"


@pytest.fixture
def home(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "home")


def _lie(home, *statements):
    with sqlite3.connect(home / "index.db") as database:
        for statement in statements:
            database.execute(statement)
    database.close()


def _codes(home, *names):
    with Ledger.open(home) as ledger:
        verdicts = list(ledger.verify(names))
    codes = {finding.code for verdict in verdicts for finding in verdict.findings}
    return codes, all(verdict.outcome is Outcome.PASS for verdict in verdicts)


STRUCK = [
    f"DELETE FROM packages WHERE asset = '{SECOND}'",
    f"DELETE FROM assets WHERE asset = '{SECOND}'",
]
LIES = {
    "struck out": (STRUCK, "index-package-missing"),
    "struck out of all tables": (
        [*STRUCK, f"DELETE FROM events WHERE asset = '{SECOND}'"],
        "index-package-missing",
    ),
    "the last version": (
        [
            f"DELETE FROM packages WHERE asset = '{FIRST}' AND version = 2",
            f"UPDATE assets SET latest_version = 1 WHERE asset = '{FIRST}'",
        ],
        "index-package-missing",
    ),
    "everything": (["DELETE FROM packages", "DELETE FROM assets"], "index-package-missing"),
    "called another": (
        [f"UPDATE packages SET asset = 'urn:x' WHERE asset = '{SECOND}'"],
        "event-other-subject",
    ),
    "a title": ([f"UPDATE assets SET title = 'Forged title' WHERE asset = '{SECOND}'"], "index-row"),
    "an inherited title": ([f"UPDATE assets SET title = 'Forged' WHERE asset = '{FIRST}'"], "index-row"),
    "a date": (["UPDATE events SET created = '1901-01-01T00:00:00.000Z'"], "index-row"),
    "an agent": (["UPDATE events SET agent = 'Nobody <urn:x>'"], "index-row"),
    "a number of files": (["UPDATE packages SET files = 99"], "index-row"),
    "a size": (["UPDATE packages SET bytes = 1"], "index-row"),
    "a kind": (["UPDATE packages SET kind = 'adopt'"], "index-row"),
    "a folder": (["UPDATE packages SET folder = 'packages/x'"], "index-row"),
    "a later version": ([f"UPDATE assets SET latest_version = 9 WHERE asset = '{FIRST}'"], "index-row"),
    "an event": (["DELETE FROM events WHERE log_index = 0"], "index-count"),
}


def test_a_true_index_passes(home):
    assert _codes(home) == (set(), True)
    assert _codes(home, FIRST) == (set(), True)
    assert _codes(home, f"{FIRST} v1", SECOND) == (set(), True)


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_of_the_index_is_found_and_a_rebuild_mends_it(home, lie):
    statements, code = LIES[lie]
    _lie(home, *statements)
    codes, passed = _codes(home)
    assert not passed
    assert code in codes
    with Ledger.open(home) as ledger:
        ledger.rebuild_index()
    assert _codes(home) == (set(), True)


def test_a_struck_out_version_is_found_by_whoever_asks_for_its_asset_alone(home):
    _lie(home, *LIES["the last version"][0])
    assert "index-package-missing" in _codes(home, FIRST)[0]
    assert _codes(home, SECOND) == (set(), True)


def test_what_is_struck_out_is_not_hidden_by_a_damaged_log(home):
    _lie(home, *STRUCK)
    bundle = next((home / "log" / "tile" / "entries").rglob("4"))
    bundle.chmod(0o600)
    os.truncate(bundle, 100)
    codes, passed = _codes(home, FIRST)
    assert not passed
    assert "log-bundle-damaged" in codes


@pytest.mark.parametrize("lie", [STRUCK[0], f"UPDATE assets SET latest_version = 7 WHERE asset = '{SECOND}'"])
def test_an_asset_without_packages_is_told_by_a_list(home, lie):
    _lie(home, lie)
    with Ledger.open(home) as ledger, pytest.raises(OperationFailed) as caught:
        list(ledger.assets())
    assert (caught.value.code, caught.value.path) == ("index-damaged", SECOND)


def test_a_deposit_that_comes_meanwhile_is_no_fault(home, tmp_path):
    with Ledger.open(home) as ledger, Ledger.open(home) as other:
        verdicts = ledger.verify()
        first = next(verdicts)
        (tmp_path / "more").write_text("more")
        other.ingest(tmp_path / "more", asset=FIRST, title="Newer")
        other.ingest(tmp_path / "more", asset="urn:example:new")
        assert [verdict.outcome for verdict in (first, *verdicts)] == [Outcome.PASS] * 3
