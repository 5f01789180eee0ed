"""The Kubo engine: packages streamed into a Kubo daemon as CARv1, under CIDs that were computed here.

A package is held by one recursive pin whose name says of which ledger, asset and version it is. Names are
kept below `MAX_NAME` bytes by cutting the asset; the digest in them keeps two assets apart.

The daemon is not believed: it serves blocks that changed on its disk (`Datastore.HashOnRead` is off), and
its `pin/verify` sees neither that nor a block file that is gone (measured with 0.43). Every block that leaves
here is hashed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from typing import TYPE_CHECKING, Final, Self

from heritage_ledger.content.blocks import PackageKey, State, damaged_below
from heritage_ledger.content.car import encode_car, open_car
from heritage_ledger.content.cid import DAG_PB, RAW, Cid, codec_of, digest_of, format_cid, make_cid, parse_cid
from heritage_ledger.content.dagpb import parse_node
from heritage_ledger.content.reading import CHUNK_SIZE
from heritage_ledger.errors import EvidenceInvalid, EvidenceMissing, OperationFailed
from heritage_ledger.home.deep import open_regular

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from heritage_ledger.content.blocks import PackageBlocks
    from heritage_ledger.content.kubo_rpc import KuboRpc, Pin
    from heritage_ledger.content.package import FileRow

PREFIX: Final = "heritage-ledger:"
MAX_NAME: Final = 255
"""Bytes of a pin's name (Kubo's own limit)."""
_CUT_DIGEST: Final = 16


def pin_name(origin: str, package: PackageKey) -> str:
    """Return the name of a package's pin: `heritage-ledger:<origin> <asset> v<version>`."""
    name = f"{PREFIX}{origin} {package.asset} v{package.version}"
    if len(name.encode()) <= MAX_NAME:
        return name
    digest = hashlib.sha256(package.asset.encode()).hexdigest()[:_CUT_DIGEST]
    tail = f"…{digest} v{package.version}"
    room = MAX_NAME - len(f"{PREFIX}{origin} {tail}".encode())
    return f"{PREFIX}{origin} {package.asset.encode()[:room].decode(errors='ignore')}{tail}"


