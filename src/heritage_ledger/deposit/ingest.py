"""Ingest: from a folder of files, or one file, to a sealed, addressed and recorded bag (`specs/home.md`)."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import stat
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from heritage_ledger.bags.write import BagWriter
from heritage_ledger.content.cid import format_cid
from heritage_ledger.content.package import PackageGraph
from heritage_ledger.content.reading import read_file
from heritage_ledger.deposit.copy import copy_files, have_same_bytes, share
from heritage_ledger.deposit.record import CID_PROFILE, Deposit, record
from heritage_ledger.deposit.staging import staging
from heritage_ledger.deposit.survey import survey
from heritage_ledger.errors import DiskProblem, Finding, Severity, UsageError
from heritage_ledger.events.packages import BagFile
from heritage_ledger.home.durable import SEALED_FILE, SEALED_FOLDER, name_new, writing
from heritage_ledger.home.settings import DEFAULT_CLASS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from heritage_ledger.content.cid import Cid
    from heritage_ledger.content.reading import FileDigests
    from heritage_ledger.deposit.books import Books
    from heritage_ledger.deposit.receipt import Receipt
    from heritage_ledger.deposit.staging import Staging
    from heritage_ledger.deposit.survey import SourceFile, Survey
    from heritage_ledger.events.agents import Agent
    from heritage_ledger.progress import Progress

METADATA_PATH = "metadata/descriptive.json"
"""Where the descriptive metadata given with an ingest lies in the bag, byte for byte."""
MAX_METADATA = 16 << 20
"""Bytes of a metadata file: descriptions, not data."""
ROOM_TO_SPARE = 1 << 20
"""Bytes that must stay free beside the payload: manifests, log and index."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be taken in, and how."""

    source: Path
    asset: str
    title: str | None
    actor: Agent | None
    metadata: bytes | None
    algorithms: Sequence[str]
    move: bool
    skip_junk: bool
    storage_class: str = DEFAULT_CLASS
    skip_held: bool = False
    is_named: bool = True


def read_metadata(path: Path) -> bytes:
    """Return the bytes of a metadata file, which must be one JSON object in UTF-8.

    Raises:
        UsageError: it is absent, too large, or something else (`metadata-invalid`).
    """
    found = None
    try:
        with path.open("rb") as file:
            data = file.read(MAX_METADATA + 1)
        if len(data) > MAX_METADATA:
            found = f"more than {MAX_METADATA} bytes"
        elif not isinstance(json.loads(data.decode()), dict):
            found = "JSON, but not an object"
    except (OSError, ValueError, RecursionError) as error:
        found = str(error)[:120]
    if found is not None:
        raise UsageError(
            "metadata-invalid",
            "the metadata file cannot be used",
            path=str(path),
            expected="one JSON object in UTF-8",
            found=found,
        )
    return data


def ingest(books: Books, request: Request, progress: Progress) -> Receipt:
    """Take a source into custody, and return the receipt of the recorded package.

    Raises:
        ProblemsFound: the survey refuses the source; nothing was copied.
        OperationFailed: a file changed meanwhile; nothing is kept.
        DiskProblem: the disk is full or failing; nothing is kept.
    """
    started = books.now()
    with (
        writing(books.home.root),  # also what the temporary files of this deposit meet
        staging(books.home) as work,
        (work.root / "survey").open("w+b") as spool,
        PackageGraph(folder=work.root) as graph,
    ):
        found = survey(request.source, spool, skip_junk=request.skip_junk, home=books.home, progress=progress)
        _check_room(work, found, link=request.move)
        with BagWriter(work.bag, algorithms=request.algorithms) as writer:
            making = _Making(books, request, work, graph, writer)
            making.take_payload(found, progress)
            progress.begin("seal")
            payload = making.write_tags(found)
        root = graph.finish()
        making.seal_folders()
        receipt = record(
            books,
            work,
            graph,
            Deposit(
                kind="ingest",
                asset=request.asset,
                title=request.title,
                actor=request.actor,
                original_name=request.source.resolve().name,
                package_cid=root.cid,
                payload_cid=payload,
                bag_version="1.0",
                files=found.files,
                size=found.size,
                tag_files=graph.count - found.files,
                shared=making.shared,
                manifests=tuple(making.manifests),
                metadata=making.metadata,
                started=started,
                findings=found.findings,
                storage_class=request.storage_class,
                skip_held=request.skip_held,
                is_named=request.is_named,
            ),
            progress,
        )
        if request.move and not receipt.held:
            left = _take_over(found, receipt.bag_path / "data")
            receipt = replace(receipt, findings=(*receipt.findings, *left))
    return receipt


def _check_room(work: Staging, found: Survey, *, link: bool) -> None:
    free = shutil.disk_usage(work.root).free
    needed = ROOM_TO_SPARE + (0 if link else found.size)
    if free < needed:
        raise DiskProblem(
            "disk-full",
            "the source does not fit into the home",
            path=str(work.home.root),
            expected=f"{needed} bytes free",
            found=f"{free} bytes free",
            advice="free space, or put the home on a larger disk; nothing was copied",
        )


