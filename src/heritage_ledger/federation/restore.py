"""Restore: a home again, from a backup, or from its keys and from what others hold (`specs/federation.md`).

What an institution must keep away from the machine is small: `heritage.toml`, `keys/`, `peers/` and `policy`.
Log and packages come back from the peers, each byte checked by the institution's own keys; the log is not
begun again from nothing, but only as far as the witnesses say that it had come. A backup brings everything
else back too, as it was then; what came later is brought in from the peers. In both cases nothing is signed,
and nothing cosigned, before it is known how far the logs had come.
"""

from __future__ import annotations

import contextlib
import shutil
import stat
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from heritage_ledger.errors import EvidenceMissing, OperationFailed, UsageError
from heritage_ledger.federation.backup_files import copied_files, read_note
from heritage_ledger.federation.recover import set_aside_unrecorded
from heritage_ledger.home.durable import TreeSync, link_file, write_file, writing
from heritage_ledger.home.heads import remove_new
from heritage_ledger.home.keyring import read_public_keys
from heritage_ledger.home.layout import create_home, finish_home
from heritage_ledger.home.marks import Unsure, keep_unsure
from heritage_ledger.home.settings import read_settings
from heritage_ledger.home.sql import server_name
from heritage_ledger.home.state import StateStore
from heritage_ledger.index.absorb import absorb, complete
from heritage_ledger.index.store import Index
from heritage_ledger.log.checkpoint import read_unverified
from heritage_ledger.log.files import LogFiles
from heritage_ledger.log.policy import NONE
from heritage_ledger.progress import SILENT

if TYPE_CHECKING:
    from pathlib import Path

    from heritage_ledger.federation.federation import Federation
    from heritage_ledger.home.layout import Home
    from heritage_ledger.home.settings import Settings
    from heritage_ledger.progress import Progress


@dataclass(frozen=True, slots=True)
class Restored:
    """What came back: the log's size. Packages are brought back by a repair."""

    origin: str
    size: int


def unpack(folder: Path, root: Path, *, progress: Progress = SILENT) -> Home:
    """Make a home in `root` from the backup in `folder`; it is left open whether it is the newest copy.

    The settings are written last, so it is whole or no home.

    Raises:
        EvidenceMissing, EvidenceInvalid: there is no finished backup (`backup-missing`, `backup-damaged`).
        OperationFailed: `root` is a home already, or not empty (`home-exists`, `home-not-empty`); the
        database that the settings name is in use (`state-exists`).
        DiskProblem: it cannot be written.
    """
    note = read_note(folder)
    settings = read_settings(folder / "heritage.toml")
    _check_target(folder, root, settings)
    home = create_home(root)
    progress.begin("restore")
    links: dict[tuple[int, ...], Path] = {}
    for path in copied_files(folder):
        if path.name != home.settings.name:
            _copy(folder / path, root / path, links, progress)
    with contextlib.ExitStack() as undo:
        if settings.database is not None:
            _fill_server(home, settings, undo)
        with Index.open(settings.kept_in(home.index), origin=settings.origin) as index:
            log = LogFiles(home.log)
            absorb(index, log, home, read_unverified(log.read_checkpoint()).size)
            complete(index, home, progress)  # of deposits that were being recorded when the backup was made
            set_aside_unrecorded(home, index, home.quarantine)  # a backup that was cut off has more of them
        why = f"the home was restored from the backup of {note.finished}"
        keep_unsure(home, Unsure(int(time.time()), why))
        with TreeSync(root) as disk:
            disk.sync()
        write_file(home.settings, (folder / home.settings.name).read_bytes(), mode=0o644)
        undo.pop_all()
    finish_home(home)
    return home


def _check_target(folder: Path, root: Path, settings: Settings) -> None:
    """Refuse, before anything is copied, a place in the backup itself, and a database that holds heads."""
    if folder.resolve() in (root.resolve(), *root.resolve().parents):
        raise UsageError(
            "restore-place",
            "a home is not made within its own backup",
            path=str(root),
            expected="a folder elsewhere",
        )
    _check_no_heads(settings)


