"""`checkpoint`, `log key`, `log verify`, `log recover`: the log itself."""

import sys
from typing import Annotated

import typer

from heritage_cli import quantities, text
from heritage_cli.escape import printable
from heritage_cli.group import Group, command
from heritage_cli.results import give_verdicts
from heritage_cli.session import Ending, Session, session_of
from heritage_ledger.errors import ExitCode, UsageError

app = typer.Typer()
log = typer.Typer(cls=Group)
app.add_typer(log, name="log", help="The log: its keys, and whether it holds together.")


@command(app, "checkpoint", "heritage checkpoint > checkpoint-2026-11.txt")
def checkpoint(context: typer.Context) -> Ending:
    """Print the log's checkpoint: its signed size and root, to be kept by others.

    Ends with 4 where it is not signed by every key of the log.
    """
    from heritage_ledger.log.checkpoint import read_unverified  # noqa: PLC0415 - the library is slow to import

    session = session_of(context)
    with session.ledger() as ledger:
        note = ledger.checkpoint()
        size = read_unverified(note).size  # the ledger has checked it
    session.output.result("checkpoint", {"checkpoint": note, "size": size}, note.decode().splitlines())
    return Ending(fields={"size": size})


@command(log, "key", "heritage log key > museum.vkey")
def key(context: typer.Context) -> Ending:
    """Print the log's verifier keys, to hand out: one a line, of each kind; all of them check a proof."""
    session = session_of(context)
    with session.ledger() as ledger:
        keys = ledger.log_keys()
    for item in keys:
        session.output.result("key", item, [printable(item.vkey)])
    return Ending(fields={"keys": len(keys)})


@command(log, "verify", "heritage log verify")
def verify(context: typer.Context) -> Ending:
    """Check the whole log: every entry, tile and signature, and that the head in the state fits."""
    session = session_of(context)
    with session.ledger() as ledger, session.progress() as progress:
        verdict = ledger.verify_log(progress=progress)
    return give_verdicts(session, [verdict], failing=ExitCode.PROBLEMS)


@command(log, "recover", "heritage log recover", "heritage log recover --newest")
def recover(
    context: typer.Context,
    *,
    newest: Annotated[
        bool,
        typer.Option("--newest", help="Say that this home is the newest copy, where no witness can say it."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask; with --newest alone.")] = False,
) -> Ending:
    """Bring a home back into use after a restore or a copy: its head, its log, and whether it is the newest.

    The head rises to what this log has signed, missing entries come from mirrors, and the witnesses are
    asked. What you say with --newest is noted in the next event, for everyone to see.
    """
    session = session_of(context)
    if yes and not newest:
        raise UsageError("usage-error", "--yes goes with --newest")
    if newest and not yes:
        _ask(session)
    with session.ledger() as ledger, session.progress() as progress:
        done = ledger.recover(newest=newest, progress=progress)
    session.clear()
    before = "unreadable" if done.old_size is None else quantities.entries(done.old_size)
    rows = [
        ("log", done.origin),
        ("head before", before),
        ("head now", quantities.entries(done.size)),
        ("believed by", done.basis),
        ("set aside", done.aside),
    ]
    session.output.result("recovered", done, text.facts(rows))
    session.output.talk("next: heritage verify --deep")
    return Ending(fields={"size": done.size, "basis": done.basis})


def _ask(session: Session) -> None:
    if not sys.stdin.isatty():
        raise UsageError(
            "recover-not-confirmed",
            "nobody is there to be asked",
            advice="if no newer copy of this home was ever in use, say so by --newest --yes",
        )
    session.output.talk(
        "If a newer copy of this home has signed anything, your log is forked by the next deposit, for good."
    )
    typer.confirm("Is this home the newest copy of its log?", abort=True, err=True)
