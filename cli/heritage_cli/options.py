"""Options that many commands share, declared once.

They set fields of the session and are not passed to the commands. Both `heritage --json list` and
`heritage list --json` work, because groups have them too.
"""

# Typer reads annotations while the program runs; they are not put off here, nor in commands/.

from functools import cache
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.main import get_command

from heritage_cli.session import session_of


def _set_home(context: typer.Context, value: Path | None) -> None:
    if value is not None:
        session_of(context).home = value


def _set_json(context: typer.Context, value: bool) -> None:  # noqa: FBT001 - typer's signature
    if value:
        session_of(context).as_json = True


def _set_quiet(context: typer.Context, value: bool) -> None:  # noqa: FBT001 - typer's signature
    if value:
        session_of(context).quiet = True


def _set_descriptor(context: typer.Context, value: int | None) -> None:
    session_of(context).passphrase.descriptor = value


def _set_file(context: typer.Context, value: Path | None) -> None:
    session_of(context).passphrase.file = value


def _common(
    home: Annotated[
        Path | None,
        typer.Option(
            "--home",
            metavar="FOLDER",
            callback=_set_home,
            expose_value=False,
            help="The ledger home; else HERITAGE_HOME, else the platform's data folder.",
        ),
    ] = None,
    *,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", callback=_set_json, expose_value=False, help="JSON lines; the last is the verdict."
        ),
    ] = False,
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet", "-q", callback=_set_quiet, expose_value=False, help="No progress and no hints."
        ),
    ] = False,
) -> None:
    """Never run; its parameters are what counts."""


def _passphrase(
    descriptor: Annotated[
        int | None,
        typer.Option(
            "--passphrase-fd",
            metavar="N",
            min=0,
            callback=_set_descriptor,
            expose_value=False,
            help="Read the passphrase from this file descriptor.",
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--passphrase-file",
            metavar="FILE",
            callback=_set_file,
            expose_value=False,
            help="Read it from this file; else HERITAGE_PASSPHRASE, else a prompt.",
        ),
    ] = None,
) -> None:
    """Never run; its parameters are what counts."""


def _parameters(function: Any) -> list[Any]:
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(function)
    return list(get_command(app).params)


@cache
def common_options() -> list[Any]:
    """Return the options of every command and group."""
    return _parameters(_common)


@cache
def passphrase_options() -> list[Any]:
    """Return the options of commands that sign."""
    return _parameters(_passphrase)


def named_path(text: str) -> Path:
    """Return the path that was named; an empty name, as of an unset variable, does not mean this folder."""
    if not text:
        raise typer.BadParameter("an empty path")
    return Path(text)
