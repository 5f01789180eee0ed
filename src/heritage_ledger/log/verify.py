"""Checking a whole log: every entry, tile, root and signature, going on after damage (`specs/log.md`).

Each hash is known from up to three places: computed from below, stored in a tile, and as a part of the hash
above it. Where they disagree the odd one out is the damaged file; along the right edge, where there is no
hash above, the signed root decides. Files beyond the checkpoint are not looked at: they belong to an append
that has not ended, or never will.
"""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from heritage_ledger.errors import EvidenceInvalid, Finding, HeritageError, Severity
from heritage_ledger.log.checkpoint import open_checkpoint
from heritage_ledger.log.files import CHECKPOINT
from heritage_ledger.log.merkle import EMPTY_ROOT, HASH_SIZE, CompactRange, leaf_hash, root_of
from heritage_ledger.log.tiles import TILE_HEIGHT, TILE_WIDTH, Bundle, Tile, decode_bundle, parse_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from heritage_ledger.home.state import Head
    from heritage_ledger.log.checkpoint import Checkpoint
    from heritage_ledger.log.files import LogFiles
    from heritage_ledger.log.note import NoteVerifier

_MIRROR: Final = "fetch it from a mirror of the log, or restore it from a backup"


@dataclass(frozen=True, slots=True)
class _Doubt:
    """An unfinished tile whose stored hashes and those computed from below disagree."""

    level: int
    stored: list[bytes]
    computed: list[bytes]
    if_stored: Finding
    if_computed: Finding | None


def check_log(
    files: LogFiles,
    origin: str,
    verifiers: Sequence[NoteVerifier],
    *,
    head: Head | None = None,
    each_entry: Callable[[int, bytes], Iterable[Finding]] | None = None,
) -> Iterator[Finding]:
    """Yield what is wrong with the log in `files`; nothing is yielded about a log that is whole.

    Args:
        files: the log.
        origin: its name.
        verifiers: the log's own keys. Every key given must have signed the checkpoint.
        head: the log's head in `state.db`, where there is one.
        each_entry: called with the index and bytes of each entry that is what the tree says, in order.

    Yields:
        Findings with the codes of the table in `specs/log.md`; `path` is below the log's folder.
    """
    checkpoint = yield from _check_checkpoint(files, origin, verifiers, head)
    if checkpoint is None:
        return
    yield from check_tree(files, checkpoint.size, checkpoint.root, each_entry=each_entry)


def check_tree(
    files: LogFiles,
    size: int,
    root: bytes,
    *,
    each_entry: Callable[[int, bytes], Iterable[Finding]] | None = None,
) -> Iterator[Finding]:
    """Yield what is wrong with the tree of `size` leaves whose trusted root is `root`."""
    check = _TreeCheck(files, size)
    yield from check.leaves(each_entry)
    level = 1
    while size >> (TILE_HEIGHT * level):
        yield from check.climb(level)
        level += 1
    yield from check.settle(root)
    yield from _check_partials(files, size)


