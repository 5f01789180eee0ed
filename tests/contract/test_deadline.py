"""A read ends with its deadline, in a file as in a server, and what is written has none."""

import threading
import time

import pytest

from heritage_ledger.errors import TemporaryFailure
from heritage_ledger.home.deadline import Deadline, bounded
from heritage_ledger.index.rows import EventRow
from heritage_ledger.index.store import Index

ORIGIN = "museum.example/ledger/1"
ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n"


@pytest.fixture
def index(database, tmp_path):
    with Index.open(database or tmp_path / "index.db", origin=ORIGIN) as one:
        yield one


def endless(index):
    with index._database.reading() as connection:
        connection.exec_driver_sql(ENDLESS)


def too_long(deadline, work, *values):
    with pytest.raises(TemporaryFailure) as caught, bounded(deadline):
        work(*values)
    assert caught.value.code == "read-too-long"


def test_a_statement_is_broken_off_at_its_deadline(index):
    too_long(Deadline(0.3), endless, index)
    assert index.absorbed() == 0  # the connection went back as it was
    with bounded(Deadline(60)):
        assert list(index.assets()) == []


def test_what_is_over_is_not_begun(index):
    deadline = Deadline(60)
    deadline.cancel()
    assert deadline.left == 0
    too_long(deadline, index.absorbed)


def test_nobody_waits_any_more(index):
    deadline = Deadline(600)
    threading.Timer(0.3, deadline.cancel).start()
    too_long(deadline, endless, index)


def test_a_connection_is_not_limited_by_the_deadline_of_another_read(index):
    with bounded(Deadline(0.3)):
        assert index.absorbed() == 0
    time.sleep(0.4)
    with index._database.reading() as connection:  # the same one, out of the pool
        connection.exec_driver_sql(ENDLESS.replace("FROM n) SELECT", "FROM n WHERE x < 300000) SELECT"))


def test_what_is_written_has_no_deadline(index):
    deadline = Deadline(60)
    with bounded(deadline), index.begin() as writer:
        deadline.cancel()
        writer.add_event(EventRow(0, ORIGIN, "urn:uuid:0", ("t",), "now", "a", "k"))
        writer.set_absorbed(1)
    assert index.event(0).event_id == "urn:uuid:0"
