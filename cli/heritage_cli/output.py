"""Where words go: results on stdout, talk on stderr; or JSON lines on stdout (`specs/cli.md`).

Nothing from outside reaches a terminal as it came: the text functions escape every value they show.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

from heritage_cli.escape import wellformed

if TYPE_CHECKING:
    from collections.abc import Iterable

_COLOURS: Final = {
    "pass": "32",
    "FAIL": "1;31",
    "FORKED": "1;31",
    "not checked": "33",
    "warning": "33",
    "strong": "1",
}
_STDERR: Final = 2


def is_plain(stream: TextIO) -> bool:
    """Say whether colour and movement are out of place: no terminal, a dumb one, or NO_COLOR is set."""
    return not stream.isatty() or bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"


def prepare_streams() -> None:
    """Make both streams write any text: what their encoding lacks comes out as an escape.

    A stream that is closed (`>&-`) is opened to nowhere first: else the next file that is opened, perhaps a
    database, would get its number.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    for number, name in ((1, "stdout"), (_STDERR, "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w", encoding="utf-8", closefd=False))  # noqa: SIM115 - for life
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def mute(stream: TextIO) -> None:
    """Point a stream nowhere, so that the interpreter's last flush has nothing to complain about."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


class Output:
    """What one run of a command says, to a person or, with `as_json`, to a program."""

    def __init__(self, *, as_json: bool, quiet: bool) -> None:
        self.as_json = as_json
        self.quiet = quiet
        self._paints = not is_plain(sys.stdout)

    def paint(self, kind: str, text: str) -> str:
        """Return `text` in the colour of `kind`, where stdout is a terminal that wants it."""
        colour = _COLOURS.get(kind) if self._paints else None
        return f"\x1b[{colour}m{text}\x1b[0m" if colour else text

    @property
    def width(self) -> int | None:
        """Columns of the terminal on stdout; None where lines may be of any length."""
        return shutil.get_terminal_size().columns if sys.stdout.isatty() else None

    def result(self, kind: str, value: object, lines: Iterable[str] = ()) -> None:
        """Give one result: a JSON object of type `kind`, or the lines for people.

        `value` is a dict or a dataclass; its fields become the object's.
        """
        if self.as_json:
            self.line(kind, value)
            return
        for text in lines:
            sys.stdout.write(text + "\n")

    def line(self, kind: str, value: object) -> None:
        """Write one JSON line whatever the mode."""
        body = jsonable(value)
        sys.stdout.write(json.dumps({"type": kind} | body) + "\n")
        sys.stdout.flush()

    def raw(self, data: bytes) -> None:
        """Write bytes to stdout as they are."""
        sys.stdout.flush()
        buffer = getattr(sys.stdout, "buffer", None)
        if buffer is None:
            sys.stdout.write(data.decode())
        else:
            buffer.write(data)

    def talk(self, text: str) -> None:
        """Say something beside the results; the caller has escaped what came from outside."""
        if not self.quiet and not self.as_json:
            self._say(text)

    def complain(self, lines: Iterable[str]) -> None:
        """Say what went wrong, quiet or not; in JSON mode the verdict line says it."""
        if not self.as_json:
            for text in lines:
                self._say(text)

    def _say(self, text: str) -> None:
        sys.stdout.flush()
        try:
            sys.stderr.write(text + "\n")
            sys.stderr.flush()
        except OSError:
            mute(sys.stderr)  # nobody reads it any more, which is no reason to stop


def jsonable(value: object) -> Any:
    """Return `value` as JSON has it: dataclasses as objects, enums by value, paths and bytes as text."""
    match value:
        case Enum():
            result: Any = value.value
        case str() | Path():
            result = wellformed(str(value))
        case bytes():
            result = value.decode("utf-8", "backslashreplace")
        case dict():
            result = {wellformed(str(name)): jsonable(item) for name, item in value.items()}
        case list() | tuple() | set() | frozenset():
            result = [jsonable(item) for item in value]
        case _ if is_dataclass(value):
            result = {field.name: jsonable(getattr(value, field.name)) for field in fields(value)}
        case _:
            result = value
    return result
