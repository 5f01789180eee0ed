"""From truth to rows: what an event and a bag say, as the index holds it (`specs/index.md`).

The same functions make the rows of a new deposit, of entries that an interrupted process left out, and of a
whole rebuild, so all three give the same rows.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from heritage_ledger.bags.stored import add_stored
from heritage_ledger.content.cid import format_cid, parse_cid
from heritage_ledger.content.package import PackageGraph, read_package, walk_package
from heritage_ledger.errors import EvidenceInvalid, EvidenceMissing, Finding, OperationFailed, Severity
from heritage_ledger.events.event import open_logged, oversized_finding
from heritage_ledger.events.vocabulary import ADOPTION
from heritage_ledger.home.durable import writing
from heritage_ledger.home.release import is_released, read_released
from heritage_ledger.identity.didkey import format_did_key
from heritage_ledger.index.rows import EventRow, PackageRow
from heritage_ledger.progress import SILENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from heritage_ledger.content.cid import Cid
    from heritage_ledger.content.directory import Get
    from heritage_ledger.events.event import Event
    from heritage_ledger.home.layout import Home
    from heritage_ledger.index.store import Index
    from heritage_ledger.index.writer import IndexWriter
    from heritage_ledger.log.files import LogFiles
    from heritage_ledger.progress import Progress

ENTRIES_AT_ONCE = 1_000
"""Entries absorbed in one transaction."""


def event_row(index: int, event: Event) -> EventRow:
    """The row of the event at log index `index`."""
    actor = event.actor or event.software
    package_cid = event.package_cid
    return EventRow(
        log_index=index,
        origin=event.origin,
        event_id=event.id,
        types=event.types,
        created=event.created,
        agent=f"{actor.name} <{actor.id}>",
        key=format_did_key(event.verification_key),
        started=event.started,
        ended=event.ended,
        outcome=event.outcome,
        asset=event.asset_id,
        version=event.version,
        package_cid=None if package_cid is None else parse_cid(package_cid),
    )


def package_row(index: int, event: Event, tag_files: int, home: Home) -> PackageRow:
    """The row of the package that the event at log index `index` took in."""
    package = event.package
    assert package is not None
    return PackageRow(
        log_index=index,
        asset=package.asset_id,
        version=package.version,
        package_cid=parse_cid(package.cid),
        payload_cid=parse_cid(package.payload_cid),
        folder=home.folder_of(package.asset_id, package.version, package.cid),
        bagit_version=package.bag_version,
        files=package.payload_files,
        bytes=package.payload_size,
        tag_files=tag_files,
        kind="adopt" if event.types == ADOPTION else "ingest",
    )


def add_event(writer: IndexWriter, index: int, event: Event, tag_files: int, home: Home) -> None:
    """Add the rows of one event, and of its package when it took one in; its files come later.

    A package whose counts nothing can hold has no row: nobody fetches or counts by it.
    """
    writer.add_event(event_row(index, event))
    if event.package_cid is not None and not event.oversized:
        writer.add_package(package_row(index, event, tag_files, home), title=event.title)
    writer.set_absorbed(index + 1)


def absorb(
    index: Index,
    log: LogFiles,
    home: Home,
    size: int,
    *,
    read: Callable[[int, bytes], Event] = lambda _, entry: open_logged(entry),
    is_own: bool = True,
) -> list[Finding]:
    """Add the rows of every entry below `size` that the index has not absorbed; return what is odd in them.

    The caller holds the append lock, or is the only one at work. `read` opens the entry at an index, and
    raises where it is not to be believed. What another institution says twice (`is_own` false) gets one row:
    an event's id, and a version of an asset, belong to the entry that came first.

    Raises:
        EvidenceInvalid: an entry is not an event.
        OperationFailed: the index holds something else than the log (`index-conflict`).
    """
    findings: list[Finding] = []
    start = index.absorbed()
    while start < size:
        end = min(start + ENTRIES_AT_ONCE, size)

        def events(start: int = start, end: int = end) -> Iterator[tuple[int, Event]]:
            for number, entry in enumerate(log.read_entries(start, end, size), start):
                yield number, read(number, entry)

        odd: list[Finding] = []
        try:
            with index.begin() as writer:
                for number, event in events():
                    add_event(writer, number, event, count_tag_files(home, event), home)
                    if event.oversized:
                        odd.append(oversized_finding(number, event))
        except OperationFailed as error:
            if is_own or error.code != "index-conflict":
                raise
            with index.begin() as writer:
                odd = list(_add_first_ones(writer, events(), home))
        findings += odd
        start = end
    return findings


def _add_first_ones(
    writer: IndexWriter, events: Iterable[tuple[int, Event]], home: Home
) -> Iterator[Finding]:
    """Add events of which some repeat what was said before; yield what is odd about each."""
    for number, event in events:
        row = event_row(number, event)
        if writer.has_event(row.event_id):
            writer.pass_over(number)
            yield _repeated(number, row.event_id)
        elif row.version is not None and writer.has_version(row.asset, row.version):
            writer.add_event(row)
            writer.set_absorbed(number + 1)
            yield _repeated(number, f"{row.asset} version {row.version}")
        else:
            add_event(writer, number, event, count_tag_files(home, event), home)
            if event.oversized:
                yield oversized_finding(number, event)


def _repeated(index: int, found: str) -> Finding:
    return Finding(
        "event-repeated",
        "an entry says again what an earlier one of this log says; the earlier one counts",
        f"entry {index}",
        found=found,
        advice="ask the institution; its log holds both for ever",
        severity=Severity.WARNING,
    )


def count_tag_files(home: Home, event: Event) -> int:
    """Count the files of the event's bag outside of its payload; none where the bag is gone.

    Raises:
        EvidenceInvalid: the note about a released bag is damaged (`release-note`).
        DiskProblem, OperationFailed: the bag cannot be looked through; that is no number.
    """
    package = event.package
    if package is None:
        return 0
    folder = home.root / home.folder_of(package.asset_id, package.version, package.cid)
    with writing(folder):
        is_there = folder.is_dir()
    if not is_there:
        released = read_released(folder)
        return 0 if released is None else released.tag_files
    with writing(folder):
        return _count_tags(folder)


def _count_tags(folder: Path) -> int:
    return sum(1 for path, is_file in walk_package(folder) if is_file and not path.startswith("data/"))


def add_content(index: Index, package: int, graph: PackageGraph) -> None:
    """Add the rows of a package's files, blocks and nodes, all or none."""
    with index.begin() as writer:
        writer.add_nodes(package, graph.nodes())
        writer.add_files(package, graph.files())


