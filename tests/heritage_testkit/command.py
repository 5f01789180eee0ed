"""The `heritage` command in this process: its exit code, what it printed, and a walk over all commands."""

from __future__ import annotations

import contextlib
import inspect
import io
import json
import typing
from dataclasses import dataclass
from functools import cache
from typing import Any

from typer.main import get_command

from heritage_cli.app import app

ASSET = "urn:example:kept"
"""The asset that is kept in the home of the tests of commands."""


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def verdict(self) -> dict[str, Any]:
        last = self.lines[-1]
        assert last["type"] == "verdict"
        assert last["exit_code"] == self.code
        return last


def run_command(*words: object) -> Done:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = get_command(app).main(list(map(str, words)), prog_name="heritage", standalone_mode=False)
    return Done(int(code), out.getvalue(), err.getvalue())


@cache
def all_commands() -> dict[str, Any]:
    """Every command by its words, `log verify`; groups are not among them."""
    found = {}

    def walk(group: Any, words: tuple[str, ...]) -> None:
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                walk(command, (*words, name))
            else:
                found[" ".join((*words, name))] = command

    walk(get_command(app), ())
    return found


def own_parameters(command: Any) -> dict[str, type]:
    """The parameters that the command has for itself, with their types: `list[str] | None` is `str`."""
    given = inspect.signature(command.callback).parameters
    return {name: _bare(one.annotation) for name, one in given.items() if name != "context"}


def _bare(annotation: Any) -> type:
    parts = [part for part in typing.get_args(annotation) if part is not type(None)]
    return _bare(parts[0]) if parts else annotation
