"""`ingest` and `adopt`: take files and bags into custody."""

from pathlib import Path
from typing import Annotated

import typer

from heritage_cli.custody import acting, give_receipt
from heritage_cli.group import command
from heritage_cli.options import named_path
from heritage_cli.session import Ending, session_of

app = typer.Typer()

_AGENT_HELP = "Who acts: Name or Name <URI>; else HERITAGE_AGENT, else this software alone."
_CLASS_HELP = "Says in heritage.toml whether the bag stays on the disk beside the engine."
_HELD_HELP = "Record nothing where the same payload is held: as URI's latest version, or without URI as any."


@command(
    app,
    "ingest",
    'heritage ingest scans/ --title "Ledger of 1887" --agent "Ada Example <https://museum.example/staff/7>"',
    "heritage ingest scans/ --asset https://museum.example/object/1887.12",
    signs=True,
)
def ingest(
    context: typer.Context,
    source: Annotated[
        Path, typer.Argument(metavar="PATH", parser=named_path, help="A folder of files, or one file.")
    ],
    *,
    asset: Annotated[
        str | None, typer.Option(metavar="URI", help="What this is a version of; else a new urn:uuid.")
    ] = None,
    title: Annotated[
        str | None, typer.Option(metavar="TEXT", help="One line that names it for people.")
    ] = None,
    agent: Annotated[str | None, typer.Option(metavar="WHO", help=_AGENT_HELP)] = None,
    metadata: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help="A JSON object that is kept in the bag.")
    ] = None,
    move: Annotated[
        bool, typer.Option("--move", help="Take the files over instead of copying them.")
    ] = False,
    skip_junk: Annotated[
        bool, typer.Option("--skip-junk", help="Leave out .DS_Store, Thumbs.db and their like.")
    ] = False,
    skip_held: Annotated[bool, typer.Option("--skip-held", help=_HELD_HELP)] = False,
    algorithm: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="One more manifest, as sha256; repeatable.")
    ] = None,
    storage_class: Annotated[str, typer.Option(metavar="NAME", help=_CLASS_HELP)] = "default",
) -> Ending:
    """Seal files as a bag, address it, and record it as a signed event in the log.

    All of PATH is surveyed first: what cannot be kept is listed before a byte is copied.
    """
    session = session_of(context)
    with session.ledger() as ledger, session.progress() as progress:
        receipt = ledger.ingest(
            source,
            asset=asset,
            title=title,
            agent=acting(agent),
            metadata=metadata,
            move=move,
            skip_junk=skip_junk,
            skip_held=skip_held,
            algorithms=("sha512", *(algorithm or ())),
            storage_class=storage_class,
            progress=progress,
        )
    return give_receipt(session, receipt)


@command(
    app,
    "adopt",
    "heritage adopt delivery-2026-03.zip --agent 'Ada Example'",
    signs=True,
)
def adopt(
    context: typer.Context,
    bag: Annotated[
        Path, typer.Argument(metavar="BAG", parser=named_path, help="A bag: a folder, tar, zip or 7z.")
    ],
    *,
    asset: Annotated[
        str | None, typer.Option(metavar="URI", help="What this is a version of; else what the bag says.")
    ] = None,
    title: Annotated[
        str | None, typer.Option(metavar="TEXT", help="One line that names it for people.")
    ] = None,
    agent: Annotated[str | None, typer.Option(metavar="WHO", help=_AGENT_HELP)] = None,
    skip_held: Annotated[bool, typer.Option("--skip-held", help=_HELD_HELP)] = False,
    storage_class: Annotated[str, typer.Option(metavar="NAME", help=_CLASS_HELP)] = "default",
) -> Ending:
    """Take in a bag made elsewhere, after checking all of it, without changing a byte."""
    session = session_of(context)
    with session.ledger() as ledger, session.progress() as progress:
        receipt = ledger.adopt(
            bag,
            asset=asset,
            title=title,
            agent=acting(agent),
            skip_held=skip_held,
            storage_class=storage_class,
            progress=progress,
        )
    return give_receipt(session, receipt)
