"""`demo`: the whole job on real files, in plain words."""

from typing import Annotated

import typer

from heritage_cli.group import command
from heritage_cli.session import Ending, session_of

app = typer.Typer()


@command(app, "demo", "heritage demo", "heritage demo --keep")
def demo(
    context: typer.Context,
    *,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the files for a look around.")] = False,
) -> Ending:
    """Take a few real files through everything in a folder of its own, and tell what it proved."""
    from heritage_cli.demonstration import demonstrate  # noqa: PLC0415 - only here

    return demonstrate(session_of(context), keep=keep)
