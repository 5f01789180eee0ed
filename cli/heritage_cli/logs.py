"""The log of a running node on stderr: a line for each thing, or JSON lines (`specs/cli.md`).

Lines are written by a thread of their own: who reads them may be slow, stop, or go away, and the disk may be
full, and the node goes on all the same; what cannot be written is lost.
"""

from __future__ import annotations

import contextlib
import json
import logging
import logging.handlers
import queue
import sys
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from heritage_cli.escape import printable, wellformed

if TYPE_CHECKING:
    from collections.abc import Iterator

WAITING: Final = 10_000
"""Lines that wait to be written; more are lost."""
STOP_SECONDS: Final = 2.0
"""How long the last lines may take when the node ends."""


class Lines(logging.Formatter):
    """For people: time, level where it is not usual, text; everything from outside escaped."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line, and the indented ones of a traceback."""
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        lines = [f"{_time(record)} {level}{printable(record.getMessage())}"]
        if record.exc_info:
            lines += [f"  {printable(one)}" for one in self.formatException(record.exc_info).splitlines()]
        return "\n".join(lines)


class JsonLines(logging.Formatter):
    """For programs: an object of type `log` in each line; a finding's fields stand in it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line of JSON."""
        body: dict[str, Any] = {
            "type": "log",
            "time": _time(record),
            "level": record.levelname.lower(),
            "message": wellformed(record.getMessage()),
        }
        finding: dict[str, str | None] = getattr(record, "finding", {})
        body |= {name: wellformed(text) for name, text in finding.items() if text is not None}
        if record.exc_info:
            body["traceback"] = wellformed(self.formatException(record.exc_info))
        return json.dumps(body)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


class _Queued(logging.handlers.QueueHandler):
    """Hands records over as they are; what does not fit is lost."""

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        return record

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """A log that is full or gone stops no work."""


class _Stream(logging.StreamHandler[Any]):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """A log that nobody reads any more stops no work."""


@contextlib.contextmanager
def logging_to_stderr(*, as_json: bool, quiet: bool) -> Iterator[None]:
    """Write what is logged to stderr for the length of a block; with `quiet` warnings and errors only."""
    stream = _Stream(sys.stderr)
    stream.setFormatter(JsonLines() if as_json else Lines())
    handler = _Queued(queue.Queue(WAITING))
    listener = logging.handlers.QueueListener(handler.queue, stream)
    root, node = logging.getLogger(), logging.getLogger("heritage_node")
    node.setLevel(logging.WARNING if quiet else logging.INFO)
    root.addHandler(handler)
    listener.start()
    try:
        yield
    finally:
        root.removeHandler(handler)
        last = threading.Thread(target=listener.stop, daemon=True)
        last.start()
        last.join(STOP_SECONDS)
