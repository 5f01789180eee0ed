"""Reading a log's files, each read checked (C2SP tlog-tiles; `specs/log.md`).

Works on any folder with this layout: one's own log, a mirror, a copy from a web server. Files may hold more
than the size that is asked about: a partial tile or bundle is the beginning of every wider one, so one that
has been removed since is read from the next wider one.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Final

from heritage_ledger.errors import (
    EvidenceInvalid,
    EvidenceMissing,
    HeritageError,
    OperationFailed,
    UsageError,
)
from heritage_ledger.log.checkpoint import open_checkpoint
from heritage_ledger.log.merkle import (
    HASH_SIZE,
    check_inclusion,
    leaf_hash,
    prove_consistency,
    prove_inclusion,
    prove_root,
    root_of,
)
from heritage_ledger.log.note import MAX_NOTE_SIZE
from heritage_ledger.log.tiles import (
    MAX_BUNDLE_SIZE,
    TILE_HEIGHT,
    TILE_WIDTH,
    Bundle,
    Tile,
    decode_bundle,
    width_at,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Sequence
    from pathlib import Path

    from heritage_ledger.log.checkpoint import Checkpoint
    from heritage_ledger.log.merkle import Subtree
    from heritage_ledger.log.note import Note, NoteVerifier

CHECKPOINT: Final = "checkpoint"
"""The name of the published checkpoint."""
_READ_SIZE: Final = 1 << 20
_READ_TRIES: Final = 3
"""A partial file may be replaced by a wider one between listing and opening; each try lists anew."""


class LogFiles:
    """The files of one log below `folder`. Nothing is kept between calls; any thread may use it.

    Every reader raises `EvidenceMissing` (`log-tile-missing`, `log-bundle-missing`,
    `log-checkpoint-missing`), `EvidenceInvalid` (`log-tile-damaged`, `log-bundle-damaged`) with the path
    below `folder`, or `OperationFailed` (`log-unreadable`).
    """

    __slots__ = ("folder",)

    def __init__(self, folder: Path) -> None:
        """Read below `folder`; nothing is opened yet."""
        self.folder = folder

    def read_checkpoint(self) -> bytes:
        """Return the published checkpoint, unchecked."""
        data = self._read(CHECKPOINT, MAX_NOTE_SIZE)
        if data is None:
            raise EvidenceMissing(
                "log-checkpoint-missing",
                "the log has no published checkpoint",
                path=CHECKPOINT,
                advice="the log's head in state.db still holds it: run `heritage doctor`",
            )
        return data

    def open_checkpoint(self, verifiers: Sequence[NoteVerifier], origin: str) -> tuple[Checkpoint, Note]:
        """Return the published checkpoint, checked as `checkpoint.open_checkpoint` does."""
        return open_checkpoint(self.read_checkpoint(), verifiers, origin)

    def read_tile(self, level: int, index: int, width: int) -> bytes:
        """Return the first `width` hashes of a tile, joined; their truth is not checked here."""
        for tile in self._wider(Tile(level, index, width)):
            data = self._read(tile.path, TILE_WIDTH * HASH_SIZE)
            if data is None:
                continue
            if len(data) != tile.width * HASH_SIZE:
                raise EvidenceInvalid(
                    "log-tile-damaged",
                    "the tile does not hold the hashes that it should",
                    path=tile.path,
                    expected=f"{tile.width * HASH_SIZE} bytes",
                    found=f"{len(data)} bytes",
                )
            return data[: width * HASH_SIZE]
        raise _missing_tile(Tile(level, index, width))

    def read_bundle(self, index: int, width: int) -> bytes:
        """Return the first `width` entries of a bundle as they stand there; not compared with the tile."""
        for place in self._wider(Bundle(index, width)):
            data = self._read(place.path, MAX_BUNDLE_SIZE)
            if data is not None:
                try:
                    entries = decode_bundle(data, place.width)
                except EvidenceInvalid as error:
                    raise _bundle_damaged(place, error.message, error.expected, error.found) from error
                return data[: sum(len(entry) + 2 for entry in entries[:width])]
        raise EvidenceMissing(
            "log-bundle-missing",
            "a bundle of entries is not there",
            path=Bundle(index, width).path,
            advice="fetch it from a mirror of the log",
        )

    def read_hashes(self, subtrees: Sequence[Subtree], size: int) -> list[bytes]:
        """Return the hashes of complete subtrees of the tree of `size` leaves, from the tiles."""
        tiles: dict[tuple[int, int], bytes] = {}
        hashes = []
        for height, index in subtrees:
            level, rest = divmod(height, TILE_HEIGHT)
            first = index << rest
            key = (level, first // TILE_WIDTH)
            if key not in tiles:
                tiles[key] = self.read_tile(*key, width_at(*key, size))
            start = (first % TILE_WIDTH) * HASH_SIZE
            row = tiles[key][start : start + (HASH_SIZE << rest)]
            if len(row) != HASH_SIZE << rest:
                raise UsageError("merkle-range", "the tree does not reach so far", found=f"size {size}")
            hashes.append(root_of([row[at : at + HASH_SIZE] for at in range(0, len(row), HASH_SIZE)]))
        return hashes

    def root(self, size: int) -> bytes:
        """Return the root of the first `size` entries, from the tiles at that size's edge."""
        return prove_root(size, lambda subtrees: self.read_hashes(subtrees, size))

    def read_entry(self, index: int, size: int) -> bytes:
        """Return entry `index` of a log of `size` entries, checked against its leaf hash."""
        return next(self.read_entries(index, index + 1, size))

    def read_entries(self, start: int, end: int, size: int) -> Iterator[bytes]:
        """Yield the entries from start to end of a log of `size`, each checked against its leaf hash."""
        if not 0 <= start <= end <= size:
            raise UsageError(
                "log-range",
                "the log has no such entries",
                expected=f"0 to {size}",
                found=f"{start} to {end}",
            )
        for number in range(start // TILE_WIDTH, -(-end // TILE_WIDTH)):
            base = number * TILE_WIDTH
            width = min(TILE_WIDTH, size - base)
            entries = decode_bundle(self.read_bundle(number, width), width)
            tile = self.read_tile(0, number, width)
            for at in range(max(start - base, 0), min(end - base, width)):
                if leaf_hash(entries[at]) != tile[at * HASH_SIZE : (at + 1) * HASH_SIZE]:
                    raise self._blame(base + at, tile, size)
                yield entries[at]

    def find_entries(
        self, fits: Callable[[bytes], bool], start: int, end: int, size: int, *, but: Container[int] = ()
    ) -> Iterator[tuple[int, bytes]]:
        """Yield index and bytes of the entries from start to end that `fits` says yes to, each checked.

        Those of `but` are known already and not yielded.

        `fits` gets whole bundles first, and the entries of those that it says yes to: a bundle holds what one
        of its entries holds. What is passed over is not checked against its leaf hash.
        """
        for number in range(start // TILE_WIDTH, -(-end // TILE_WIDTH)):
            base = number * TILE_WIDTH
            width = min(TILE_WIDTH, size - base)
            bundle = self.read_bundle(number, width)
            if not fits(bundle):
                continue
            for at, entry in enumerate(decode_bundle(bundle, width), base):
                if start <= at < end and at not in but and fits(entry):
                    yield at, self.read_entry(at, size)

    def prove_inclusion(self, index: int, size: int, root: bytes | None = None) -> tuple[bytes, ...]:
        """Return the inclusion proof of entry `index` in the tree of `size`, checked before it is given out.

        Args:
            index: of the entry, from 0.
            size: of the tree.
            root: the signed root at that size; without it, the root that the tiles come to.

        Raises:
            EvidenceInvalid: `merkle-inclusion`, the tiles do not prove it: one is damaged.
        """

        def read(subtrees: Sequence[Subtree]) -> list[bytes]:
            return self.read_hashes(subtrees, size)

        proof = prove_inclusion(index, size, read)
        check_inclusion(read([(0, index)])[0], index, size, proof, root or self.root(size))
        return proof

    def prove_consistency(self, old_size: int, new_size: int) -> tuple[bytes, ...]:
        """Return the proof that the tree of `new_size` begins with that of `old_size`, from the tiles."""
        return prove_consistency(old_size, new_size, lambda subtrees: self.read_hashes(subtrees, new_size))

    def partial_widths(self, place: Tile | Bundle) -> list[int]:
        """Return the widths of the partial files that are there for a tile or bundle, rising."""
        # the folder of `tile/0/000.p/5` holds nothing but partial tiles named by their widths
        folder = self.folder / _with_width(place, 1).path.rpartition("/")[0]
        try:
            names = [entry.name for entry in folder.iterdir()]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise _unreadable(place.path, error) from error
        return sorted(int(name) for name in names if name.isdecimal() and name.isascii() and len(name) < 4)

    def _wider(self, place: Tile | Bundle) -> Iterator[Tile | Bundle]:
        """Yield the places that begin with the hashes or entries of `place`, the likeliest first."""
        yield place
        if place.width == TILE_WIDTH:
            return
        for _ in range(_READ_TRIES):
            for width in self.partial_widths(place):
                if place.width <= width < TILE_WIDTH:
                    yield _with_width(place, width)
            yield _with_width(place, TILE_WIDTH)

    def _blame(self, index: int, tile: bytes, size: int) -> HeritageError:
        """Return the error for an entry that does not hash to its leaf: the tile's fault or the bundle's."""
        number, width = index // TILE_WIDTH, len(tile) // HASH_SIZE
        if width == TILE_WIDTH:
            parent = self.read_hashes([(TILE_HEIGHT, number)], size)[0]
            row = [tile[at : at + HASH_SIZE] for at in range(0, len(tile), HASH_SIZE)]
            if root_of(row) != parent:
                return EvidenceInvalid(
                    "log-tile-damaged",
                    "the tile's hashes do not come to the hash above it",
                    path=Tile(0, number).path,
                )
        return _bundle_damaged(
            Bundle(number, width), f"entry {index} does not hash to its leaf in the tree", None, None
        )

    def _read(self, path: str, limit: int) -> bytes | None:
        """Return a whole file, None when it is not there; at most one byte more than `limit` is read."""
        try:
            # O_NONBLOCK: a fifo in the file's place must not hang the reader
            descriptor = os.open(
                self.folder / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            )
        except OSError as error:
            if error.errno in {errno.ENOENT, errno.ENOTDIR}:
                return None
            raise _unreadable(path, error) from error
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OperationFailed("log-unreadable", "this is not a plain file", path=path)
            return _read_all(descriptor, limit + 1)
        except OSError as error:
            raise _unreadable(path, error) from error
        finally:
            os.close(descriptor)


def _with_width(place: Tile | Bundle, width: int) -> Tile | Bundle:
    return Tile(place.level, place.index, width) if isinstance(place, Tile) else Bundle(place.index, width)


def _read_all(descriptor: int, limit: int) -> bytes:
    parts = []
    while limit > 0 and (part := os.read(descriptor, min(limit, _READ_SIZE))):
        parts.append(part)
        limit -= len(part)
    return b"".join(parts)


def _missing_tile(tile: Tile) -> EvidenceMissing:
    return EvidenceMissing(
        "log-tile-missing",
        "a tile of hashes is not there",
        path=tile.path,
        advice="fetch it from a mirror of the log, or compute it from the entries",
    )


def _bundle_damaged(
    place: Tile | Bundle, message: str, expected: str | None, found: str | None
) -> EvidenceInvalid:
    return EvidenceInvalid(
        "log-bundle-damaged",
        message,
        path=place.path,
        expected=expected,
        found=found,
        advice="fetch it from a mirror of the log",
    )


def _unreadable(path: str, error: OSError) -> OperationFailed:
    return OperationFailed(
        "log-unreadable",
        f"the file cannot be read: {error.strerror}",
        path=path,
        advice="check the disk, and owner and permissions of the file",
    )
