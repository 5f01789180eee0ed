"""The log of a running node on stderr: a line for each thing, or JSON lines (`specs/cli.md`).

Lines are written by a thread of their own: who reads them may be slow, stop, or go away, and the disk may be
full, and the node goes on all the same; what cannot be written is lost.
"""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import queue
import sys
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import structlog

from heritage_cli.escape import printable, wellformed
from heritage_ledger.federation.tracing import current_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from structlog.typing import EventDict

WAITING: Final = 10_000
"""Lines that wait to be written; more are lost."""
STOP_SECONDS: Final = 2.0
"""How long the last lines may take when the node ends."""


def _fields(_: object, __: str, event: EventDict) -> EventDict:
    """What every line has: time, level, words, the name of what it belongs to, and what was told of it."""
    record: logging.LogRecord = event["_record"]
    told: dict[str, Any] = getattr(record, "finding", {}) | getattr(record, "fields", {})
    said = {
        "type": "log",
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[:-6] + "Z",
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": event.pop("event"),
        "request_id": getattr(record, "request_id", None),
        **{name: value for name, value in told.items() if name != "request_id"},
    }
    known = {name: value for name, value in said.items() if value is not None}
    clean = {name: wellformed(text) if isinstance(text, str) else text for name, text in known.items()}
    return {**clean, **event}


def _traceback(_: object, __: str, event: EventDict) -> EventDict:
    if "exception" in event:
        event["traceback"] = wellformed(event.pop("exception"))
    return event


def _for_people(_: object, __: str, event: EventDict) -> str:
    """One line, level where it is not usual, everything from outside escaped; a traceback is indented."""
    level = "" if event["level"] == "info" else f"{event['level']}: "
    lines = [f"{event['time']} {level}{printable(event['message'])}"]
    lines += [f"  {printable(one)}" for one in event.get("traceback", "").splitlines()]
    return "\n".join(lines)


def _formatter(*, as_json: bool) -> logging.Formatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[_fields, structlog.processors.format_exc_info, _traceback],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.JSONRenderer() if as_json else _for_people,
        ],
    )


class _Queued(logging.handlers.QueueHandler):
    """Hands records over as they are; what does not fit is lost."""

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        record.request_id = current_id()  # the thread that writes does not know it
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
    stream.setFormatter(_formatter(as_json=as_json))
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
