"""Release and bring back: a bag whose bytes only the engine holds, and its folder again (`specs/engines.md`).

A bag is given up after every block of it was read back from the engine and hashed, and not before. The note
that says so is written first, then the folder leaves by one rename: at every moment either the folder or the
note is whole.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, BinaryIO

from heritage_ledger.bags.stored import write_stored
from heritage_ledger.content.cid import format_cid
from heritage_ledger.content.package import PackageGraph, read_package, walk_package
from heritage_ledger.deposit.staging import staging
from heritage_ledger.errors import EvidenceInvalid, OperationFailed
from heritage_ledger.fixity.packages import blocks_stage
from heritage_ledger.fixity.verdict import Outcome
from heritage_ledger.home.deep import open_regular
from heritage_ledger.home.durable import (
    SEALED_FILE,
    SEALED_FOLDER,
    TreeSync,
    move_folder,
    remove_tree,
    sync_folder,
    writing,
)
from heritage_ledger.home.release import Released, is_released, note_path, write_released
from heritage_ledger.progress import SILENT

if TYPE_CHECKING:
    from pathlib import Path

    from heritage_ledger.content.cid import Cid
    from heritage_ledger.content.directory import Get
    from heritage_ledger.content.kubo import KuboEngine
    from heritage_ledger.home.layout import Home
    from heritage_ledger.index.rows import PackageRow
    from heritage_ledger.progress import Progress

_WRITABLE = 0o700


def release(home: Home, kubo: KuboEngine, row: PackageRow) -> None:
    """Give the bag of `row` up to the engine; nothing is done where it was released before.

    Raises:
        OperationFailed: the engine does not give every block whole (`release-refused`); the bag stays.
        TemporaryFailure: the engine does not answer; the bag stays.
    """
    folder = home.root / row.folder
    if is_released(folder):
        return
    stage = blocks_stage(kubo, row.package_cid)
    if stage.outcome is not Outcome.PASS:
        raise OperationFailed(
            "release-refused",
            "the engine does not hold the whole package, so the bag stays on the disk",
            path=row.folder,
            expected=f"every block of {format_cid(row.package_cid)}, pinned",
            found=stage.detail,
            findings=stage.findings,
            advice="fill the engine again: `heritage engine move --to kubo`",
        )
    tags = sum(1 for path, is_file in walk_package(folder) if is_file and path[:5] != "data/")
    write_released(folder, Released(format_cid(row.package_cid), tags))
    with staging(home) as work:
        with writing(folder):
            folder.chmod(_WRITABLE)
        move_folder(folder, work.root / "released")


def bring_back(home: Home, kubo: KuboEngine, row: PackageRow, progress: Progress) -> None:
    """Write the released bag of `row` into its folder again; nothing is done where it is there.

    Raises:
        EvidenceInvalid, EvidenceMissing: the engine does not hold it whole; nothing is kept.
        DiskProblem: the disk is full or failing; nothing is kept.
    """
    folder = home.root / row.folder
    if not is_released(folder):
        return
    with staging(home) as work:
        write_stored(kubo.get, row.package_cid, work.bag, progress)
        check_address(work.bag, row.package_cid)
        seal(work.bag)
        work.sync()
        move_folder(work.bag, folder)
        with writing(folder):
            folder.chmod(SEALED_FOLDER)
            note_path(folder).unlink(missing_ok=True)
        sync_folder(folder.parent)


def export(source: Path | Get, cid: Cid, target: Path, progress: Progress) -> None:
    """Write a package into the new folder `target`, byte for byte; `source` is its bag or gives its blocks.

    The copy is read again and its address computed before it gets its name.

    Raises:
        OperationFailed: something lies at `target` (`export-exists`).
        EvidenceInvalid, EvidenceMissing: the package is not whole; nothing is kept.
        DiskProblem: the disk is full or failing; nothing is kept.
    """
    if target.exists() or target.is_symlink():
        raise OperationFailed(
            "export-exists",
            "something lies there already, and nothing is written over",
            path=str(target),
            advice="name a folder that does not exist yet",
        )
    aside = target.with_name(f".{target.name}.partial")
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    remove_tree(aside)
    with writing(aside):
        aside.mkdir()
    try:
        with TreeSync(aside) as tree:
            if callable(source):
                write_stored(source, cid, aside, progress)
            else:
                _copy(source, aside, progress)
            check_address(aside, cid)
            tree.sync()
            move_folder(aside, target)
    finally:
        remove_tree(aside)


def check_address(folder: Path, cid: Cid) -> None:
    """Read the bag in `folder` and compare its address.

    Raises:
        EvidenceInvalid: it is another (`package-cid`).
    """
    with PackageGraph() as graph:
        with writing(folder):
            read_package(folder, graph, SILENT)
        found = graph.finish().cid
    if found != cid:
        raise EvidenceInvalid(
            "package-cid",
            "the copy is not the package that was recorded",
            path=str(folder),
            expected=format_cid(cid),
            found=format_cid(found),
            advice="run `heritage verify` on the asset to see which files differ; nothing was kept",
        )


def _copy(source: Path, target: Path, progress: Progress) -> None:
    for path, is_file in walk_package(source):
        with writing(target):
            if not is_file:
                (target / path).mkdir(parents=True)
                continue
            (target / path).parent.mkdir(parents=True, exist_ok=True)
        with writing(target), _reading(source, path) as file, (target / path).open("xb") as copy:
            while piece := file.read(1 << 20):
                copy.write(piece)
                progress.advance(size=len(piece))
        progress.advance(files=1)


def _reading(source: Path, path: str) -> BinaryIO:
    return os.fdopen(open_regular(source, path), "rb")


def seal(bag: Path) -> None:
    """Make every file and folder of a bag read-only."""
    for folder, folders, names in os.walk(os.fsencode(bag)):
        with writing(bag):
            for name in names:
                os.chmod(os.path.join(folder, name), SEALED_FILE)  # noqa: PTH101, PTH118 - bytes, many
            for name in folders:
                os.chmod(os.path.join(folder, name), SEALED_FOLDER)  # noqa: PTH101, PTH118 - bytes, many
