"""Sizes, counts and times in words.

>>> size(1_536), size(999), count(1, "file"), count(12_000, "file"), entries(2), duration(3_725)
('1.5 KiB', '999 B', '1 file', '12,000 files', '2 entries', '1 h 2 min')
"""

from __future__ import annotations

_STEP = 1024
_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_MINUTE = 60
_HOUR = 3600
_DAY = 86_400


def size(number: int) -> str:
    """Bytes in the largest binary unit that leaves at least 1."""
    if number < _STEP:
        return f"{number} B"
    value, power = number / _STEP, 0
    while round(value, 1) >= _STEP and power < len(_UNITS) - 1:
        value, power = value / _STEP, power + 1
    return f"{value:.1f} {_UNITS[power]}"


def count(number: int, noun: str) -> str:
    """A number with its noun; the noun takes a plural s."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def entries(number: int) -> str:
    """A number of log entries."""
    return "1 entry" if number == 1 else f"{number:,} entries"


def duration(seconds: float) -> str:
    """Seconds in two units at most."""
    whole = max(0, round(seconds))
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"
