"""A PostgreSQL that is down, refuses, restarts or loses the wire: nothing is lost or added twice."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest

from heritage_ledger import Ledger
from heritage_ledger.deposit.record import Unfinished
from heritage_ledger.errors import (
    EvidenceMissing,
    HeritageError,
    KeyProblem,
    TemporaryFailure,
    UsageError,
)
from heritage_ledger.fixity.verdict import Outcome
from heritage_ledger.home import append_lock
from heritage_ledger.home.settings import change_settings
from heritage_ledger.home.state import Head, StateStore
from heritage_testkit.cutting import Wire
from heritage_testkit.postgres import OWNER, PASSWORD, Postgres

pytestmark = [
    pytest.mark.external,
    pytest.mark.xdist_group("postgres-faults"),
    # psycopg says so of a cursor whose connection was cut before it could be closed
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
ORIGIN = "museum.example/ledger/1"
COMMIT = b"COMMIT\x00"
"""As the driver sends it; without the zero byte `READ COMMITTED` would be met too."""
PASSING = {"database-unavailable", "state-unknown", "deposit-unfinished", "home-locked"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server of this module's own: it is stopped and killed."""
    made = Postgres(tmp_path_factory.mktemp("faults") / "data")
    made.init()
    made.start()
    made.make_owner()
    yield made
    made.stop()


@pytest.fixture
def wire(server):
    made = Wire(server.port)
    yield made
    made.close()


@pytest.fixture
def url(server, request):
    return server.database()


def through(wire: Wire, server: Postgres, url: str) -> str:
    return server.url(url.rpartition("/")[2], port=wire.port)


