"""Progress on stderr: a moving bar on a terminal, a plain line every few seconds elsewhere.

The work counts as often as it likes; nothing is drawn more than a few times a second.
"""

from __future__ import annotations

import contextlib
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol, Self

from heritage_cli import quantities
from heritage_cli.escape import printable
from heritage_cli.output import is_plain

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

PLAIN_SECONDS: Final = 5.0
"""Between two plain lines: often enough to see life, seldom enough for a log."""
BAR_SECONDS: Final = 0.1
"""Between two drawings of the bar."""


@dataclass(slots=True)
class Phase:
    """One phase of the work, and how far it is; totals are None where nobody knows them."""

    name: str
    files: int | None
    size: int | None
    started: float
    done_files: int = 0
    done_size: int = 0

    def line(self, now: float) -> str:
        """Return the state in one line: bytes, files, rate, time left."""
        parts = []
        seconds = max(now - self.started, 0.001)
        if self.size is not None or self.done_size:
            parts.append(_of(quantities.size(self.done_size), self.size, quantities.size))
        if self.files is not None or self.done_files:
            parts.append(f"{_of(f'{self.done_files:,}', self.files, '{:,}'.format)} files")
        if self.done_size:
            parts.append(f"{quantities.size(int(self.done_size / seconds))}/s")
        left = self.seconds_left(now)
        if left is not None:
            parts.append(f"{quantities.duration(left)} left")
        return f"{printable(self.name)}: {', '.join(parts) or quantities.duration(seconds)}"

    def seconds_left(self, now: float) -> float | None:
        """Estimate the time left from bytes, or from files where bytes say nothing."""
        for done, total in ((self.done_size, self.size), (self.done_files, self.files)):
            if done and total:
                return max(total - done, 0) * (now - self.started) / done
        return None


def _of(done: str, total: int | None, form: Callable[[int], str]) -> str:
    return done if total is None else f"{done} of {form(total)}"


class Display(Protocol):
    """Something that shows phases; `every` is the least time between two calls of `show`, in seconds."""

    every: ClassVar[float]

    def show(self, phase: Phase, now: float) -> None:
        """Show the state of the phase."""

    def close(self) -> None:
        """Leave the terminal as it was."""


class PlainDisplay:
    """One line now and then, for logs and pipes; silent where the work is done before the first one."""

    every: ClassVar[float] = PLAIN_SECONDS

    def show(self, phase: Phase, now: float) -> None:
        """Write one line; progress that nobody can read stops no work."""
        with contextlib.suppress(OSError):
            sys.stderr.write(phase.line(now) + "\n")
            sys.stderr.flush()

    def close(self) -> None:
        """Nothing to put back."""


class BarDisplay:
    """A bar on a terminal that goes away when the work is done."""

    every: ClassVar[float] = BAR_SECONDS

    def __init__(self) -> None:
        from rich.console import Console  # noqa: PLC0415 - 40 ms, only where a bar is drawn
        from rich.progress import BarColumn, Progress, TextColumn  # noqa: PLC0415

        self._bar: Any = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            console=Console(stderr=True, highlight=False),
            transient=True,
        )
        self._task = self._bar.add_task("", total=None)
        self._bar.start()

    def show(self, phase: Phase, now: float) -> None:
        """Draw the bar anew."""
        total, done = (phase.size, phase.done_size) if phase.size else (phase.files, phase.done_files)
        self._bar.update(self._task, description=phase.line(now), total=total, completed=done)

    def close(self) -> None:
        """Take the bar away and show the cursor again."""
        self._bar.stop()


@dataclass(slots=True)
class Meter:
    """A `heritage_ledger.progress.Progress` that draws on a display, made when there is something to show."""

    display: type[Display]
    clock: Callable[[], float] = time.monotonic
    _display: Display | None = field(default=None, init=False)
    _phase: Phase | None = field(default=None, init=False)
    _shown: float = field(default=0.0, init=False)

    def __enter__(self) -> Self:
        self._shown = self.clock()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def begin(self, phase: str, *, files: int | None = None, size: int | None = None) -> None:
        """Start a phase with its totals, where known."""
        now = self.clock()
        self._phase = Phase(phase, files, size, now)
        self._refresh(self._phase, now)

    def advance(self, *, files: int = 0, size: int = 0) -> None:
        """Add to what the phase has done."""
        phase = self._phase
        if phase is None:
            return
        phase.done_files += files
        phase.done_size += size
        self._refresh(phase, self.clock())

    def _refresh(self, phase: Phase, now: float) -> None:
        if now - self._shown < self.display.every:
            return
        self._shown = now
        if self._display is None:
            self._display = self.display()
        self._display.show(phase, now)

    def close(self) -> None:
        """Leave the terminal as it was, for results to be printed; the meter can be used again."""
        if self._display is not None:
            self._display.close()
            self._display = None


def fitting_display() -> type[Display]:
    """Return the kind of display that fits stderr."""
    return PlainDisplay if is_plain(sys.stderr) else BarDisplay
