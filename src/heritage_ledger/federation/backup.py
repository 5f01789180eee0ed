"""Backup: a second copy of a home, made while it is in use (`specs/home.md`, "Backups").

What is taken first is what everything else must reach: the heads, as they are at one moment. A bag is then
copied aside, put on the disk, read back, compared with its address and only then given its place, where it is
never touched again. So a damaged bag of the home never replaces a good one of the backup. Log and mirrors are
brought up to the heads as any mirror is, each byte checked against the signed root, when the bags of their
entries are there. Heads and index change places last. A backup that was cut off is the one before it, with
more in it; the next one goes on.

A backup is no home: nothing writes to it but the next backup, and `heritage restore --from` makes a home of
it.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from heritage_ledger.content.cid import format_cid, parse_cid
from heritage_ledger.deposit.release import export
from heritage_ledger.errors import (
    DiskProblem,
    EvidenceMissing,
    Finding,
    HeritageError,
    OperationFailed,
)
from heritage_ledger.events.timestamps import format_timestamp
from heritage_ledger.federation.backup_files import (
    HEADS,
    INCOMING,
    LOCK,
    VERSION,
    copy_small,
    copy_tree,
    forget,
    read_note,
)
from heritage_ledger.fixity.bag import Claim, check_bag
from heritage_ledger.fixity.verdict import Outcome
from heritage_ledger.home import lock
from heritage_ledger.home.durable import TreeSync, move_folder, remove_tree, sync_folder, write_file, writing
from heritage_ledger.home.layout import BACKUP_NOTE, Home
from heritage_ledger.home.sqlite import copy_database
from heritage_ledger.home.state import StateStore
from heritage_ledger.log.files import LogFiles
from heritage_ledger.log.mirror import Mirror
from heritage_ledger.progress import SILENT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from heritage_ledger.content.directory import Get
    from heritage_ledger.federation.federation import Federation
    from heritage_ledger.home.state import Head
    from heritage_ledger.index.store import Index
    from heritage_ledger.progress import Progress

SMALL: Final = ("heritage.toml", "policy")
TREES: Final = ("keys", "peers", "forks", "checked", "quarantine")
AT_ONCE: Final = 256 << 20
"""Bytes of bags that are copied before the disk is waited for."""


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


def backup(
    federation: Federation,
    index: Index,
    get: Get | None,
    folder: Path,
    *,
    check: bool = False,
    progress: Progress = SILENT,
) -> BackedUp:
    """Bring the backup in `folder` up to the home, and return what was done.

    Args:
        federation: of the home.
        index: of the home's own log.
        get: gives blocks of bags that were given up to an engine.
        folder: absent, empty, or a backup of the same log; on another disk, if it is to be of use.
        check: read the bags that are held already too; a damaged one is set aside and copied anew.
        progress: told what happens.

    Raises:
        OperationFailed: the folder holds something else (`backup-foreign`) or lies in the home; it has more
            of the log than the home (`backup-newer`).
        HomeLocked: another backup is being made there (`home-locked`).
        EvidenceInvalid, EvidenceMissing: the home's own log is damaged; the backup stays as it was.
        DiskProblem: the disk is full or failing; what is there stays, and the next call goes on.
    """
    _check_place(federation.home, folder, federation.settings.origin)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with lock.hold(folder / LOCK, wait=0):
        work = _Backup(federation, index, get, folder, progress)
        try:
            work.begin()
            work.take_heads()
            work.take_bags(check=check)
            work.take_logs()
            work.take_rest()
            return work.finish()
        finally:
            work.clear()


def _check_place(home: Home, folder: Path, origin: str) -> None:
    root, place = home.root.resolve(), folder.resolve()
    found = None
    if place == root or root in place.parents or place in root.parents:
        found = "the home itself, or a folder in or around it"
    elif (folder / BACKUP_NOTE).exists():
        note = read_note(folder)
        found = None if note.origin == origin else note.origin
    elif folder.exists() and not (folder / HEADS).exists():
        others = [path.name for path in folder.iterdir() if not path.name.startswith(f".{HEADS}")]
        found = "a folder with something else in it" if set(others) - {LOCK} else None
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

    def begin(self) -> None:
        """Make the folder a backup: its own heads first, by which the next one knows it."""
        folder = self.target.root
        if not (folder / HEADS).exists():
            StateStore.create(folder / HEADS).close()
        with writing(folder):
            self.target.log.mkdir(exist_ok=True)
            if self.incoming.exists():
                remove_tree(self.incoming)
            self.incoming.mkdir(mode=0o700)
        for name in ("state.db", "index.db"):
            forget(self._new(name))

    def _new(self, name: str) -> Path:
        return self.target.root / f".new-{name}"

    def take_heads(self) -> None:
        """Take the index, then the heads: whatever the index knows, the heads have reached.

        An index on a server is left out; it is made again from the log and the bags.
        """
        if self.federation.settings.database is None:
            copy_database(self.home.index, self._new("index.db"))
        self.heads = self.federation.state.heads()
        size = self.heads[self.origin].size
        with contextlib.suppress(EvidenceMissing):
            if (note := read_note(self.target.root)).size > size:
                raise OperationFailed(
                    "backup-newer",
                    "the backup has more of this log than the home",
                    path=str(self.target.root),
                    expected=f"{note.size} entries or more in the home",
                    found=f"{size} entries",
                    advice="this home is an older copy: run `heritage log recover`, or back it up elsewhere",
                )
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
                if mirrored is None or not place.is_dir():
                    continue
                target = self.target.mirror_of(peer.origin).log
                try:
                    self._pull(Mirror(target, state, peer.origin, peer.verifiers), place, mirrored)
                except DiskProblem:
                    raise
                except HeritageError as error:  # a damaged mirror of somebody keeps nothing else out
                    where = f"mirrors/{peer.origin}: {error.path or ''}"
                    self.findings.append(replace(error.finding, path=where))

    def _pull(self, mirror: Mirror, source: Path, head: Head) -> None:
        mirror.pull(LogFiles(source), head.checkpoint, progress=self.progress)

    def take_bags(self, *, check: bool) -> None:
        """Copy the bags that the backup has not, own ones and replicas; with `check` damaged ones anew."""
        waiting: list[_Bag] = []
        size = 0
        for bag in self._bags():
            place = self.target.root / bag.folder
            if place.is_dir() and (not check or not _bad(place, bag)):
                self.held += 1
                continue
            if place.is_dir():
                self._set_aside(place)
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
        for path in sorted(self.home.replicas.glob("[!.]*/*/*/[!.]*")):  # of peers that were removed, too
            if path.is_dir():
                yield _Bag(str(path.relative_to(self.home.root)), path.name, None)

    def _set_aside(self, place: Path) -> None:
        """Move a bag of the backup that is damaged out of its place; nothing is thrown away."""
        name = f"backup-{place.parent.name}-{place.name}-{secrets.token_hex(4)}"
        self.findings.append(
            Finding(
                "backup-rot",
                "the bag in the backup was damaged; it is set aside, and copied anew if it is whole at home",
                str(place.relative_to(self.target.root)),
                found=f"quarantine/{name}",
                advice="check the disk of the backup",
            )
        )
        with writing(place):
            self.target.quarantine.mkdir(exist_ok=True)
            place.chmod(0o700)
        move_folder(place, self.target.quarantine / name)

    def _aside(self, bag: _Bag) -> Path:
        return self.incoming / bag.folder

    def _copy(self, bag: _Bag) -> int:
        """Copy a bag aside; a bag that the engine has is written from there. Returns its bytes."""
        source, target = self.home.root / bag.folder, self._aside(bag)
        with writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
        try:
            if source.is_dir():
                return copy_tree(source, target, self.target.root / bag.folder, self.progress)
            if self.get is not None:
                export(self.get, parse_cid(bag.package_cid), target, self.progress)
                return sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
        except DiskProblem:
            raise  # of the backup: it is not finished then
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
            bad = _bad(aside, bag)
            if bad:
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
                copy_small(self.home.root / name, self.target.root / name)
        if self.home.witnessed.is_file():
            copy_small(self.home.witnessed, self.target.witnessed)
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
                    copy_small(path, target)

    def finish(self) -> BackedUp:
        """Put everything on the disk, and let heads, index and note change places."""
        with TreeSync(self.target.root) as disk:
            disk.sync()
        for name in ("index.db", "state.db"):
            with writing(self.target.root):
                forget(self.target.root / name)
                if self._new(name).exists():
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
                forget(self._new(name))


def _bad(folder: Path, bag: _Bag) -> list[Finding]:
    """Read a bag back, and say what keeps it from being the one that was recorded; nothing where it is."""
    stages = check_bag(folder, Claim(bag.package_cid, bag.payload_cid, "the record"), SILENT).stages
    wrong = [stage for stage in stages if stage.outcome is not Outcome.PASS]
    found = [finding for stage in wrong for finding in stage.findings]
    unsaid = Finding("package-unreadable", "the bag cannot be compared with its address", bag.folder)
    return found or ([unsaid] if wrong else [])