def _check_no_heads(settings: Settings) -> None:
    if settings.database is not None:
        with contextlib.suppress(EvidenceMissing):
            StateStore.open(settings.database, upgrade=False).close()
            raise OperationFailed(
                "state-exists",
                "the database that the settings name holds heads already",
                path=server_name(settings.database),
                advice="if it is that of this home, bring back its folder (of which keys/, heritage.toml, "
                "peers/ and policy are enough) and run `heritage log recover`, then `heritage repair`; else "
                "name an empty database in heritage.toml",
            )


def _copy(source: Path, target: Path, links: dict[tuple[int, ...], Path], progress: Progress) -> None:
    """Copy a file or tree with times and modes; files that share their bytes go on doing so."""
    found = source.lstat()
    with writing(target):
        if stat.S_ISDIR(found.st_mode):
            target.mkdir(exist_ok=True)
            for path in sorted(source.iterdir()):
                _copy(path, target / path.name, links, progress)
            shutil.copystat(source, target)
        elif stat.S_ISREG(found.st_mode):
            # where numbers are not stable, size and time keep two files apart that had the same one
            key = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
            known = links.get(key)
            if known is None or not link_file(known, target):
                shutil.copy2(source, target)
                progress.advance(files=1, size=found.st_size)
            if found.st_nlink > 1:
                links.setdefault(key, target)


def _fill_server(home: Home, settings: Settings, undo: contextlib.ExitStack) -> None:
    """Bring the heads from the file of the backup into the database that the settings name."""
    target = settings.kept_in(home.state)
    with StateStore.open(home.state) as heads, StateStore.create(target) as state:
        undo.callback(remove_new, target)
        for origin, head in heads.heads().items():
            state.create_head(origin, head)
    with writing(home.root):
        for name in ("state.db", "index.db"):
            for left in home.root.glob(f"{name}*"):
                left.unlink()


def _pull(federation: Federation) -> int:
    """Bring the log back from the mirrors, and make sure that the witnesses know no more of it."""
    size = federation.guard.catch_up()
    if size == 0:
        raise EvidenceMissing(
            "log-tail-missing",
            "no peer has ever seen this log",
            path=federation.settings.origin,
            expected="a mirror",
        )
    federation.guard.ensure()
    head = federation.state.head(federation.settings.origin)
    return size if head is None else head.size


def restore(federation: Federation) -> Restored:
    """Bring the log of a home back that has nothing but keys, settings, peers and policy.

    Raises:
        OperationFailed: there is a log or a state here already (`restore-not-empty`).
        EvidenceMissing: no peer is known that could give it back (`restore-no-peer`, `log-tail-missing`).
        KeyProblem: the keys are not there.
        TemporaryFailure: too few witnesses answer (`witnesses-silent`).
    """
    home, settings = federation.home, federation.settings
    read_public_keys(home)
    _check_no_heads(settings)
    if home.state.exists() or (home.log / "checkpoint").exists():
        raise OperationFailed(
            "restore-not-empty",
            "there is a log in this home already",
            path=str(home.root),
            advice="`heritage peer sync` brings missing entries; `heritage repair` brings missing files",
        )
    if federation.peers.policy().quorum == NONE:
        raise EvidenceMissing(
            "restore-no-peer",
            "no peer is known that could say how far the log had come",
            path=str(home.peers),
            advice="bring back the folder peers/ and the file policy, or run `heritage peer add`",
        )
    with writing(home.root):
        for folder in (home.log, home.packages, home.quarantine, home.staging):
            folder.mkdir(exist_ok=True)
    StateStore.create(settings.kept_in(home.state), own=settings.origin).close()
    keep_unsure(home, Unsure(int(time.time()), "the home was restored from what others hold"))
    try:
        size = _pull(federation)
    except BaseException:
        federation.close()
        remove_new(settings.kept_in(home.state))
        raise
    return Restored(settings.origin, size)
