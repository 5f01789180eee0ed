"""Where a repair works, beside the bag: new bytes until they are whole, damaged files for good.

`quarantine/repair-<CID's end>-<number>/` gets the damaged files. `quarantine/.repairing-…/` has the files
that are being written, and `begun`, a JSON string a line for each path. It goes when the event is recorded,
so that what a repair mended before it died is told of by the next one.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from typing import TYPE_CHECKING, Final

from heritage_ledger.home.durable import remove_tree, sync_descriptor, sync_folder, write_all, writing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from heritage_ledger.home.layout import Home

_BEGUN: Final = "begun"
_END: Final = 16


class Aside:
    """The places of one repair of one package; nothing is made before it is needed."""

    def __init__(self, home: Home, cid: str) -> None:
        """`cid` is the package's, as text."""
        name = f"{cid[-_END:]}-{secrets.token_hex(4)}"
        self._damaged = home.quarantine / f"repair-{name}"
        self._work = home.quarantine / f".repairing-{name}"

    @property
    def damaged(self) -> Path | None:
        """The folder with the damaged files, None where there are none."""
        return self._damaged if self._damaged.is_dir() else None

    def begin(self, path: str) -> Path:
        """Note that the file `path` of the bag will be replaced; return where to write it first.

        Raises:
            DiskProblem: the disk is full or failing.
        """
        begun = self._work / _BEGUN
        with writing(begun):
            self._work.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(begun, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                write_all(descriptor, json.dumps(path).encode() + b"\n", os.fstat(descriptor).st_size)
                sync_descriptor(descriptor, begun)
            finally:
                os.close(descriptor)
        sync_folder(self._work)
        return self._work / f"new-{secrets.token_hex(8)}"

    def take(self, place: Path, path: str) -> None:
        """Move what lies at `place`, the file `path` of the bag, to quarantine."""
        target = self._damaged / path
        with writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            place.rename(target)


def begun_before(home: Home, cid: str) -> set[str]:
    """Files that repairs of a package began to replace, and that no event tells of yet."""
    found: set[str] = set()
    for work in _works(home, cid):
        with contextlib.suppress(OSError):
            for line in (work / _BEGUN).read_bytes().splitlines():
                with contextlib.suppress(ValueError):  # the last line may be cut off: its file is as it was
                    found.add(str(json.loads(line)))
    return found


def settle(home: Home, cid: str) -> None:
    """Clear away what repairs of a package left, once the event is recorded."""
    for work in _works(home, cid):
        remove_tree(work)


def _works(home: Home, cid: str) -> Iterator[Path]:
    yield from list(home.quarantine.glob(f".repairing-{cid[-_END:]}-*"))
