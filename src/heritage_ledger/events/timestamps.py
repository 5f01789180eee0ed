"""Times in events: UTC, whole seconds or milliseconds, one spelling (RFC 3339, XSD dateTimeStamp).

>>> format_timestamp(parse_timestamp("2026-03-02T09:14:05Z"))
'2026-03-02T09:14:05Z'
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from heritage_ledger.errors import EvidenceInvalid

_FORM: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{3})?Z")


def format_timestamp(moment: datetime) -> str:
    """`YYYY-MM-DDThh:mm:ssZ`, with `.mmm` where the moment has milliseconds; finer parts are cut off.

    The moment must know its time zone.
    """
    assert moment.tzinfo is not None
    utc = moment.astimezone(UTC)
    milliseconds = utc.microsecond // 1000
    text = utc.replace(tzinfo=None, microsecond=1000 * milliseconds).isoformat(
        timespec="milliseconds" if milliseconds else "seconds"
    )
    return text + "Z"


def parse_timestamp(text: str) -> datetime:
    """The moment, in UTC.

    Raises:
        EvidenceInvalid: `timestamp-invalid`, another form or no day of the calendar.
    """
    if _FORM.fullmatch(text):
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            pass
    raise EvidenceInvalid(
        "timestamp-invalid",
        "not a UTC time",
        expected="YYYY-MM-DDThh:mm:ssZ or YYYY-MM-DDThh:mm:ss.mmmZ",
        found=ascii(text)[:80],
    )
