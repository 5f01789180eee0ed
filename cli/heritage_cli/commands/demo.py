"""`demo`: the whole job on real files, in plain words."""

from typing import Annotated

import typer

from heritage_cli.group import command
from heritage_cli.session import Ending, session_of

app = typer.Typer()


@command(app, "demo", "heritage demo", "heritage demo --federation")
def demo(
    context: typer.Context,
    *,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the files for a look around.")] = False,
    federation: Annotated[
        bool, typer.Option("--federation", help="Three institutions, as three processes on this machine.")
    ] = False,
) -> Ending:
    """Take a few real files through everything in a folder of its own, and tell what it proved."""
    if federation:
        from heritage_cli.federated import demonstrate_federation  # noqa: PLC0415 - only here

        return demonstrate_federation(session_of(context), keep=keep)
    from heritage_cli.demonstration import demonstrate  # noqa: PLC0415 - only here

    return demonstrate(session_of(context), keep=keep)
