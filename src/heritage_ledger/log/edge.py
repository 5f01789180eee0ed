"""The growing right edge of a log in memory: what the next append needs, and what it writes (`specs/log.md`).

The edge holds the last bundle and the last tile of every level as long as they are unfinished. Two things
are kept twice on purpose, so that a flipped bit in memory is found before a root is signed: the root comes
from the compact range and again from the tiles, and each bundle's digest is carried on from the entries as
they were given, not from the bytes that are written. (The Yeti 2022 log died of one such bit.)
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from heritage_ledger.errors import EvidenceInvalid
from heritage_ledger.log.merkle import HASH_SIZE, CompactRange, leaf_hash, root_of
from heritage_ledger.log.tiles import (
    TILE_HEIGHT,
    TILE_WIDTH,
    Bundle,
    Tile,
    decode_bundle,
    decode_tile,
    encode_entry,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from hashlib import _Hash

_TILE_SIZE: Final = TILE_WIDTH * HASH_SIZE


@dataclass(frozen=True, slots=True)
class Piece:
    """One file that an append writes: `digest` is its SHA-256, derived apart from `data`.

    For a bundle, `leaves` are the leaf hashes, joined, of the entries that begin at byte `offset`.
    """

    place: Tile | Bundle
    data: bytes
    digest: bytes
    offset: int = 0
    leaves: bytes = b""


class Edge:
    """The edge of a log of `size` entries with root `root`; `extend` makes the next one, this one stays."""

    __slots__ = ("_bundle", "_digest", "_range", "_tiles", "root", "size")

    def __init__(self, compact: CompactRange, tiles: Sequence[bytes], bundle: bytes, digest: _Hash) -> None:
        """Put the edge together; `tiles[level]` and `bundle` are empty where nothing is unfinished.

        `digest` is SHA-256 of the bundle, carried on apart from it.
        """
        self.size = compact.size
        self.root = compact.root()
        self._range = compact
        self._tiles = tuple(tiles)
        self._bundle = bundle
        self._digest = digest

    @classmethod
    def empty(cls) -> Edge:
        """Return the edge of a log without entries."""
        return cls(CompactRange(), [], b"", sha256())

    @classmethod
    def load(
        cls,
        size: int,
        root: bytes,
        *,
        read_tile: Callable[[int, int, int], bytes],
        read_bundle: Callable[[int, int], bytes],
    ) -> Edge:
        """Return the edge at `size`, from files that are all checked against `root`.

        Args:
            size: entries in the log.
            root: the signed root at that size.
            read_tile: gives the bytes of a tile by level, index and width.
            read_bundle: gives the bytes of a bundle by index and width.

        Raises:
            EvidenceInvalid: `log-root`, the tiles do not come to the root; `log-bundle-damaged`, the last
                bundle does not hash to its tile; what the readers raise.
        """
        tiles = []
        level = 0
        while hashes := size >> (TILE_HEIGHT * level):
            width = hashes % TILE_WIDTH
            tiles.append(read_tile(level, hashes // TILE_WIDTH, width) if width else b"")
            level += 1
        width = size % TILE_WIDTH
        bundle = read_bundle(size // TILE_WIDTH, width) if width else b""
        leaves = b"".join(leaf_hash(entry) for entry in decode_bundle(bundle, width))
        if leaves != (tiles[0] if tiles else b""):
            raise _bundle_damaged(Bundle(size // TILE_WIDTH, width).path)
        edge = cls(compact_of(size, tiles), tiles, bundle, sha256(bundle))
        if edge.root != root:
            raise EvidenceInvalid(
                "log-root",
                "the tiles at the log's edge do not come to the signed root",
                expected=root.hex(),
                found=edge.root.hex(),
                advice="run `heritage log verify` to see which file is damaged",
            )
        return edge

    def extend(self, entries: Sequence[bytes]) -> tuple[Edge, list[Piece]]:
        """Return the edge after `entries`, and the files to write: those of the entries first.

        Raises:
            UsageError: `log-entry-size`.
            EvidenceInvalid: `log-memory`, two computations of the same value disagree.
        """
        growth = _Growth(self._range.copy(), self._tiles, self._bundle, self._digest.copy())
        for entry in entries:
            growth.append(entry)
        pieces = growth.finish()
        tiles = [bytes(tile) for tile in growth.tiles]
        edge = Edge(growth.range, tiles, growth.bundle, growth.digest)
        edge.check()
        return edge, pieces

    def check(self) -> None:
        """Compute the root once more, from the tiles.

        Raises:
            EvidenceInvalid: `log-memory`, it is not the root that the compact range gives.
        """
        found = compact_of(self.size, self._tiles).root()
        if found != self.root:
            raise EvidenceInvalid(
                "log-memory",
                "two computations of the new root disagree; nothing was signed",
                expected=self.root.hex(),
                found=found.hex(),
                advice="the machine's memory may be failing: test it before the next append",
            )


class _Growth:
    """The work of one `extend`."""

    def __init__(self, compact: CompactRange, tiles: Sequence[bytes], bundle: bytes, digest: _Hash) -> None:
        self.range = compact
        self.tiles = [bytearray(tile) for tile in tiles]
        self.bundle = bundle
        self.digest = digest
        self._encoded: list[bytes] = []
        self._leaves: list[bytes] = []
        self._touched: set[int] = set()
        self._bundles: list[Piece] = []
        self._full: list[Piece] = []

    def append(self, entry: bytes) -> None:
        encoded = encode_entry(entry)
        self._encoded.append(encoded)
        self.digest.update(encoded)
        leaf = leaf_hash(entry)
        self._leaves.append(leaf)
        finished = self.range.append(leaf)
        for level, value in enumerate(finished[::TILE_HEIGHT]):
            self._grow_tile(level, value)
        if self.range.size % TILE_WIDTH == 0:
            self._write_bundle(TILE_WIDTH)
            self.bundle = b""
            self.digest = sha256()

    def finish(self) -> list[Piece]:
        size = self.range.size
        if self._encoded:
            self._write_bundle(size % TILE_WIDTH)
        for level in sorted(self._touched):
            hashes = size >> (TILE_HEIGHT * level)
            self._full.append(_tile_piece(level, hashes // TILE_WIDTH, self.tiles[level]))
        return self._bundles + self._full

    def _grow_tile(self, level: int, value: bytes) -> None:
        if level == len(self.tiles):
            self.tiles.append(bytearray())
        tile = self.tiles[level]
        tile += value
        self._touched.add(level)
        if len(tile) == _TILE_SIZE:
            index = (self.range.size >> (TILE_HEIGHT * level)) // TILE_WIDTH - 1
            self._full.append(_tile_piece(level, index, tile))
            tile.clear()
            self._touched.discard(level)

    def _write_bundle(self, width: int) -> None:
        place = Bundle((self.range.size - 1) // TILE_WIDTH, width)
        offset = len(self.bundle)
        self.bundle = b"".join((self.bundle, *self._encoded))
        leaves = b"".join(self._leaves)
        self._bundles.append(Piece(place, self.bundle, self.digest.digest(), offset, leaves))
        self._encoded.clear()
        self._leaves.clear()


def check_piece(piece: Piece, found: bytes) -> None:
    """Check a file that was read back, before anything is signed: its bytes, and its new entries' hashes.

    Raises:
        EvidenceInvalid: `log-readback`, it is not what was to be written.
    """
    good = sha256(found).digest() == piece.digest
    if good and isinstance(piece.place, Bundle):
        entries = decode_bundle(found[piece.offset :], len(piece.leaves) // HASH_SIZE)
        good = b"".join(leaf_hash(entry) for entry in entries) == piece.leaves
    if not good:
        raise EvidenceInvalid(
            "log-readback",
            "a file read back is not what was written; nothing was signed",
            path=piece.place.path,
            advice="the disk or the memory may be failing: test both before the next append",
        )


def _tile_piece(level: int, index: int, tile: bytearray) -> Piece:
    data = bytes(tile)
    return Piece(Tile(level, index, len(data) // HASH_SIZE), data, sha256(tile).digest())


def compact_of(size: int, tiles: Sequence[bytes]) -> CompactRange:
    """Return the compact range that the unfinished tiles of all levels add up to."""
    hashes: list[bytes] = []
    for tile in reversed(tiles):
        width = len(tile) // HASH_SIZE
        row = decode_tile(tile, width)
        start = 0
        for height in range(TILE_HEIGHT - 1, -1, -1):
            if width >> height & 1:
                hashes.append(root_of(row[start : start + (1 << height)]))
                start += 1 << height
    return CompactRange(size, hashes)


def _bundle_damaged(path: str) -> EvidenceInvalid:
    return EvidenceInvalid(
        "log-bundle-damaged",
        "the entries do not hash to their tile",
        path=path,
        advice="run `heritage log verify` to see which file is damaged",
    )
