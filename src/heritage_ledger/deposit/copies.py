"""Copies beyond this machine: asked for at the replication target, read back peer by peer, counted.

What the target says is shown and not believed: a copy counts when every block of it was read from that peer
and hashes to its address (`specs/engines.md`, "Copies").
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from heritage_ledger.content.blocks import PackageKey, State, damaged_below
from heritage_ledger.content.cid import format_cid
from heritage_ledger.content.kubo import KuboEngine, pin_name
from heritage_ledger.content.replication import CopyState
from heritage_ledger.deposit.engines import open_kubo
from heritage_ledger.errors import Finding, HeritageError, Severity, UsageError
from heritage_ledger.fixity.verdict import Outcome
from heritage_ledger.home.settings_table import read_secret
from heritage_ledger.index.resolve import packages_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heritage_ledger.content.cid import Cid
    from heritage_ledger.content.replication import PeerCopy, Replicator
    from heritage_ledger.home.layout import Home
    from heritage_ledger.home.settings import Reader, Replication, Settings
    from heritage_ledger.index.rows import PackageRow
    from heritage_ledger.index.store import Index
    from heritage_ledger.progress import Progress

MAX_ORIGINS: Final = 20
"""Addresses handed to a pinning service (the API's own limit)."""


@dataclass(frozen=True, slots=True)
class CheckedCopy:
    """One peer's copy: `state` and `said` by the target, `outcome` by reading its blocks, `detail` why."""

    peer: str
    state: CopyState
    said: str
    outcome: Outcome
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class PackageCopies:
    """The copies of one package; `wanted` is the fewest that the settings ask for."""

    asset: str
    version: int
    package_cid: str
    wanted: int
    copies: tuple[CheckedCopy, ...]

    @property
    def verified(self) -> int:
        """How many copies were read back whole."""
        return sum(1 for copy in self.copies if copy.outcome is Outcome.PASS)

    @property
    def finding(self) -> Finding | None:
        """What is wrong: too few verified copies, or None."""
        if self.verified >= self.wanted:
            return None
        return Finding(
            "copies-few",
            "fewer copies were read back whole than are wanted",
            f"{self.asset} version {self.version}",
            expected=f"{self.wanted} copies",
            found=f"{self.verified} of {len(self.copies)} that the target tells of",
            advice="`heritage replicate` asks again; a table [copies.PEER] says how a peer's copy is read",
        )


class Copies:
    """The copies of one ledger's packages at the target that the settings name."""

    def __init__(self, home: Home, settings: Settings, index: Index) -> None:
        self._home = home
        self._settings = settings
        self._index = index

    def _target(self) -> Replication:
        target = self._settings.content.replication
        if target is None:
            raise UsageError(
                "copies-target",
                "heritage.toml names nothing that keeps copies",
                expected='cluster = "http://…:9094" or pinning = "https://…" in [content]',
                advice="see specs/engines.md",
            )
        return target

    def _rows(self, asset: str | None) -> list[PackageRow]:
        return list(self._index.packages()) if asset is None else packages_of(self._index, asset)

    def ask(self, asset: str | None = None, *, progress: Progress) -> int:
        """Ask for the copies of an asset's packages (or those of a CID, or all); return of how many packages.

        Raises:
            UsageError: no target is named (`copies-target`), the engine cannot be fetched from
                (`copies-engine`), a peer's name is not known there (`copies-peer`).
            OperationFailed: the target has not enough peers (`copies-refused`).
            EvidenceMissing: there is no such package.
            TemporaryFailure, KeyProblem: the target does not answer.
        """
        rows = self._rows(asset)
        progress.begin("ask for copies", files=len(rows))
        with _replicator(self._home, self._settings, self._target()) as replicator:
            for row in rows:
                _ask(replicator, self._settings, PackageKey(row.asset, row.version), row.package_cid)
                progress.advance(files=1)
        return len(rows)

    def look(
        self, asset: str | None = None, *, read: bool = True, progress: Progress
    ) -> Iterator[PackageCopies]:
        """Yield the copies of each package; with `read` every block of every copy is fetched and hashed.

        Raises:
            UsageError: no target is named (`copies-target`).
            EvidenceMissing: there is no such package.
            TemporaryFailure, KeyProblem: the target does not answer.
        """
        rows = self._rows(asset)
        target = self._target()
        with contextlib.ExitStack() as held:
            replicator = held.enter_context(_replicator(self._home, self._settings, target))
            for row in rows:
                progress.begin(f"read the copies of {row.asset} version {row.version}")
                found = replicator.copies(row.package_cid)
                copies = tuple(self._checked(copy, row.package_cid, read=read) for copy in found)
                yield PackageCopies(
                    row.asset, row.version, format_cid(row.package_cid), target.copies_min, copies
                )

    def _checked(self, copy: PeerCopy, root: Cid, *, read: bool) -> CheckedCopy:
        reader = self._settings.readers.get(copy.peer)
        if copy.state is not CopyState.HELD:
            outcome, detail = Outcome.NOT_CHECKED, None
        elif not read:
            outcome, detail = Outcome.NOT_CHECKED, "not read"
        elif reader is None:
            outcome, detail = Outcome.NOT_CHECKED, f"no table [copies.{copy.peer}] says how to read it"
        else:
            outcome, detail = self._read(reader, root)
        return CheckedCopy(copy.peer, copy.state, copy.said, outcome, detail)

    def _read(self, reader: Reader, root: Cid) -> tuple[Outcome, str | None]:
        """Read a copy to its first block that is not whole."""
        try:
            with _damaged(reader, root, self._settings, self._home) as found:
                wrong = next(found, None)
        except HeritageError as error:
            return Outcome.NOT_CHECKED, str(error)
        if wrong is None:
            return Outcome.PASS, f"every block read from {reader.api}"
        cid, state = wrong
        return Outcome.FAIL, f"block {format_cid(cid)} is {state.value}"


@contextlib.contextmanager
def _damaged(
    reader: Reader, root: Cid, settings: Settings, home: Home
) -> Iterator[Iterator[tuple[Cid, State]]]:
    from heritage_ledger.content.gateway import Gateway  # noqa: PLC0415 - HTTP costs 100 ms, only here
    from heritage_ledger.content.http import parse_address  # noqa: PLC0415 - the same
    from heritage_ledger.content.kubo_rpc import KuboRpc  # noqa: PLC0415 - the same

    address, token = parse_address(reader.api, ca_file=settings.content.ca_file), read_secret(reader.token)
    if reader.kind == "gateway":
        with contextlib.closing(Gateway(address, token)) as gateway:
            yield damaged_below(gateway.get, [root], set())
    else:
        with KuboEngine(KuboRpc(address, token), settings.origin, home.root) as kubo:
            yield kubo.damaged(root)


@contextlib.contextmanager
def _replicator(home: Home, settings: Settings, target: Replication) -> Iterator[Replicator]:
    from heritage_ledger.content.cluster import Cluster  # noqa: PLC0415 - HTTP costs 100 ms, only here
    from heritage_ledger.content.http import parse_address  # noqa: PLC0415 - the same
    from heritage_ledger.content.pinning import PinningService  # noqa: PLC0415 - the same

    address, token = parse_address(target.api, ca_file=settings.content.ca_file), read_secret(target.token)
    if settings.content.engine != "kubo":
        raise UsageError(
            "copies-engine",
            "copies are fetched from this institution's Kubo, and the engine is the embedded one",
            expected='engine = "kubo"',
            found=f'engine = "{settings.content.engine}"',
            advice="run `heritage engine move --to kubo` first",
        )
    with contextlib.ExitStack() as held:
        replicator: Replicator
        if target.kind == "cluster":
            replicator = Cluster(address, token)
        else:
            kubo = held.enter_context(open_kubo(settings, home))
            replicator = PinningService(address, token, origins=kubo.rpc.addresses()[:MAX_ORIGINS])
        held.callback(replicator.close)
        yield replicator


def _ask(replicator: Replicator, settings: Settings, package: PackageKey, root: Cid) -> None:
    target = settings.content.replication
    assert target is not None
    name = pin_name(settings.origin, package)
    replicator.ask(root, name, target.copies_min, target.copies_max, target.allocations)


def ask_for(home: Home, settings: Settings, package: PackageKey, root: Cid) -> tuple[Finding, ...]:
    """Ask for copies of a package just recorded; what goes wrong is a warning: the deposit is safe."""
    target = settings.content.replication
    if target is None:
        return ()
    try:
        with _replicator(home, settings, target) as replicator:
            _ask(replicator, settings, package, root)
    except HeritageError as error:
        return (
            Finding(
                "copies-later",
                "the package is recorded, but no copies could be asked for yet",
                f"{package.asset} version {package.version}",
                found=f"{error.code}: {error}",
                advice="run `heritage replicate` once the cause is gone",
                severity=Severity.WARNING,
            ),
        )
    return ()
