"""Marks that no restore brings back: is this home the one that was written last? (`specs/home.md`).

A backup carries its heads, and with them the belief that they are the newest. So whoever moves a head leaves
a mark of how far the heads have come in three places: `.standing` in the home, which names its own inode and
the time at which it was written; a file on tmpfs, which lives as long as the machine runs; and a file in the
user's state folder, which outlives it. `cp -a`, `rsync` and `tar` give `.standing` a new inode or a new time
of change, and cannot take back a mark that lies elsewhere. A rollback of the disk below takes `.standing`
back whole, but not the mark on tmpfs.

What a reboot changes (tmpfs) only takes a mark away, and a mark that is missing contradicts nothing. A doubt
is written to `.unsure` before anything else is, and stays until it is settled: by witnesses, or by a person.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import stat
import time
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from heritage_ledger.errors import HeritageError
from heritage_ledger.home.durable import SECRET_FILE, write_file, writing
from heritage_ledger.home.keyring import read_public_keys
from heritage_ledger.home.layout import marks_folder, memory_folder
from heritage_ledger.home.settings import check_not_moved

if TYPE_CHECKING:
    from heritage_ledger.home.layout import Home
    from heritage_ledger.home.settings import Settings

STANDING: Final = ".standing"
UNSURE: Final = ".unsure"
VERSION: Final = 2
"""Of `.standing`; release 0.1 wrote one without a version, which says nothing here."""
TOLERANCE: Final = 10 * 1_000_000_000
"""Nanoseconds by which the time of change of `.standing` may differ from the time that it names."""
MAX_SIZE: Final = 64 << 10
_MACHINE: Final = Path("/etc/machine-id")


@dataclass(frozen=True, slots=True)
class Reach:
    """How far the heads of a home have come: `total` over all of them, `size` and `root` of the own log.

    `total` is the sum of all sizes and the number of heads: it only grows, as they do.
    """

    total: int
    size: int
    root: bytes

    def contradicts(self, found: Reach) -> bool:
        """Say whether heads that came this far cannot be those that are at `found` now."""
        return (
            self.total > found.total
            or self.size > found.size
            or (self.size == found.size and self.root != found.root)
        )


class Doubt(Enum):
    """Why a home may be an old copy, or a second one."""

    COPIED = "the home was copied or restored: it is not where it was written last"
    ROLLED_BACK = "the heads were further than they are now"
    UNMARKED = "nothing says where the home was written last"
    DAMAGED = "what was open since a restore cannot be read"


@dataclass(frozen=True, slots=True)
class Mark:
    """One mark as it was read: how far the heads had come, and where and when it was written."""

    reach: Reach
    inode: int
    time: int
    machine: str
    is_in_place: bool
    """Whether the file is the one that was written: a copy has another inode or time of change."""


@dataclass(frozen=True, slots=True)
class Found:
    """The marks of one home at one moment: `inside` is None where it says nothing."""

    inside: Mark | None
    memory: Mark | None
    lasting: Mark | None

    def judge(self, reach: Reach) -> Doubt | None:
        """Compare the marks with heads that were read **after** them; None where nothing speaks against.

        A mark outside, in its own place, that agrees to the entry vouches for a home whose files were touched
        (`chown -R`).
        """
        outside = [mark for mark in (self.memory, self.lasting) if mark is not None]
        marks = outside if self.inside is None else [self.inside, *outside]
        if any(mark.reach.contradicts(reach) for mark in marks):
            return Doubt.ROLLED_BACK
        if self.is_in_place or any(mark.is_in_place and mark.reach == reach for mark in outside):
            return None
        return Doubt.UNMARKED if self.inside is None else Doubt.COPIED

    @property
    def is_in_place(self) -> bool:
        """Whether the home lies where it was written last."""
        return self.inside is not None and self.inside.is_in_place

    def proves(self, reach: Reach) -> bool:
        """Say whether the heads are shown to be the newest since this machine runs: by the mark on tmpfs."""
        return self.memory is not None and self.memory.is_in_place and self.memory.reach == reach


@dataclass(frozen=True, slots=True)
class Unsure:
    """What a restore, or a sign of one, left open: `.unsure`.

    `since` is the POSIX time of the first sign and `why` says what it was. `own` says whether it is still
    open that this home is the newest copy of its log; `floors` names the logs of which this home, as a
    witness, has taken a floor since, and with `all_floors` a person has said that nothing was forgotten.
    `newest` has what a person said, until an event notes it.
    """

    since: int
    why: str
    own: bool = True
    floors: tuple[str, ...] = ()
    all_floors: bool = False
    newest: str | None = None
    shown: tuple[tuple[str, int], ...] = ()
    """By origin, how large a log was when it was first looked at since."""

    def needs_floor(self, origin: str) -> bool:
        """Say whether a floor must be taken before the log `origin` is cosigned."""
        return not self.all_floors and origin not in self.floors


class Marks:
    """The marks of one home. Any thread and process may use them."""

    def __init__(self, home: Home, log_id: str, settings: Settings) -> None:
        """`log_id` names the log among all others; with a database several machines use this home."""
        self._home = home
        self._id = log_id
        self._settings = settings
        self._machine = _machine() if settings.database is None else ""

    @classmethod
    def of(cls, home: Home, settings: Settings) -> Self:
        """The marks of a home; its log is told from all others by its keys."""
        log_id = ""
        with contextlib.suppress(HeritageError):  # without keys nothing is signed, and nothing marked outside
            keys = read_public_keys(home)
            log_id = hashlib.sha256(settings.origin.encode() + b"\n" + keys.log).hexdigest()[:32]
        return cls(home, log_id, settings)

    def read(self) -> Found:
        """Read every mark; heads to compare them with are read afterwards."""
        memory, lasting = (
            None if folder is None else self._read(folder / self._id) for folder in self._folders()
        )
        return Found(self._read(self._home.root / STANDING), memory, lasting)

    def _read(self, path: Path) -> Mark | None:
        with contextlib.suppress(OSError), path.open("rb") as file:
            found = os.fstat(file.fileno())
            mark = _parse(file.read(MAX_SIZE), self._id)
            if mark is not None:
                is_in_place = (
                    mark.inode == found.st_ino
                    and mark.machine == self._machine
                    and abs(found.st_ctime_ns - mark.time) <= TOLERANCE
                )
                return replace(mark, is_in_place=is_in_place)
        return None

    def write(self, reach: Reach, *, establish: bool) -> None:
        """Leave the mark of heads that have moved, everywhere; what cannot be written does no harm.

        The mark on tmpfs says that nothing was rolled back since the machine runs, which only `establish` may
        begin to say: after the log's own append, or when the witnesses have been asked. A mark outside is
        never lowered but then: who restores a home twice meets it again. Nothing waits for the disk: a mark
        that a power cut takes back is an older one, and contradicts nothing.
        """
        memory, lasting = self._folders()
        places = [(self._home.root, STANDING)]
        for folder in (memory, lasting):
            if folder is not None:
                known = self._read(folder / self._id)
                is_lower = known is not None and known.reach.contradicts(reach)
                if establish or not (is_lower or (known is None and folder == memory)):
                    places.append((folder, self._id))
        for folder, name in places:
            with contextlib.suppress(OSError):
                self._place(folder, name, reach)

    def _place(self, folder: Path, name: str, reach: Reach) -> None:
        temporary = folder / f".{name.removeprefix('.')}.{secrets.token_hex(6)}.tmp"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, SECRET_FILE)
        try:
            try:
                data = self._format(reach, os.fstat(descriptor))
                os.write(descriptor, data)
                temporary.rename(folder / name)
                found = os.fstat(descriptor)
                if (
                    abs(found.st_ctime_ns - time.time_ns()) > TOLERANCE // 4
                ):  # the disk has a clock of its own
                    os.pwrite(descriptor, self._format(reach, found), 0)
            finally:
                os.close(descriptor)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def _format(self, reach: Reach, status: os.stat_result) -> bytes:
        clock = time.time_ns()
        if abs(status.st_ctime_ns - clock) > TOLERANCE // 4:
            clock = status.st_ctime_ns
        document = {
            "version": VERSION,
            "log": self._id,
            "machine": self._machine,
            "inode": status.st_ino,
            "time": clock,
            "total": reach.total,
            "size": reach.size,
            "root": reach.root.hex(),
        }
        return json.dumps(document).encode().ljust(480) + b"\n"

    def _folders(self) -> tuple[Path | None, Path | None]:
        """The folders outside of the home, on tmpfs and lasting, each this user's own; made where absent."""
        if not self._id:
            return None, None
        return self._outside(memory_folder()), self._outside(marks_folder())

    def _outside(self, folder: Path | None) -> Path | None:
        """A folder of this user's own; none that lies in the home, for it would travel with it."""
        if folder is None or self._home.root.absolute() in (folder.absolute(), *folder.absolute().parents):
            return None
        return _own_folder(folder)

    # what a restore left open

    def unsure(self) -> Unsure | None:
        """What is still open since a restore, or a sign of one."""
        return read_unsure(self._home)

    def doubt(self, why: Doubt, reach: Reach) -> Unsure:
        """Write down that this home may be an old copy, and mark it anew where it is now.

        Raises:
            OperationFailed: the heads were moved, and these are the old ones (`database-moved`).
            DiskProblem: it cannot be written.
        """
        check_not_moved(self._home.settings, self._settings)
        known = self.unsure()
        newest = None if known is None else known.newest
        unsure = Unsure(int(time.time()), why.value, newest=newest)
        self.keep(unsure)
        self.write(reach, establish=False)
        return unsure

    def keep(self, unsure: Unsure | None) -> None:
        """Replace what is open; None says that nothing is."""
        keep_unsure(self._home, unsure)


