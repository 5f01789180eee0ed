"""What bounds an event's time, and a clock that is about to sign: warnings, and nothing at the edges."""

from datetime import UTC, datetime, timedelta

import pytest

from heritage_ledger.errors import Severity
from heritage_ledger.events.chronology import (
    MAX_SILENCE,
    MAX_SKEW,
    Bounds,
    check_clock,
    check_cosigned,
    check_time,
    earliest,
    plausible,
    show_cosigned,
)
from heritage_ledger.events.timestamps import format_timestamp

AT = datetime(2026, 11, 27, 12, tzinfo=UTC)
SECONDS = int(AT.timestamp())
LAST = 2**63 - 1


def time(moment):
    return format_timestamp(moment)


def codes(findings):
    assert {finding.severity for finding in findings} <= {Severity.WARNING}
    return [finding.code for finding in findings]


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        (Bounds(), []),
        (Bounds(genesis=time(AT)), []),
        (Bounds(previous=time(AT)), []),
        (Bounds(previous=time(AT + MAX_SKEW)), []),
        (Bounds(previous=time(AT + MAX_SKEW + timedelta(seconds=1))), ["event-before-previous"]),
        (Bounds(genesis=time(AT + MAX_SKEW + timedelta(seconds=1))), ["event-before-genesis"]),
        (
            Bounds(time(AT + timedelta(days=1)), time(AT + timedelta(days=2))),
            ["event-before-previous", "event-before-genesis"],
        ),
        (Bounds(cosigned={"w": SECONDS - 300}), []),
        (Bounds(cosigned={"w": SECONDS - 301}), ["event-after-cosignature"]),
        (Bounds(cosigned={"w": SECONDS + 10**6, "v": SECONDS - 10**6}), ["event-after-cosignature"]),
        (Bounds(cosigned={"w": 0, "v": LAST, "u": SECONDS}), []),
    ],
)
def test_an_event_outside_of_its_bounds_is_warned_of(bounds, expected):
    assert codes(check_time(time(AT), bounds)) == expected


def test_a_backdated_event_is_told_with_both_times():
    (found,) = check_time("1998-01-01T00:00:08.177Z", Bounds(previous="2026-11-27T12:00:00Z"))
    assert (found.expected, found.found) == ("2026-11-27T12:00:00Z or later", "1998-01-01T00:00:08.177Z")


@pytest.mark.parametrize("seconds", [0, 1, 10**9, 253402300800, 9_223_372_036_854, LAST])
def test_times_that_can_be_none_bound_nothing_and_are_shown_as_such(seconds):
    assert plausible(seconds) is None
    assert earliest({"w": seconds}) is None
    assert show_cosigned({"w": seconds}) == f"w at an implausible time ({seconds})"
    assert codes(check_cosigned({"w": seconds, "v": SECONDS})) == ["cosignature-time-implausible"]


def test_the_earliest_cosignature_is_named():
    assert earliest({"b": SECONDS, "a": SECONDS + 1, "c": 0}) == ("b", AT)
    assert (
        show_cosigned({"b": SECONDS, "a": SECONDS + 1})
        == "a at 2026-11-27T12:00:01Z, b at 2026-11-27T12:00:00Z"
    )


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ([], []),
        ([("entry 1", "no time")], []),
        ([("w", 0), ("v", LAST)], []),
        ([("entry 1", time(AT))], []),
        ([("entry 1", time(AT + MAX_SKEW))], []),
        ([("entry 1", time(AT + MAX_SKEW + timedelta(seconds=1)))], ["clock-behind-log"]),
        ([("entry 1", time(AT - timedelta(days=9))), ("w", SECONDS + 301)], ["clock-behind-log"]),
        ([("entry 1", time(AT - MAX_SILENCE))], []),
        ([("entry 1", time(AT - MAX_SILENCE - MAX_SKEW)), ("w", SECONDS - 99)], []),
        ([("entry 1", time(AT - MAX_SILENCE - timedelta(seconds=1)))], ["clock-ahead-of-log"]),
    ],
)
def test_a_clock_is_compared_with_the_newest_that_is_known(known, expected):
    assert codes(check_clock(AT, known)) == expected
