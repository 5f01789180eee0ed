"""Heads that are lost, damaged or given up come back by `recover`, wherever they are kept."""

import contextlib
import shutil
import sqlite3

import psycopg
import pytest

from heritage_ledger import Ledger
from heritage_ledger.errors import EvidenceMissing, HeritageError, OperationFailed, TemporaryFailure
from heritage_ledger.federation import restore as module
from heritage_ledger.federation.restore import restore
from heritage_ledger.home.settings import read_settings
from heritage_ledger.home.state import StateStore
from heritage_testkit.nodes import until
from heritage_testkit.running import NODE, make_home, running

ORIGIN = "museum.example/ledger/1"


@pytest.fixture
def home(tmp_path, database):
    place = tmp_path / "home"
    Ledger.init(place, institution="Museum", origin=ORIGIN, passphrase=None, database=database).close()
    with (place / "heritage.toml").open("a") as file:
        file.write(NODE)
    for number in range(3):
        deposit(place, number)
    return place


def deposit(home, number):
    folder = home.parent / f"source-{number}"
    folder.mkdir()
    (folder / "page.txt").write_text(f"page {number}")
    with Ledger.open(home) as ledger:
        return ledger.ingest(folder, asset=f"urn:example:{number}").log_index


@contextlib.contextmanager
def sql(home):
    """A hand in the database of a home: runs statements."""
    url = read_settings(home / "heritage.toml").database
    if url is None:
        with contextlib.closing(sqlite3.connect(home / "state.db", isolation_level=None)) as connection:
            yield connection
    else:
        with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
            yield connection


def is_mirrored(archive):
    """Both entries lie there: met means cosigned, and the mirror may come later."""
    head = archive / "mirrors" / ORIGIN / "checkpoint"
    return head.is_file() and head.read_text().split("\n")[1] == "2"


def tables(home):
    with sql(home) as connection:
        kind = "sqlite_master" if isinstance(connection, sqlite3.Connection) else "pg_tables"
        column = "name" if kind == "sqlite_master" else "tablename"
        return {row[0] for row in connection.execute(f"SELECT {column} FROM {kind}").fetchall()}


def recover(home, **words):
    with Ledger.open(home) as ledger:
        return ledger.recover(**words)


def lose_heads(home):
    with sql(home) as connection:
        connection.execute("DROP TABLE heads")
    if (home / "state.db").exists():
        for path in home.glob("state.db*"):
            path.unlink()


def lose_all(home):
    lose_heads(home)
    if not (home / "heritage.toml").read_text().count("postgresql"):
        return
    with sql(home) as connection:
        connection.execute("DROP TABLE seal")


def damage(home):
    with sql(home) as connection:
        connection.execute(f"UPDATE heads SET checkpoint = 'another' WHERE origin = '{ORIGIN}'")


@pytest.mark.parametrize("harm", [lose_heads, lose_all, damage])
def test_lost_and_damaged_heads_are_begun_anew(home, harm):
    harm(home)
    with pytest.raises(HeritageError) as caught:
        deposit(home, 3)
    assert caught.value.code in {"state-missing", "state-damaged"}
    with pytest.raises(EvidenceMissing) as caught:
        recover(home)
    assert caught.value.code == "log-unsure"  # the heads are there again, and a person is asked
    done = recover(home, newest=True)
    assert (done.size, done.basis) == (4, "the word of a person")
    shutil.rmtree(home.parent / "source-3")
    assert deposit(home, 3) == 4
    with Ledger.open(home) as ledger:
        assert {verdict.outcome.value for verdict in ledger.verify(deep=True)} == {"pass"}
    with sql(home) as connection, pytest.raises((sqlite3.Error, psycopg.Error)):  # the guards are there again
        connection.execute("DELETE FROM heads")


def test_what_is_given_up_is_kept(home, tmp_path):
    shutil.copytree(home / "log", tmp_path / "log")
    deposit(home, 3)
    shutil.rmtree(home / "log")
    (tmp_path / "log").rename(home / "log")
    with pytest.raises(EvidenceMissing) as caught:
        recover(home)
    assert caught.value.code == "log-tail-missing"
    done = recover(home, newest=True)
    assert (done.old_size, done.size) == (5, 4)
    if (home / "state.db").exists():
        assert (home / done.aside / "state.db").is_file()
    else:
        kept = done.aside.split(", ")
        assert set(kept) <= tables(home)
        with sql(home) as connection:
            (size,) = connection.execute(f"SELECT size FROM {kept[0]} WHERE origin = %s", [ORIGIN]).fetchone()
        assert size == 5
    assert any((home / "quarantine").glob("**/given-up-*"))
    shutil.rmtree(home.parent / "source-3")
    assert deposit(home, 3) == 4
    second = recover(home)  # and again: names do not collide
    assert (second.old_size, second.size) == (5, 5)


