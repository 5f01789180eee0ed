"""One name for all that is done for one reason: in every line of a log, and sent along with each request.

A request that a node answers has a name, and so has each piece of its work in the background. What it asks
of peers meanwhile says that name in `X-Request-Id`, so that the logs of both can be read side by side.
"""

from __future__ import annotations

import contextlib
import re
import secrets
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

HEADER: Final = "X-Request-Id"
_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_current: ContextVar[str | None] = ContextVar("request_id", default=None)


def new_id() -> str:
    """A name that nothing else has."""
    return secrets.token_hex(8)


def parse_id(text: str | None) -> str | None:
    """Return a name that somebody else gave; None for what is none, or not fit for a log."""
    return text if text is not None and _ID.fullmatch(text) else None


def current_id() -> str | None:
    """The name of what this thread or task does; None where it has none."""
    return _current.get()


@contextlib.contextmanager
def traced(name: str) -> Iterator[None]:
    """Do what is done in a block under a name."""
    before = _current.set(name)
    try:
        yield
    finally:
        _current.reset(before)


def trace_headers() -> dict[str, str]:
    """What a request to someone else says of this."""
    name = _current.get()
    return {} if name is None else {HEADER: name}
