"""`prove` and `check`: evidence for people who have nothing but a file and a key."""

from pathlib import Path
from typing import Annotated

import typer

from heritage_cli import proofs, text
from heritage_cli.group import command
from heritage_cli.results import give_verdicts
from heritage_cli.session import Ending, session_of
from heritage_ledger.errors import ExitCode, UsageError

app = typer.Typer()


@command(
    app,
    "prove",
    "heritage prove https://museum.example/object/1887.12 -o 1887.12.proof",
    "heritage prove 17 -o -",
)
def prove(
    context: typer.Context,
    what: Annotated[
        str,
        typer.Argument(metavar="EVENT|ASSET", help="An event's id or log entry; an asset's latest event."),
    ],
    *,
    target: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write the proof; - for stdout.")
    ],
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it is there.")] = False,
    tlog_proof: Annotated[
        bool, typer.Option("--tlog-proof", help="Only the C2SP tlog-proof, for other people's verifiers.")
    ] = False,
) -> Ending:
    """Write a proof: all the evidence for one event, in one file that is checked offline."""
    session = session_of(context)
    output = session.output
    proofs.check_target(target, force=force)
    with session.ledger() as ledger:
        data = ledger.prove(what, form="tlog-proof" if tlog_proof else "heritage")
    fields = proofs.deliver(output, "proof", data, target, force=force)
    if not tlog_proof and str(target) != "-":
        output.talk("next: heritage log key > museum.vkey, for whoever is to check the proof; then")
        output.talk(f"      heritage check {text.quoted(str(target))} --log-key @museum.vkey")
    return Ending(fields=fields)


@command(
    app,
    "check",
    "heritage check 1887.12.proof --log-key @museum.vkey",
    "heritage check 1887.12.proof --log-key @museum.vkey --bag 1887.12/ --policy museum.policy",
)
def check(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A proof file; - for stdin.")],
    *,
    log_key: Annotated[
        list[str],
        typer.Option(
            metavar="VKEY", help="A key of the log, got from the institution; @FILE reads keys. Repeatable."
        ),
    ],
    bag: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="A bag, folder or archive, that the proof is to be about."),
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A C2SP tlog-policy: so many witnesses must have cosigned."),
    ] = None,
) -> Ending:
    """Check a proof, offline: no home, no network, only the file and the log's public keys.

    Ends with 4 if the evidence is invalid, with 5 if it does not suffice. A fork proof that holds ends with
    7: its log has signed two histories. It says nothing of bags and witnesses, and is refused beside them.
    """
    session = session_of(context)
    if sum(str(name) in {"-", "@-"} for name in (file, policy, *log_key)) > 1:
        raise UsageError("usage-error", "stdin is one file: FILE, --policy or --log-key")
    data = proofs.read(file)
    keys = proofs.read_keys(log_key)
    rule = None if policy is None else proofs.read(policy)
    with session.progress() as progress:
        verdict = session.library.check_proof(data, keys, bag=bag, policy=rule, progress=progress)
        return give_verdicts(session, [verdict], failing=ExitCode.EVIDENCE_INVALID)
