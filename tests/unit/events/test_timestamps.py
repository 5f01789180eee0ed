"""Times have one spelling."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from heritage_ledger.errors import EvidenceInvalid
from heritage_ledger.events.timestamps import format_timestamp, parse_timestamp


def test_a_time_in_another_zone_is_written_in_utc():
    moment = datetime(2026, 3, 2, 1, 14, 5, 250_999, tzinfo=timezone(timedelta(hours=2)))
    assert format_timestamp(moment) == "2026-03-01T23:14:05.250Z"


def test_whole_seconds_carry_no_fraction():
    assert format_timestamp(datetime(2026, 3, 2, 9, 14, 5, 999, tzinfo=UTC)) == "2026-03-02T09:14:05Z"


def test_what_is_read_is_in_utc():
    assert parse_timestamp("2026-03-02T09:14:05.250Z") == datetime(2026, 3, 2, 9, 14, 5, 250_000, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-02T09:14:05",
        "2026-03-02T09:14:05+00:00",
        "2026-03-02T09:14:05z",
        "2026-03-02 09:14:05Z",
        "2026-03-02T09:14:05.2Z",
        "2026-03-02T09:14:05.250000Z",
        "2026-02-29T00:00:00Z",
        "2026-03-02T24:00:00Z",
        "2026-03-02T23:59:60Z",
        "0000-01-01T00:00:00Z",
        "2026-03-02T09:14:05Z\n",
        "٢٠٢٦-03-02T09:14:05Z",
        "",
    ],
)
def test_other_spellings_are_refused(text):
    with pytest.raises(EvidenceInvalid) as caught:
        parse_timestamp(text)
    assert caught.value.code == "timestamp-invalid"