def test_a_restore_from_peers_that_failed_is_begun_again(tmp_path, database):
    museum, archive = (make_home(tmp_path, name) for name in ("museum", "archive"))
    with running(archive, first=0.05) as other, running(museum) as node:
        for home, url in ((museum, other.url), (archive, node.url)):
            with Ledger.open(home) as ledger:
                ledger.federation.peers.add(ledger.federation.discover(url))
        deposit(museum, 1)
        with Ledger.open(museum) as ledger:
            assert ledger.federation.collect().is_met
        until(lambda: is_mirrored(archive))
        kept = tmp_path / "kept"
        kept.mkdir()
        for name in ("keys", "peers"):
            shutil.copytree(museum / name, kept / name)
        for name in ("heritage.toml", "policy"):
            shutil.copy(museum / name, kept / name)
        if database is not None:
            settings = kept / "heritage.toml"
            settings.write_text(
                settings.read_text().replace("[ledger]\n", f'[ledger]\ndatabase = "{database}"\n')
            )
            assert read_settings(settings).database == database
    with pytest.raises((TemporaryFailure, EvidenceMissing)), Ledger.open(kept) as ledger:
        restore(ledger.federation)
    with running(archive) as other:
        with Ledger.open(kept) as ledger:
            peer = next(iter(ledger.federation.peers))
        for path in (kept / "policy", *(kept / "peers").rglob("*.json")):
            path.write_text(path.read_text().replace(peer.url, other.url))
        with Ledger.open(kept) as ledger:
            assert restore(ledger.federation).size == 2
        with Ledger.open(kept) as ledger, pytest.raises(OperationFailed) as caught:
            restore(ledger.federation)
        assert caught.value.code in {"restore-not-empty", "state-exists"}


def test_a_restore_from_a_backup_that_failed_is_begun_again(home, tmp_path, database, monkeypatch):
    with Ledger.open(home) as ledger:
        ledger.backup(tmp_path / "backup")
    if database is not None:
        with sql(home) as connection:
            for name in tables(home):
                if not name.startswith(("pg_", "sql_")):
                    connection.execute(f"DROP TABLE {name} CASCADE")
            connection.execute("DROP FUNCTION heads_guard CASCADE")
    shutil.rmtree(home)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(module, "complete", full)
        with pytest.raises(OSError, match="No space"):
            Ledger.restore(tmp_path / "backup", tmp_path / "again")
    shutil.rmtree(tmp_path / "again")
    Ledger.restore(tmp_path / "backup", tmp_path / "again").close()


@pytest.mark.external
def test_a_folder_that_is_lost_comes_back_though_its_server_stands(postgres, tmp_path):
    """What is left is keys, settings, peers and policy, and heads that nobody may begin anew."""
    museum, archive = (make_home(tmp_path, name) for name in ("museum", "archive"))
    with running(archive, first=0.05) as other:
        with Ledger.open(museum) as ledger:
            ledger.move_databases(postgres.database())
        with running(museum) as node:
            for home, url in ((museum, other.url), (archive, node.url)):
                with Ledger.open(home) as ledger:
                    ledger.federation.peers.add(ledger.federation.discover(url))
            deposit(museum, 1)
            with Ledger.open(museum) as ledger:
                assert ledger.federation.collect().is_met
            until(lambda: is_mirrored(archive))
        for name in ("log", "packages", "staging", "quarantine", "mirrors"):
            shutil.rmtree(museum / name, ignore_errors=True)
        with Ledger.open(museum) as ledger:
            with pytest.raises(OperationFailed) as caught:
                restore(ledger.federation)
            assert caught.value.code == "state-exists"
            assert "heritage log recover" in caught.value.advice
        assert recover(museum).size == 2
        with StateStore.open(read_settings(museum / "heritage.toml").database) as state:
            assert state.head(ORIGIN).size == 2
