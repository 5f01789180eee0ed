"""`copies`, `replicate`: what is kept beyond this machine."""

from typing import TYPE_CHECKING, Annotated

import typer

from heritage_cli import quantities, text
from heritage_cli.group import command
from heritage_cli.output import jsonable
from heritage_cli.session import Ending, Session, session_of
from heritage_ledger.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from heritage_ledger.federation.pledges import PackageHolders

app = typer.Typer()
Asset = Annotated[str | None, typer.Argument(metavar="[ASSET|CID]", help="One asset or package; else all.")]


@command(app, "copies", "heritage copies", "heritage copies https://museum.example/object/1887.12")
def copies(
    context: typer.Context,
    asset: Asset = None,
    *,
    no_read: Annotated[
        bool, typer.Option("--no-read", help="Show only what the target says; then no copy counts.")
    ] = False,
) -> Ending:
    """Say who holds copies: peers by their own logs, engines by reading every block of theirs back."""
    session = session_of(context)
    output = session.output
    few = packages = 0
    with session.ledger() as ledger, session.progress() as progress:
        is_target = ledger.settings.content.replication is not None
        if any(True for _ in ledger.federation.peers):
            if no_read and not is_target:
                raise UsageError(
                    "usage-error",
                    "--no-read is about the target in heritage.toml, and none is named there",
                    advice="what peers hold is said by their logs, and never read by this command",
                )
            for held in ledger.federation.copies(ledger.index, asset):
                few += _give_holders(session, held)
                packages += 1
            if not is_target:
                return _copies_end(session, packages, few)
        for found in ledger.copies.look(asset, read=not no_read, progress=progress):
            session.clear()
            packages += 1
            heading = (
                f"{found.asset} version {found.version}: {found.verified} of {found.wanted} copies verified"
            )
            rows = [
                (copy.peer, ", ".join(filter(None, (copy.said, copy.outcome.value, copy.detail))))
                for copy in found.copies
            ]
            fields = jsonable(found) | {"verified": found.verified}
            output.result("copies", fields, [heading, *(f"  {line}" for line in text.facts(rows))])
            if found.finding is not None and not no_read:
                few += 1
                output.result("finding", found.finding, text.finding_lines(found.finding, output))
    return _copies_end(session, packages, few)


def _copies_end(session: Session, packages: int, few: int) -> Ending:
    session.output.talk(f"{quantities.count(packages, 'package')}, {few} with too few verified copies")
    fields = {"packages": packages, "few": few}
    return Ending(ExitCode.PROBLEMS if few else ExitCode.OK, fields)


def _give_holders(session: Session, held: "PackageHolders") -> bool:
    """Give who holds a package, by the peers' own logs; say whether these are too few."""
    heading = f"{held.asset} version {held.version}: {held.copies} of {held.wanted} copies, one here"
    rows = [
        (one.origin, f"verified {one.verified}, entry {one.log_index} of its log") for one in held.holders
    ]
    fields = jsonable(held) | {"copies": held.copies}
    lines = [heading, *(f"  {line}" for line in text.facts(rows))]
    session.output.result("holders", fields, lines)
    return held.copies < held.wanted


@command(app, "replicate", "heritage replicate", "heritage replicate https://museum.example/object/1887.12")
def replicate(context: typer.Context, asset: Asset = None) -> Ending:
    """Ask the target in heritage.toml to keep copies; what it keeps already stays as it is."""
    session = session_of(context)
    with session.ledger() as ledger, session.progress() as progress:
        packages = ledger.copies.ask(asset, progress=progress)
    session.clear()
    said = f"asked for copies of {quantities.count(packages, 'package')}"
    session.output.result("replicate", {"packages": packages}, [said])
    session.output.talk("next: heritage copies says how that stands")
    return Ending(fields={"packages": packages})
