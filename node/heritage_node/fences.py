"""Fences: each piece of background work stands alone (`specs/federation.md`, "Work in the background").

One piece is a kind of work for one peer, witness or package. Whatever it raises is told, with its traceback
where nobody expected it; then that piece waits, longer each time, and everything else goes on.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self, TypeVar

from heritage_ledger.errors import Finding, HeritageError, Severity
from heritage_ledger.federation.tracing import new_id, traced

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")

THREADS: Final = 64
"""Pieces of work that may wait at once."""
GROWTH: Final = 2
NEWS_SECONDS: Final = 2.0
"""How soon after it began a piece of work may begin again because there is something new."""
SOON_SECONDS: Final = 1.0
"""How soon it is seen that a piece of work is over."""
LONGEST: Final = 8
"""How many times the first pause the longest one is."""
REMIND_SECONDS: Final = 86_400.0
"""When a finding that has not changed is told again."""
_SAID: Final = 200
log = logging.getLogger("heritage_node")


@dataclass(frozen=True, slots=True)
class Done:
    """What came of a piece of work: what to say, and what went wrong."""

    lines: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    states: tuple[tuple[str, str], ...] = ()
    """How things stand now, by their names."""

    @property
    def is_good(self) -> bool:
        """Say whether nothing went wrong."""
        return not any(one.severity is Severity.ERROR for one in self.findings)


class Report:
    """Tells the log what is found: a finding once, and again when it changes, and every day."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, str], tuple[tuple[Finding, ...], float]] = {}
        self._said: dict[str, str] = {}

    def line(self, text: str) -> None:
        """Say that something was done."""
        log.info("%s", text)

    def state(self, what: str, text: str) -> None:
        """Say how `what` stands, if that is news."""
        if self._said.get(what) != text:
            self._said[what] = text
            self.line(text)

    def findings(self, kind: str, who: str, findings: tuple[Finding, ...]) -> None:
        """Say what is wrong with one piece of work, if that is news; so is nothing after something."""
        known, until = self._told.get((kind, who), ((), 0.0))
        now = time.monotonic()
        if not findings:
            if self._told.pop((kind, who), None):
                self.line(f"{who}: {kind}: well again")
            return
        if findings == known and now < until:
            return
        self._told[kind, who] = (findings, now + REMIND_SECONDS)
        for one in findings:
            tell(kind, who, one)

    def unexpected(self, kind: str, who: str, error: Exception) -> Finding:
        """Log what nobody expected with its traceback, each time; return it as a finding."""
        said = f"{type(error).__name__}: {error}"
        found = Finding("internal-error", "this ended as nobody expected", found=said[:_SAID])
        tell(kind, who, found, error)
        return found


def tell(kind: str, who: str, found: Finding, error: Exception | None = None) -> None:
    """Log a finding in one line: who it is about, its code, where, and what was found."""
    parts = [f"{who}: {kind}: {found.code}: {found.message}"]
    parts += [f"({found.path})"] if found.path else []
    parts += [f"found {found.found}"] if found.found else []
    fields = {"kind": kind, "who": who, "code": found.code, "path": found.path, "found": found.found}
    level = logging.ERROR if error else logging.WARNING
    log.log(level, "%s", " ".join(parts), extra={"finding": fields}, exc_info=error)


@dataclass(slots=True)
class _Piece:
    again: float = 0.0
    first: float = 0.0
    until: float = 0.0
    pause: float = 0.0
    began: float = 0.0
    is_broken: bool = False
    is_news: bool = False
    task: asyncio.Task[None] | None = None

    def end(self, *, is_good: bool) -> None:
        """Say how long it waits now."""
        if is_good:
            self.pause = 0.0
            self.until = time.monotonic() + self.again
        else:
            self.pause = min(self.pause * GROWTH, self.first * LONGEST) or self.first
            self.until = time.monotonic() + jittered(self.pause)
        if self.is_news:
            self.is_news = False
            self.hurry()

    def hurry(self) -> None:
        """Let it begin when it has not begun just now; what is under way may have looked too early."""
        if self.task is not None:
            self.is_news = True
        elif not self.is_broken:
            self.until = min(self.until, self.began + NEWS_SECONDS)


@dataclass
class Fences:
    """Starts pieces of work and minds their pauses. A context of one event loop."""

    first: float
    """Seconds of the first pause."""
    report: Report = field(default_factory=Report)
    _pieces: dict[tuple[str, str], _Piece] = field(default_factory=dict)

    async def __aenter__(self) -> Self:
        self._pool = ThreadPoolExecutor(THREADS, "background")
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = [piece.task for piece in self._pieces.values() if piece.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.to_thread(self._pool.shutdown, cancel_futures=True)

    async def run(self, function: Callable[..., _T], *values: object) -> _T:
        """Call a function in a thread of the background."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *values)

    def count(self, kind: str) -> int:
        """How many pieces of a kind are under way."""
        return sum(one.task is not None for (name, _), one in self._pieces.items() if name == kind)

    def wait(self, kind: str, most: float) -> float:
        """Seconds until a piece of a kind may begin, `most` at most; what is under way is looked at soon."""
        pieces = [piece for (name, _), piece in self._pieces.items() if name == kind]
        if any(piece.task is not None for piece in pieces):
            return min(most, SOON_SECONDS)
        now = time.monotonic()
        return min([most, *(max(0.0, piece.until - now) for piece in pieces)])

    def start(
        self, kind: str, who: str, work: Callable[[], Done], *, again: float = 0.0, pause: float = 0.0
    ) -> bool:
        """Begin `work` in a thread, unless it is under way or has to wait; say whether it began.

        After a good end it may begin again in `again` seconds, after a bad one when its pause is over, which
        is `pause` at first, or what all of them have.
        """
        piece = self._pieces.setdefault((kind, who), _Piece())
        if piece.task is not None or time.monotonic() < piece.until:
            return False
        piece.began = time.monotonic()
        piece.again, piece.first = again, pause or max(self.first, again)
        piece.task = asyncio.create_task(self._do(piece, kind, who, work))
        return True

    def hurry(self, kind: str, who: str | None = None) -> None:
        """Let work of a kind, or one piece of it, begin soon, unless it set off a fault: there is news.

        One that began less than `NEWS_SECONDS` ago waits until then, however often this is said; one that is
        under way begins once more.
        """
        for (name, one), piece in self._pieces.items():
            if name == kind and who in {None, one}:
                piece.hurry()

    async def _do(self, piece: _Piece, kind: str, who: str, work: Callable[[], Done]) -> None:
        try:
            name = new_id()
            done, error = await self.run(_fenced, name, work)
            with traced(name):
                self._tell(kind, who, done, error)
            piece.is_broken = error is not None
            piece.task = None
            piece.end(is_good=done.is_good and error is None)
        finally:
            piece.task = None

    def _tell(self, kind: str, who: str, done: Done, error: Exception | None) -> None:
        if error is not None:
            self.report.unexpected(kind, who, error)
        else:
            self.report.findings(kind, who, done.findings)
        for line in done.lines:
            self.report.line(line)
        for what, text in done.states:
            self.report.state(what, text)


def jittered(seconds: float) -> float:
    """A quarter more or less, so that not everything comes at once."""
    return seconds * secrets.SystemRandom().uniform(0.75, 1.25)


def _fenced(name: str, work: Callable[[], Done]) -> tuple[Done, Exception | None]:
    """Do work in this thread; what it raises is a value afterwards."""
    try:
        with traced(name):
            return work(), None
    except HeritageError as error:
        return Done(findings=(error.finding,)), None
    except Exception as error:  # noqa: BLE001 - the fence
        return Done(), error