def read_unsure(home: Home) -> Unsure | None:
    """Read `.unsure`; a damaged one leaves everything open."""
    try:
        data = (home.root / UNSURE).read_bytes()
    except FileNotFoundError:
        return None
    except OSError:
        return Unsure(0, Doubt.DAMAGED.value)
    try:
        document = json.loads(data)
        newest = document["newest"]
        return Unsure(
            since=int(document["since"]),
            why=str(document["why"]),
            own=bool(document["own"]),
            floors=tuple(str(one) for one in document["floors"]),
            all_floors=document["all_floors"] is True,
            newest=None if newest is None else str(newest),
            shown=tuple((str(origin), int(size)) for origin, size in document.get("shown", ())),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return Unsure(0, Doubt.DAMAGED.value)


def keep_unsure(home: Home, unsure: Unsure | None) -> None:
    """Write `.unsure`, or remove it, and wait for the disk.

    Raises:
        DiskProblem: it cannot be written.
    """
    path = home.root / UNSURE
    if unsure is None:
        with writing(path):
            path.unlink(missing_ok=True)
        return
    document = {name: getattr(unsure, name) for name in Unsure.__dataclass_fields__}
    write_file(path, json.dumps(document, sort_keys=True).encode() + b"\n", mode=SECRET_FILE, replace=True)


def settle_floor(home: Home, origin: str) -> None:
    """Write down that a floor of the log `origin` was taken."""
    unsure = read_unsure(home)
    if unsure is not None and unsure.needs_floor(origin):
        keep_unsure(home, replace(unsure, floors=(*unsure.floors, origin)))


def note_shown(home: Home, origin: str, size: int) -> None:
    """Write down how large a log was when it was first looked at since the restore."""
    unsure = read_unsure(home)
    if unsure is not None and origin not in dict(unsure.shown):
        keep_unsure(home, replace(unsure, shown=(*unsure.shown, (origin, size))))


def settle_own(home: Home) -> None:
    """Write down that this home is the newest copy of its log."""
    unsure = read_unsure(home)
    if unsure is not None and unsure.own:
        keep_unsure(home, replace(unsure, own=False))


def _parse(data: bytes, log_id: str) -> Mark | None:
    """Return a mark of this log; None for anything else, of which nothing can be learned."""
    try:
        document: dict[str, Any] = json.loads(data)
        if (document["version"], document["log"]) != (VERSION, log_id):
            return None
        reach = Reach(int(document["total"]), int(document["size"]), bytes.fromhex(document["root"]))
        return Mark(reach, int(document["inode"]), int(document["time"]), str(document["machine"]), False)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _machine() -> str:
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return _MACHINE.read_text(encoding="ascii").strip()
    return ""


def _own_folder(folder: Path | None) -> Path | None:
    """Make a folder where it is absent; None unless it is this user's own."""
    if folder is not None:
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            found = folder.lstat()
            if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid():
                return folder
    return None
