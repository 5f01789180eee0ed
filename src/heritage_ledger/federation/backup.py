"""Backup: a second copy of a home, made while it is in use (`specs/home.md`, "Backups").

What is taken first is what everything else must reach: the heads, as they are at one moment. Log and mirrors
are then brought up to them as any mirror is, each byte checked against the signed root; a bag is copied
aside, put on the disk, read back, compared with its address and only then given its place, where it is never
touched again. So a damaged bag of the home never replaces a good one of the backup. Heads and index change
places last. A backup that was cut off is the one before it, with more in it; the next one goes on.

A backup is no home: nothing writes to it but the next backup, and `heritage restore --from` makes a home of
it.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from heritage_ledger.content.cid import format_cid, parse_cid
from heritage_ledger.deposit.release import export
from heritage_ledger.errors import EvidenceInvalid, EvidenceMissing, Finding, HeritageError, OperationFailed
from heritage_ledger.events.timestamps import format_timestamp
from heritage_ledger.fixity.bag import Claim, check_bag
from heritage_ledger.fixity.verdict import Outcome
from heritage_ledger.home.durable import TreeSync, move_folder, remove_tree, sync_folder, write_file, writing
from heritage_ledger.home.layout import BACKUP_NOTE, Home
from heritage_ledger.home.sqlite import sidecars
from heritage_ledger.home.state import StateStore
from heritage_ledger.index.store import Index
from heritage_ledger.log.files import LogFiles
from heritage_ledger.log.mirror import Mirror
from heritage_ledger.progress import SILENT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heritage_ledger.content.directory import Get
    from heritage_ledger.federation.federation import Federation
    from heritage_ledger.home.state import Head
    from heritage_ledger.progress import Progress

VERSION: Final = 1
INCOMING: Final = ".incoming"
HEADS: Final = ".copied.db"
"""How far log and mirrors in the backup have come; not the home's heads, which lie in `state.db`."""
SMALL: Final = ("heritage.toml", "policy")
TREES: Final = ("keys", "peers", "forks", "checked", "quarantine")
AT_ONCE: Final = 256 << 20
"""Bytes of bags that are copied before the disk is waited for."""


@dataclass(frozen=True, slots=True)
class BackupNote:
    """What `backup.json` says of the last backup that was finished."""

    origin: str
    size: int
    root: str
    finished: str


@dataclass(frozen=True, slots=True)
class BackedUp:
    """What a backup did: the log's size in it, and how many bags were new (and their bytes), or held already.

    The findings name bags that could not be copied whole: they are damaged at home, and not in the backup.
    """

    origin: str
    folder: Path
    size: int
    copied: int
    bytes: int
    held: int
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class _Bag:
    """A bag of the home: its folder relative to the home, its address, and that of its payload."""

    folder: str
    package_cid: str
    payload_cid: str | None


def read_note(folder: Path) -> BackupNote:
    """Return what a backup says of itself.

    Raises:
        EvidenceMissing: there is no finished backup in the folder (`backup-missing`).
        EvidenceInvalid: what it says cannot be read (`backup-damaged`).
    """
    path = folder / BACKUP_NOTE
    try:
        document = json.loads(path.read_bytes())
        note = BackupNote(
            str(document["origin"]), int(document["size"]), str(document["root"]), str(document["finished"])
        )
        is_known = document["version"] == VERSION
    except (FileNotFoundError, NotADirectoryError) as error:
        raise EvidenceMissing(
            "backup-missing",
            "there is no finished backup in this folder",
            path=str(folder),
            expected=BACKUP_NOTE,
            advice="name the folder that `heritage backup` was given",
        ) from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(path) from error
    if not is_known:
        raise _damaged(path)
    return note


def _damaged(path: Path) -> EvidenceInvalid:
    return EvidenceInvalid(
        "backup-damaged",
        "what the backup says of itself cannot be read",
        path=str(path),
        expected=f"a note of version {VERSION}",
    )


