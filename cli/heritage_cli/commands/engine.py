"""`engine status`, `engine move`, `export`: where the blocks of packages live."""

from pathlib import Path
from typing import Annotated

import typer

from heritage_cli import quantities, text
from heritage_cli.group import Group, command
from heritage_cli.options import named_path
from heritage_cli.output import jsonable
from heritage_cli.session import Ending, session_of
from heritage_ledger.errors import ExitCode, UsageError

app = typer.Typer()
engine = typer.Typer(cls=Group)
app.add_typer(engine, name="engine", help="Where blocks live: bags on this disk, or a Kubo daemon.")


@command(engine, "status", "heritage engine status", "heritage engine status --read")
def status(
    context: typer.Context,
    *,
    read: Annotated[
        bool, typer.Option("--read", help="Read every block, and count what is not whole.")
    ] = False,
) -> Ending:
    """Say what the engine is and holds: version, size, pins ours and not ours, what is missing."""
    session = session_of(context)
    with session.ledger() as ledger, session.progress():
        if read and ledger.settings.content.engine == "embedded":
            raise UsageError(
                "usage-error",
                "--read asks a daemon for its blocks, and the embedded engine has none but the bags",
                advice="`heritage verify` reads every byte of the bags",
            )
        found = ledger.engines.status(read=read)
    session.clear()
    rows = [
        ("engine", f"{found.engine} {found.version}"),
        ("address", found.address),
        ("size", None if found.size is None else quantities.size(found.size)),
        ("limit", None if found.limit is None else quantities.size(found.limit)),
        ("blocks", found.blocks),
        ("packages", found.packages),
        ("released", found.released),
    ]
    if found.address is not None:
        rows += [("pins", f"{found.pins} of this ledger, {found.other_pins} others")]
        rows += [("not pinned", name) for name in found.unpinned]
        rows += [("left over", name) for name in found.left_over]
    if found.missing is not None:
        rows += [("missing", f"{found.missing} blocks"), ("damaged", f"{found.damaged} blocks")]
    session.output.result("engine", found, text.facts(rows))
    if found.unpinned or found.missing or found.damaged:
        session.output.talk("next: heritage engine move --to kubo fills the engine again from the bags")
        return Ending(ExitCode.PROBLEMS, jsonable(found))
    return Ending(fields=jsonable(found))


@command(engine, "move", "heritage engine move --to kubo", "heritage engine move --to embedded")
def move(
    context: typer.Context,
    *,
    to: Annotated[str, typer.Option(metavar="ENGINE", help="kubo or embedded.")],
) -> Ending:
    """Bring all that is held to another engine, check it there, and use that engine from now on.

    What is there whole already is left as it is: after an interruption the same command goes on.
    """
    session = session_of(context)
    with session.ledger() as ledger, session.progress() as progress:
        moved = ledger.engines.move(to, progress=progress)
    session.clear()
    held = quantities.count(moved.moved + moved.present, "package")
    words = f"{moved.engine} holds {held}: {moved.moved} brought over"
    session.output.result("engine", moved, [f"{words}, {moved.present} there already"])
    return Ending(fields=jsonable(moved))


@command(
    app,
    "export",
    "heritage export https://museum.example/object/1887.12 1887.12/",
    "heritage export https://museum.example/object/1887.12 first/ --version 1",
)
def export(
    context: typer.Context,
    asset: Annotated[str, typer.Argument(metavar="ASSET|CID", help="An asset, or a package's CID.")],
    target: Annotated[
        Path, typer.Argument(metavar="DIR", parser=named_path, help="A folder that does not exist yet.")
    ],
    *,
    version: Annotated[int | None, typer.Option(metavar="NUMBER", help="Else the latest.")] = None,
) -> Ending:
    """Write a package's bag again, byte for byte, from the disk or the engine."""
    session = session_of(context)
    with session.ledger() as ledger, session.progress() as progress:
        package = ledger.export(asset, target, version=version, progress=progress)
    session.clear()
    fields = {
        "asset": package.asset,
        "version": package.version,
        "package_cid": package.package_cid,
        "bag_path": str(target),
        "files": package.files,
        "size": package.size,
    }
    said = f"{package.asset} version {package.version} is in {target}: {package.package_cid}"
    session.output.result("export", fields, text.facts([("exported", said)]))
    return Ending(fields=fields)
