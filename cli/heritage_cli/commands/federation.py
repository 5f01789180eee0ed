"""`pledge`, `repair`: what institutions do for each other's packages."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from heritage_cli import quantities, text
from heritage_cli.group import command
from heritage_cli.options import named_path
from heritage_cli.results import give_verdicts
from heritage_cli.session import Ending, Session, session_of
from heritage_ledger.errors import ExitCode, Finding, HeritageError, Severity, UsageError

app = typer.Typer()
MAX_BYTES = 2**63 - 1
"""The largest number in an event."""


@command(
    app,
    "pledge",
    "heritage pledge archive.example/ledger/1 --until 2036-12-31",
    "heritage pledge archive.example/ledger/1 --until 2036-12-31 --max-bytes 500000000000",
    "heritage pledge archive.example/ledger/1 --withdraw",
    signs=True,
)
def pledge(
    context: typer.Context,
    which: Annotated[str, typer.Argument(metavar="PEER", help="Whose packages: an origin or URL of a peer.")],
    *,
    until: Annotated[
        str | None, typer.Option(metavar="DATE", help="The last day, as 2036-12-31, in UTC.")
    ] = None,
    assets: Annotated[
        list[str] | None, typer.Option("--assets", metavar="URI", help="Only this asset. Repeatable.")
    ] = None,
    max_bytes: Annotated[
        int | None,
        typer.Option(
            "--max-bytes",
            min=0,
            max=MAX_BYTES,
            help="At most so many bytes of payload; else half of what is free now beside the reserve.",
        ),
    ] = None,
    withdraw: Annotated[
        bool, typer.Option("--withdraw", help="Take the promise back: it ends now, as a signed event.")
    ] = False,
) -> Ending:
    """Promise to hold replicas of a peer's packages until a date; the promise goes into the own log.

    A later pledge to the same peer takes the place of this one. `heritage node run` and `heritage peer sync`
    fetch what is promised. What was fetched stays after a withdrawal, until `heritage replica drop`.
    """
    from heritage_ledger.federation.pledges import missing_assets  # noqa: PLC0415 - slow to import

    session = session_of(context)
    if withdraw and (until is not None or assets or max_bytes is not None):
        raise UsageError(
            "usage-error", "--withdraw ends the promise as it is, so it stands alone", found="other options"
        )
    if not withdraw and until is None:
        raise UsageError("usage-error", "say until when, or --withdraw", expected="--until DATE")
    with session.ledger() as ledger:
        promises = ledger.federation.promises
        if until is None:
            made = promises.withdraw(which)
            unknown: tuple[Finding, ...] = ()
        else:
            made = promises.pledge(which, _day(until), assets=assets or (), max_bytes=max_bytes)
            unknown = missing_assets(ledger.federation.reader, made.source, made.assets)
    rows = [
        ("withdrawn from" if withdraw else "pledged to", made.source),
        ("until", made.until),
        ("assets", ", ".join(made.assets) or "all"),
        ("at most", None if made.max_bytes is None else quantities.size(made.max_bytes)),
        ("log entry", made.log_index),
    ]
    session.output.result("pledge", made, text.facts(rows))
    for finding in unknown:
        session.output.result("finding", finding, text.finding_lines(finding, session.output))
    follows = f"heritage replica drop {made.source}" if withdraw else "heritage peer sync"
    session.output.talk(f"next: {follows} {'frees the disk' if withdraw else 'fetches what is promised'}")
    return Ending(fields={"source": made.source, "until": made.until, "log_index": made.log_index})


def _day(given: str) -> datetime:
    try:
        day = datetime.fromisoformat(given)
    except ValueError as error:
        raise UsageError(
            "pledge-until", "this is not a date", expected="a day such as 2036-12-31", found=given[:40]
        ) from error
    if day.tzinfo is None:
        day = day.replace(hour=23, minute=59, second=59) if len(given) == len("2036-12-31") else day
        day = day.replace(tzinfo=UTC)
    try:
        return day.astimezone(UTC)
    except OverflowError as error:
        raise UsageError(
            "pledge-until", "there is no such day in UTC", expected="a day up to 9999-12-31", found=given[:40]
        ) from error


@command(
    app,
    "restore",
    "heritage --home new restore --from /mnt/second-disk/ledger",
    "heritage --home new restore",
    signs=True,
)
def restore(
    context: typer.Context,
    *,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from", metavar="FOLDER", help="A backup that `heritage backup` made; else from peers."
        ),
    ] = None,
) -> Ending:
    """Bring a lost home back: from a backup, or from its peers.

    From a backup the folder of the home must be absent or empty. From peers it must hold heritage.toml,
    keys/, peers/ and policy; the log, the index, and every package that somebody holds are brought back.
    Nothing is signed before the witnesses have said how far the log had come.
    """
    session = session_of(context)
    return _from_peers(session) if source is None else _from_backup(session, named_path(str(source)))


def _from_backup(session: Session, source: Path) -> Ending:
    output = session.output
    with (
        session.progress() as progress,
        session.library.restore(
            source, session.root, passphrase=session.passphrase.read, progress=progress
        ) as ledger,
    ):
        try:
            done = ledger.recover(progress=progress)
        except HeritageError as error:
            session.clear()
            finding = replace(error.finding, severity=Severity.WARNING)
            output.result("finding", finding, text.finding_lines(finding, output))
            size, basis = ledger.log_size(), None
        else:
            size, basis = done.size, done.basis
        session.clear()
        entries = "a log that cannot be read" if size is None else quantities.entries(size)
        said = [f"the home is back: {entries} of {ledger.origin}"]
        said += (
            [] if basis else ["nothing can be signed yet: heritage log recover, when the witnesses answer"]
        )
        output.result("restored", {"origin": ledger.origin, "size": size, "basis": basis}, said)
        ending = give_verdicts(session, ledger.verify(progress=progress), failing=ExitCode.PROBLEMS)
    output.talk("next: heritage verify --deep; heritage repair brings from peers what came after the backup")
    code = ExitCode.PROBLEMS if basis is None else ending.exit_code
    return Ending(code, {**ending.fields, "size": size, "basis": basis})


def _from_peers(session: Session) -> Ending:
    from heritage_ledger.federation.restore import restore as bring_back  # noqa: PLC0415 - slow to import

    output = session.output
    lost = packages = 0
    with session.ledger() as ledger, session.progress() as progress:
        restored = bring_back(ledger.federation)
        ledger.close()
        session.clear()
        said = f"the log is back: {quantities.entries(restored.size)} of {restored.origin}"
        output.result("restored", restored, [said])
        for done in ledger.federation.repairs.run(progress=progress):
            session.clear()
            packages += 1
            lost += bool(done.findings)
            files = quantities.count(len(done.files), "file")
            output.result("repaired", done, [f"{done.package_cid}: {files} brought back"])
            for finding in done.findings:
                output.result("finding", finding, text.finding_lines(finding, output))
        ledger.rebuild_index(progress=progress)
        ledger.federation.collect()
    session.clear()
    output.talk("next: heritage verify --deep")
    fields = {"size": restored.size, "packages": packages, "lost": lost}
    return Ending(ExitCode.PROBLEMS if lost else ExitCode.OK, fields)


@command(
    app, "repair", "heritage repair", "heritage repair https://museum.example/object/1887.12", signs=True
)
def repair(
    context: typer.Context,
    which: Annotated[
        str | None,
        typer.Argument(metavar="[ASSET|CID]", help="One asset or package; else all that are held."),
    ] = None,
) -> Ending:
    """Mend damaged packages: fetch the damaged blocks, and only those, from peers.

    Damaged files go to quarantine. What no peer can give back is named by file and byte range, and ends this
    command with 3.
    """
    session = session_of(context)
    output = session.output
    damaged = lost = packages = fetched = 0
    with session.ledger() as ledger, session.progress() as progress:
        for done in ledger.federation.repairs.run(which, progress=progress):
            session.clear()
            packages += 1
            if not done.was_damaged:
                continue
            damaged += 1
            lost += bool(done.findings)
            fetched += done.fetched
            rows = [
                ("mended", quantities.count(len(done.files), "file")),
                *(("", path) for path in done.files[:20]),
                ("fetched", quantities.size(done.fetched)),
                ("from", ", ".join(done.helpers) or None),
                ("quarantine", done.quarantined),
            ]
            output.result("repaired", done, [done.package_cid, *(f"  {line}" for line in text.facts(rows))])
            for finding in done.findings:
                output.result("finding", finding, text.finding_lines(finding, output))
    output.talk(f"{quantities.count(packages, 'package')}, {damaged} were damaged, {lost} still are")
    fields = {"packages": packages, "damaged": damaged, "lost": lost, "fetched": fetched}
    return Ending(ExitCode.PROBLEMS if lost else ExitCode.OK, fields)
