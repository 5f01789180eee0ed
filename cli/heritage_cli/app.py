"""The command `heritage`: the groups put together.

Nothing of the library but its errors is imported here; `heritage --help` takes less than 0.2 s.
"""

import os
from typing import Annotated

import typer
from typer.main import get_command

from heritage_cli.commands import (
    copies,
    demo,
    deposits,
    engine,
    federation,
    fixity,
    home,
    log,
    node,
    peer,
    proofs,
    reading,
    replica,
)
from heritage_cli.encoding import ensure_utf8
from heritage_cli.group import Root
from heritage_cli.output import prepare_streams
from heritage_cli.results import give_version
from heritage_cli.session import Ending, session_of
from heritage_ledger.errors import UsageError

app = typer.Typer(
    cls=Root,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    invoke_without_command=True,
    epilog="\b\nStart with:\n  $ heritage demo\n  $ heritage init --help",
)
for part in (
    home,
    deposits,
    reading,
    fixity,
    proofs,
    log,
    engine,
    copies,
    peer,
    node,
    federation,
    replica,
    demo,
):
    app.add_typer(part.app)


@app.callback()
def heritage(
    context: typer.Context,
    *,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> Ending | None:
    """Bags, content addresses and a signed, append-only record for what institutions keep.

    Results go to stdout, talk and progress to stderr. Exit codes: 0 ok, 1 usage, 2 failed, 3 problems
    found, 4 evidence invalid, 5 evidence missing, 6 retry, 7 a log signed two histories, 10 no home,
    11 locked, 12 key or passphrase, 13 disk, 130 interrupted.
    """
    if version:
        return give_version(session_of(context))
    if context.invoked_subcommand is None:
        session_of(context).output.complain(context.get_help().splitlines())
        raise UsageError("usage-error", "a command is missing", advice="`heritage demo` shows what it is for")
    return None


def main() -> None:
    """Run the command with the arguments of this process, and end the process."""
    ensure_utf8()
    prepare_streams()
    os.umask(os.umask(0o077) | 0o022)  # what is kept is never for others to write, whatever the umask was
    get_command(app)(prog_name="heritage")
