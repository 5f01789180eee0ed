"""`verify`: is everything still what it was?"""

from pathlib import Path
from typing import Annotated

import typer

from heritage_cli.group import command
from heritage_cli.results import give_verdicts
from heritage_cli.session import Ending, session_of
from heritage_ledger.errors import ExitCode, UsageError

app = typer.Typer()


@command(
    app,
    "verify",
    "heritage verify",
    "heritage verify https://museum.example/object/1887.12",
    "heritage verify --deep",
    "heritage verify --bag delivery-2026-03/",
    "heritage verify --bag delivery-2026-03.tar.gz",
)
def verify(
    context: typer.Context,
    assets: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ASSET|CID]...", help="Only these assets or packages; else everything."),
    ] = None,
    *,
    deep: Annotated[
        bool, typer.Option("--deep", help="Use no index, and check log, keys and index too.")
    ] = False,
    bag: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", help="Check this bag, a folder or an archive, whoever made it; needs no home."
        ),
    ] = None,
) -> Ending:
    """Check bag rules, digests, addresses, signatures and the log. Nothing is ever written.

    Every bad file is named with what was expected and found. Ends with 3 if something is wrong.
    """
    session = session_of(context)
    if bag is not None:
        if deep or assets:
            raise UsageError(
                "usage-error", "--bag stands alone", expected="--bag PATH, without assets or --deep"
            )
        with session.progress() as progress:
            verdict = session.library.verify_bag(bag, progress=progress)
            return give_verdicts(session, [verdict], failing=ExitCode.PROBLEMS)
    with session.ledger() as ledger, session.progress() as progress:
        verdicts = ledger.verify(assets or (), deep=deep, progress=progress)
        return give_verdicts(session, verdicts, failing=ExitCode.PROBLEMS)
