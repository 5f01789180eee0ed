"""Repair: damaged blocks from peers, nothing else (`specs/federation.md`, "Repair").

The tree that the signed event names is compared with the bag, piece by piece. A damaged file is written anew
aside, from its good pieces and the fetched ones, checked, put on the disk, and takes the damaged one's name;
that one goes to quarantine, for whoever wants to know what happened to it. What nobody can give back is named
by file and byte range. A `recovery` event says what was done.
"""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

from heritage_ledger.content.cid import format_cid
from heritage_ledger.deposit.statement import frame, record_statement
from heritage_ledger.errors import EvidenceInvalid, EvidenceMissing, Finding, HeritageError
from heritage_ledger.events.bodies import FileFailure, recovery_body
from heritage_ledger.federation.aside import Aside, begun_before
from heritage_ledger.federation.assembly import (
    MAX_MISSING,
    Piece,
    Writer,
    bad_pieces,
    fetch,
    pieces,
    read_pieces,
    tree_files,
)
from heritage_ledger.federation.source import Nodes, first_of
from heritage_ledger.home.deep import lstat_below
from heritage_ledger.home.durable import (
    SEALED_FILE,
    SEALED_FOLDER,
    disk_error,
    sync_descriptor,
    sync_folder,
    writing,
)
from heritage_ledger.home.room import ENDLESS, Room, check_room
from heritage_ledger.progress import SILENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from heritage_ledger.content.blocks import PackageKey
    from heritage_ledger.content.budget import TreeBudget
    from heritage_ledger.content.cid import Cid
    from heritage_ledger.content.kubo import KuboEngine
    from heritage_ledger.deposit.books import Books
    from heritage_ledger.federation.assembly import TreeFile
    from heritage_ledger.federation.source import PeerBlocks
    from heritage_ledger.home.layout import Home
    from heritage_ledger.progress import Progress

_WRITABLE: Final = 0o700
_AT_ONCE: Final = 16
"""Blocks that are in memory while they go into Kubo."""


@dataclass(frozen=True, slots=True)
class Repaired:
    """What a repair of one package did. `files` were made whole; `findings` name what nobody gave back.

    `fetched` counts bytes that came over the network; `helpers` are the logs of those who gave them;
    `quarantined` is the folder that holds the damaged files, None where nothing was damaged.
    """

    origin: str
    package_cid: str
    files: tuple[str, ...]
    fetched: int
    helpers: tuple[str, ...]
    quarantined: Path | None
    findings: tuple[Finding, ...]
    blocks: int = 0
    """Blocks that were replaced in Kubo."""
    is_absent: bool = False
    """There is no bag, and nothing of it was given back."""

    @property
    def was_damaged(self) -> bool:
        """Say whether anything had to be done."""
        return bool(self.files or self.findings or self.quarantined or self.blocks)

    @property
    def is_statement(self) -> bool:
        """Say whether there is something to record: that nobody gave a bag back is no end of it."""
        lost = not self.is_absent and any(one.code == "repair-lost" for one in self.findings)
        return bool(self.files or self.quarantined or self.blocks or lost)