@pytest.fixture
def scans(tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    (folder / "1.txt").write_text("one page")
    return folder


@pytest.fixture
def home(url, tmp_path):
    place = tmp_path / "home"
    Ledger.init(place, institution="Museum", origin=ORIGIN, passphrase=None, database=url).close()
    return place


def head(size: int) -> Head:
    return Head(size, bytes([size]) * 32, b"checkpoint %d\n" % size)


def is_whole(home) -> bool:
    with Ledger.open(home) as ledger:
        ledger.ingest(home.parent / "scans", asset="urn:example:last")  # finishes what was left
        return {verdict.outcome for verdict in ledger.verify(deep=True)} == {Outcome.PASS}


# who answers


def test_down_at_the_start(server, home, scans):
    server.stop()
    try:
        with Ledger.open(home) as ledger:
            for work in (
                lambda: ledger.ingest(scans),
                lambda: list(ledger.assets()),
                lambda: list(ledger.verify()),
                ledger.rebuild_index,
            ):
                with pytest.raises(TemporaryFailure) as error:
                    work()
                assert error.value.code == "database-unavailable"
            findings = [finding for stage in ledger.doctor() for finding in stage.findings]
            assert "database-unavailable" in {finding.code for finding in findings}
            states = {stage.name: stage for verdict in ledger.verify(deep=True) for stage in verdict.stages}
            assert states["state"].outcome is states["index"].outcome is Outcome.NOT_CHECKED
            assert states["log"].outcome is Outcome.PASS
        assert not list((home / "packages").iterdir())
    finally:
        server.start()
    assert is_whole(home)


def test_who_is_not_let_in(server, tmp_path, monkeypatch, url):
    name = url.rpartition("/")[2]
    place = tmp_path / "home"

    def begin(database: str) -> HeritageError:
        with pytest.raises(HeritageError) as error:
            Ledger.init(place, institution="M", origin=ORIGIN, passphrase=None, database=database)
        text = f"{error.value} {error.value.advice}"
        assert PASSWORD not in text
        return error.value

    guarded = server.url(name, user=OWNER)
    missing = begin(guarded)
    assert isinstance(missing, KeyProblem)
    assert missing.code == "database-password"
    monkeypatch.setenv("PGPASSWORD", "a guess")
    assert begin(guarded).code == "database-password"
    absent = begin(server.url("nowhere"))
    assert isinstance(absent, UsageError)
    assert absent.code == "database-missing"
    assert begin(f"postgresql+psycopg://{OWNER}:{PASSWORD}@127.0.0.1/{name}").code == "database-url"
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    Ledger.init(place, institution="M", origin=ORIGIN, passphrase=None, database=guarded).close()


def test_a_database_belongs_to_one_home(home, url, tmp_path):
    with pytest.raises(HeritageError) as error:
        Ledger.init(
            tmp_path / "second",
            institution="M",
            origin="other.example/ledger/1",
            passphrase=None,
            database=url,
        )
    assert error.value.code == "state-exists"


# the wire


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(append_lock, "AGAIN_SECONDS", 1.0)


@pytest.mark.parametrize("is_held", [False, True])
@pytest.mark.parametrize("is_sent", [False, True])
def test_wire_cut_at_the_commit_of_a_swap(server, wire, url, is_sent, is_held):
    with StateStore.create(through(wire, server, url)) as store:
        store.create_head(ORIGIN, head(0))
        lock = store.hold() if is_held else None
        if lock:
            lock.__enter__()
        wire.cut(COMMIT, is_sent=is_sent)
        if is_sent:
            store.swap_head(ORIGIN, 0, head(1))  # the answer was lost, and the change found all the same
        else:
            with pytest.raises(TemporaryFailure) as error:
                store.swap_head(ORIGIN, 0, head(1))
            assert error.value.code == "database-unavailable"
        assert wire.cuts == 1
        if lock:
            store.swap_head(ORIGIN, int(is_sent), head(2))  # the lock was taken again, with the new session
            lock.__exit__(None, None, None)
        assert store.head(ORIGIN) == head(2 if is_held else int(is_sent))
    with StateStore.open(url) as store, store.hold(0.5):
        store.swap_head(ORIGIN, store.head(ORIGIN).size, head(3))


@pytest.mark.parametrize("is_sent", [False, True])
def test_what_became_of_a_swap_is_not_known(server, wire, url, is_sent, quick):
    with StateStore.create(through(wire, server, url)) as store:
        store.create_head(ORIGIN, head(0))
        wire.cut(COMMIT, is_sent=is_sent, stays_down=True)
        with pytest.raises(EvidenceMissing) as error:
            store.swap_head(ORIGIN, 0, head(1))
        assert error.value.code == "state-unknown"
        wire.mend()
        assert store.head(ORIGIN) == head(int(is_sent))


def test_wire_cut_at_every_commit_of_an_ingest(server, wire, url, scans, quick):
    """Each deposit that was acknowledged is there once; each that was not says whether it is."""
    place = scans.parent / "home"
    wired = through(wire, server, url)
    Ledger.init(place, institution="Museum", origin=ORIGIN, passphrase=None, database=wired).close()
    outcomes: Counter[str] = Counter()
    for is_sent in (False, True):
        for nth in range(1, 60):
            asset = f"urn:example:{is_sent}-{nth}"
            with Ledger.open(place) as ledger:
                wire.cut(COMMIT, nth=nth, is_sent=is_sent)
                try:
                    receipt = ledger.ingest(scans, asset=asset)
                    expected = {1}
                    assert receipt.version == 1
                    outcomes["receipt"] += 1
                except Unfinished as error:
                    outcomes[error.code] += 1
                    expected = {1}
                except HeritageError as error:
                    outcomes[error.code] += 1
                    expected = {0, 1} if error.code == "state-unknown" else {0}
            cut = wire.cuts
            wire.mend()
            with Ledger.open(place) as ledger:
                versions = len(list(ledger.index.packages(asset)))
                assert versions in expected, (nth, is_sent, outcomes)
            if not cut:
                break
        assert not cut, "more commits than were tried"
    print(dict(outcomes))
    assert outcomes.keys() - {"receipt"} <= PASSING
    assert outcomes["receipt"] > 2
    assert is_whole(place)


def test_server_gone_in_the_middle_of_every_step(server, url, scans, tmp_path, quick):
    """The same with every session ended by the server itself, at moments that are not chosen."""
    place = tmp_path / "home"
    Ledger.init(place, institution="Museum", origin=ORIGIN, passphrase=None, database=url).close()
    name = url.rpartition("/")[2]
    done = threading.Event()

    def end() -> None:
        while not done.wait(0.05):
            server.end_sessions(name)

    thread = threading.Thread(target=end)
    thread.start()
    acknowledged: list[str] = []
    refused: Counter[str] = Counter()
    try:
        for number in range(40):
            try:
                with Ledger.open(place) as ledger:
                    acknowledged.append(ledger.ingest(scans, asset=f"urn:example:{number}").event_id)
            except HeritageError as error:
                refused[error.code] += 1
    finally:
        done.set()
        thread.join()
    with Ledger.open(place) as ledger:
        found = Counter(event.event_id for event in ledger.events())
        assert all(found[event] == 1 for event in acknowledged)
        assert set(Counter(package.asset for package in ledger.index.packages()).values()) <= {1}
    print(f"{len(acknowledged)} of 40 acknowledged, {dict(refused)}")
    assert set(refused) <= PASSING
    assert is_whole(place)


INGEST = """
import sys, itertools
from pathlib import Path
from heritage_ledger import Ledger
from heritage_ledger.errors import HeritageError
for number in itertools.count():
    try:
        with Ledger.open(Path(sys.argv[1])) as ledger:
            while True:
                number += 1
                print("ok", ledger.ingest(Path(sys.argv[2])).event_id, flush=True)
    except HeritageError as error:
        print("no", error.code, flush=True)
"""


def test_server_restarted_under_a_stream_of_deposits(server, home, scans):
    child = subprocess.Popen(
        [sys.executable, "-c", INGEST, home, scans], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        for how in (signal.SIGINT, signal.SIGQUIT, signal.SIGINT, signal.SIGQUIT):
            time.sleep(1.2)
            server.restart(how)
        time.sleep(1.2)
    finally:
        child.terminate()
    out, err = child.communicate(timeout=60)
    assert "Traceback" not in err
    lines = [line.split() for line in out.splitlines()]
    acknowledged = [word for verdict, word in lines if verdict == "ok"]
    refused = Counter(word for verdict, word in lines if verdict == "no")
    print(len(acknowledged), dict(refused))
    assert len(acknowledged) > 20
    assert refused
    assert set(refused) <= PASSING
    assert is_whole(home)
    with Ledger.open(home) as ledger:
        found = Counter(event.event_id for event in ledger.events())
    assert all(found[event] == 1 for event in acknowledged)


def test_a_wrong_driver_in_the_settings(home):
    with pytest.raises(UsageError) as error:
        change_settings(home / "heritage.toml", "ledger", "database", "postgresql://museum@db/ledger")
    assert error.value.code == "database-url"