class KuboEngine:
    """An `Engine` over one daemon, for the ledger `origin` whose home is `root`. To be closed."""

    def __init__(self, rpc: KuboRpc, origin: str, root: Path) -> None:
        self.rpc = rpc
        self._origin = origin
        self._root = root

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the daemon."""
        self.rpc.close()

    def get(self, cid: Cid) -> bytes:
        """Return the block of `cid`; see `Engine.get`."""
        block = self.rpc.block_get(cid)
        if hashlib.sha256(block).digest() != digest_of(cid):
            raise EvidenceInvalid(
                "block-damaged",
                "Kubo answers with bytes that do not hash to the block's address",
                path=format_cid(cid),
                advice="check the disk under Kubo's repository (`ipfs repo verify`), then fill it again:"
                " `heritage engine move --to kubo`",
                rule="specs/engines.md",
            )
        return block

    def has(self, cid: Cid) -> bool:
        """Say whether the daemon gives bytes for `cid`; see `Engine.has`."""
        try:
            self.rpc.block_get(cid)
        except EvidenceMissing:
            return False
        return True

    def state(self, cid: Cid) -> State:
        """Read `cid` and say what was found; see `Engine.state`."""
        try:
            self.get(cid)
        except EvidenceMissing:
            return State.MISSING
        except EvidenceInvalid:
            return State.CHANGED
        return State.OK

    def add_package(self, package: PackageKey, root: Cid, folder: str, blocks: PackageBlocks) -> None:
        """Stream a package in and pin it by name; see `Engine.add_package`."""
        self.rpc.version()
        sections = encode_car([root], _blocks(self._root / folder, blocks))
        try:
            self.rpc.dag_import(root, sections)
        except OperationFailed as error:
            if error.code == "engine-refused":
                _check_files(self._root / folder, blocks)
            raise
        self.rpc.pin_add(root, pin_name(self._origin, package))

    def rename(self, package: PackageKey, root: Cid) -> None:
        """Give the pin of `root` the name of `package`."""
        self.rpc.pin_add(root, pin_name(self._origin, package))

    def remove_package(self, package: PackageKey, root: Cid) -> None:
        """Unpin a package, unless its pin bears the name of another; see `Engine.remove_package`."""
        if self.rpc.pin_name(root) == pin_name(self._origin, package):
            self.rpc.pin_rm(root)

    def is_pinned(self, root: Cid) -> bool:
        """Say whether `root` has a recursive pin of any name."""
        return self.rpc.pin_name(root) is not None

    def own_pins(self) -> Iterator[Pin]:
        """The pins of this ledger."""
        return (pin for pin in self.rpc.pins() if pin.name.startswith(f"{PREFIX}{self._origin} "))

    def mend(self, root: Cid, blocks: Mapping[Cid, bytes]) -> list[Cid]:
        """Store blocks below `root`, which were hashed, in place of missing or damaged ones.

        The daemon writes no block that it remembers to have (measured with 0.43). Such a one is removed
        first; own pins over it are taken away for that moment. Returned are those that a pin of others keeps
        as they are: after a restart of the daemon the same call replaces them.
        """
        car = [(cid, blocks[cid]) for cid in blocks]
        self.rpc.dag_import(root, encode_car([root], car))
        pins: dict[str, str] = {}
        stuck = [cid for cid in blocks if self.state(cid) is not State.OK]
        try:
            for cid in stuck:
                if self._unpinned(cid, pins):
                    self.rpc.block_rm(cid)
            if stuck:
                self.rpc.dag_import(root, encode_car([root], car))
        finally:
            for pinned, name in pins.items():
                with contextlib.suppress(EvidenceMissing):  # what is still missing is for the caller to say
                    self.rpc.pin_add(parse_cid(pinned), name)
        return [cid for cid in stuck if self.state(cid) is not State.OK]

    def _unpinned(self, cid: Cid, pins: dict[str, str]) -> bool:
        """Take away own pins until none is over `cid`; say whether that came about."""
        while (pinned := self.rpc.pin_over(cid)) is not None:
            name = self.rpc.pin_name(parse_cid(pinned))
            if name is None or not name.startswith(f"{PREFIX}{self._origin} ") or pinned in pins:
                return False
            pins[pinned] = name
            self.rpc.pin_rm(parse_cid(pinned))
        return True

    def damaged(self, root: Cid) -> Iterator[tuple[Cid, State]]:
        """Read every block below `root` and yield those that are not whole; see `Engine.damaged`.

        Blocks come in one stream as long as they are whole; after the first that is not, one by one.
        """
        seen: set[Cid] = set()
        todo = [root]
        try:
            with self.rpc.dag_export(root) as read:
                for cid, block in open_car(read).blocks:
                    seen.add(cid)
                    if codec_of(cid) == DAG_PB:
                        todo.extend(link.cid for link in parse_node(block).links)
        except (EvidenceInvalid, EvidenceMissing, OperationFailed):
            pass  # what is wrong is found below, block by block
        yield from damaged_below(self.get, todo, seen)


def _blocks(folder: Path, blocks: PackageBlocks) -> Iterator[tuple[Cid, bytes]]:
    """Every block of a package: its nodes, then the pieces of its files as they lie on the disk."""
    yield from blocks.nodes()
    for file in blocks.files():
        yield from _leaves(folder, file)


def _leaves(folder: Path, file: FileRow) -> Iterator[tuple[Cid, bytes]]:
    """The raw blocks of one file; their bytes are hashed by whoever takes them."""
    descriptor = open_regular(folder, file.path)
    try:
        if not file.leaves:
            yield file.cid, os.read(descriptor, CHUNK_SIZE)
            return
        for at in range(0, len(file.leaves), 32):
            yield make_cid(RAW, file.leaves[at : at + 32]), os.read(descriptor, CHUNK_SIZE)
    finally:
        os.close(descriptor)


def _check_files(folder: Path, blocks: PackageBlocks) -> None:
    """Find the file because of which an import was refused.

    Raises:
        EvidenceInvalid: `block-damaged`, with the file's path and where in it.
    """
    for file in blocks.files():
        for number, (cid, block) in enumerate(_leaves(folder, file)):
            if hashlib.sha256(block).digest() != digest_of(cid):
                raise EvidenceInvalid(
                    "block-damaged",
                    "the file is not what it was when it was addressed",
                    path=file.path,
                    expected=f"{format_cid(cid)} at byte {number * CHUNK_SIZE}",
                    advice="run `heritage verify` on the asset, and bring the file back from another copy",
                )
