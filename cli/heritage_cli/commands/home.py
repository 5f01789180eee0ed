"""`init`, `doctor`, `backup`, `index rebuild`, `database move`: the home itself."""

from pathlib import Path
from typing import Annotated

import typer

from heritage_cli import quantities, results, text
from heritage_cli.group import Group, command
from heritage_cli.nagios import tell_nagios
from heritage_cli.options import named_path
from heritage_cli.output import jsonable
from heritage_cli.session import Ending, session_of
from heritage_ledger.errors import ExitCode, Finding, Severity, UsageError

app = typer.Typer()
index = typer.Typer(cls=Group)
database = typer.Typer(cls=Group)
app.add_typer(database, name="database", help="Where heads and index are kept: SQLite, or PostgreSQL.")
app.add_typer(index, name="index", help="The index: rows that can always be made again.")

UNSEALED = Finding(
    "keys-unsealed",
    "the private keys are not sealed: whoever can read the home can sign in the institution's name",
    advice="make a home with a passphrase for anything that others are to believe",
    severity=Severity.WARNING,
)


@command(
    app,
    "init",
    'heritage init --institution "Museum of Examples" --origin museum.example/ledger/1',
    signs=True,
)
def init(
    context: typer.Context,
    *,
    institution: Annotated[str, typer.Option(metavar="NAME", help="The legal body that keeps the ledger.")],
    origin: Annotated[
        str, typer.Option(metavar="DOMAIN/NAME/EPOCH", help="The log's name for good; never use one twice.")
    ],
    database: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Heads and index in this empty PostgreSQL database, not in SQLite."),
    ] = None,
    no_passphrase: Annotated[
        bool, typer.Option("--no-passphrase", help="Leave the keys unsealed: for trials only.")
    ] = False,
) -> Ending:
    """Make a home: folders, keys sealed under a passphrase, and entry 0 of the log."""
    session = session_of(context)
    output = session.output
    if no_passphrase and session.passphrase.is_named:
        raise UsageError("passphrase-sources", "a passphrase is named, and also that there is none")
    word = None if no_passphrase else session.passphrase.read_new()
    with session.library.init(
        session.root, institution=institution, origin=origin, passphrase=word, database=database
    ) as ledger:
        home = {"home": ledger.home.root, "institution": ledger.institution, "origin": ledger.origin}
        keys = ledger.log_keys()
    if no_passphrase:
        output.result("finding", UNSEALED, text.finding_lines(UNSEALED, output))
    output.result("home", home, text.facts(home.items()))
    for key in keys:
        output.result("key", key, text.facts([("log key", key.vkey)]))
    output.talk("Hand the log keys out: with them anyone can check what this ledger proves.")
    output.talk(
        "Nobody witnesses this log yet: until a peer does, an old copy of this home, restored elsewhere, "
        "cannot always be told from it. Keep backups by `heritage backup`, and never two homes in use."
    )
    output.talk("next: heritage ingest FOLDER --title TITLE")
    return Ending(fields=jsonable(home))


@command(app, "doctor", "heritage doctor")
def doctor(
    context: typer.Context,
    *,
    nagios: Annotated[
        bool,
        typer.Option(
            "--nagios",
            help="Answer as a check of Nagios, Icinga or Checkmk: a line, and 0, 1, 2 or 3 as they count.",
        ),
    ] = False,
) -> Ending:
    """Look at what surrounds the home: room on the disk, key files, heads, checkpoint, leftovers.

    Packages and index are not read: `heritage verify` does that, with --deep.
    """
    session = session_of(context)
    if nagios:
        raise typer.Exit(tell_nagios(session))
    tally = results.Tally()
    with session.ledger() as ledger:
        for stage in ledger.doctor():
            tally.add(stage.outcome.value if stage.required else "pass", stage.findings)
            results.give_stage(session, stage, {"subject": str(session.root)})
    return results.end_with(session, tally, ExitCode.PROBLEMS)


@command(app, "backup", "heritage backup /mnt/second-disk/ledger")
def backup(
    context: typer.Context,
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="An empty folder, or the backup to bring up to date.")
    ],
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Read what is there already too, and copy anew what is damaged.")
    ] = False,
) -> Ending:
    """Copy the home to another disk while it is in use; what is there already is not copied again.

    Every bag is read back and compared with its address before it gets its place. Bags that are damaged, at
    home or in the backup, are named, and end this command with 3. The keys are copied as they are: sealed,
    if they are.
    """
    session = session_of(context)
    with session.ledger() as ledger, session.progress() as progress:
        done = ledger.backup(named_path(str(folder)), check=check, progress=progress)
    session.clear()
    for finding in done.findings:
        session.output.result("finding", finding, text.finding_lines(finding, session.output))
    rows = [
        ("backup", done.folder),
        ("log", quantities.entries(done.size)),
        ("bags", f"{done.copied} copied ({quantities.size(done.bytes)}), {done.held} held already"),
    ]
    session.output.result("backup", done, text.facts(rows))
    session.output.talk("next, on the day: heritage --home NEW restore --from FOLDER")
    fields = {"size": done.size, "copied": done.copied, "held": done.held, "bytes": done.bytes}
    return Ending(ExitCode.PROBLEMS if done.findings else ExitCode.OK, fields)


@command(index, "rebuild", "heritage index rebuild")
def rebuild(context: typer.Context) -> Ending:
    """Make every row of the index again from bags and log."""
    session = session_of(context)
    with session.ledger() as ledger, session.progress() as progress:
        rebuilt = ledger.rebuild_index(progress=progress)
    return results.give_rebuilt(session, rebuilt)


@command(
    database,
    "move",
    "heritage database move --to postgresql+psycopg://ledger@db.museum.example/ledger",
    "heritage database move --to sqlite",
)
def move(
    context: typer.Context,
    *,
    to: Annotated[str, typer.Option(metavar="URL|sqlite", help="An empty PostgreSQL database, or sqlite.")],
) -> Ending:
    """Copy heads and index to another database, compare them, and use that one from now on.

    What lies in the old one stays there; after an interruption the same command begins anew.
    """
    session = session_of(context)
    with session.ledger() as ledger, session.progress() as progress:
        moved = ledger.move_databases(to, progress=progress)
    session.clear()
    heads, entries = quantities.count(moved.heads, "head"), f"{moved.entries:,} log entries"
    said = f"{heads} and the index of {entries} are in {moved.database} now, compared"
    session.output.result("database", moved, [said])
    return Ending(fields=jsonable(moved))