def backup(
    federation: Federation, index: Index, get: Get | None, folder: Path, *, progress: Progress = SILENT
) -> BackedUp:
    """Bring the backup in `folder` up to the home, and return what was done.

    Args:
        federation: of the home.
        index: of the home's own log.
        get: gives blocks of bags that were given up to an engine.
        folder: absent, empty, or a backup of the same log; on another disk, if it is to be of use.
        progress: told what happens.

    Raises:
        OperationFailed: the folder holds something else (`backup-foreign`) or lies in the home.
        EvidenceInvalid, EvidenceMissing: the home's own log is damaged; the backup stays as it was.
        DiskProblem: the disk is full or failing; what is there stays, and the next call goes on.
    """
    _check_place(federation.home, folder, federation.settings.origin)
    work = _Backup(federation, index, get, folder, progress)
    try:
        work.take_heads()
        work.take_logs()
        work.take_bags()
        work.take_rest()
        return work.finish()
    finally:
        work.clear()


def _check_place(home: Home, folder: Path, origin: str) -> None:
    root, place = home.root.resolve(), folder.resolve()
    found = None
    if place == root or root in place.parents or place in root.parents:
        found = "the home itself, or a folder in or around it"
    elif (folder / BACKUP_NOTE).exists() or (folder / HEADS).exists():
        with contextlib.suppress(EvidenceMissing):
            found = other if (other := read_note(folder).origin) != origin else None
    elif folder.exists() and any(folder.iterdir()):
        found = "a folder with something else in it"
    if found is not None:
        raise OperationFailed(
            "backup-foreign",
            "this folder cannot take the backup",
            path=str(folder),
            expected=f"an absent or empty folder, or a backup of {origin}",
            found=found,
        )


