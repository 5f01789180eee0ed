"""A pooler before the database: refused in true words where the append lock does not hold behind it."""

import contextlib
import threading
import time

import psycopg
import pytest

from heritage_ledger import Ledger
from heritage_ledger.errors import EvidenceMissing, HeritageError, OperationFailed
from heritage_ledger.fixity.heads import examine_heads
from heritage_ledger.home import pooler as module
from heritage_ledger.home.layout import Home
from heritage_ledger.home.settings import change_settings, read_settings
from heritage_ledger.home.state import StateStore
from heritage_testkit.pooler import pgbouncer

pytestmark = [pytest.mark.external, pytest.mark.xdist_group("pooler")]
ORIGIN = "museum.example/ledger/1"


@contextlib.contextmanager
def busy(postgres, port, name):
    """Others whose transactions keep the pooler's processes changing hands."""
    over = threading.Event()

    def work():
        with psycopg.connect(host="127.0.0.1", port=port, user="postgres", dbname=name) as connection:
            connection.prepare_threshold = None
            while not over.is_set():
                with connection.transaction():
                    connection.execute("SELECT pg_sleep(0.01)")

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize(
    ("mode", "load"), [("transaction", "idle"), ("transaction", "busy"), ("statement", "idle")]
)
def test_a_pooler_that_gives_sessions_away_is_refused(postgres, tmp_path, mode, size, load):
    url = postgres.database()
    name = url.rpartition("/")[2]
    with contextlib.ExitStack() as held:
        port = held.enter_context(pgbouncer(postgres, tmp_path / "pgbouncer", mode, size))
        if load == "busy":
            held.enter_context(busy(postgres, port, name))
        through = postgres.url(name, port=port)
        with pytest.raises(OperationFailed) as caught:
            Ledger.init(tmp_path / "a", institution="M", origin=ORIGIN, passphrase=None, database=through)
        assert caught.value.code == "database-pooled"
        assert not (tmp_path / "a" / "heritage.toml").exists()
        Ledger.init(tmp_path / "b", institution="M", origin=ORIGIN, passphrase=None, database=url).close()
        change_settings(tmp_path / "b" / "heritage.toml", "ledger", "database", through)
        (tmp_path / "page.txt").write_text("page")
        with pytest.raises(OperationFailed) as caught, Ledger.open(tmp_path / "b") as ledger:
            ledger.ingest(tmp_path / "page.txt", asset="urn:example:1")
        assert caught.value.code == "database-pooled"
        with postgres.connect(name) as connection:
            assert connection.execute(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
            ).fetchone() == (0,)


def test_a_pooler_in_session_mode_is_as_good_as_none(postgres, tmp_path):
    url = postgres.database()
    with pgbouncer(postgres, tmp_path / "pgbouncer", "session", 20) as port:
        through = postgres.url(url.rpartition("/")[2], port=port)
        (tmp_path / "page.txt").write_text("page")
        with Ledger.init(
            tmp_path / "home", institution="M", origin=ORIGIN, passphrase=None, database=through
        ) as ledger:
            assert ledger.ingest(tmp_path / "page.txt", asset="urn:example:1").log_index == 1
        with StateStore.open(through) as one, StateStore.open(through) as other, one.hold():
            with pytest.raises(HeritageError) as caught, other.hold(wait=0.2):
                pass
            assert caught.value.code == "home-locked"


def test_a_pooler_with_too_few_processes_is_refused_and_nobody_waits_for_ever(
    postgres, tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "WAIT", 1.0)
    url = postgres.database()
    with pgbouncer(postgres, tmp_path / "pgbouncer", "session", 1) as port:
        began = time.monotonic()
        with pytest.raises(OperationFailed) as caught:
            StateStore.create(postgres.url(url.rpartition("/")[2], port=port))
        assert caught.value.code == "database-pooled"
        assert time.monotonic() - began < 90


def test_commits_wait_for_the_disk_whatever_the_servers_default_is(postgres):
    name = postgres.database().rpartition("/")[2]
    with postgres.connect() as connection:
        connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    with StateStore.create(postgres.url(name)) as state, state._engine.connect() as connection:
        assert connection.exec_driver_sql("SHOW synchronous_commit").scalar_one() == "on"
        assert connection.exec_driver_sql("SHOW lock_timeout").scalar_one() == "30s"


def test_a_standby_that_lagged_and_was_promoted_is_told(postgres, tmp_path):
    """The database is what it was two deposits ago; log and bags are those of now."""
    url = postgres.database()
    name, home = url.rpartition("/")[2], tmp_path / "home"
    Ledger.init(home, institution="M", origin=ORIGIN, passphrase=None, database=url).close()

    def deposit(number):
        (tmp_path / "page.txt").write_text(f"page {number}")
        with Ledger.open(home) as ledger:
            return ledger.ingest(tmp_path / "page.txt", asset=f"urn:example:{number}").log_index

    deposit(1)
    with postgres.connect() as connection:
        connection.execute(f"CREATE DATABASE {name}_standby TEMPLATE {name}")
    deposit(2)
    deposit(3)
    with postgres.connect() as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
        connection.execute(f"ALTER DATABASE {name}_standby RENAME TO {name}")
    codes = {one.code for one in examine_heads(Home(home), read_settings(home / "heritage.toml"))}
    assert {"log-state-behind", "log-unsure"} <= codes
    with pytest.raises(HeritageError) as caught:
        deposit(4)
    assert caught.value.code in {"log-unsure", "log-state-behind"}
    with pytest.raises(EvidenceMissing), Ledger.open(home) as ledger:
        ledger.recover()
    with Ledger.open(home) as ledger:
        assert ledger.recover(newest=True).size == 4
    assert deposit(4) == 4
    with Ledger.open(home) as ledger:
        bad = [verdict for verdict in ledger.verify(deep=True) if verdict.outcome.value != "pass"]
        assert [one.code for verdict in bad for stage in verdict.stages for one in stage.findings] == []
