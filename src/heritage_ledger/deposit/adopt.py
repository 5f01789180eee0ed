"""Adopt: take in a bag that was made elsewhere, without changing a byte of it (`specs/bag-profile.md`)."""

from __future__ import annotations

import os
import shutil
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from heritage_ledger.bags.archives.unpack import extract, is_archive
from heritage_ledger.bags.names import show_path
from heritage_ledger.bags.read import open_bag
from heritage_ledger.bags.validate import validate_bag
from heritage_ledger.content.package import PackageGraph, walk_package
from heritage_ledger.content.reading import read_file
from heritage_ledger.deposit.ingest import ROOM_TO_SPARE
from heritage_ledger.deposit.naming import is_iri, is_title, new_asset
from heritage_ledger.deposit.record import Deposit, record
from heritage_ledger.deposit.staging import staging
from heritage_ledger.deposit.survey import MAX_FINDINGS, path_too_long
from heritage_ledger.errors import DiskProblem, Finding, OperationFailed, ProblemsFound, Severity
from heritage_ledger.events.packages import BagFile
from heritage_ledger.home.deep import lstat_below, open_regular
from heritage_ledger.home.durable import (
    SEALED_FILE,
    SEALED_FOLDER,
    disk_error,
    write_all,
    writing,
)
from heritage_ledger.home.layout import longest_path
from heritage_ledger.home.room import Room, free_room
from heritage_ledger.home.settings import DEFAULT_CLASS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from heritage_ledger.bags.validate import BagReport
    from heritage_ledger.deposit.books import Books
    from heritage_ledger.deposit.receipt import Receipt
    from heritage_ledger.events.agents import Agent
    from heritage_ledger.progress import Progress

_PIECE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Adoption:
    """Which bag is to be taken in, and as what; without `asset` the bag or chance names it."""

    bag: Path
    asset: str | None
    title: str | None
    actor: Agent | None
    storage_class: str = DEFAULT_CLASS
    skip_held: bool = False


def adopt(books: Books, request: Adoption, progress: Progress) -> Receipt:
    """Validate a bag (a folder, tar, zip or 7z), take it in, and return the receipt.

    The copy is what is validated, so a byte lost on the way is found.

    Raises:
        ProblemsFound: the bag is not valid (`bag-invalid`); every reason is a finding; nothing is kept.
        OperationFailed: there is no bag, or the archive is refused; nothing is kept.
        DiskProblem: the disk is full or failing; nothing is kept.
    """
    started = books.now()
    with (
        writing(books.home.root),  # also what the temporary files of this deposit meet
        staging(books.home) as work,
        PackageGraph(folder=work.root) as graph,
    ):
        longest = longest_path(books.home)
        beside = _bring(request.bag, work.bag, longest, progress)
        _check_depth(work.bag, longest)
        report = _validate(work.bag, graph, progress)
        root = graph.finish()
        _seal(work.bag)
        named = request.asset or _named(report, "External-Identifier", is_iri)
        return record(
            books,
            work,
            graph,
            Deposit(
                kind="adopt",
                asset=named or new_asset(),
                title=request.title or _named(report, "External-Description", is_title),
                actor=request.actor,
                original_name=request.bag.resolve().name,
                package_cid=root.cid,
                payload_cid=graph.folder("data").cid,
                bag_version=report.version,
                manifests=_manifests(work.bag),
                metadata=None,
                files=report.files,
                size=report.size,
                tag_files=graph.count - report.files,
                shared=0,
                started=started,
                findings=beside + report.findings,
                storage_class=request.storage_class,
                skip_held=request.skip_held,
                is_named=named is not None,
            ),
            progress,
        )


def _bring(source: Path, target: Path, longest: int, progress: Progress) -> tuple[Finding, ...]:
    """Put the bag, whatever it comes in, into the staged folder; say what lay beside it."""
    if is_archive(source):
        progress.begin("extract")
        unpacked = target.with_name("unpacked")
        with writing(unpacked):
            unpacked.mkdir()
        room = free_room(target)
        out = extract(source, unpacked, room=Room(room.bytes - ROOM_TO_SPARE, room.files))
        with writing(target):
            target.rmdir()
            out.root.rename(target)
        return out.findings
    open_bag(source)  # says at once that there is no bag, before anything is copied
    _check_depth(source, longest)
    files = size = 0
    others: list[Finding] = []
    for path, is_file in walk_package(source):
        if is_file:
            status = lstat_below(source, path)
            files += 1
            size += status.st_size
            if not stat.S_ISREG(status.st_mode) and len(others) < MAX_FINDINGS:
                others.append(_no_file(show_path(f"{source}/{path}"), status.st_mode))
    if others:
        raise _no_files(others)
    free = shutil.disk_usage(target).free
    if free < size + ROOM_TO_SPARE:
        raise DiskProblem(
            "disk-full",
            "the bag does not fit into the home",
            path=str(target),
            expected=f"{size + ROOM_TO_SPARE} bytes free",
            found=f"{free} bytes free",
            advice="free space, or put the home on a larger disk; nothing was copied",
        )
    progress.begin("copy", files=files, size=size)
    for path, is_file in walk_package(source):
        if not is_file:
            with writing(target):
                (target / path).mkdir(parents=True, exist_ok=True)
        else:
            _copy(source, path, target / path, progress)
    return ()