class _Backup:
    def __init__(
        self, federation: Federation, index: Index, get: Get | None, folder: Path, progress: Progress
    ) -> None:
        self.federation = federation
        self.home = federation.home
        self.origin = federation.settings.origin
        self.index = index
        self.get = get
        self.target = Home(folder)
        self.progress = progress
        self.incoming = folder / INCOMING
        self.heads: dict[str, Head] = {}
        self.findings: list[Finding] = []
        self.copied = self.bytes = self.held = 0
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.target.log.mkdir(exist_ok=True)
            if self.incoming.exists():
                remove_tree(self.incoming)
            self.incoming.mkdir(mode=0o700)
        for name in ("state.db", "index.db"):
            _forget(self._new(name))
        if not (folder / HEADS).exists():
            StateStore.create(folder / HEADS).close()

    def _new(self, name: str) -> Path:
        return self.target.root / f".new-{name}"

    def take_heads(self) -> None:
        """Take the index, then the heads: whatever the index knows, the heads have reached."""
        with (
            Index.open(self._new("index.db"), origin=self.origin) as copy,
            copy.begin() as writer,
        ):
            writer.replace(self.index.absorbed(), self.index.dump())
        self.heads = self.federation.state.heads()
        with StateStore.create(self._new("state.db")) as state:
            for origin, head in self.heads.items():
                state.create_head(origin, head)

    def take_logs(self) -> None:
        """Bring the logs up to the heads; entries that came later come with the next backup."""
        head = self.heads[self.origin]
        with StateStore.open(self.target.root / HEADS) as state:
            own = Mirror(self.target.log, state, self.origin, self.federation.verifiers)
            self._pull(own, self.home.log, head)
            for peer in self.federation.peers:
                place = self.home.mirror_of(peer.origin).log
                mirrored = self.heads.get(f"mirror {peer.origin}")
                if mirrored is not None and place.is_dir():
                    target = self.target.mirror_of(peer.origin).log
                    self._pull(Mirror(target, state, peer.origin, peer.verifiers), place, mirrored)

    def _pull(self, mirror: Mirror, source: Path, head: Head) -> None:
        mirror.pull(LogFiles(source), head.checkpoint, progress=self.progress)

    def take_bags(self) -> None:
        """Copy the bags that the backup has not, own ones and replicas."""
        waiting: list[_Bag] = []
        size = 0
        for bag in self._bags():
            if (self.target.root / bag.folder).is_dir():
                self.held += 1
                continue
            waiting.append(bag)
            size += self._copy(bag)
            if size >= AT_ONCE:
                self._place(waiting)
                waiting, size = [], 0
        self._place(waiting)

    def _bags(self) -> Iterator[_Bag]:
        size = self.heads[self.origin].size
        rows = list(self.index.packages())
        self.progress.begin(
            "back up",
            files=sum(row.files + row.tag_files for row in rows),
            size=sum(row.bytes for row in rows),
        )
        for row in rows:
            if row.log_index < size:
                yield _Bag(row.folder, format_cid(row.package_cid), format_cid(row.payload_cid))
        for peer in self.federation.peers:
            folder = self.home.replicas / peer.origin
            for path in sorted(folder.iterdir()) if folder.is_dir() else ():
                if path.is_dir() and not path.name.startswith("."):
                    yield _Bag(str(path.relative_to(self.home.root)), path.name, None)

    def _aside(self, bag: _Bag) -> Path:
        return self.incoming / bag.folder

    def _copy(self, bag: _Bag) -> int:
        """Copy a bag aside; a bag that the engine has is written from there. Returns its bytes."""
        source, target = self.home.root / bag.folder, self._aside(bag)
        with writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
        try:
            if source.is_dir():
                return _copy_tree(source, target, self.target.root / bag.folder, self.progress)
            if self.get is not None:
                export(self.get, parse_cid(bag.package_cid), target, self.progress)
                return sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
        except HeritageError as error:
            self.findings.append(error.finding)
            remove_tree(target)
            return 0
        self.findings.append(
            Finding(
                "package-missing",
                "the bag is not in the home, so it is not in the backup",
                bag.folder,
                expected=bag.package_cid,
                advice="`heritage repair` brings it back from peers",
            )
        )
        return 0

    def _place(self, bags: list[_Bag]) -> None:
        """Put copied bags on the disk, read them back, and give those that are whole their place."""
        with TreeSync(self.target.root) as disk:
            disk.sync()
        for bag in bags:
            aside, place = self._aside(bag), self.target.root / bag.folder
            if not aside.is_dir():
                continue
            claim = Claim(bag.package_cid, bag.payload_cid, "the record")
            stages = check_bag(aside, claim, SILENT).stages
            bad = [
                finding for stage in stages if stage.outcome is not Outcome.PASS for finding in stage.findings
            ]
            if bad or any(stage.outcome is Outcome.FAIL for stage in stages):
                self.findings += bad[:20]
                remove_tree(aside)
                continue
            with writing(place):
                place.parent.mkdir(parents=True, exist_ok=True)
            mode = aside.stat().st_mode & 0o777
            aside.chmod(0o700)  # a folder that is read-only cannot be moved to another one
            move_folder(aside, place)
            place.chmod(mode)
            self.copied += 1
            self.bytes += sum(path.stat().st_size for path in place.rglob("*") if path.is_file())

    def take_rest(self) -> None:
        """Copy what is small: settings, sealed keys, whom the institution trusts, what was set aside."""
        for name in SMALL:
            if (self.home.root / name).is_file():
                _copy_small(self.home.root / name, self.target.root / name)
        if self.home.witnessed.is_file():
            _copy_small(self.home.witnessed, self.target.witnessed)
        for name in TREES:
            source = self.home.root / name
            for path in sorted(source.rglob("*")) if source.is_dir() else ():
                target = self.target.root / path.relative_to(self.home.root)
                if path.is_dir() and not path.is_symlink():
                    with writing(target):
                        target.mkdir(parents=True, exist_ok=True, mode=0o700)
                elif path.is_file() and not path.is_symlink() and not path.name.startswith("."):
                    with writing(target):
                        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                    _copy_small(path, target)

    def finish(self) -> BackedUp:
        """Put everything on the disk, and let heads, index and note change places."""
        with TreeSync(self.target.root) as disk:
            disk.sync()
        for name in ("index.db", "state.db"):
            with writing(self.target.root):
                _forget(self.target.root / name)
                self._new(name).rename(self.target.root / name)
        sync_folder(self.target.root)
        head = self.heads[self.origin]
        note = {
            "version": VERSION,
            "origin": self.origin,
            "size": head.size,
            "root": head.root.hex(),
            "finished": format_timestamp(datetime.now(UTC)),
        }
        data = json.dumps(note, indent=1, sort_keys=True).encode() + b"\n"
        write_file(self.target.root / BACKUP_NOTE, data, mode=0o600, replace=True)
        return BackedUp(
            self.origin,
            self.target.root,
            head.size,
            self.copied,
            self.bytes,
            self.held,
            tuple(self.findings),
        )

    def clear(self) -> None:
        """Remove what is under way."""
        with contextlib.suppress(HeritageError, OSError):
            remove_tree(self.incoming)
        for name in ("state.db", "index.db"):
            with contextlib.suppress(OSError):
                _forget(self._new(name))