class _Making:
    """The bag in the making: payload, tag files, and what the event will say of them."""

    def __init__(
        self, books: Books, request: Request, work: Staging, graph: PackageGraph, writer: BagWriter
    ) -> None:
        self.books = books
        self.request = request
        self.graph = graph
        self.bag = work.bag
        self.writer = writer
        self.shared = 0
        self.manifests: list[BagFile] = []
        self.metadata: BagFile | None = None

    def take_payload(self, found: Survey, progress: Progress) -> None:
        """Copy, hash, address and list every file of the survey."""
        has_versions = self.books.index.asset(self.request.asset) is not None
        payload = self.bag / "data"
        for file, digests in copy_files(
            found, payload, self.writer.algorithms, link=self.request.move, progress=progress
        ):
            path = f"data/{file.path}"
            entry = self.graph.add(path, digests)
            self.writer.add_payload(path, digests)
            if has_versions and file.size:
                self._share(file, entry.cid, digests)

    def _share(self, file: SourceFile, cid: Cid, digests: FileDigests) -> None:
        """Let an unchanged file lie on the disk once, together with the version that has it already."""
        for place in self.books.index.candidates(self.request.asset, cid, file.size):
            if share(self.bag / "data" / file.path, self.books.home.root / place, digests):
                self.shared += file.size
                return

    def write_tags(self, found: Survey) -> Cid:
        """Write the tag files, address them, and return the payload's CID."""
        payload = self.graph.folder("data").cid
        if self.request.metadata is not None:
            folder = self.bag / "metadata"
            with writing(folder):
                folder.mkdir()
                (self.bag / METADATA_PATH).write_bytes(self.request.metadata)
        names = self.writer.seal(
            self._bag_info(found, payload), [METADATA_PATH] if self.request.metadata is not None else []
        )
        for name in names:
            digests = read_file(self.bag / name, ["sha512"])
            self.graph.add(name, digests)
            file = BagFile(name, digests.digests["sha512"])
            if name == METADATA_PATH:
                self.metadata = file
            elif "manifest-" in name:
                self.manifests.append(file)
            with writing(self.bag / name):
                (self.bag / name).chmod(SEALED_FILE)
        return payload

    def _bag_info(self, found: Survey, payload: Cid) -> list[tuple[str, str]]:
        info = [
            ("Source-Organization", self.books.settings.institution),
            ("External-Identifier", self.request.asset),
            ("Bagging-Date", self.books.now()[:10]),
            ("Payload-Oxum", f"{found.size}.{found.files}"),
            ("Payload-CID", format_cid(payload)),
            ("CID-Profile", CID_PROFILE),
            ("Bag-Software-Agent", self.books.software.id),
        ]
        if self.request.title is not None:
            info.insert(2, ("External-Description", self.request.title))
        return info

    def seal_folders(self) -> None:
        """Make every folder read-only but the bag's own, which is renamed yet."""
        for folder, folders, _ in os.walk(os.fsencode(self.bag)):
            for name in folders:
                os.chmod(os.path.join(folder, name), SEALED_FOLDER)  # noqa: PTH101, PTH118 - bytes, many


def _take_over(found: Survey, payload: Path) -> list[Finding]:
    """Remove each source file that still is the one that was read, and the folders left empty by that.

    Returns a warning where files stay.
    """
    folders = set()
    left, first = 0, ""
    for file in found:
        kept = payload / file.path
        with writing(kept), contextlib.suppress(FileNotFoundError):  # released to the engine
            kept.chmod(SEALED_FILE)
        name = os.path.join(found.source, file.path.encode())  # noqa: PTH118 - bytes paths
        if _remove_held(name, file, kept):
            folders.add(file.path.rpartition("/")[0])
        else:
            left, first = left + 1, first or file.path
    if not found.single:
        for folder in sorted(folders, key=len, reverse=True):
            _remove_empty(found.source, folder)
    return [_kept_source(left, first)] if left else []


def _kept_source(count: int, first: str) -> Finding:
    return Finding(
        "source-kept",
        "files of the source were not removed: it is not shown that they are the ones that were read",
        first,
        expected="the file that was read, told by its number on the disk or by its bytes",
        found=f"{count} file{'s' if count > 1 else ''} changed, replaced, gone or not to be compared",
        advice="the deposit is whole; look at what lies there before removing it",
        severity=Severity.WARNING,
    )


def _remove_held(name: bytes, file: SourceFile, kept: Path) -> bool:
    """Remove the source file, if it is the one that was read; say whether it is gone.

    It gets another name first: what comes under the old one after that is not touched, and what came just
    before goes back.
    """
    if not _looks_read(name, file):
        return False
    aside = os.path.join(os.path.dirname(name), b".heritage-moved-" + secrets.token_hex(8).encode())  # noqa: PTH118, PTH120 - bytes paths
    with writing(os.fsdecode(name)):
        os.rename(name, aside)  # noqa: PTH104 - bytes paths
        if _is_read(aside, file, kept):
            os.unlink(aside)  # noqa: PTH108 - bytes paths
            return True
        with contextlib.suppress(FileExistsError):  # a third one is there: then both stay
            name_new(aside, name)
    return False


def _looks_read(name: bytes, file: SourceFile) -> bool:
    """Say whether the file under `name` has the size and time of the one that was read."""
    try:
        status = os.lstat(name)
    except FileNotFoundError:
        return False
    same = (status.st_size, status.st_mtime_ns) == (file.size, file.modified)
    return same and stat.S_ISREG(status.st_mode)


def _is_read(name: bytes, file: SourceFile, kept: Path) -> bool:
    """Say whether the file under `name` is the one that the survey saw and the copy read.

    Where inode numbers are not stable, or another file came, the bytes decide: what the bag holds too is not
    lost.
    """
    if not _looks_read(name, file):
        return False
    return os.lstat(name).st_ino == file.inode or have_same_bytes(name, kept)


def _remove_empty(source: bytes, folder: str) -> None:
    while True:
        try:
            os.rmdir(os.path.join(source, folder.encode()))  # noqa: PTH106, PTH118 - bytes paths
        except OSError:
            return
        if not folder:
            return
        folder = folder.rpartition("/")[0]
