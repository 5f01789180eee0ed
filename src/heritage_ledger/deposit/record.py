"""Recording a deposit: the critical section in which a bag gets its place and its event.

The order of the steps, and what each crash leaves, is written in `specs/home.md`, "Write ordering". The event
exists from the moment the head moves in `state.db`; everything before it can be taken back, everything after
it is made again from bags and log.
"""

from __future__ import annotations

import contextlib
import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from heritage_ledger.content.blocks import PackageKey
from heritage_ledger.content.cid import format_cid
from heritage_ledger.deposit.copies import ask_for
from heritage_ledger.deposit.hold import held
from heritage_ledger.deposit.receipt import Receipt
from heritage_ledger.deposit.release import release
from heritage_ledger.deposit.staging import Claim
from heritage_ledger.errors import ExitCode, Finding, HeritageError, Severity
from heritage_ledger.events.bodies import EventFrame, adoption_body, ingestion_body
from heritage_ledger.events.event import open_event, sign_event
from heritage_ledger.events.packages import PackageDescription
from heritage_ledger.home.settings import DEFAULT_CLASS
from heritage_ledger.index.absorb import add_content, add_event
from heritage_ledger.log.append import Appended

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from heritage_ledger.content.cid import Cid
    from heritage_ledger.content.package import PackageGraph
    from heritage_ledger.deposit.books import Books
    from heritage_ledger.deposit.hold import Hold
    from heritage_ledger.deposit.staging import Staging
    from heritage_ledger.events.agents import Agent
    from heritage_ledger.events.packages import BagFile
    from heritage_ledger.index.rows import PackageRow
    from heritage_ledger.progress import Progress

CID_PROFILE = "unixfs-v1-2025"


class Unfinished(HeritageError):
    """The event is written; what comes after it is left to the next command. To repeat the call is wrong."""

    exit_code = ExitCode.PROBLEMS


@dataclass(frozen=True, slots=True)
class Deposit:
    """A finished bag, as its event will describe it.

    `kind` is `ingest` or `adopt`; `files` and `size` (bytes) count the payload; `tag_files` everything
    else; `shared` the payload bytes that lie on the disk once with an earlier version; `findings` are
    warnings that were met. With `skip_held` nothing is recorded where the payload is held already: as the
    latest version of the asset if it `is_named`, else anywhere.
    """

    kind: str
    asset: str
    title: str | None
    actor: Agent | None
    original_name: str
    package_cid: Cid
    payload_cid: Cid
    bag_version: str
    manifests: tuple[BagFile, ...]
    metadata: BagFile | None
    files: int
    size: int
    tag_files: int
    shared: int
    started: str
    findings: tuple[Finding, ...]
    storage_class: str = DEFAULT_CLASS
    skip_held: bool = False
    is_named: bool = True


def record(books: Books, work: Staging, graph: PackageGraph, deposit: Deposit, progress: Progress) -> Receipt:
    """Put the staged bag on the disk, give it its place and event; what this returns is there and in the log.

    Where the engine is Kubo, it holds the package before there is an event: nothing is acknowledged that the
    engine did not take.

    Raises:
        HomeLocked: another process kept the append lock.
        DiskProblem: the disk is full or failing; the bag is taken back.
        TemporaryFailure, KeyProblem, OperationFailed: the engine does not take the package.
        Unfinished: the event is written, and what comes after it is not (`deposit-unfinished`).
    """
    keeps_bag = books.settings.keeps_bag(deposit.storage_class)
    if deposit.skip_held and (receipt := _held_receipt(books, deposit)) is not None:
        return receipt
    with held(books, work, graph, deposit, progress) as hold:
        receipt = _record(books, work, hold, deposit, progress, keeps_bag=keeps_bag)
        progress.begin("index", files=graph.count)
        with _finishing(receipt.asset, receipt.version):
            add_content(books.index, receipt.log_index, graph)
    if books.kubo is not None and not keeps_bag:
        progress.begin("release")
        with _finishing(receipt.asset, receipt.version):
            row = books.index.package(receipt.asset, receipt.version)
            assert row is not None
            release(books.home, books.kubo, row)
        receipt = replace(receipt, released=True)
    work.settled()
    package = PackageKey(receipt.asset, receipt.version)
    warnings = ask_for(books.home, books.settings, package, deposit.package_cid)
    return replace(receipt, findings=receipt.findings + warnings)


def _record(
    books: Books,
    work: Staging,
    hold: Hold,
    deposit: Deposit,
    progress: Progress,
    *,
    keeps_bag: bool,
) -> Receipt:
    progress.begin("record")
    with books.exclusive():
        books.settle()
        warnings = (*books.check_clock(), *_already_held(books, deposit))
        version = books.next_version(deposit.asset)
        entry, event_id = _event(books, deposit, version)
        size = books.size()
        target = work.place(Claim(deposit.asset, version, release=not keeps_bag))
        try:
            appended = _append(books, entry, deposit)
        except BaseException as error:
            if not _is_written(books, hold, size, entry):
                work.take_back(target)
                raise
            hold.confirm(version)
            if not isinstance(error, HeritageError):
                raise
            with _finishing(deposit.asset, version):
                books.settle()  # the same steps once more: what failed may have been passing
                appended = _appended(books, size)
        else:
            hold.confirm(version)
            books.noted()
    receipt = _receipt(deposit, version, event_id, target, appended)
    return replace(receipt, findings=receipt.findings + warnings)


