"""`init`, `doctor`, `index rebuild`: the home itself."""

from typing import Annotated

import typer

from heritage_cli import endings, quantities, text
from heritage_cli.group import Group, command
from heritage_cli.results import judge_all
from heritage_cli.session import Ending, session_of
from heritage_ledger.errors import ExitCode, Finding, Severity, UsageError

app = typer.Typer()
index = typer.Typer(cls=Group)
app.add_typer(index, name="index", help="The index: rows that can always be made again.")

UNSEALED = Finding(
    "keys-unsealed",
    "the private keys are not sealed: whoever reads the home can sign in the institution's name",
    advice="make a home with a passphrase for anything that must be believed",
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
    institution: Annotated[str, typer.Option(metavar="NAME", help="The legal body that keeps the ledger.")],
    origin: Annotated[
        str, typer.Option(metavar="DOMAIN/NAME/EPOCH", help="The log's name for good; never use one twice.")
    ],
    no_passphrase: Annotated[
        bool, typer.Option("--no-passphrase", help="Leave the keys unsealed. For trials only.")
    ] = False,
) -> Ending:
    """Make a home: folders, keys sealed under a passphrase, and entry 0 of the log."""
    session = session_of(context)
    output = session.output
    if no_passphrase and (session.passphrase.descriptor is not None or session.passphrase.file is not None):
        raise UsageError("passphrase-sources", "a passphrase is named, and that there is none")
    word = None if no_passphrase else session.passphrase.read_new()
    with session.library.init(session.root, institution=institution, origin=origin, passphrase=word) as ledger:
        facts = {"home": ledger.home.root, "institution": ledger.institution, "origin": ledger.origin}
        keys = ledger.log_keys()
    for pair in facts.items():
        output.result("home", dict([pair]), text.facts([pair]))
    for key in keys:
        output.result("key", key, text.facts([(f"log key {key.kind}"[:12], key.vkey)]))
    if no_passphrase:
        output.result("finding", UNSEALED, text.finding_lines(UNSEALED, output))
    output.talk("Hand the log keys out: with them anyone can check what this ledger proves.")
    output.talk("Next: heritage ingest FOLDER --title TITLE")
    return Ending(fields=facts | {"log_index": 0})