class _TreeCheck:
    """One pass from the leaves to the root; `_row` holds the hashes of the level below, the best known."""

    def __init__(self, files: LogFiles, size: int) -> None:
        self._files = files
        self._size = size
        self._row: list[bytes] = []
        self._edges: list[list[bytes]] = []
        self._doubts: list[_Doubt] = []

    def leaves(self, each: Callable[[int, bytes], Iterable[Finding]] | None) -> Iterator[Finding]:
        """Check every bundle against its tile, and full tiles against the hash above them."""
        self._edges.append([])
        for number in range(-(-self._size // TILE_WIDTH)):
            width = min(TILE_WIDTH, self._size - number * TILE_WIDTH)
            bundle, tile = Bundle(number, width), Tile(0, number, width)
            entries, problem = self._entries(bundle)
            stored, missing = self._stored(tile)
            yield from (finding for finding in (problem, missing) if finding is not None)
            computed = None if entries is None else [leaf_hash(entry) for entry in entries]
            trusted = yield from self._decide(
                tile, stored, computed, _damaged_tile(tile), _damaged_bundle(bundle, stored, computed)
            )
            if each is not None and entries is not None and computed is not None:
                for at, entry in enumerate(entries):
                    if computed[at] == trusted[at]:
                        yield from each(number * TILE_WIDTH + at, entry)

    def climb(self, level: int) -> Iterator[Finding]:
        """Check the tiles of `level` against the hashes of the full tiles below them."""
        row, self._row = self._row, []
        self._edges.append([])
        for number in range(-(-len(row) // TILE_WIDTH)):
            computed = row[number * TILE_WIDTH : (number + 1) * TILE_WIDTH]
            tile = Tile(level, number, len(computed))
            stored, missing = self._stored(tile)
            if missing is not None:
                yield missing
            yield from self._decide(tile, stored, computed, _damaged_tile(tile), None)

    def settle(self, root: bytes) -> Iterator[Finding]:
        """Decide the doubts along the right edge by the signed root."""
        for choice in itertools.product((False, True), repeat=len(self._doubts)):
            edges = list(self._edges)
            for doubt, take_stored in zip(self._doubts, choice, strict=True):
                edges[doubt.level] = doubt.stored if take_stored else doubt.computed
            if _root(self._size, edges) == root:
                for doubt, take_stored in zip(self._doubts, choice, strict=True):
                    finding = doubt.if_computed if take_stored else doubt.if_stored
                    if finding is not None:
                        yield finding
                return
        for doubt in self._doubts:
            yield doubt.if_stored
            if doubt.if_computed is not None:
                yield doubt.if_computed
        yield Finding(
            "log-root",
            "the entries and tiles do not come to the signed root",
            path=CHECKPOINT,
            expected=root.hex(),
            found=_root(self._size, self._edges).hex(),
            advice="compare the log with a mirror; the files named here, or the checkpoint, were changed",
        )

    def _decide(
        self,
        tile: Tile,
        stored: list[bytes] | None,
        computed: list[bytes] | None,
        if_stored: Finding,
        if_computed: Finding | None,
    ) -> _Decision:
        """Choose between stored and computed hashes, say which file is damaged, and hand the result up."""
        full = tile.width == TILE_WIDTH
        trusted = computed if computed is not None else stored
        above = self._above(tile) if full else None
        if trusted is None:  # neither is there: the hash above stands in, where it is
            trusted = [EMPTY_ROOT] * tile.width
            self._hand_up(tile, trusted, above)
            return trusted
        if stored is not None and computed is not None and stored != computed:
            if not full:
                self._doubts.append(_Doubt(tile.level, stored, computed, if_stored, if_computed))
            elif above == root_of(stored):
                trusted = stored
                if if_computed is not None:
                    yield if_computed
            else:
                yield if_stored
                if above != root_of(computed) and if_computed is not None:
                    yield if_computed
        self._hand_up(tile, trusted, None)
        return trusted

    def _hand_up(self, tile: Tile, trusted: list[bytes], above: bytes | None) -> None:
        if tile.width == TILE_WIDTH:
            self._row.append(above or root_of(trusted))
        else:
            self._edges[tile.level] = trusted

    def _above(self, tile: Tile) -> bytes | None:
        try:
            height = TILE_HEIGHT * (tile.level + 1)
            return self._files.read_hashes([(height, tile.index)], self._size)[0]
        except HeritageError:
            return None

    def _entries(self, bundle: Bundle) -> tuple[list[bytes] | None, Finding | None]:
        try:
            data = self._files.read_bundle(bundle.index, bundle.width)
            return decode_bundle(data, bundle.width), None
        except HeritageError as error:
            return None, error.finding

    def _stored(self, tile: Tile) -> tuple[list[bytes] | None, Finding | None]:
        try:
            data = self._files.read_tile(tile.level, tile.index, tile.width)
        except HeritageError as error:
            return None, error.finding
        return [data[at : at + HASH_SIZE] for at in range(0, len(data), HASH_SIZE)], None
