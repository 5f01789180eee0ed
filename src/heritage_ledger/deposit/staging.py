"""Staging: where a deposit is made before anyone can see it (`specs/home.md`, "Write ordering").

    staging/<id>/lock      held by the process that makes the deposit
    staging/<id>/bag/      the bag in the making
    staging/<id>/target    where it was about to be moved, relative to the home

A folder whose lock nobody holds belongs to a process that died. What it left is removed, unless its bag was
moved into place already: then the log says whether the deposit was recorded. If it was, nothing is missing;
if not, the bag goes to quarantine, since no receipt was ever given for it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from heritage_ledger.home import lock
from heritage_ledger.home.durable import SEALED_FOLDER, move_folder, remove_tree, write_file, writing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from heritage_ledger.home.layout import Home


@dataclass(frozen=True, slots=True)
class Staging:
    """One deposit in the making."""

    home: Home
    root: Path

    @property
    def bag(self) -> Path:
        """The bag's folder while it is made."""
        return self.root / "bag"

    def place(self, target: Path) -> None:
        """Move the finished bag to `target`, seal its folder, and put all of that on the disk.

        Raises:
            OperationFailed: `target` exists.
            DiskProblem: the disk did not confirm.
        """
        with writing(target):
            target.parent.mkdir(exist_ok=True)
        relative = os.fsencode(target.relative_to(self.home.root))
        write_file(self.root / "target", relative, mode=0o600, replace=True)
        move_folder(self.bag, target)
        with writing(target):
            target.chmod(SEALED_FOLDER)


@contextlib.contextmanager
def staging(home: Home) -> Iterator[Staging]:
    """Give a staging folder; whatever is left in it is removed at the end, also after an error."""
    root = home.staging / secrets.token_hex(8)
    with contextlib.ExitStack() as held:
        # under the append lock, so that `recover` never meets a folder that is not yet locked
        with lock.hold(home.lock):
            with writing(root):
                root.mkdir(mode=0o700)
            held.enter_context(lock.hold(root / "lock"))
        held.callback(remove_tree, root)
        with writing(root):
            (root / "bag").mkdir(mode=0o700)
        yield Staging(home, root)


def recover(home: Home, is_recorded: Callable[[Path], bool]) -> tuple[Path, ...]:
    """Clear away what dead processes left; return the bags that went to quarantine.

    The caller holds the append lock and has brought the index up to the log. `is_recorded` says whether
    the log has an event for the bag in a folder.
    """
    aside = []
    with writing(home.staging):
        left = sorted(home.staging.iterdir())
    for root in left:
        if lock.is_held(root / "lock"):
            continue
        target = _target(home, root)
        if target is not None and target.is_dir() and not is_recorded(target):
            with writing(target):
                target.chmod(0o700)
            name = f"unrecorded-{target.parent.name}-{target.name}-{root.name}"
            move_folder(target, home.quarantine / name)
            aside.append(home.quarantine / name)
        remove_tree(root)
    return tuple(aside)


def _target(home: Home, root: Path) -> Path | None:
    try:
        relative = (root / "target").read_bytes()
    except OSError:
        return None
    return home.root / os.fsdecode(relative)
