"""What an engine holds, and the move from one engine to the other (`specs/engines.md`)."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

from heritage_ledger.content.blocks import PackageKey, State
from heritage_ledger.content.cid import format_cid, parse_cid
from heritage_ledger.content.kubo import KuboEngine, pin_name
from heritage_ledger.content.package import PackageGraph, read_package
from heritage_ledger.deposit.release import bring_back, check_address, export, release
from heritage_ledger.errors import EvidenceInvalid, EvidenceMissing, OperationFailed, UsageError
from heritage_ledger.fixity.packages import blocks_stage
from heritage_ledger.fixity.verdict import Outcome
from heritage_ledger.home.release import is_released
from heritage_ledger.home.settings import DEFAULT_CLASS, change_settings
from heritage_ledger.home.settings_table import read_secret
from heritage_ledger.progress import SILENT

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from heritage_ledger.home.layout import Home
    from heritage_ledger.home.settings import Settings
    from heritage_ledger.index.rows import PackageRow
    from heritage_ledger.index.store import Index
    from heritage_ledger.progress import Progress


def open_kubo(settings: Settings, home: Home) -> KuboEngine:
    """Return the engine over the daemon that the settings name; nothing is asked of it yet.

    Raises:
        UsageError: its address cannot be used (`engine-address`).
        KeyProblem: its token cannot be read (`token-missing`).
    """
    from heritage_ledger.content.http import parse_address  # noqa: PLC0415 - HTTP costs 100 ms, only here
    from heritage_ledger.content.kubo_rpc import KuboRpc  # noqa: PLC0415 - the same

    content = settings.content
    rpc = KuboRpc(parse_address(content.kubo_api, ca_file=content.ca_file), read_secret(content.kubo_token))
    return KuboEngine(rpc, settings.origin, home.root)


class Engines:
    """The engine of one ledger: `kubo` is the daemon that the settings name, None for the embedded one."""

    def __init__(self, home: Home, settings: Settings, index: Index, kubo: KuboEngine | None) -> None:
        self._home = home
        self._settings = settings
        self._index = index
        self._kubo = kubo

    def status(self, *, read: bool = False) -> EngineStatus:
        """What the engine is and holds; with `read` every block is read and hashed.

        Raises:
            TemporaryFailure, KeyProblem, OperationFailed: the daemon does not answer, or not as it should.
        """
        rows = list(self._index.packages())
        if self._kubo is not None:
            return kubo_status(self._kubo, self._home, self._settings.origin, rows, read=read)
        released = count_released(self._home, rows)
        return EngineStatus("embedded", version("heritage-ledger"), len(rows), released)

    def move(self, to: str, *, progress: Progress = SILENT) -> Moved:
        """Bring everything that is held to the engine `to` (`kubo` or `embedded`), and use that from now on.

        What is there whole already is left as it is; after an error the same call goes on.

        Raises:
            UsageError: there is no such engine (`engine-name`).
            EvidenceInvalid, EvidenceMissing: a package is damaged or not here; the settings stay.
            TemporaryFailure, KeyProblem, DiskProblem, OperationFailed: the engine does not take it.
        """
        if to not in {"kubo", "embedded"}:
            raise UsageError(
                "engine-name", "there is no such engine", expected="kubo or embedded", found=to[:40]
            )
        rows = list(self._index.packages())
        with contextlib.ExitStack() as held:
            kubo = self._kubo or held.enter_context(open_kubo(self._settings, self._home))
            if to == "embedded":
                moved = move_to_embedded(kubo, self._home, rows, progress)
            else:
                keeps = self._settings.classes.get(DEFAULT_CLASS, True)
                moved = move_to_kubo(kubo, self._home, rows, progress, keeps_bags=keeps)
        if self._settings.content.engine != to:
            change_settings(self._home.settings, "content", "engine", to)
        return moved

    def export(self, row: PackageRow, target: Path, progress: Progress) -> None:
        """Write the bag of `row` into the new folder `target`; see `heritage_ledger.deposit.release.export`.

        Raises:
            EvidenceMissing: neither disk nor engine has it (`package-missing`).
        """
        folder = self._home.root / row.folder
        if folder.is_dir():
            export(folder, row.package_cid, target, progress)
        elif self._kubo is not None:
            export(self._kubo.get, row.package_cid, target, progress)
        else:
            raise _not_here(row)


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """What the engine is, and what it holds of this ledger.

    `size` and `limit` in bytes and `blocks` are None for the embedded engine, whose blocks are the bags.
    `pins` counts those of this ledger, `other_pins` all others; `left_over` names pins of this ledger that no
    recorded package needs. `unpinned` names recorded packages without a pin; `missing` and `damaged` count
    blocks, None where they were not read. `released` counts the bags that only the engine holds.
    """

    engine: str
    version: str
    packages: int
    released: int
    address: str | None = None
    size: int | None = None
    limit: int | None = None
    blocks: int | None = None
    pins: int = 0
    other_pins: int = 0
    left_over: tuple[str, ...] = ()
    unpinned: tuple[str, ...] = ()
    missing: int | None = None
    damaged: int | None = None


@dataclass(frozen=True, slots=True)
class Moved:
    """What a move did: packages brought over, packages that were there already."""

    engine: str
    moved: int
    present: int


def count_released(home: Home, rows: Iterable[PackageRow]) -> int:
    """Count the packages whose bags only the engine holds."""
    return sum(1 for row in rows if is_released(home.root / row.folder))


def kubo_status(
    kubo: KuboEngine, home: Home, origin: str, rows: list[PackageRow], *, read: bool
) -> EngineStatus:
    """Ask the daemon what it holds; with `read` every block of every package is read and hashed.

    Raises:
        TemporaryFailure, KeyProblem, OperationFailed: it does not answer, or not as it should.
    """
    number = kubo.rpc.version()
    stat = kubo.rpc.repo_stat()
    wanted = {format_cid(row.package_cid): row for row in rows}
    names = {pin_name(origin, PackageKey(row.asset, row.version)) for row in rows}
    own = list(kubo.own_pins())
    every = list(kubo.rpc.pins())
    pinned = {format_cid(parse_cid(pin.cid)) for pin in every if pin.cid.startswith("b")}
    missing = damaged = None
    if read:
        states = [state for row in wanted.values() for _, state in kubo.damaged(row.package_cid)]
        missing, damaged = states.count(State.MISSING), states.count(State.CHANGED)
    return EngineStatus(
        engine="kubo",
        version=number,
        address=kubo.rpc.url,
        packages=len(rows),
        released=count_released(home, rows),
        size=stat.size,
        limit=stat.limit,
        blocks=stat.blocks,
        pins=len(own),
        other_pins=len(every) - len(own),
        left_over=tuple(pin.name for pin in own if pin.cid not in wanted and pin.name not in names),
        unpinned=tuple(
            f"{row.asset} version {row.version}" for cid, row in wanted.items() if cid not in pinned
        ),
        missing=missing,
        damaged=damaged,
    )


def move_to_kubo(
    kubo: KuboEngine, home: Home, rows: list[PackageRow], progress: Progress, *, keeps_bags: bool
) -> Moved:
    """Let the daemon hold every package, read back and verified; what it holds whole is left as it is.

    After an error the same call goes on where it stopped.

    Raises:
        EvidenceInvalid: a bag is not what its address says; EvidenceMissing: it is not there.
        TemporaryFailure, DiskProblem, KeyProblem, OperationFailed: the daemon does not take it.
    """
    progress.begin("move", files=sum(row.files for row in rows), size=sum(row.bytes for row in rows))
    moved = present = 0
    for row in rows:
        if blocks_stage(kubo, row.package_cid).outcome is Outcome.PASS:
            present += 1
            progress.advance(files=row.files, size=row.bytes)
        else:
            fill(kubo, home, row, progress)
            moved += 1
        if not keeps_bags:
            release(home, kubo, row)
    return Moved("kubo", moved, present)


def fill(kubo: KuboEngine, home: Home, row: PackageRow, progress: Progress) -> None:
    """Bring one package from its bag into the daemon, and read it back.

    A block that the daemon has, but damaged, has to be removed there first; then `block-damaged` says so.

    Raises:
        EvidenceMissing: the bag is not here either (`package-missing`).
        EvidenceInvalid: the bag is not what was recorded (`package-cid`), or the daemon keeps a damaged block
            (`block-damaged`).
    """
    folder = home.root / row.folder
    if not folder.is_dir():
        raise _not_here(row)
    with PackageGraph() as graph:
        try:
            read_package(folder, graph, progress)
        except OSError as error:
            raise OperationFailed(
                "package-unreadable", "the bag cannot be read", path=row.folder, found=error.strerror
            ) from error
        found = graph.finish().cid
        if found != row.package_cid:
            check_address(folder, row.package_cid)
        kubo.add_package(PackageKey(row.asset, row.version), row.package_cid, row.folder, graph)
    stage = blocks_stage(kubo, row.package_cid)
    if stage.outcome is Outcome.NOT_CHECKED:
        blocks_again = stage.detail or ""
        raise OperationFailed("engine-unread", "the engine could not be read back", found=blocks_again)
    if stage.outcome is Outcome.FAIL:
        first = stage.findings[0]
        raise EvidenceInvalid(
            first.code,
            "the engine took the package and does not give it back whole",
            path=first.path,
            expected=first.expected,
            found=first.found,
            findings=stage.findings,
            advice="its disk may fail, or it keeps a damaged block: `ipfs block rm` it, then run this again",
        )


def move_to_embedded(kubo: KuboEngine, home: Home, rows: list[PackageRow], progress: Progress) -> Moved:
    """Bring every released bag back onto the disk; the daemon keeps what it has.

    After an error the same call goes on where it stopped.
    """
    away = [row for row in rows if is_released(home.root / row.folder)]
    progress.begin("bring back", files=sum(row.files for row in away), size=sum(row.bytes for row in away))
    for row in away:
        bring_back(home, kubo, row, progress)
    return Moved("embedded", len(away), len(rows) - len(away))


def _not_here(row: PackageRow) -> EvidenceMissing:
    return EvidenceMissing(
        "package-missing",
        "neither the disk nor the engine holds the whole package",
        path=row.folder,
        expected=format_cid(row.package_cid),
        advice="bring it back from another copy: `heritage copies` names those that are known",
    )
