"""Work for others, fenced: whatever it raises is told, and ends nothing else (`specs/federation.md`)."""

from __future__ import annotations

import contextvars
import logging
import queue
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from heritage_ledger.errors import Finding, HeritageError, TemporaryFailure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

log = logging.getLogger("heritage_ledger.federation")
log.addHandler(logging.NullHandler())  # a node shows it, a command does not

_T = TypeVar("_T")
_R = TypeVar("_R")


def finding_about(who: str, error: Exception) -> Finding:
    """Return what an error says as a finding about `who`; what nobody expected is an `internal-error`.

    Its traceback goes to the log.
    """
    if isinstance(error, HeritageError):
        return replace(error.finding, message=f"{who}: {error.message}")
    log.error("%s: internal-error: %s: %s", who, type(error).__name__, error, exc_info=error)
    return Finding(
        "internal-error",
        f"{who}: what was done for it ended as nobody expected",
        found=f"{type(error).__name__}: {error}"[:200],
        advice="a fault of this software: report it with the lines of the node's log around it",
    )


def ask_all(
    work: Callable[[_T], _R], everyone: Iterable[_T], *, seconds: float
) -> Iterator[tuple[_T, _R | Exception]]:
    """Do `work` for each at once, and yield what comes of it as it comes, for `seconds` at most.

    Whoever has not answered by then is left to its own deadline, with a `TemporaryFailure` (`peer-silent`);
    the threads keep no process from ending.
    """
    answers: queue.SimpleQueue[tuple[int, _R | Exception]] = queue.SimpleQueue()

    def ask(number: int, one: _T) -> None:
        try:
            answers.put((number, work(one)))
        except Exception as error:  # noqa: BLE001 - it is the answer
            answers.put((number, error))

    waiting = dict(enumerate(everyone))
    for number, one in waiting.items():
        here = contextvars.copy_context()
        threading.Thread(target=here.run, args=(ask, number, one), name="ask", daemon=True).start()
    end = time.monotonic() + seconds
    while waiting:
        try:
            number, answer = answers.get(timeout=max(0.0, end - time.monotonic()))
        except queue.Empty:
            break
        yield waiting.pop(number), answer
    for one in waiting.values():
        yield (
            one,
            TemporaryFailure("peer-silent", "the peer does not answer in time", advice="try again later"),
        )
