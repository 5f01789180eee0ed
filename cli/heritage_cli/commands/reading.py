"""`list`, `show`, `events`, `trace`: what the ledger holds and what happened to it."""

import contextlib
from typing import TYPE_CHECKING, Annotated

import typer

from heritage_cli import results, text
from heritage_cli.group import command
from heritage_cli.output import jsonable
from heritage_cli.session import Ending, session_of
from heritage_ledger.errors import EvidenceMissing, ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heritage_cli.session import Session
    from heritage_ledger.ledger import Ledger
    from heritage_ledger.provenance.reader import Reader

app = typer.Typer()
Peer = Annotated[
    str | None,
    typer.Option("--peer", metavar="ORIGIN|URL", help="Look into the mirror of this institution's log."),
]


@contextlib.contextmanager
def _reader(ledger: "Ledger", peer: str | None, what: str | None = None) -> "Iterator[Reader]":
    """The log that is meant: the named peer's, else the own one, else the first mirror that knows `what`."""
    if peer is None and what is not None:
        try:
            ledger.index.resolve(what)
        except EvidenceMissing:
            found = ledger.federation.find(what)
            if found is None:
                raise
            peer = found.origin
    if peer is None:
        yield ledger.reader
        return
    with ledger.federation.reader(peer) as reader:
        yield reader


def _say_whose(session: "Session", ledger: "Ledger", reader: "Reader") -> None:
    if reader.origin != ledger.origin:
        session.output.talk(f"the word of {reader.origin}, as its mirror here has it")


@command(app, "list", "heritage list")
def list_(context: typer.Context, *, peer: Peer = None) -> Ending:
    """List the assets: latest version, files, size, name."""
    session = session_of(context)
    output = session.output
    number = 0
    with session.ledger() as ledger, _reader(ledger, peer) as reader:
        _say_whose(session, ledger, reader)
        for number, asset in enumerate(reader.assets(), 1):  # noqa: B007 - counted for the verdict
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
    what: Annotated[str, typer.Argument(metavar="NAME", help="An asset, address, path or event.")],
    *,
    peer: Peer = None,
) -> Ending:
    """Show one asset, package, file or event."""
    session = session_of(context)
    with session.ledger() as ledger, _reader(ledger, peer, what) as reader:
        shown = reader.show(what)
        standing = ledger.federation.standing()
        own = reader.origin == ledger.origin
        origin = reader.origin
    lines = list(text.shown_lines(shown, session.output, origin))
    more: dict[str, str] = {}
    if not own:
        more = {"word_of": reader.origin}
    elif standing.required and (index := shown.log_index) is not None:
        more = {"standing": standing.says(index)}
    lines += text.facts((name.replace("_", " "), value) for name, value in more.items())
    session.output.result(shown.kind, jsonable(shown) | more, lines)
    for finding in shown.findings:
        session.output.result("finding", finding, text.finding_lines(finding, session.output))
    return Ending(fields={"kind": shown.kind, "warnings": len(shown.findings), **more})


@command(app, "events", "heritage events", "heritage events https://museum.example/object/1887.12")
def events(
    context: typer.Context,
    what: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Only events about this, by whomever.")
    ] = None,
    *,
    peer: Peer = None,
) -> Ending:
    """List the events of the log, oldest first."""
    session = session_of(context)
    output = session.output
    number = 0
    with session.ledger() as ledger, _reader(ledger, peer, what) as reader:
        _say_whose(session, ledger, reader)
        for number, event in enumerate(reader.events(what), 1):  # noqa: B007 - counted for the verdict
            output.result("event", event, text.event_lines(event, output, reader.origin))
    return Ending(fields={"events": number})


@command(
    app,
    "trace",
    "heritage trace https://museum.example/object/1887.12",
    "heritage trace data/page-001.tif",
)
def trace(
    context: typer.Context,
    what: Annotated[str, typer.Argument(metavar="NAME", help="An asset, address, path or event.")],
    *,
    peer: Peer = None,
) -> Ending:
    """Follow an asset, a package or one file through its events, each with its evidence checked."""
    session = session_of(context)
    output = session.output
    tally = results.Tally()
    with session.ledger() as ledger, _reader(ledger, peer, what) as reader:
        _say_whose(session, ledger, reader)
        traced = reader.trace(what)
        origin = reader.origin
    for step in traced.steps:
        tally.add(results.worst(step.signature, step.inclusion), step.findings)
        output.result("step", step, text.step_lines(step, output, origin))
    tally.add("", traced.findings)
    for finding in traced.findings:
        output.result("finding", finding, text.finding_lines(finding, output))
    ending = results.end_with(session, tally, ExitCode.EVIDENCE_INVALID)
    return Ending(ending.exit_code, ending.fields | {"subject": traced.subject, "steps": len(traced.steps)})