def _held_row(books: Books, deposit: Deposit) -> tuple[PackageRow | None, int]:
    """The package with the same payload, one of this asset before one of another; and how many there are."""
    rows = books.index.packages_by_cid(deposit.payload_cid)
    return max(rows, key=lambda row: (row.asset == deposit.asset, row.log_index), default=None), len(rows)


def _already_held(books: Books, deposit: Deposit) -> list[Finding]:
    """Say which package has the same payload already."""
    row, count = _held_row(books, deposit)
    if row is None:
        return []
    more = f", and {count - 1} more" if count > 1 else ""
    return [
        Finding(
            "already-held",
            "the same payload is held already, byte for byte",
            found=f"version {row.version} of {row.asset}, log entry {row.log_index}{more}",
            advice="nothing is wrong; `--skip-held` records nothing where this is so",
            severity=Severity.WARNING,
        )
    ]


def _held_receipt(books: Books, deposit: Deposit) -> Receipt | None:
    """Return what is held in place of the deposit, if that is wanted and there is such a package.

    An asset that was named is asked for its latest version alone: an older one, or another asset, is no
    reason to leave out what was asked for.
    """
    with books.exclusive():
        books.settle()  # what a process that died has recorded counts
        row, _ = _held_row(books, deposit)
        head = books.state.head(books.settings.origin)
        if row is None or head is None:
            return None
        if deposit.is_named and (row.asset, row.version + 1) != (
            deposit.asset,
            books.next_version(row.asset),
        ):
            return None
        event = books.index.event(row.log_index)
        findings = (*deposit.findings, *_already_held(books, deposit))
    assert event is not None
    return Receipt(
        asset=row.asset,
        version=row.version,
        title=deposit.title,
        package_cid=format_cid(row.package_cid),
        payload_cid=format_cid(row.payload_cid),
        log_index=row.log_index,
        event_id=event.event_id,
        bag_path=books.home.root / row.folder,
        files=row.files,
        size=row.bytes,
        shared=0,
        findings=findings,
        checkpoint=head.checkpoint,
        released=not (books.home.root / row.folder).exists(),
        held=True,
    )


def _is_written(books: Books, hold: Hold, index: int, entry: bytes) -> bool:
    """Say whether `entry` is in the log at `index`, after an append that ended with an error.

    Raises:
        HeritageError: it cannot be told; bag, claim and pin stay for the next command to judge.
    """
    try:
        size = books.size()
        return size > index and books.log.read_entry(index, size) == entry
    except HeritageError:
        hold.keep()
        raise


def _appended(books: Books, index: int) -> Appended:
    head = books.state.head(books.settings.origin)
    assert head is not None
    return Appended(index, head.size, head.root, head.checkpoint)


@contextlib.contextmanager
def _finishing(asset: str, version: int) -> Iterator[None]:
    """Say, when a step after the event fails, that the deposit is recorded all the same."""
    try:
        yield
    except HeritageError as error:
        raise Unfinished(
            "deposit-unfinished",
            "the deposit is recorded and safe, but the last steps could not be taken",
            path=f"{asset} version {version}",
            found=f"{error.code}: {error}",
            advice="do not take it in again; the next command finishes it once the cause is gone",
        ) from error


def _event(books: Books, deposit: Deposit, version: int) -> tuple[bytes, str]:
    event_id = f"urn:uuid:{uuid.uuid4()}"
    now = books.now()
    frame = EventFrame(
        event_id=event_id,
        origin=books.settings.origin,
        institution=books.institution,
        software=books.software,
        actor=deposit.actor or books.software,
        started=deposit.started,
        ended=now,
        notes=books.notes,
    )
    previous = None if version == 1 else books.index.package(deposit.asset, version - 1)
    package = PackageDescription(
        cid=format_cid(deposit.package_cid),
        asset_id=deposit.asset,
        version=version,
        bag_version=deposit.bag_version,
        cid_profile=CID_PROFILE,
        manifests=deposit.manifests,
        payload_cid=format_cid(deposit.payload_cid),
        payload_size=deposit.size,
        payload_files=deposit.files,
        title=deposit.title,
        previous_cid=None if previous is None else format_cid(previous.package_cid),
        original_name=deposit.original_name,
        metadata=deposit.metadata,
    )
    if deposit.kind == "adopt":
        body = adoption_body(frame, package, findings={finding.code for finding in deposit.findings})
    else:
        body = ingestion_body(frame, package)
    return sign_event(body, books.keys.event, created=now), event_id


def _append(books: Books, entry: bytes, deposit: Deposit) -> Appended:
    def index(appended: Appended) -> None:
        with books.index.begin() as writer:
            add_event(writer, appended.first_index, open_event(entry), deposit.tag_files, books.home)

    return books.appender.append([entry], time=books.time(), before_publish=index)


def _receipt(deposit: Deposit, version: int, event_id: str, target: Path, appended: Appended) -> Receipt:
    return Receipt(
        asset=deposit.asset,
        version=version,
        title=deposit.title,
        package_cid=format_cid(deposit.package_cid),
        payload_cid=format_cid(deposit.payload_cid),
        log_index=appended.first_index,
        event_id=event_id,
        bag_path=target,
        files=deposit.files,
        size=deposit.size,
        shared=deposit.shared,
        findings=deposit.findings,
        checkpoint=appended.checkpoint,
    )
