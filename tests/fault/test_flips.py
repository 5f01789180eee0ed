"""One flipped bit in anything stored is found and named by a deep verify, which changes nothing."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from pathlib import Path

import pytest

from heritage_ledger import Ledger
from heritage_ledger.errors import HeritageError
from heritage_ledger.fixity.verdict import Outcome

ASSET = "urn:example:flipped"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A home with two versions of one asset, one file of more than one block, and sealed keys."""
    root = tmp_path_factory.mktemp("whole")
    source = root / "source"
    source.mkdir()
    (source / "large.bin").write_bytes(random.Random(7).randbytes(2_500_000))
    (source / "note.txt").write_text("a note\n")
    home = root / "home"
    with Ledger.init(
        home, institution="Museum", origin="museum.example/ledger/1", passphrase=b"secret"
    ) as ledger:
        ledger.ingest(source, asset=ASSET, title="Flipped")
        (source / "note.txt").write_text("another note\n")
        ledger.ingest(source, asset=ASSET)
    return home


@pytest.fixture
def home(whole, tmp_path):
    copy = tmp_path / "home"
    shutil.copytree(whole, copy)
    return copy


def _problems(home: Path) -> dict[str, str]:
    """Return the codes of a deep verify with the paths that they name."""
    try:
        with Ledger.open(home) as ledger:
            verdicts = list(ledger.verify(deep=True))
    except HeritageError as error:
        return {error.code: f"{error.path} {error}"}
    failed = [verdict for verdict in verdicts if verdict.outcome is not Outcome.PASS]
    return {
        finding.code: f"{verdict.subject} {finding.path}"
        for verdict in failed
        for finding in verdict.findings
    }


def _flip(path: Path, at: int) -> None:
    mode = path.stat().st_mode
    path.chmod(0o600)
    data = bytearray(path.read_bytes())
    data[at // 8] ^= 1 << at % 8
    path.write_bytes(data)
    path.chmod(mode)


def test_a_whole_home_passes(home):
    assert _problems(home) == {}


BAG = "packages/*/1"
CLASSES = {
    "payload": (f"{BAG}/data/note.txt", "data/note.txt"),
    "large payload": (f"{BAG}/data/large.bin", "data/large.bin"),
    "manifest": (f"{BAG}/manifest-sha512.txt", "manifest-sha512.txt"),
    "tag manifest": (f"{BAG}/tagmanifest-sha512.txt", ""),
    "tag file": (f"{BAG}/bag-info.txt", "bag-info.txt"),
    "declaration": (f"{BAG}/bagit.txt", "bagit.txt"),
    "entry bundle": ("log/tile/entries/000.p/3", "entries"),
    "tile": ("log/tile/0/000.p/3", "tile/0/000.p/3"),
    "checkpoint": ("log/checkpoint", "checkpoint"),
    "event key": ("keys/event.json", "keys/event.json"),
    "log key": ("keys/log-ed25519.json", "keys/log-ed25519.json"),
    "next key": ("keys/next-log-mldsa44.json", "keys/next-log-mldsa44.json"),
}


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("seed", range(4))
def test_a_flipped_bit_is_found_and_named(home, name, seed):
    pattern, named = CLASSES[name]
    (path,) = home.glob(pattern)
    _flip(path, random.Random(f"{name} {seed}").randrange(path.stat().st_size * 8))
    problems = _problems(home)
    assert problems
    assert any(named in place for place in problems.values()), problems


@pytest.mark.parametrize("seed", range(6))
def test_a_flipped_bit_in_the_state_is_found(home, seed):
    with sqlite3.connect(home / "state.db") as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path = home / "state.db"
    row = path.read_bytes().index(b"museum.example/ledger/1\n3")
    _flip(path, (row + random.Random(seed).randrange(60)) * 8 + 1)
    problems = _problems(home)
    assert any("state" in place for place in problems.values()), problems


@pytest.mark.parametrize(
    ("table", "column"), [("files", "cid"), ("events", "event_id"), ("packages", "folder"), ("nodes", "data")]
)
def test_a_changed_row_of_the_index_is_found(home, table, column):
    with sqlite3.connect(home / "index.db") as database:
        row, value = database.execute(f"SELECT rowid, {column} FROM {table} LIMIT 1").fetchone()
        changed = bytes([value[0] ^ 1]) + value[1:] if isinstance(value, bytes) else "x" + value[1:]
        database.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (changed, row))
    problems = _problems(home)
    assert set(problems) == {"index-row"}
    assert "index.db" in problems["index-row"]


def test_a_changed_setting_is_found(home):
    path = home / "heritage.toml"
    path.chmod(0o600)
    path.write_bytes(path.read_bytes().replace(b"ledger/1", b"ledger/2"))
    assert _problems(home)


MISSING = {
    "index.db": "index-missing",
    "state.db": "state-missing",
    "log/checkpoint": "log-checkpoint-missing",
    "log/tile/0/000.p/3": "log-tile-missing",
    "log/tile/entries/000.p/3": "log-bundle-missing",
    "keys/event.json": "key-file-missing",
}


@pytest.mark.parametrize("name", MISSING)
def test_whatever_is_missing_is_named(home, name):
    for path in home.glob(f"{name}*"):
        path.unlink()
    assert MISSING[name] in _problems(home)


def test_a_missing_bag_and_a_foreign_folder_are_named(home):
    (bag,) = home.glob("packages/*/2")
    os.system(f"chmod -R u+w {bag}")
    bag.rename(home / "elsewhere")
    (bag.parent / "9").mkdir()
    problems = _problems(home)
    assert {"package-missing", "package-unrecorded"} <= set(problems)


def test_next_keys_that_are_kept_elsewhere_are_no_failure(home):
    for path in home.glob("keys/next-*"):
        path.unlink()
    assert _problems(home) == {}
    with Ledger.open(home) as ledger:
        keys = next(stage for stage in ledger.doctor() if stage.name == "keys")
    assert keys.outcome is Outcome.PASS


def test_another_name_of_the_institution_is_told(home):
    path = home / "heritage.toml"
    path.write_text(path.read_text().replace('"Museum"', '"Museum of Renamed"'))
    with Ledger.open(home) as ledger:
        (stage,) = [stage for stage in ledger.doctor() if stage.name == "settings"]
    assert stage.outcome is Outcome.PASS
    assert [finding.code for finding in stage.findings] == ["doctor-institution"]


def _everything(home: Path) -> dict[str, tuple]:
    return {
        str(path.relative_to(home)): (path.lstat().st_mtime_ns, path.lstat().st_size, path.lstat().st_mode)
        for path in home.rglob("*")
    }


def test_a_deep_verify_writes_nothing(home):
    before = _everything(home)
    assert _problems(home) == {}
    assert _everything(home) == before