class Repair:
    """Repairs packages of one home, own ones and replicas."""

    def __init__(
        self,
        home: Home,
        local: Callable[[Cid], bytes],
        source: PeerBlocks,
        *,
        room: Callable[[], Room] = lambda: ENDLESS,
    ) -> None:
        """`local` gives blocks that are here and whole; `source` asks peers for the others.

        `room` says what may be written, asked before each file that is written anew.
        """
        self._home = home
        self._room = room
        self._local = local
        self._source = source
        self._get = Nodes(first_of(local, source.get), self._get_many)

    def run(
        self, folder: Path, cid: Cid, budget: TreeBudget, *, origin: str, progress: Progress = SILENT
    ) -> Repaired:
        """Compare the bag in `folder` with `cid`, whose tree `budget` bounds, and mend what is not whole.

        Raises:
            DiskProblem: the disk is full or failing; every file is as it was, or whole.
        """
        progress.begin("repair")
        name = format_cid(cid)
        aside = Aside(self._home, name)
        before = begun_before(self._home, name)
        mended: list[str] = []
        findings: list[Finding] = []
        expected: set[str] = set()
        try:
            for file in tree_files(self._get, cid, budget):
                expected.add(file.path)
                if file.cid is None:
                    continue
                lost = self._mend(folder, file, aside, progress)
                findings += lost or []
                if lost == [] or (lost is None and file.path in before):
                    mended.append(file.path)
        except (EvidenceMissing, EvidenceInvalid) as error:
            findings.append(
                Finding(
                    "repair-no-source",
                    "nobody gives the folders of the package, so its files cannot be compared",
                    error.path or name,
                    found=error.message,
                    advice="see with `heritage peer status` which peers can be reached",
                )
            )
        else:
            self._set_aside_strangers(folder, expected, aside)
        findings += self._source.findings if findings else []
        return Repaired(
            origin,
            name,
            tuple(mended),
            self._source.given.total(),
            tuple(sorted(self._source.given)),
            aside.damaged,
            tuple(findings),
            is_absent=not folder.exists(),
        )

    def run_engine(
        self,
        kubo: KuboEngine,
        package: PackageKey,
        cid: Cid,
        budget: TreeBudget,
        *,
        origin: str,
        progress: Progress = SILENT,
    ) -> Repaired:
        """Read every block of a package in Kubo, and replace those that are missing or changed.

        Raises:
            TemporaryFailure: the daemon does not answer.
        """
        progress.begin("repair in Kubo")
        mended: set[Cid] = set()
        lost: dict[Cid, None] = {}
        while bad := [one for one, _ in kubo.damaged(cid) if one not in lost]:
            for start in range(0, len(bad), _AT_ONCE):  # what is below a node shows when it is back
                some = bad[start : start + _AT_ONCE]
                found = self._get_many(some)
                stuck = kubo.mend(cid, found) if found else []
                lost |= dict.fromkeys(one for one in some if one not in found or one in stuck)
                mended.update(one for one in found if one not in stuck)
                progress.advance(size=sum(map(len, found.values())))
        if not lost and not kubo.is_pinned(cid):
            kubo.rename(package, cid)
        paths = _paths(kubo.get, cid, mended | set(lost), budget)
        findings = [_lost(piece) for one in lost for piece in paths.get(one, [Piece("", one, 0, 0)])]
        return Repaired(
            origin,
            format_cid(cid),
            tuple(dict.fromkeys(piece.path for one in mended for piece in paths.get(one, ()))),
            self._source.given.total(),
            tuple(sorted(self._source.given)),
            None,
            (*findings, *(self._source.findings if findings else ())),
            len(mended),
        )

    def _mend(self, folder: Path, file: TreeFile, aside: Aside, progress: Progress) -> list[Finding] | None:
        """Make one file whole; return None if it was, or the ranges that nobody gave."""
        place = folder / file.path
        found = _size(folder, file.path)
        is_whole = found == file.size and next(bad_pieces(folder, self._get, file), None) is None
        progress.advance(files=1, size=file.size)
        if is_whole:
            return None
        check_room(
            Room(file.size, 1),
            self._room(),
            what="the file that is written anew",
            path=place,
            advice="free space, and run the same command again; the damaged file is as it was",
        )
        temporary = aside.begin(file.path)
        try:
            missing = self._write_aside(folder, temporary, file)
            if missing:
                return [_lost(piece) for piece in missing]
            with writing(folder):  # an empty folder would hide that there is no bag
                folder.parent.mkdir(parents=True, exist_ok=True)
            with _opened(place.parent, folder):
                if found is not None:
                    aside.take(place, file.path)
                with writing(place):
                    temporary.chmod(SEALED_FILE)
                    temporary.replace(place)
                sync_folder(place.parent)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        return []

    def _write_aside(self, folder: Path, temporary: Path, file: TreeFile) -> list[Piece]:
        """Write the whole file under another name; return the pieces that nobody gave.

        One pass over its pieces: those that are whole in the bag are copied, the others fetched.
        """
        with writing(temporary):
            temporary.touch(mode=0o600)
        with Writer(temporary.parent) as write:

            def wanted() -> Iterator[Piece]:
                for piece, data in read_pieces(folder, self._get, file):
                    anew = _renamed(piece, temporary.name)
                    if data is None:
                        yield anew
                    else:
                        write(anew, data)

            missing = fetch(wanted(), self._get_many, write, SILENT)
            if missing:
                return [_renamed(piece, file.path) for piece in missing]
        again = list(islice(bad_pieces(temporary.parent, self._get, _as(file, temporary.name)), MAX_MISSING))
        if again:
            return [_renamed(piece, file.path) for piece in again]
        with writing(temporary):
            descriptor = os.open(temporary, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.ftruncate(descriptor, file.size)
            sync_descriptor(descriptor, temporary)
        finally:
            os.close(descriptor)
        return []

    def _get_many(self, cids: list[Cid], most: int | None = None) -> dict[Cid, bytes]:
        """Take from elsewhere in this home what is whole there, and ask peers for the rest."""
        found = {}
        for cid in cids:
            with contextlib.suppress(HeritageError):
                found[cid] = self._local(cid)
        return found | self._source.get_many([cid for cid in cids if cid not in found], most)

    def _set_aside_strangers(self, folder: Path, expected: set[str], aside: Aside) -> None:
        """Move to quarantine what lies in the bag and does not belong to it."""
        for parent, folders, names in os.walk(folder):
            base = os.path.relpath(parent, folder)
            for name in [*names, *(one for one in folders if os.path.islink(f"{parent}/{one}"))]:  # noqa: PTH114 - text
                path = name if base == "." else f"{base}/{name}"
                if path not in expected:
                    with _opened(folder / path, folder, parent_only=True):
                        aside.take(folder / path, path)


def record_recovery(books: Books, repaired: Repaired, started: str) -> None:
    """Write the `recovery` event of a repair that found damage."""
    lost = dict.fromkeys(one.path for one in repaired.findings if one.code == "repair-lost" and one.path)
    failures = [FileFailure(repaired.package_cid, path, ("repair-lost",)) for path in lost]
    body = recovery_body(
        frame(books, started),
        package_cid=repaired.package_cid,
        source=repaired.origin,
        helpers=repaired.helpers,
        file_count=len(repaired.files),
        byte_count=repaired.fetched,
        failures=failures,
        is_whole=not repaired.findings,
    )
    record_statement(books, body)


def _paths(
    get: Callable[[Cid], bytes], root: Cid, cids: set[Cid], budget: TreeBudget
) -> dict[Cid, list[Piece]]:
    """Find the pieces of files whose blocks these are, as far as the tree can be read."""
    found: dict[Cid, list[Piece]] = {}
    with contextlib.suppress(EvidenceMissing, EvidenceInvalid):
        for file in tree_files(get, root, budget) if cids else ():
            if file.cid is None:
                continue
            whole = Piece(file.path, file.cid, 0, file.size)
            for piece in (whole, *pieces(get, file)):
                if piece.cid in cids:
                    found.setdefault(piece.cid, []).append(piece)
    return found


def _size(folder: Path, path: str) -> int | None:
    """Bytes of the file at `path`; None where there is none."""
    try:
        status = lstat_below(folder, path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise disk_error(error, folder / path) from error
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _renamed(piece: Piece, path: str) -> Piece:
    return type(piece)(path, piece.cid, piece.offset, piece.length, piece.data)


def _as(file: TreeFile, path: str) -> TreeFile:
    return type(file)(path, file.cid, file.size)


def _lost(piece: Piece) -> Finding:
    return Finding(
        "repair-lost",
        "nobody can give back a piece of the file",
        piece.path or None,
        expected=format_cid(piece.cid),
        found=f"bytes {piece.offset} to {piece.offset + piece.length - 1}" if piece.path else None,
        advice="ask other institutions, or look for a backup; the damaged file is left as it is",
    )


@contextlib.contextmanager
def _opened(place: Path, bag: Path, *, parent_only: bool = False) -> Iterator[None]:
    """Let files of a sealed folder be replaced for the length of a block; missing folders are made."""
    parent = place.parent if parent_only else place
    chain = [parent, *(one for one in parent.parents if one == bag or bag in one.parents)]
    with writing(parent):
        for folder in reversed(chain):
            if folder.exists():
                folder.chmod(_WRITABLE)
            else:
                folder.mkdir(mode=_WRITABLE)
    try:
        yield
    finally:
        with writing(parent):
            for folder in chain:
                folder.chmod(SEALED_FOLDER)
