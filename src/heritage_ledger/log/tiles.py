"""Tiles and entry bundles: the log as static files (C2SP tlog-tiles v0.1.0; `specs/log.md`).

    tile/<level>/<index>[.p/<width>]       256 hashes (8,192 bytes), or fewer at the tree's right edge
    tile/entries/<index>[.p/<width>]       256 entries, each after its length in two bytes, big-endian

A tile of level L holds the hashes of complete subtrees of height 8·L. The index is written in groups of three
digits, all but the last with an `x` before them: 1234067 is `x001/x234/067`. A partial tile of a tree of s
leaves has floor(s / 256**L) mod 256 hashes; an empty tile does not exist.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from heritage_ledger.errors import EvidenceInvalid, UsageError
from heritage_ledger.log.merkle import HASH_SIZE, MAX_TREE_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TILE_HEIGHT: Final = 8
"""Levels of the tree in one tile."""
TILE_WIDTH: Final = 1 << TILE_HEIGHT
"""Hashes of a full tile; entries of a full bundle."""
MAX_ENTRY_SIZE: Final = 65_535
"""Bytes of one entry: its length stands in two bytes."""
MAX_BUNDLE_SIZE: Final = TILE_WIDTH * (2 + MAX_ENTRY_SIZE)
"""Bytes of the largest entry bundle."""
MAX_LEVEL: Final = 63
"""Highest level that a tile's path may name; a tree of 2**63 - 1 leaves has levels 0 to 7."""

_PATH: Final = re.compile(
    r"tile/(entries|0|[1-9]|[1-5][0-9]|6[0-3])/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?"
)


@dataclass(frozen=True, slots=True)
class Tile:
    """A tile's place: its level, its index in the level, and how many hashes it has."""

    level: int
    index: int
    width: int = TILE_WIDTH

    @property
    def path(self) -> str:
        """The tile's path below the log's prefix."""
        return tile_path(self.level, self.index, self.width)


@dataclass(frozen=True, slots=True)
class Bundle:
    """An entry bundle's place: its index, and how many entries it has."""

    index: int
    width: int = TILE_WIDTH

    @property
    def path(self) -> str:
        """The bundle's path below the log's prefix."""
        return bundle_path(self.index, self.width)


def tile_path(level: int, index: int, width: int = TILE_WIDTH) -> str:
    """Return the path of a tile.

    >>> tile_path(0, 1234067)
    'tile/0/x001/x234/067'
    >>> tile_path(1, 0, 17)
    'tile/1/000.p/17'
    """
    if not 0 <= level <= MAX_LEVEL:
        raise UsageError("log-tile-path", "there is no such tile level", found=str(level))
    return f"tile/{level}/{_index_path(index, width)}"


def bundle_path(index: int, width: int = TILE_WIDTH) -> str:
    """Return the path of an entry bundle.

    >>> bundle_path(0, 15)
    'tile/entries/000.p/15'
    """
    return f"tile/entries/{_index_path(index, width)}"


def parse_path(path: str) -> Tile | Bundle:
    """Return the place that a tile's or bundle's path names; formatting it gives `path` back.

    Raises:
        EvidenceInvalid: `log-tile-path`.
    """
    match = _PATH.fullmatch(path)
    index = int(match[2].replace("x", "").replace("/", "")) if match and len(path) < 64 else -1
    width = int(match[3]) if match and match[3] else TILE_WIDTH
    if match and 0 <= index <= MAX_TREE_SIZE // TILE_WIDTH and (not match[3] or width < TILE_WIDTH):
        place = Bundle(index, width) if match[1] == "entries" else Tile(int(match[1]), index, width)
        if place.path == path:
            return place
    raise EvidenceInvalid(
        "log-tile-path",
        "this is not the path of a tile or an entry bundle",
        expected="tile/<level or entries>/<index>[.p/<width>]",
        found=repr(path[:80]),
        rule="C2SP tlog-tiles, APIs",
    )


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """Return 1 to 256 entries as a bundle.

    Raises:
        UsageError: `log-entry-size`, an entry is larger than 65,535 bytes; `log-bundle-width`.
    """
    if not 1 <= len(entries) <= TILE_WIDTH:
        raise UsageError(
            "log-bundle-width", "a bundle holds 1 to 256 entries", found=f"{len(entries)} entries"
        )
    return b"".join(encode_entry(entry) for entry in entries)


