"""`list`, `show`, `events`, `trace`: what the ledger holds and what happened to it."""

from typing import Annotated

import typer

from heritage_cli import results, text
from heritage_cli.group import command
from heritage_cli.session import Ending, session_of
from heritage_ledger.errors import ExitCode

app = typer.Typer()


@command(app, "list", "heritage list")
def list_(context: typer.Context) -> Ending:
    """List the assets: latest version, files, size, name."""
    session = session_of(context)
    output = session.output
    number = 0
    with session.ledger() as ledger:
        for number, asset in enumerate(ledger.assets(), 1):  # noqa: B007 - counted for the verdict
            output.result("asset", asset, text.asset_lines(asset, output))
    if not number:
        output.talk("Nothing is kept here yet. next: heritage ingest FOLDER --title TITLE")
    return Ending(fields={"assets": number})


@command(
    app,
    "show",
    "heritage show https://museum.example/object/1887.12",
    "heritage show bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi",
    "heritage show data/page-001.tif",
)
def show(
    context: typer.Context,
    what: Annotated[str, typer.Argument(metavar="ASSET|CID|PATH", help="A name, an address or a path.")],
) -> Ending:
    """Show one asset, package, file or event."""
    session = session_of(context)
    with session.ledger() as ledger:
        shown = ledger.show(what)
    session.output.result(shown.kind, shown, text.shown_lines(shown))
    return Ending(fields={"kind": shown.kind})


@command(app, "events", "heritage events", "heritage events https://museum.example/object/1887.12")
def events(
    context: typer.Context,
    asset: Annotated[
        str | None, typer.Argument(metavar="ASSET", help="Only events about this asset.")
    ] = None,
) -> Ending:
    """List the events of the log, oldest first."""
    session = session_of(context)
    output = session.output
    number = 0
    with session.ledger() as ledger:
        for number, event in enumerate(ledger.events(asset), 1):  # noqa: B007 - counted for the verdict
            output.result("event", event, text.event_lines(event, output))
    return Ending(fields={"events": number})


@command(
    app,
    "trace",
    "heritage trace https://museum.example/object/1887.12",
    "heritage trace data/page-001.tif",
)
def trace(
    context: typer.Context,
    what: Annotated[str, typer.Argument(metavar="ASSET|CID|FILE", help="What to follow.")],
) -> Ending:
    """Follow an asset, a package or one file through its events, each with its evidence checked."""
    session = session_of(context)
    output = session.output
    tally = results.Tally()
    with session.ledger() as ledger:
        traced = ledger.trace(what)
    for step in traced.steps:
        tally.add(results.worst(step.signature, step.inclusion), step.findings)
        output.result("step", step, text.step_lines(step, output))
    ending = results.end_with(session, tally, ExitCode.EVIDENCE_INVALID)
    return Ending(ending.exit_code, ending.fields | {"subject": traced.subject, "steps": len(traced.steps)})
