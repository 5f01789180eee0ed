"""The embedded engine: no second copy of any payload.

A raw leaf is a reference into a file of a sealed bag: path, offset, length. Only dag-pb nodes are stored as
bytes, about 50 for each MiB of payload. Both are rows of the index, written in the transaction that records
the package's event and made again by any rebuild; `BlockRows` is what the engine asks of them.

A reference is no promise about the file. Each read hashes what it got; where several packages hold the same
chunk, a copy that is gone or changed is passed over for the next.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from heritage_ledger.content.blocks import State
from heritage_ledger.content.cid import DAG_PB, codec_of, digest_of, format_cid
from heritage_ledger.content.dagpb import MAX_BLOCK, parse_node
from heritage_ledger.errors import EvidenceInvalid, EvidenceMissing
from heritage_ledger.home.deep import open_regular

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from heritage_ledger.content.blocks import PackageBlocks, PackageKey
    from heritage_ledger.content.cid import Cid


@dataclass(frozen=True, slots=True)
class Reference:
    """`length` bytes from `offset` of the file `path`, relative to the home, with `/` between its parts."""

    path: str
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Copies:
    """What the rows know of one digest: a node's bytes, or None, and the places of raw copies."""

    node: bytes | None = None
    references: Sequence[Reference] = ()


class BlockRows(Protocol):
    """The rows that the engine reads; kept by the index."""

    def lookup(self, digest: bytes) -> Copies:
        """Return what is known of the block whose SHA-256 is `digest`; empty `Copies` when nothing is.

        The rows of every recorded package are seen, those of others never. An empty file has a reference of
        length 0; a digest may have a node, references, or both.
        """

    def lookup_many(self, digests: Sequence[bytes]) -> Mapping[bytes, Copies]:
        """Return the same for several digests at once; it need not tell of every copy."""


class EmbeddedEngine:
    """An `Engine` over the bags of a home and the rows of its index; it writes nothing."""

    __slots__ = ("_root", "_rows")

    def __init__(self, root: Path, rows: BlockRows) -> None:
        """`root` is the home's folder, to which the paths of references are relative."""
        self._root = root
        self._rows = rows

    def get(self, cid: Cid) -> bytes:
        """Return the block of `cid`; see `Engine.get`."""
        block, state = self._find(digest_of(cid))
        if block is not None:
            return block
        if state is State.CHANGED:
            raise EvidenceInvalid(
                "block-damaged",
                "no copy of the block hashes to its address",
                path=format_cid(cid),
                advice="run `heritage verify` to see which file changed",
                rule="specs/addresses.md",
            )
        raise _missing(cid, "the block is not here")

    def get_many(self, cids: Sequence[Cid]) -> Iterator[tuple[Cid, bytes]]:
        """Yield those blocks that are here and whole, read one at a time."""
        known = self._rows.lookup_many([digest_of(cid) for cid in cids])
        for cid in cids:
            digest = digest_of(cid)
            block, _ = self._first_whole(known[digest], digest) if digest in known else (None, None)
            if block is None:
                block, _ = self._find(digest)
            if block is not None:
                yield cid, block

    def has(self, cid: Cid) -> bool:
        """Say whether there is a row for `cid`; see `Engine.has`."""
        copies = self._rows.lookup(digest_of(cid))
        return copies.node is not None or bool(copies.references)

    def state(self, cid: Cid) -> State:
        """Read the copies of `cid` until one is whole; see `Engine.state`."""
        return self._find(digest_of(cid))[1]

    def states(self, cid: Cid) -> Iterator[tuple[Reference, State]]:
        """Read every referenced copy of `cid` and yield what was found of each."""
        digest = digest_of(cid)
        for reference in self._rows.lookup(digest).references:
            yield reference, self._read(reference, digest)[1]

    def add_package(self, package: PackageKey, root: Cid, folder: str, blocks: PackageBlocks) -> None:  # noqa: ARG002 - the protocol's
        """Check that the index has taken the package's rows, which is all that this engine needs.

        Raises:
            EvidenceMissing: `block-missing`: it has not.
        """
        if not self.has(root):
            raise _missing(root, f"the index has no rows of {package.asset}, version {package.version}")

    def remove_package(self, package: PackageKey, root: Cid) -> None:
        """Do nothing: a package is gone from here when the index has deleted its rows."""

    def damaged(self, root: Cid) -> Iterator[tuple[Cid, State]]:
        """Read every block below `root` once and yield those that are not whole; see `Engine.damaged`."""
        seen = {root}
        todo = [root]
        while todo:
            cid = todo.pop()
            block, state = self._find(digest_of(cid))
            if block is None:
                yield cid, state
            elif codec_of(cid) == DAG_PB:
                children = dict.fromkeys(link.cid for link in parse_node(block).links)
                new = [child for child in children if child not in seen]
                seen.update(new)
                todo.extend(reversed(new))

    def _find(self, digest: bytes) -> tuple[bytes | None, State]:
        return self._first_whole(self._rows.lookup(digest), digest)

    def _first_whole(self, copies: Copies, digest: bytes) -> tuple[bytes | None, State]:
        state = State.MISSING
        if copies.node is not None:
            if hashlib.sha256(copies.node).digest() == digest:
                return copies.node, State.OK
            state = State.CHANGED
        for reference in copies.references:
            block, found = self._read(reference, digest)
            if block is not None:
                return block, found
            if found is State.CHANGED:
                state = found
        return None, state

    def _read(self, reference: Reference, digest: bytes) -> tuple[bytes | None, State]:
        if not 0 <= reference.length <= MAX_BLOCK:
            return None, State.MISSING
        try:
            block = _read_piece(self._root, reference.path, reference.offset, reference.length)
        except OSError:
            return None, State.MISSING
        if len(block) == reference.length and hashlib.sha256(block).digest() == digest:
            return block, State.OK
        return None, State.CHANGED


def _read_piece(root: Path, path: str, offset: int, length: int) -> bytes:
    """Read up to `length` bytes at `offset`; less only where the file ends before."""
    descriptor = open_regular(root, path)
    try:
        parts = []
        while length:
            part = os.pread(descriptor, length, offset)
            if not part:
                break
            parts.append(part)
            offset += len(part)
            length -= len(part)
        return b"".join(parts)
    finally:
        os.close(descriptor)


def _missing(cid: Cid, message: str) -> EvidenceMissing:
    return EvidenceMissing(
        "block-missing",
        message,
        path=format_cid(cid),
        advice="run `heritage index rebuild` if its bag is here",
    )
