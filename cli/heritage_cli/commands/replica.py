"""`replica list`, `replica drop`: what is held for others."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from heritage_cli import quantities, text
from heritage_cli.group import Group, command
from heritage_cli.output import jsonable
from heritage_cli.session import Ending, Session, session_of
from heritage_ledger.errors import UsageError

if TYPE_CHECKING:
    from heritage_ledger.federation.held import HeldReplica

app = typer.Typer()
replica = typer.Typer(cls=Group)
app.add_typer(replica, name="replica", help="Packages of other institutions that are held here.")
Which = Annotated[
    str, typer.Argument(metavar="PEER", help="Whose packages: an origin or URL of a peer, or an origin.")
]


@command(replica, "list", "heritage replica list", "heritage replica list archive.example/ledger/1")
def list_replicas(
    context: typer.Context,
    which: Annotated[str | None, typer.Argument(metavar="[PEER]", help="Only of this peer.")] = None,
) -> Ending:
    """List the replicas on the disk, what each takes there, and whether a pledge covers it."""
    session = session_of(context)
    count = size = 0
    with session.ledger() as ledger:
        promises = ledger.federation.promises
        pledges = promises.published()
        for one in promises.replicas(which):
            count, size = count + 1, size + one.bytes
            covered = one.is_covered(pledges.get(one.origin))
            rows = [
                ("of", one.origin),
                ("asset", one.asset),
                ("version", one.version),
                ("on the disk", quantities.size(one.bytes)),
                ("pledged", f"until {pledges[one.origin].until}" if covered else "no: it may be dropped"),
            ]
            lines = [one.package_cid, *(f"  {line}" for line in text.facts(rows))]
            session.output.result("replica", jsonable(one) | {"pledged": covered}, lines)
    session.output.talk(f"{quantities.count(count, 'replica')}, {quantities.size(size)}")
    return Ending(fields={"replicas": count, "bytes": size})


@command(
    replica,
    "drop",
    "heritage replica drop archive.example/ledger/1",
    "heritage replica drop archive.example/ledger/1 bafybeif7…",
)
def drop(
    context: typer.Context,
    which: Which,
    cid: Annotated[str | None, typer.Argument(metavar="[CID]", help="Only this package.")] = None,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> Ending:
    """Give up replicas that no pledge covers any more, all of a peer's or one; this cannot be undone here.

    Works on a full disk, and needs no key. While a pledge covers them, `heritage pledge PEER --withdraw`
    comes first: from then on nobody counts these copies. Dropping itself is no event.
    """
    session = session_of(context)
    count = size = 0
    with session.ledger() as ledger:
        promises = ledger.federation.promises
        chosen = list(promises.replicas(which, cid))
        if not yes and chosen:
            _ask(session, chosen)
        for one in promises.drop(which, cid):
            count, size = count + 1, size + one.bytes
            session.output.result("dropped", one, [f"{one.package_cid} of {one.origin} is gone"])
    session.output.talk(f"{quantities.count(count, 'replica')} dropped, {quantities.size(size)} freed")
    return Ending(fields={"replicas": count, "bytes": size})


def _ask(session: Session, chosen: "list[HeldReplica]") -> None:
    if not sys.stdin.isatty():
        raise UsageError(
            "replica-not-confirmed",
            "nobody is there to be asked",
            advice="see `heritage replica list`, then use --yes",
        )
    size = quantities.size(sum(one.bytes for one in chosen))
    session.output.talk(f"{quantities.count(len(chosen), 'replica')}, {size}; others may hold no copy")
    typer.confirm("Remove them from this disk?", abort=True, err=True)
