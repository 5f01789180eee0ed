"""What was promised and fulfilled is read on from where it was, and is what one reading of all would say."""

from datetime import UTC, datetime, timedelta

import pytest

from heritage_ledger import Ledger
from heritage_ledger.deposit import statement
from heritage_ledger.deposit.statement import frame, record_statement
from heritage_ledger.events.bodies import replication_body
from heritage_ledger.federation.pledges import Duties, pledge

ORIGIN = "museum.example/ledger/1"
OTHERS = ("archive.example/ledger/1", "library.example/ledger/1")
CID = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"


@pytest.fixture
def books(tmp_path):
    with Ledger.init(tmp_path / "home", institution="Museum", origin=ORIGIN, passphrase=None) as ledger:
        yield ledger.books


def read(books, duties):
    duties.update(books.index, books.log, books.size())
    return duties


def replicated(books, source):
    body = replication_body(
        frame(books, books.now()),
        package_cid=CID,
        source=source,
        helpers=[source],
        file_count=1,
        byte_count=1,
    )
    record_statement(books, body)


def test_the_latest_pledge_counts_and_nothing_is_read_twice(books):
    going = read(books, Duties())
    assert (going.pledges, going.recorded) == ({}, set())
    until = datetime.now(UTC) + timedelta(days=9)
    for number in range(4):
        pledge(
            books, OTHERS[number % 2], until, max_bytes=None if number else 5, assets=["urn:x"] * (number % 2)
        )
        if number % 2:
            replicated(books, OTHERS[0])
            replicated(books, OTHERS[number // 2])
        read(books, going)
        whole = read(books, Duties())
        assert (going.pledges, going.recorded) == (whole.pledges, whole.recorded)
    assert going.recorded == {(other, CID) for other in OTHERS}
    assert {source: promise.assets for source, promise in going.pledges.items()} == {
        OTHERS[0]: (),
        OTHERS[1]: ("urn:x",),
    }
    before = dict(going.pledges)
    assert read(books, going).pledges == before


def test_events_by_their_types(books):
    until = datetime.now(UTC) + timedelta(days=9)
    for _ in range(3):
        pledge(books, OTHERS[0], until)
    replicated(books, OTHERS[0])
    kinds = [row.types for row in books.index.events()]
    for types in set(kinds):
        assert [row.log_index for row in books.index.events(types=types)] == [
            at for at, found in enumerate(kinds) if found == types
        ]
    assert list(books.index.events(types=("Nothing",))) == []
    assert len(list(books.index.events(types=kinds[1], after=1, limit=1))) == 1


@pytest.mark.parametrize("is_reopened", [True, False])
def test_what_was_recorded_when_a_process_died_is_not_recorded_twice(tmp_path, monkeypatch, is_reopened):
    """Between the head and the index: whoever asks the index alone would say that nothing was promised."""
    until = datetime.now(UTC) + timedelta(days=9)
    with Ledger.init(tmp_path / "home", institution="Museum", origin=ORIGIN, passphrase=None) as ledger:
        pledge(ledger.books, OTHERS[0], until)
        monkeypatch.setattr(statement, "add_event", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            replicated(ledger.books, OTHERS[0])
        monkeypatch.undo()
        if not is_reopened:
            duties = Duties()
            duties.follow(ledger.books)
            assert duties.recorded == {(OTHERS[0], CID)}
    if is_reopened:
        with Ledger.open(tmp_path / "home") as ledger:
            duties = Duties()
            duties.follow(ledger.books)
            assert duties.recorded == {(OTHERS[0], CID)}
            assert ledger.index.absorbed() == ledger.books.size() == 3
