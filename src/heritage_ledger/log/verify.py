"""Checking a whole log: every entry, tile, root and signature, going on after damage (`specs/log.md`).

Each hash is known from up to three places: computed from below, stored in a tile, and as a part of the hash
above it. Where they disagree the odd one out is the damaged file; along the right edge, where there is no
hash above, the signed root decides. Files beyond the checkpoint are not looked at: they belong to an append
that has not ended, or never will.
"""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from heritage_ledger.errors import EvidenceInvalid, Finding, HeritageError, Severity
from heritage_ledger.log.checkpoint import open_checkpoint, read_unverified, unsigned
from heritage_ledger.log.edge import compact_of
from heritage_ledger.log.files import CHECKPOINT
from heritage_ledger.log.merkle import EMPTY_ROOT, HASH_SIZE, leaf_hash, root_of
from heritage_ledger.log.tiles import (
    TILE_HEIGHT,
    TILE_WIDTH,
    Bundle,
    Tile,
    decode_bundle,
    parse_path,
    width_at,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
    from typing import TypeAlias

    from heritage_ledger.home.state import Head
    from heritage_ledger.log.files import LogFiles
    from heritage_ledger.log.note import NoteVerifier

    EachEntry: TypeAlias = Callable[[int, bytes], Iterable[Finding]]
    _Claim: TypeAlias = tuple[int, bytes]
    Findings: TypeAlias = Generator[Finding, None, None]

_MIRROR: Final = "fetch it from a mirror of the log, or restore it from a backup"


def check_log(
    files: LogFiles,
    origin: str,
    verifiers: Sequence[NoteVerifier],
    *,
    read_head: Callable[[], Head | None] | None = None,
    each_entry: EachEntry | None = None,
) -> Iterator[Finding]:
    """Yield what is wrong with the log in `files`; nothing is yielded about a log that is whole.

    The log may grow meanwhile; what it holds when the check begins is checked.

    Args:
        files: the log.
        origin: its name.
        verifiers: the log's own keys. Each of them must have signed the checkpoint.
        read_head: gives the log's head in `state.db`, where there is one.
        each_entry: called with the index and bytes of each entry that hashes to its leaf, in order; yields
            findings of its own.

    Yields:
        Findings with the codes of the table in `specs/log.md`; `path` is below the log's folder.
    """
    signed, claim = yield from _check_checkpoint(files, origin, verifiers)
    head = read_head() if read_head is not None else None
    if head is not None:
        if signed is not None:
            yield from _compare(signed, head)
        if signed is None or signed[0] < head.size:
            claim = (head.size, head.root)
    if claim is not None:
        yield from check_tree(files, *claim, each_entry=each_entry)


def check_tree(
    files: LogFiles, size: int, root: bytes, *, each_entry: EachEntry | None = None
) -> Iterator[Finding]:
    """Yield what is wrong with the tree of `size` leaves whose trusted root is `root`."""
    check = _TreeCheck(files, size)
    yield from check.leaves(each_entry)
    level = 1
    while size >> (TILE_HEIGHT * level):
        yield from check.climb(level)
        level += 1
    yield from check.settle(root)
    yield from check.partials()


def _check_checkpoint(
    files: LogFiles, origin: str, verifiers: Sequence[NoteVerifier]
) -> Generator[Finding, None, tuple[_Claim | None, _Claim | None]]:
    """Return the size and root that the log signed, and those that the checkpoint says, signed or not."""
    try:
        data = files.read_checkpoint()
    except HeritageError as error:
        yield error.finding
        return None, None
    try:
        checkpoint, note = open_checkpoint(data, verifiers, origin, every=False)  # each is named below
    except EvidenceInvalid as error:
        yield _at(CHECKPOINT, error)
        return None, _unsigned_claim(data, origin)
    for verifier in unsigned(note, verifiers):
        yield Finding(
            "log-signature-missing",
            "one of the log's keys did not sign the checkpoint",
            path=CHECKPOINT,
            expected=f"a signature by {verifier.name} ({verifier.key_id.hex()})",
            advice="the checkpoint was changed, or the key that you hold is not the log's",
        )
    claim = (checkpoint.size, checkpoint.root)
    return claim, claim


def _unsigned_claim(data: bytes, origin: str) -> _Claim | None:
    """Return what a checkpoint says that nobody signed: good enough to look for damage beside it."""
    try:
        checkpoint = read_unverified(data)
    except EvidenceInvalid:
        return None
    return (checkpoint.size, checkpoint.root) if checkpoint.origin == origin else None


def _compare(claim: _Claim, head: Head) -> Findings:
    size, root = claim
    if size > head.size:
        yield Finding(
            "log-state-behind",
            "the published checkpoint is beyond the head in state.db",
            path=CHECKPOINT,
            expected=f"at most {head.size} entries",
            found=f"{size} entries",
            advice="state.db is older than the log: do not append; restore the state.db of the same time",
        )
    elif size == head.size and root != head.root:
        yield Finding(
            "log-fork",
            "the published checkpoint and the head in state.db have one size and two roots",
            path=CHECKPOINT,
            expected=head.root.hex(),
            found=root.hex(),
            advice="do not append; keep both and compare them with the witnesses and mirrors",
        )
    elif size < head.size:
        yield Finding(
            "log-checkpoint-behind",
            "the published checkpoint is older than the head in state.db",
            path=CHECKPOINT,
            expected=f"{head.size} entries",
            found=f"{size} entries",
            advice="an append was cut short: the next write publishes the newer one",
            severity=Severity.WARNING,
        )


@dataclass(frozen=True, slots=True)
class _Row:
    """The hashes of one tile, from the file and from below, and whom to blame when they differ."""

    tile: Tile
    stored: list[bytes] | None
    computed: list[bytes] | None

    @property
    def best(self) -> list[bytes]:
        return self.computed or self.stored or [EMPTY_ROOT] * self.tile.width


class _TreeCheck:
    """One pass from the leaves to the root."""

    def __init__(self, files: LogFiles, size: int) -> None:
        self._files = files
        self._size = size
        self._roots: list[bytes] = []  # of the full tiles of the level last passed
        self._edges: list[list[bytes]] = []  # the unfinished tile of each level
        self._doubts: list[_Row] = []
        self._blamed: set[str] = set()
        self._unknown = False

    def leaves(self, each_entry: EachEntry | None) -> Findings:
        """Check every bundle against its tile."""
        self._edges.append([])
        for number in range(-(-self._size // TILE_WIDTH)):
            width = min(TILE_WIDTH, self._size - number * TILE_WIDTH)
            entries = yield from self._entries(Bundle(number, width))
            computed = None if entries is None else [leaf_hash(entry) for entry in entries]
            row = yield from self._row(Tile(0, number, width), computed)
            trusted = yield from self._decide(row)
            if each_entry is None or entries is None or computed is None:
                continue
            for at, entry in enumerate(entries):
                if computed[at] == trusted[at]:
                    yield from each_entry(number * TILE_WIDTH + at, entry)

    def climb(self, level: int) -> Findings:
        """Check the tiles of `level` against the full tiles below them."""
        below, self._roots = self._roots, []
        self._edges.append([])
        for number in range(-(-len(below) // TILE_WIDTH)):
            computed = below[number * TILE_WIDTH : (number + 1) * TILE_WIDTH]
            row = yield from self._row(Tile(level, number, len(computed)), computed)
            yield from self._decide(row)

    def settle(self, root: bytes) -> Findings:
        """Decide the doubts along the right edge by the signed root."""
        for choice in itertools.product((False, True), repeat=len(self._doubts)):
            for row, take_stored in zip(self._doubts, choice, strict=True):
                self._edges[row.tile.level] = (row.stored if take_stored else row.computed) or []
            if self._root() == root:
                for row, take_stored in zip(self._doubts, choice, strict=True):
                    yield from self._blame_below(row) if take_stored else self._blame_tile(row.tile)
                return
        for row in self._doubts:
            yield from self._blame_tile(row.tile)
            yield from self._blame_below(row)
        if not self._unknown:
            yield Finding(
                "log-root",
                "the entries and tiles do not come to the signed root",
                path=CHECKPOINT,
                expected=root.hex(),
                found=self._root().hex(),
                advice="compare the log with a mirror: the log's files, or its checkpoint, were replaced",
            )

    def partials(self) -> Findings:
        """Check the partial files of older sizes: each is the beginning of the tile or bundle it led to."""
        root = self._files.folder
        for folder, _, names in os.walk(root / "tile"):
            if not folder.endswith(".p"):
                continue
            for name in sorted(names):
                path = f"{os.path.relpath(folder, root)}/{name}"
                try:
                    place = parse_path(path)
                except EvidenceInvalid:
                    continue  # a temporary file; no reader asks for it
                yield from self._check_partial(place)

    def _check_partial(self, place: Tile | Bundle) -> Findings:
        level = place.level if isinstance(place, Tile) else 0
        width = width_at(level, place.index, self._size)
        if place.width >= width or place.path in self._blamed:
            return
        try:
            trusted = (
                self._edges[level]
                if width < TILE_WIDTH
                else _split(self._files.read_tile(level, place.index, width))
            )
            if isinstance(place, Tile):
                found = _split(self._files.read_tile(level, place.index, place.width))
            else:
                data = self._files.read_bundle(place.index, place.width)
                found = [leaf_hash(entry) for entry in decode_bundle(data, place.width)]
        except HeritageError as error:
            if error.path == place.path:  # else another file, which was named before
                yield error.finding
            return
        if found != trusted[: place.width]:
            yield from self._blame_tile(place) if isinstance(place, Tile) else self._blame_bundle(place)

    def _entries(self, bundle: Bundle) -> Generator[Finding, None, list[bytes] | None]:
        try:
            return decode_bundle(self._files.read_bundle(bundle.index, bundle.width), bundle.width)
        except HeritageError as error:
            self._blamed.add(bundle.path)
            yield error.finding
            return None

    def _row(self, tile: Tile, computed: list[bytes] | None) -> Generator[Finding, None, _Row]:
        stored = None
        try:
            stored = _split(self._files.read_tile(tile.level, tile.index, tile.width))
        except HeritageError as error:
            self._blamed.add(tile.path)
            yield error.finding
        return _Row(tile, stored, computed)

    def _decide(self, row: _Row) -> Generator[Finding, None, list[bytes]]:
        """Return the hashes to go on with, and hand them up."""
        trusted, tile = row.best, row.tile
        if row.stored is None and row.computed is None:
            self._unknown = True
        if row.stored is None or row.computed is None or row.stored == row.computed:
            pass
        elif tile.width < TILE_WIDTH:
            self._doubts.append(row)
        else:
            above = self._above(tile)
            if above == root_of(row.stored):
                trusted = row.stored
                yield from self._blame_below(row)
            else:
                yield from self._blame_tile(tile)
                if tile.level == 0 and above != root_of(row.computed):
                    yield from self._blame_below(row)
        if tile.width == TILE_WIDTH:
            known = row.stored is not None or row.computed is not None
            self._roots.append(root_of(trusted) if known else self._above(tile) or EMPTY_ROOT)
        else:
            self._edges[tile.level] = trusted
        return trusted

    def _above(self, tile: Tile) -> bytes | None:
        try:
            height = TILE_HEIGHT * (tile.level + 1)
            return self._files.read_hashes([(height, tile.index)], self._size)[0]
        except HeritageError:
            return None

    def _root(self) -> bytes:
        return compact_of(self._size, [b"".join(row) for row in self._edges]).root()

    def _blame_below(self, row: _Row) -> Findings:
        """Name what the computed hashes came from, where they differ from the stored ones."""
        if row.tile.level == 0:
            yield from self._blame_bundle(Bundle(row.tile.index, row.tile.width))
            return
        pairs = zip(row.stored or (), row.computed or (), strict=True)
        for at, (stored, computed) in enumerate(pairs):
            if stored != computed:
                index = row.tile.index * TILE_WIDTH + at
                yield from self._blame_tile(Tile(row.tile.level - 1, index))
                if row.tile.level == 1:
                    yield from self._blame_bundle(Bundle(index))

    def _blame_tile(self, tile: Tile) -> Findings:
        if tile.path not in self._blamed:
            self._blamed.add(tile.path)
            yield Finding(
                "log-tile-damaged",
                "the tile holds hashes that the entries and the signed root do not give",
                path=tile.path,
                advice=_MIRROR,
                rule="C2SP tlog-tiles, Merkle Tree",
            )

    def _blame_bundle(self, bundle: Bundle) -> Findings:
        if bundle.path not in self._blamed:
            self._blamed.add(bundle.path)
            yield Finding(
                "log-bundle-damaged",
                "the bundle holds entries that do not hash to the signed tree",
                path=bundle.path,
                advice=_MIRROR,
                rule="C2SP tlog-tiles, Log entries",
            )


def _split(tile: bytes) -> list[bytes]:
    return [tile[at : at + HASH_SIZE] for at in range(0, len(tile), HASH_SIZE)]


def _at(path: str, error: HeritageError) -> Finding:
    return Finding(error.code, error.message, path, error.expected, error.found, error.advice, error.rule)