def encode_entry(entry: bytes) -> bytes:
    """Return an entry after its length, as it stands in a bundle.

    Raises:
        UsageError: `log-entry-size`.
    """
    if len(entry) > MAX_ENTRY_SIZE:
        raise UsageError(
            "log-entry-size",
            "the entry is too large for the log",
            expected=f"at most {MAX_ENTRY_SIZE} bytes",
            found=f"{len(entry)} bytes",
            advice="put the larger evidence into a package and log its address and digest",
        )
    return len(entry).to_bytes(2, "big") + entry


def decode_bundle(data: bytes, width: int) -> list[bytes]:
    """Return the `width` entries of a bundle.

    Raises:
        EvidenceInvalid: `log-bundle-damaged`, it does not hold exactly so many whole entries.
    """
    entries: list[bytes] = []
    position = 0
    while position < len(data) and len(entries) < width:
        start = position + 2
        position = start + int.from_bytes(data[position:start], "big")
        entries.append(data[start:position])
    if position != len(data) or len(entries) != width:
        raise EvidenceInvalid(
            "log-bundle-damaged",
            "the bundle does not hold the entries that it should",
            expected=f"{width} whole entries",
            found=f"{len(data)} bytes that do not divide into them",
            rule="C2SP tlog-tiles, Log entries",
        )
    return entries


def decode_tile(data: bytes, width: int) -> list[bytes]:
    """Return the `width` hashes of a tile.

    Raises:
        EvidenceInvalid: `log-tile-damaged`, it has another size.
    """
    if len(data) != width * HASH_SIZE:
        raise EvidenceInvalid(
            "log-tile-damaged",
            "the tile does not hold the hashes that it should",
            expected=f"{width * HASH_SIZE} bytes",
            found=f"{len(data)} bytes",
            rule="C2SP tlog-tiles, Merkle Tree",
        )
    return [data[start : start + HASH_SIZE] for start in range(0, len(data), HASH_SIZE)]


def tiles_of(size: int) -> Iterator[Tile]:
    """Yield the tiles of a tree of `size` leaves: level by level, full ones first."""
    level = 0
    while hashes := size >> (TILE_HEIGHT * level):
        for index in range(hashes // TILE_WIDTH):
            yield Tile(level, index)
        if width := hashes % TILE_WIDTH:
            yield Tile(level, hashes // TILE_WIDTH, width)
        level += 1


def bundles_of(size: int) -> Iterator[Bundle]:
    """Yield the entry bundles of a log of `size` entries, in order."""
    for index in range(size // TILE_WIDTH):
        yield Bundle(index)
    if width := size % TILE_WIDTH:
        yield Bundle(size // TILE_WIDTH, width)


def width_at(level: int, index: int, size: int) -> int:
    """Return how many hashes tile `index` of `level` has in a tree of `size` leaves, 0 for none."""
    return max(0, min(TILE_WIDTH, (size >> (TILE_HEIGHT * level)) - index * TILE_WIDTH))


def _index_path(index: int, width: int) -> str:
    if not (0 <= index <= MAX_TREE_SIZE // TILE_WIDTH and 1 <= width <= TILE_WIDTH):
        raise UsageError("log-tile-path", "there is no such tile", found=f"index {index}, width {width}")
    groups = [f"{index % 1000:03d}"]
    while index := index // 1000:
        groups.append(f"x{index % 1000:03d}")
    path = "/".join(reversed(groups))
    return path if width == TILE_WIDTH else f"{path}.p/{width}"
