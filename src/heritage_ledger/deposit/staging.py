"""Staging: where a deposit is made before anyone can see it (`specs/home.md`, "Write ordering").

    staging/<id>/lock      held by the process that makes the deposit
    staging/<id>/bag/      the bag in the making
    staging/<id>/claim     the asset and version as which it is about to be placed

A folder whose lock nobody holds belongs to a process that died. Without a claim it is removed. With a claim,
the log says whether the deposit was recorded: if not, a bag that was placed already goes to quarantine, since
no receipt was ever given for it; if it was, only rows of the index may be missing.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from heritage_ledger.errors import HomeLocked, OperationFailed
from heritage_ledger.home import lock
from heritage_ledger.home.durable import (
    SEALED_FOLDER,
    TreeSync,
    make_folder,
    move_folder,
    remove_tree,
    write_file,
    writing,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from heritage_ledger.home.layout import Home

_WRITABLE: Final = 0o700
_GONE: Final = ".gone-"


@dataclass(frozen=True, slots=True)
class Claim:
    """What a deposit is about to be: a version of an asset, whose bag may be released once it is recorded."""

    asset: str
    version: int
    release: bool = False


class Staging:
    """One deposit in the making, in the folder `root`."""

    def __init__(self, home: Home, root: Path, tree: TreeSync) -> None:
        self.home = home
        self.root = root
        self._tree = tree
        self.is_placed = False

    @property
    def bag(self) -> Path:
        """The bag's folder while it is made."""
        return self.root / "bag"

    def sync(self) -> None:
        """Put everything in the folder on the disk.

        Raises:
            DiskProblem: the disk did not confirm, or an error was seen since the folder was made.
        """
        self._tree.sync()

    def place(self, claim: Claim) -> Path:
        """Move the finished bag to its place, seal its folder, and put all of that on the disk.

        Raises:
            OperationFailed: the place is taken.
            DiskProblem: the disk did not confirm.
        """
        target = self.home.package(claim.asset, claim.version)
        write_file(self.root / "claim", json.dumps(asdict(claim)).encode(), mode=0o600)
        with writing(target):
            make_folder(target.parent)
        self.is_placed = True
        move_folder(self.bag, target)
        with writing(target):
            target.chmod(SEALED_FOLDER)
        return target

    def take_back(self, target: Path) -> None:
        """Undo `place`, because no event was written."""
        with writing(target):
            target.chmod(_WRITABLE)
        move_folder(target, self.bag)
        self.is_placed = False

    def settled(self) -> None:
        """Say that event and rows are written, so that nothing is left to do for anyone else."""
        self.is_placed = False


@contextlib.contextmanager
def staging(home: Home) -> Iterator[Staging]:
    """Give a staging folder, and remove what is left in it at the end, also after an error.

    A folder whose bag was placed and not settled is left as it is, for `settle_left` to judge.
    """
    root = home.staging / secrets.token_hex(8)
    with contextlib.ExitStack() as gone, contextlib.ExitStack() as held:
        # under the append lock, so that nobody meets a folder that is not yet locked
        with lock.hold(home.lock, passing=True):
            with writing(root):
                root.mkdir(mode=_WRITABLE)
            held.enter_context(lock.hold(root / "lock"))
        work = Staging(home, root, held.enter_context(TreeSync(root)))
        try:
            with writing(root):
                work.bag.mkdir(mode=_WRITABLE)
            yield work
        finally:
            if not work.is_placed:
                gone.callback(remove_tree, _put_away(root))


def settle_left(home: Home, is_recorded: Callable[[str, int], bool]) -> tuple[Path, ...]:
    """Clear away what dead processes left unrecorded; return the bags that went to quarantine.

    The caller holds the append lock and has brought the index up to the log.
    """
    aside = []
    for root in _left(home):
        if lock.is_held(root / "lock"):
            continue
        claim = _claim(root)
        if claim is not None and is_recorded(claim.asset, claim.version):
            continue
        if claim is not None and not (root / "bag").exists():
            target = home.package(claim.asset, claim.version)
            if target.is_dir():
                aside.append(_quarantine(home, target, root.name))
        _discard(root)
    for gone in home.staging.glob(f"{_GONE}*"):
        remove_tree(gone)
    return tuple(aside)


def is_left(home: Home) -> bool:
    """Say whether anything lies in staging: left by a dead process, or at work."""
    with writing(home.staging):
        return any(home.staging.iterdir())


def finish_left(home: Home, finish: Callable[[Claim], None]) -> None:
    """Call `finish(claim)` for each recorded deposit whose process died, then clear it away."""
    for root in _left(home):
        try:
            with contextlib.ExitStack() as gone, lock.hold(root / "lock", wait=0):
                claim = _claim(root)
                if claim is None:  # perhaps just made by a process that is about to take its lock
                    continue
                finish(claim)
                gone.callback(remove_tree, _put_away(root))
        except HomeLocked:
            continue
        except OperationFailed:
            if root.exists():  # else its process has just removed it
                raise


def _left(home: Home) -> list[Path]:
    with writing(home.staging):
        folders = (path for path in home.staging.iterdir() if path.is_dir())
        return sorted(path for path in folders if not path.name.startswith(_GONE))


def _discard(root: Path) -> None:
    """Remove a staging folder whose lock nobody holds."""
    remove_tree(_put_away(root))


def _put_away(root: Path) -> Path:
    """Give a staging folder a name that nobody looks at: no lock file is made in it meanwhile.

    It is removed when its lock is let go of: where files that are open are renamed instead of removed (NFS,
    FUSE), its folder would not be empty.
    """
    gone = root.with_name(_GONE + root.name)
    with writing(root), contextlib.suppress(FileNotFoundError):  # another process was first
        root.rename(gone)
    return gone


def _claim(root: Path) -> Claim | None:
    try:
        claim = json.loads((root / "claim").read_bytes())
        return Claim(str(claim["asset"]), int(claim["version"]), bool(claim.get("release")))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _quarantine(home: Home, target: Path, name: str) -> Path:
    with writing(target):
        target.chmod(_WRITABLE)
    aside = home.quarantine / f"unrecorded-{target.parent.name}-{target.name}-{name}"
    move_folder(target, aside)
    return aside
