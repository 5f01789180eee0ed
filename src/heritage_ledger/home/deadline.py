"""How long a read may go on: set by whoever asked for it, looked at where the work is done.

A read that somebody waits for ends when its time is over or nobody waits any more. The deadline belongs to
the thread that works (`bounded`); the index hands it on to its database, which breaks a statement off. What
is written has no deadline: it is done whole or not at all.
"""

from __future__ import annotations

import contextlib
import threading
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from heritage_ledger.errors import TemporaryFailure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Deadline:
    """A number of seconds from now, which may be called off before. Any thread may ask."""

    __slots__ = ("_break_off", "_is_cancelled", "_until")

    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds
        self._is_cancelled = False
        self._break_off: Callable[[], object] | None = None

    @property
    def left(self) -> float:
        """Seconds that are left, never less than 0."""
        return 0.0 if self._is_cancelled else max(0.0, self._until - time.monotonic())

    def cancel(self) -> None:
        """Nobody waits any more."""
        self._is_cancelled = True
        break_off = self._break_off
        if break_off is not None:  # it may ask a server, and whoever cancels may be an event loop
            threading.Thread(target=break_off, name="break-off", daemon=True).start()

    @contextlib.contextmanager
    def breaking_off(self, break_off: Callable[[], object]) -> Iterator[None]:
        """Call `break_off`, in a thread of its own, when it is cancelled inside: for work that cannot ask."""
        self._break_off = break_off
        try:
            yield
        finally:
            self._break_off = None

    def is_over(self) -> bool:
        """Say whether the work should end."""
        return self._is_cancelled or time.monotonic() >= self._until

    def check(self) -> None:
        """Raise `TemporaryFailure` (`read-too-long`) when it is over."""
        if self.is_over():
            raise TemporaryFailure(
                "read-too-long",
                "the read was broken off: it took too long, or nobody waited for it any more",
                advice="ask for less at once, or try again later",
            )


_CURRENT: Final[ContextVar[Deadline | None]] = ContextVar("deadline", default=None)


@contextlib.contextmanager
def bounded(deadline: Deadline) -> Iterator[None]:
    """Let what is read inside, in this thread, end with `deadline`."""
    token = _CURRENT.set(deadline)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def current_deadline() -> Deadline | None:
    """The deadline of what this thread is doing; None where nobody set one."""
    return _CURRENT.get()
