"""When each package was last compared with its signed address: a file under `checked/` for each, its time.

The file holds nothing, or `not whole`. It may be lost: then the package is due within one period, at a moment
drawn by chance, so that not all packages of a home fall due at once.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from typing import TYPE_CHECKING, Final

from heritage_ledger.content.cid import format_cid
from heritage_ledger.home import lock
from heritage_ledger.home.durable import writing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import timedelta
    from pathlib import Path

    from heritage_ledger.content.cid import Cid
    from heritage_ledger.home.layout import Home

WAIT_SECONDS: Final = 600.0
"""How long a repair waits for another one of the same package."""
AGAIN_SECONDS: Final = 86_400
"""When a package that could not be made whole is looked at again."""


@contextlib.contextmanager
def being_checked(home: Home, cid: Cid, *, wait: float = WAIT_SECONDS) -> Iterator[None]:
    """Keep other processes from mending the same package for the length of a block.

    Raises:
        HomeLocked: another one kept at it for `wait` seconds (`home-locked`).
    """
    path = _path(home, cid)
    with writing(path):
        path.parent.mkdir(exist_ok=True)
    with lock.hold(path.with_name(f".{path.name}.lock"), wait=wait, passing=True):
        yield


def due(home: Home, packages: Iterable[Cid], every: timedelta, now: float) -> Iterator[Cid]:
    """Yield those packages whose last check is longer ago than `every`; `now` in POSIX seconds.

    Raises:
        DiskProblem: the time of one that was never checked cannot be noted.
    """
    period = every.total_seconds()
    for cid in packages:
        path = _path(home, cid)
        try:
            last = path.stat().st_mtime
        except FileNotFoundError:
            last = now - secrets.randbelow(int(period) + 1)
            _note(path, last, is_whole=True)
        if last + period <= now:
            yield cid


def note_check(home: Home, cid: Cid, every: timedelta, now: float, *, is_whole: bool) -> None:
    """Note that a package was looked at; one that is not whole is due again after a day at most.

    Raises:
        DiskProblem: it cannot be noted.
    """
    early = max(0.0, every.total_seconds() - AGAIN_SECONDS)
    _note(_path(home, cid), now if is_whole else now - early, is_whole=is_whole)


def is_noted_damaged(home: Home, cid: Cid) -> bool:
    """Say whether a package was not whole when it was looked at last, as far as that was noted."""
    with contextlib.suppress(OSError):
        return _path(home, cid).stat().st_size > 0
    return False


def _path(home: Home, cid: Cid) -> Path:
    return home.checked / format_cid(cid)


def _note(path: Path, when: float, *, is_whole: bool) -> None:
    with writing(path):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"" if is_whole else b"not whole\n")
        os.utime(path, (when, when))
