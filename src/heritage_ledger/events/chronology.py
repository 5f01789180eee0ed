"""When an event happened, as far as others than its signer say so (`specs/proof.md`, "Time").

An event's time is its institution's own word. Three things bound it: the log's first entry, the entry before
it, and the time at which a witness cosigned a tree that holds it. What lies outside of these bounds is a
warning, never an error: a clock that was wrong once stays in the log for good, and the entry is as signed as
any. All commands judge time by this module, which reads no clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from heritage_ledger.errors import EvidenceInvalid, Finding, Severity
from heritage_ledger.events.timestamps import format_timestamp, parse_timestamp

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_SKEW: Final = timedelta(minutes=5)
"""By how much the clocks of two machines, or one clock before and after it was set, may differ."""
MAX_SILENCE: Final = timedelta(days=366)
"""Time since everything that log and witnesses know of, after which a clock is asked to be looked at."""
EARLIEST: Final = datetime(2020, 1, 1, tzinfo=UTC)
"""No log or witness of these formats is older; 0 means that a key signed no time."""
LATEST: Final = datetime(9999, 12, 31, tzinfo=UTC)
"""The last day that an event's time can name; a cosignature's 63 bits go on to the year 292·10⁹."""
_RULE: Final = "specs/proof.md, Time"
_BELIEVE: Final = "believe the bound, not the event's own time; a clock was wrong, or the event was backdated"


@dataclass(frozen=True, slots=True)
class Bounds:
    """What bounds the time of one event: entry 0, the entry before it, and who cosigned when.

    Times of events are texts as in events, those of cosignatures POSIX seconds by the witness's name.
    None and an absent witness say nothing.
    """

    genesis: str | None = None
    previous: str | None = None
    cosigned: Mapping[str, int] = field(default_factory=dict)


def check_time(created: str, bounds: Bounds) -> tuple[Finding, ...]:
    """Return warnings about an event's time that its bounds contradict, by more than clocks may differ.

    Raises:
        EvidenceInvalid: a time of an event is none (`timestamp-invalid`).
    """
    at = parse_timestamp(created)
    first = earliest(bounds.cosigned)
    found = []
    if bounds.previous is not None and at < parse_timestamp(bounds.previous) - MAX_SKEW:
        found.append(
            _warning(
                "event-before-previous",
                "the event says that it is older than the entry before it in the log",
                f"{bounds.previous} or later",
                created,
            )
        )
    if bounds.genesis is not None and at < parse_timestamp(bounds.genesis) - MAX_SKEW:
        found.append(
            _warning(
                "event-before-genesis",
                "the event says that it is older than the log",
                f"{bounds.genesis} or later",
                created,
            )
        )
    if first is not None and at > first[1] + MAX_SKEW:
        found.append(
            _warning(
                "event-after-cosignature",
                "the event says that it is younger than a cosignature of a tree that holds it",
                f"no later than {format_timestamp(first[1])}, when {first[0]} cosigned it",
                created,
            )
        )
    return tuple(found)


def check_clock(now: datetime, known: Iterable[tuple[str, str | int]]) -> tuple[Finding, ...]:
    """Return a warning where the clock is behind what the log and its witnesses know, or far ahead of it.

    Args:
        now: what the clock says.
        known: what is known, as what it is and its time: a text of an event, or POSIX seconds. Implausible
            times are passed over.
    """
    moments = [(moment, what) for what, time in known if (moment := _moment(time)) is not None]
    if not moments:
        return ()
    newest, what = max(moments)
    if now < newest - MAX_SKEW:
        return (
            _warning(
                "clock-behind-log",
                "this machine's clock is behind what the log or its witnesses know, and signs that time",
                f"{format_timestamp(newest)} or later, as {what} says",
                format_timestamp(now),
                advice="set the clock: an entry cannot be taken back, and everyone who checks it is told",
            ),
        )
    if now > newest + MAX_SILENCE:
        return (
            _warning(
                "clock-ahead-of-log",
                "this machine's clock is far ahead of all that the log and its witnesses know",
                f"not much later than {format_timestamp(newest)}, as {what} says",
                format_timestamp(now),
                advice="see whether it is right; where nothing was recorded for so long, all is well",
            ),
        )
    return ()


def earliest(cosigned: Mapping[str, int]) -> tuple[str, datetime] | None:
    """Return who cosigned first, and when; implausible times do not count."""
    moments = [
        (moment, name) for name, seconds in cosigned.items() if (moment := plausible(seconds)) is not None
    ]
    return min(moments)[::-1] if moments else None


def plausible(seconds: int) -> datetime | None:
    """Return the moment of a cosignature, or None where the number can be no time of one."""
    if not EARLIEST.timestamp() <= seconds <= LATEST.timestamp():
        return None
    return datetime.fromtimestamp(seconds, UTC)


def show_cosigned(cosigned: Mapping[str, int]) -> str:
    """Return who cosigned and when, for people, in the order of names."""
    return ", ".join(f"{name} at {_shown(seconds)}" for name, seconds in sorted(cosigned.items()))


def check_cosigned(cosigned: Mapping[str, int]) -> tuple[Finding, ...]:
    """Return a warning for each cosignature whose time can be none: it counts, and bounds nothing."""
    return tuple(
        _warning(
            "cosignature-time-implausible",
            f"{name} cosigned at a time that can be none, so it does not say when the log held the event",
            f"{format_timestamp(EARLIEST)} to {format_timestamp(LATEST)}",
            f"{seconds} seconds after 1970",
            advice="ask the witness to set its clock",
        )
        for name, seconds in sorted(cosigned.items())
        if plausible(seconds) is None
    )


def _shown(seconds: int) -> str:
    moment = plausible(seconds)
    return f"an implausible time ({seconds})" if moment is None else format_timestamp(moment)


def _moment(time: str | int) -> datetime | None:
    if isinstance(time, int):
        return plausible(time)
    try:
        return parse_timestamp(time)
    except EvidenceInvalid:
        return None


def _warning(code: str, message: str, expected: str, found: str, *, advice: str = _BELIEVE) -> Finding:
    return Finding(
        code,
        message,
        expected=expected,
        found=found,
        advice=advice,
        rule=_RULE,
        severity=Severity.WARNING,
    )
