"""`peer add`, `list`, `remove`, `status`, `sync`: the other institutions."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heritage_cli import proofs, quantities, text
from heritage_cli.group import Group, command
from heritage_cli.output import jsonable
from heritage_cli.session import Ending, Session, session_of
from heritage_ledger.errors import ExitCode, Severity, UsageError

if TYPE_CHECKING:
    from heritage_ledger.federation.peers import Peer
    from heritage_ledger.federation.status import PeerStatus
    from heritage_ledger.ledger import Ledger
    from heritage_ledger.progress import Progress

app = typer.Typer()
peer = typer.Typer(cls=Group)
app.add_typer(peer, name="peer", help="Other institutions: who is trusted, and what they know of us.")
Which = Annotated[str, typer.Argument(metavar="ORIGIN|URL", help="A peer, as `heritage peer list` names it.")]


@command(
    peer,
    "add",
    "heritage peer add https://ledger.archive.example",
    "heritage peer add https://ledger.archive.example --yes --key archive.example/ledger/1+6d1c54cf+AQ9l…",
    "heritage peer add museum.card.json",
    signs=True,
)
def add(
    context: typer.Context,
    which: Annotated[
        str,
        typer.Argument(
            metavar="URL|FILE", help="Where its node answers, or the file of its `heritage peer card`."
        ),
    ],
    *,
    key: Annotated[
        str | None,
        typer.Option("--key", metavar="VKEY", help="The log key that the institution gave you, to compare."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask; needs --key.")] = False,
    no_witness: Annotated[
        bool, typer.Option("--no-witness", help="Mirror its log, but do not wait for its cosignatures.")
    ] = False,
) -> Ending:
    """Trust an institution: mirror its log, witness it, and ask it to witness yours.

    Shown are its origin, its keys and its genesis event, as its own log proves them. Compare a log key with
    what the institution says by another way: everything else follows from it.
    """
    session = session_of(context)
    if yes and key is None:
        raise UsageError(
            "peer-key-missing",
            "without a question the log's key must be given",
            advice="add --key VKEY, as `heritage log key` of that institution prints it",
        )
    with session.ledger() as ledger:
        federation = ledger.federation
        if "://" in which:
            found = federation.discover(which, vkey=key)
        else:
            found = federation.introduced(proofs.read(Path(which)), vkey=key)
        if no_witness:
            found = found.without_witness()
        rows = [
            ("institution", found.institution),
            ("origin", found.origin),
            ("url", _address(found)),
            *(("log key", vkey if len(vkey) < 200 else f"{vkey[:60]}…") for vkey in found.log_keys),
            *(("witness key", f"{vkey[:60]}…") for vkey in found.witness_keys),
            ("genesis", found.genesis),
        ]
        session.output.result("peer", found, text.facts(rows))
        if not yes:
            _ask(session)
        federation.trust(found)
        for finding in (*federation.lint(), *federation.greet(found)):
            session.output.result("finding", finding, text.finding_lines(finding, session.output))
    session.output.talk("next: heritage peer sync, or heritage node run, which does it by itself")
    return Ending(fields={"origin": found.origin, "url": found.url})


def _address(found: "Peer") -> str:
    return "none: its node calls in" if found.calls_in else found.url


@command(peer, "card", "heritage peer card -o museum.card.json")
def card(
    context: typer.Context,
    *,
    target: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write it; - for stdout.")
    ],
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it is there.")] = False,
) -> Ending:
    """Write the file by which other institutions add this one: its genesis event, its keys, its address.

    They add it by `heritage peer add FILE`, and need not reach this node for that.
    """
    session = session_of(context)
    output = session.output
    proofs.check_target(target, force=force)
    with session.ledger() as ledger:
        data = ledger.federation.card()
    fields = proofs.deliver(output, "card", data, target, force=force)
    if str(target) != "-":
        output.talk("next: give it to the others, who compare `heritage log key` with you and add it:")
        output.talk(f"      heritage peer add {text.quoted(target.name)}")
    return Ending(fields=fields)


def _ask(session: Session) -> None:
    if not sys.stdin.isatty():
        raise UsageError(
            "peer-not-confirmed",
            "nobody is there to be asked",
            advice="compare a log key with the institution's own word; then use --yes --key VKEY",
        )
    session.output.talk("compare a log key with what the institution says by another way than this URL")
    typer.confirm("Trust this institution?", abort=True, err=True)


@command(peer, "list", "heritage peer list")
def list_peers(context: typer.Context) -> Ending:
    """List the peers, and how far their logs are mirrored here."""
    return _show(session_of(context), None)


@command(peer, "status", "heritage peer status", "heritage peer status archive.example/ledger/1")
def status(
    context: typer.Context, which: Annotated[str | None, typer.Argument(metavar="[ORIGIN|URL]")] = None
) -> Ending:
    """Say how far the own log is witnessed, how far peers are mirrored, and which logs have forked."""
    session = session_of(context)
    with session.ledger() as ledger:
        federation = ledger.federation
        if which is not None:
            federation.peers.get(which)
        standing = federation.standing()
        wrong = (*ledger.evidence().checkpoint_findings, *standing.findings)
        size = ledger.log_size()
        entries = "how many entries it has is not known" if size is None else quantities.entries(size)
        said = f"{standing.size} of {size or '?'}" if standing.required else "no witness is asked for"
        rows = [("own log", entries), ("witnessed", said)]
        rows += [("cosigned by", name) for name in standing.cosigned]
        session.output.result("standing", jsonable(standing) | {"entries": size}, text.facts(rows))
        for finding in (*wrong, *federation.lint()):
            session.output.result("finding", finding, text.finding_lines(finding, session.output))
    return _show(session, which, problems=len(wrong))


def _show(session: Session, which: str | None, *, problems: int = 0) -> Ending:
    forked = count = strays = 0
    with session.ledger() as ledger:
        strays = _name_strays(session, ledger)
        wanted = None if which is None else ledger.federation.peers.get(which)
        for found in ledger.federation.status():
            if wanted is not None and found.peer != wanted:
                continue
            count += 1
            forked += bool(found.forks)
            rows = [
                ("url", _address(found.peer)),
                ("mirrored", quantities.entries(found.size)),
                ("last reached", found.reached),
                ("last heard from", found.heard),
                *_clock(found),
                *(("FORKED", f"proof in {fork.path}") for fork in found.forks),
                *(("second history", f"--peer {fork.name}") for fork in found.forks if fork.is_readable),
            ]
            lines = [f"{found.peer.origin}  {found.peer.institution}"]
            session.output.result("peer", found, [*lines, *(f"  {line}" for line in text.facts(rows))])
    session.output.talk(quantities.count(count, "peer"))
    code = ExitCode.PROBLEMS if forked or problems or strays else ExitCode.OK
    return Ending(code, {"peers": count, "forked": forked})


def _clock(found: "PeerStatus") -> list[tuple[str, str]]:
    """Say how far a clock is from ours, where it is too far."""
    if not found.is_clock_far:
        return []
    ahead = found.clock_ahead or 0
    return [("CLOCK", f"{quantities.duration(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'} ours")]


def _name_strays(session: Session, ledger: "Ledger") -> int:
    """Name files in `peers/` and `forks/` that are none; everything else goes on without them."""
    found = ledger.federation.strays()
    for finding in found:
        session.output.result("finding", finding, text.finding_lines(finding, session.output))
    return len(found)


@command(peer, "remove", "heritage peer remove archive.example/ledger/1")
def remove(context: typer.Context, which: Which) -> Ending:
    """Trust an institution no more; its mirror stays, as evidence of what it said."""
    session = session_of(context)
    with session.ledger() as ledger:
        found = ledger.federation.peers.remove(which)
    origin = which if found is None else found.origin
    if found is not None:
        session.output.result("peer", found, [f"{origin} is no peer any more"])
    return Ending(fields={"origin": origin})


def _replicate(session: Session, ledger: "Ledger", progress: "Progress") -> int:
    """Fetch what is pledged; the keys are asked for only where something is."""
    if not any(row.types[1:2] == ("Pledge",) for row in ledger.index.events()):
        return 0
    problems = 0
    for one in ledger.federation.replicate(progress=progress):
        session.clear()
        problems += bool(one.findings)
        said = f"{one.origin}: {one.asset} version {one.version}"
        lines = [] if one.findings else [f"{said}: replica held, {quantities.size(one.fetched)} fetched"]
        session.output.result("replicated", one, lines)
        for finding in one.findings:
            session.output.result("finding", finding, text.finding_lines(finding, session.output))
    return problems


@command(peer, "sync", "heritage peer sync", signs=True)
def sync(context: typer.Context) -> Ending:
    """Look at every peer once: collect cosignatures, mirror what is new, fetch what is pledged."""
    session = session_of(context)
    output = session.output
    problems = 0
    with session.ledger() as ledger, session.progress() as progress:
        problems += _name_strays(session, ledger)
        asked = ledger.federation.collect()
        session.clear()
        if asked is not None:
            word = "witnessed" if asked.is_met else "pending"
            keys = quantities.count(len(asked.cosigned), "key")
            output.result(
                "cosignatures",
                asked,
                [f"own log, {quantities.entries(asked.size)}: {word}, cosigned by {keys}"],
            )
            problems += not asked.is_met
            for finding in asked.findings:
                output.result("finding", finding, text.finding_lines(finding, output))
        for synced in ledger.federation.sync(progress=progress):
            session.clear()
            problems += any(finding.severity is Severity.ERROR for finding in synced.findings)
            line = (
                f"{synced.origin}: {quantities.entries(synced.size)}, {synced.size - synced.old_size:,} new"
            )
            output.result("synced", synced, [line])
            for finding in synced.findings:
                output.result("finding", finding, text.finding_lines(finding, output))
            if synced.fork is not None:
                ledger.federation.spread(synced.fork)
        problems += _replicate(session, ledger, progress)
    return Ending(ExitCode.PROBLEMS if problems else ExitCode.OK, {"problems": problems})
