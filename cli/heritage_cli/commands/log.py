"""`checkpoint`, `log key`, `log verify`: the log itself."""

import typer

from heritage_cli.escape import printable
from heritage_cli.group import Group, command
from heritage_cli.results import give_verdicts
from heritage_cli.session import Ending, session_of
from heritage_ledger.errors import ExitCode

app = typer.Typer()
log = typer.Typer(cls=Group)
app.add_typer(log, name="log", help="The log: its keys, and whether it holds together.")


@command(app, "checkpoint", "heritage checkpoint > checkpoint-2026-11.txt")
def checkpoint(context: typer.Context) -> Ending:
    """Print the log's checkpoint: its signed size and root, to be kept by others."""
    session = session_of(context)
    with session.ledger() as ledger:
        note = ledger.checkpoint()
    size = int(note.split(b"\n")[1])
    session.output.result("checkpoint", {"checkpoint": note, "size": size}, note.decode().splitlines())
    return Ending(fields={"size": size})


@command(log, "key", "heritage log key > museum.vkey")
def key(context: typer.Context) -> Ending:
    """Print the log's verifier keys, to hand out: one a line; either suffices to check a proof."""
    session = session_of(context)
    with session.ledger() as ledger:
        keys = ledger.log_keys()
    for item in keys:
        session.output.result("key", item, [printable(item.vkey)])
    return Ending(fields={"keys": len(keys)})


@command(log, "verify", "heritage log verify")
def verify(context: typer.Context) -> Ending:
    """Check the whole log: every entry, tile and signature, and that the head fits."""
    session = session_of(context)
    with session.ledger() as ledger, session.progress() as progress:
        verdict = ledger.verify_log(progress=progress)
    return give_verdicts(session, [verdict], failing=ExitCode.PROBLEMS)