def _no_file(shown: str, mode: int) -> Finding:
    return Finding(
        "bag-link" if stat.S_ISLNK(mode) else "bag-special",
        "a bag holds regular files only",
        shown,
        expected="a regular file",
        advice="ask for a bag without it",
    )


def _no_files(found: list[Finding]) -> ProblemsFound:
    return ProblemsFound(
        "bag-invalid",
        "the bag holds something else than files and folders",
        path=found[0].path,
        advice="ask for a bag without links and special files; nothing was kept",
        findings=tuple(found),
    )


def _copy(bag: Path, path: str, target: Path, progress: Progress) -> None:
    shown = show_path(f"{bag}/{path}")
    try:
        status = lstat_below(bag, path)
        if not stat.S_ISREG(status.st_mode):
            raise _no_files([_no_file(shown, status.st_mode)])
        reader = open_regular(bag, path)  # what took its place meanwhile is no file, or is read as it is
    except OSError as error:
        raise OperationFailed(
            "source-unreadable", "the file cannot be read", path=shown, found=error.strerror
        ) from error
    try:
        status = os.fstat(reader)
        target.parent.mkdir(parents=True, exist_ok=True)
        writer = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            offset = 0
            while piece := os.read(reader, _PIECE):
                write_all(writer, piece, offset)
                offset += len(piece)
                progress.advance(size=len(piece))
            os.utime(writer, ns=(status.st_atime_ns, status.st_mtime_ns))
        finally:
            os.close(writer)
    except OSError as error:
        raise disk_error(error, target) from error
    finally:
        os.close(reader)
    progress.advance(files=1)


def _validate(bag: Path, graph: PackageGraph, progress: Progress) -> BagReport:
    progress.begin("validate")
    report = validate_bag(bag, progress=progress, on_file=graph.add, on_folder=graph.add_folder)
    errors = [finding for finding in report.findings if finding.severity is Severity.ERROR]
    if errors:
        raise ProblemsFound(
            "bag-invalid",
            f"the bag is not valid: {len(errors)} problem{'s' if len(errors) > 1 else ''}",
            advice="ask whoever made the bag for a whole one; nothing was kept",
            findings=report.findings,
        )
    return report


def _check_depth(bag: Path, longest: int) -> None:
    """Refuse a bag that could not be read where it would lie."""
    walked = (path for path, _ in walk_package(bag))
    wrong = [path_too_long(path, longest) for path in walked if len(os.fsencode(path)) > longest]
    if wrong:
        raise ProblemsFound(
            "bag-invalid",
            f"the bag cannot be kept: {len(wrong)} of its paths are too long",
            path=show_path(str(bag)),
            advice="ask for a bag with shorter paths; nothing was kept",
            findings=tuple(wrong[:MAX_FINDINGS]),
        )


def _seal(bag: Path) -> None:
    for folder, folders, names in os.walk(os.fsencode(bag)):
        with writing(bag):
            for name in names:
                os.chmod(os.path.join(folder, name), SEALED_FILE)  # noqa: PTH101, PTH118 - bytes, many
            for name in folders:
                os.chmod(os.path.join(folder, name), SEALED_FOLDER)  # noqa: PTH101, PTH118 - bytes, many


def _manifests(bag: Path) -> tuple[BagFile, ...]:
    names = sorted(path.name for path in bag.iterdir() if "manifest-" in path.name and path.suffix == ".txt")
    return tuple(BagFile(name, read_file(bag / name, ["sha512"]).digests["sha512"]) for name in names)


def _named(report: BagReport, label: str, fits: Callable[[str], bool]) -> str | None:
    """Return the first value that bag-info.txt gives under `label` and that fits."""
    for name, value in report.bag_info:
        if name.casefold() == label.casefold() and fits(value.strip()):
            return value.strip()
    return None