def _forget(path: Path) -> None:
    for one in (path, *sidecars(path)):
        one.unlink(missing_ok=True)


def _copy_small(source: Path, target: Path) -> None:
    """Copy a file whole or not at all; one that is the same already stays."""
    with writing(target):
        found = source.stat()
        if target.is_file() and (target.stat().st_size, target.stat().st_mtime_ns) == (
            found.st_size,
            found.st_mtime_ns,
        ):
            return
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
        shutil.copy2(source, temporary, follow_symlinks=False)
        temporary.replace(target)


def _copy_tree(source: Path, target: Path, place: Path, progress: Progress) -> int:
    """Copy a bag with its times and modes; a file shared with an earlier version is shared there, too.

    `place` is where the bag will lie: its neighbours are the versions before it. Returns the bytes.
    """
    size = 0
    folders = []
    with writing(target):
        target.mkdir(mode=0o700)
        for at, names, files in os.walk(source):
            here = Path(at)
            there = target / here.relative_to(source)
            folders.append((here, there))
            for name in names:
                (there / name).mkdir(mode=0o700)
            for name in files:
                found = (here / name).lstat()
                if found.st_nlink == 1 or not _link(here / name, found, there / name, source, place):
                    shutil.copy2(here / name, there / name, follow_symlinks=False)
                size += found.st_size
                progress.advance(files=1, size=found.st_size)
        for here, there in reversed(folders):
            shutil.copystat(here, there)
    return size


def _link(path: Path, found: os.stat_result, target: Path, source: Path, place: Path) -> bool:
    """Share a file with the version before, where the home does and the backup has it."""
    if not source.name.isdecimal() or source.name == "1":
        return False
    before = str(int(source.name) - 1)
    relative = path.relative_to(source)
    try:
        other = (source.with_name(before) / relative).lstat()
        if (other.st_dev, other.st_ino) != (found.st_dev, found.st_ino):
            return False
        os.link(place.with_name(before) / relative, target)
    except OSError:
        return False
    return True


def is_backup(home: Home) -> bool:
    """Say whether a folder is a backup and no home."""
    return (home.root / BACKUP_NOTE).exists()


def copied_files(folder: Path) -> Iterator[Path]:
    """Yield what of a backup belongs into a home, relative to it: everything but what is the backup's own."""
    for path in sorted(folder.iterdir()):
        if path.name not in {BACKUP_NOTE, INCOMING} and not path.name.startswith((HEADS, ".new-")):
            yield path.relative_to(folder)
