"""Which packages are due for a check: spread over the period at first, then by when they were looked at."""

from datetime import timedelta

import pytest

from heritage_ledger.content.cid import RAW, block_cid, format_cid
from heritage_ledger.errors import HomeLocked
from heritage_ledger.federation.checks import being_checked, due, note_check
from heritage_ledger.home.layout import Home

DAY = 86_400
EVERY = timedelta(days=30)
CIDS = [block_cid(RAW, b"%d" % at) for at in range(300)]
NOW = 2_000_000_000.0


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path)


def test_packages_never_checked_fall_due_within_one_period_and_not_at_once(home):
    found = [len(list(due(home, CIDS, EVERY, NOW + day * DAY))) for day in (0, 10, 20, 31)]
    assert found[0] <= 1
    assert 50 < found[1] < 150 < found[2] < 250
    assert found[3] == len(CIDS)


def test_what_was_looked_at_is_due_a_period_later(home):
    for cid in CIDS[:2]:
        note_check(home, cid, EVERY, NOW, is_whole=True)
    note_check(home, CIDS[2], EVERY, NOW, is_whole=False)
    assert list(due(home, CIDS[:3], EVERY, NOW + DAY - 1)) == []
    assert list(due(home, CIDS[:3], EVERY, NOW + DAY)) == [CIDS[2]]  # not whole: again after a day
    assert list(due(home, CIDS[:3], EVERY, NOW + 30 * DAY)) == CIDS[:3]
    note_check(home, CIDS[2], timedelta(hours=6), NOW, is_whole=False)
    assert list(due(home, CIDS[2:3], timedelta(hours=6), NOW + 6 * 3_600)) == CIDS[2:3]


def test_a_lost_note_costs_one_period(home):
    note_check(home, CIDS[0], EVERY, NOW, is_whole=True)
    for path in home.checked.iterdir():
        path.unlink()
    list(due(home, CIDS[:1], EVERY, NOW + 31 * DAY))  # a time is drawn anew
    assert list(due(home, CIDS[:1], EVERY, NOW + 62 * DAY)) == CIDS[:1]


def test_two_do_not_mend_one_package(home):
    with being_checked(home, CIDS[0]), being_checked(home, CIDS[1]), pytest.raises(HomeLocked) as caught:
        being_checked(home, CIDS[0], wait=0).__enter__()
    assert caught.value.code == "home-locked"
    with being_checked(home, CIDS[0]):
        assert not (home.checked / format_cid(CIDS[0])).exists()  # a lock is no check
    assert list(home.checked.iterdir()) == []  # and leaves nothing behind