def is_complete(index: Index, package: int) -> bool:
    """Say whether the rows of the package's files are there; they come all at once."""
    return next(index.files(package), None) is not None


def add_content_from_bag(
    index: Index, home: Home, row: PackageRow, progress: Progress, *, get: Get | None = None
) -> Finding | None:
    """Read the bag of `row`, add the rows of its files; return a finding if it is not what was recorded.

    `get` gives the blocks of a bag that was released to the engine.
    """
    with PackageGraph() as graph:
        try:
            root = _read_bag(home, row, graph, progress, get)
        except (OSError, EvidenceInvalid, EvidenceMissing) as error:
            return Finding(
                "package-unreadable",
                "the bag cannot be read, so its files are not in the index",
                row.folder,
                found=error.strerror if isinstance(error, OSError) else str(error),
                advice="run `heritage verify` on the asset; bring the bag back from a backup",
            )
        add_content(index, row.log_index, graph)
    if root == row.package_cid:
        return None
    return Finding(
        "package-cid",
        "the bag is not the one that was recorded",
        row.folder,
        expected=format_cid(row.package_cid),
        found=format_cid(root),
        advice="run `heritage verify` on the asset to see which files differ",
    )


def add_whole_content(index: Index, home: Home, row: PackageRow, *, get: Get | None = None) -> None:
    """Add the rows of a bag's files where there are none, if it is there and whole; else nothing is done."""
    if is_complete(index, row.log_index):
        return
    with PackageGraph() as graph, contextlib.suppress(OSError, EvidenceInvalid, EvidenceMissing):
        if _read_bag(home, row, graph, SILENT, get) == row.package_cid:
            folder = home.root / row.folder
            released = read_released(folder) if is_released(folder) else None
            tags = _count_tags(folder) if released is None else released.tag_files
            with index.begin() as writer:
                writer.set_tag_files(row.log_index, tags)
                writer.add_nodes(row.log_index, graph.nodes())
                writer.add_files(row.log_index, graph.files())


def _read_bag(home: Home, row: PackageRow, graph: PackageGraph, progress: Progress, get: Get | None) -> Cid:
    if get is not None and is_released(home.root / row.folder):
        add_stored(get, row.package_cid, graph, progress)
    else:
        read_package(home.root / row.folder, graph, progress)
    return graph.finish().cid


def complete(index: Index, home: Home, progress: Progress, *, get: Get | None = None) -> list[Finding]:
    """Add the rows of files that packages with an event still lack; return what is wrong there."""
    rows = [row for row in index.packages() if not is_complete(index, row.log_index)]
    findings = [add_content_from_bag(index, home, row, progress, get=get) for row in rows]
    return [finding for finding in findings if finding is not None]


def rebuild(
    index: Index, log: LogFiles, home: Home, size: int, progress: Progress, *, get: Get | None = None
) -> list[Finding]:
    """Make every row again from the log's first `size` entries and the bags; return what is wrong there.

    `get` gives the blocks of bags that were released to the engine.

    Raises:
        EvidenceInvalid: an entry is not an event.
    """
    with index.begin() as writer:
        writer.clear()
    progress.begin("read the log")
    odd = absorb(index, log, home, size)
    packages = list(index.packages())
    progress.begin(
        "read the bags",
        files=sum(row.files + row.tag_files for row in packages),
        size=sum(row.bytes for row in packages),
    )
    findings = [add_content_from_bag(index, home, row, progress, get=get) for row in packages]
    return odd + [finding for finding in findings if finding is not None]
