"""Mirrors: verified copies of other institutions' logs (`specs/federation.md`).

A mirror has the files of the log that it copies, in the same layout, so that anyone can read it in its place.
Its head lies in `state.db` and only grows. Nothing is written before it was checked against the signed root
that the pull goes to: first the tree's edge, from there every tile down to the leaves, and every bundle
against its leaves. Files come before the head moves, the published checkpoint after it; a pull that was cut
off finds the full tiles and bundles that it had, and checks them instead of fetching them again.

Two checkpoints of one log that cannot both be true end a pull with `ForkFound`, which holds the proof.
"""

from __future__ import annotations

import contextlib
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from heritage_ledger.errors import EvidenceInvalid, EvidenceMissing, HeritageError
from heritage_ledger.home.durable import writing
from heritage_ledger.home.state import Head
from heritage_ledger.log.checkpoint import open_checkpoint
from heritage_ledger.log.disk import LogDisk
from heritage_ledger.log.edge import compact_of
from heritage_ledger.log.files import CHECKPOINT, LogFiles
from heritage_ledger.log.fork import ForkProof, check_fork
from heritage_ledger.log.merkle import check_consistency, leaf_hash, prove_consistency, prove_root, root_of
from heritage_ledger.log.tiles import TILE_HEIGHT, TILE_WIDTH, Bundle, Tile, decode_bundle, decode_tile
from heritage_ledger.progress import SILENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Future
    from pathlib import Path
    from typing import TypeAlias

    from heritage_ledger.home.state import StateStore
    from heritage_ledger.log.checkpoint import Checkpoint
    from heritage_ledger.log.merkle import Subtree
    from heritage_ledger.log.note import NoteVerifier
    from heritage_ledger.progress import Progress

    Fetch: TypeAlias = Callable[[str, int], bytes | None]

BUNDLES_AT_ONCE: Final = 16
"""Bundles that are put on the disk together: 4,096 entries."""
BYTES_AT_ONCE: Final = 8 << 20
"""Bytes of bundles that are checked and wait to be put on the disk; a bundle may have 16 MiB itself."""
_SIGNED: Final = "\n— ".encode()
FETCH_THREADS: Final = 3
"""Requests under way at once: enough that a distant log is not waited for entry by entry, few enough that
the largest bundles fit into the memory of a node."""


class ForkFound(EvidenceInvalid):
    """A log showed two histories; `proof` shows it to anyone."""

    def __init__(self, origin: str, proof: ForkProof, *, smaller: int, larger: int) -> None:
        super().__init__(
            "log-forked",
            "the log has signed two histories",
            path=origin,
            expected=f"a tree of {larger} entries that begins with the one of {smaller}",
            found="another beginning",
            advice="keep the fork proof; ask the institution what happened, and trust neither branch alone",
            rule="specs/federation.md",
        )
        self.proof = proof


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a pull did: the size before and after it, and how many bundles had to be fetched."""

    old_size: int
    size: int
    fetched: int


class Quota(Protocol):
    """What bounds a mirror; each method raises when there is more than is taken."""

    def check_entries(self, old_size: int, size: int) -> None:
        """Ask whether a mirror may grow from `old_size` to `size` entries, before anything is fetched."""

    def charge(self, size: int, files: int) -> None:
        """Ask whether `size` bytes in so many files may be written, before they are."""


class FetchedLog(LogFiles):
    """The files of a log that lie elsewhere: `fetch` gets a path and a size limit, and returns the bytes.

    None says that there is no such file; what is read is as untrue as any file until it is checked.
    """

    __slots__ = ("_entries", "_fetch", "_last")

    def __init__(self, folder: Path, fetch: Fetch, *, last: Bundle | None = None) -> None:
        """`folder` is only a name here; nothing is read from it.

        Where all that is wanted lies in the one unfinished bundle `last`, its tile is not fetched: it is what
        the entries hash to.
        """
        super().__init__(folder)
        self._fetch = fetch
        self._last = last
        self._entries: bytes | None = None

    def read_tile(self, level: int, index: int, width: int) -> bytes:
        """Return the first `width` hashes of a tile, joined; their truth is not checked here."""
        last = self._last
        if last is None or (level, index) != (0, last.index) or width > last.width:
            return super().read_tile(level, index, width)
        entries = decode_bundle(self.read_bundle(last.index, last.width), last.width)
        return b"".join(map(leaf_hash, entries[:width]))

    def read_bundle(self, index: int, width: int) -> bytes:
        """Return the first `width` entries of a bundle as they stand there; not compared with the tile."""
        if self._last != Bundle(index, width):
            return super().read_bundle(index, width)
        if self._entries is None:
            self._entries = super().read_bundle(index, width)
        return self._entries

    def partial_widths(self, place: Tile | Bundle) -> list[int]:  # noqa: ARG002 - no one lists them for us
        """Return nothing: a web server need not list its folders."""
        return []

    def _read(self, path: str, limit: int) -> bytes | None:
        return self._fetch(path, limit)


def mirrored_name(origin: str) -> str:
    """The name under which the state keeps how far a mirror has come; no origin holds a space."""
    return f"mirror {origin}"


class Mirror:
    """The mirror of one log. One pull at a time: the caller holds the mirror's lock."""

    def __init__(
        self,
        folder: Path,
        state: StateStore,
        origin: str,
        verifiers: Sequence[NoteVerifier],
        *,
        name: str | None = None,
    ) -> None:
        """Keep the log `origin` below `folder`; each of `verifiers` must have signed its checkpoints.

        `name` is that of the head in `state`: the origin itself for an own log that is brought back.
        """
        self._name = name or mirrored_name(origin)
        self.files = LogFiles(folder)
        self.origin = origin
        self._state = state
        self._verifiers = tuple(verifiers)

    def head(self) -> Head | None:
        """How far this mirror has come; None before the first pull."""
        return self._state.head(self._name)

    def open_checkpoint(self, data: bytes) -> Checkpoint:
        """Return a checkpoint of the log, its signature checked."""
        return open_checkpoint(data, self._verifiers, self.origin)[0]

    def compare(self, data: bytes, source: LogFiles | None = None) -> Checkpoint:
        """Check a signed checkpoint of the log against what is here, and return it.

        One that is larger is compared by the tiles of `source`, and not at all without one.

        Raises:
            ForkFound: both cannot be true.
            EvidenceInvalid: it is not signed by the log (codes of `open_checkpoint`), or the source's tiles
                do not lead to its root (`mirror-source`).
        """
        checkpoint, head = self.open_checkpoint(data), self.head()
        if head is None or head.size == 0 or checkpoint.size == 0:
            return checkpoint
        if checkpoint.size <= head.size:
            self._compare_smaller(checkpoint, data, head)
        elif source is not None:
            self._compare_larger(checkpoint, data, head, source)
        return checkpoint

    def _compare_smaller(self, checkpoint: Checkpoint, data: bytes, head: Head) -> None:
        def read(subtrees: Sequence[Subtree]) -> list[bytes]:
            return self.files.read_hashes(subtrees, head.size)

        prefix = prove_root(checkpoint.size, read)
        if prefix == checkpoint.root:
            return
        hashes = prove_consistency(checkpoint.size, head.size, read)
        self._accuse(ForkProof(data, head.checkpoint, prefix, hashes), checkpoint.size, head.size)

    def _compare_larger(self, checkpoint: Checkpoint, data: bytes, head: Head, source: LogFiles) -> None:
        def read(subtrees: Sequence[Subtree]) -> list[bytes]:
            return source.read_hashes(subtrees, checkpoint.size)

        prefix = prove_root(head.size, read)
        hashes = prove_consistency(head.size, checkpoint.size, read)
        try:
            check_consistency(head.size, checkpoint.size, hashes, prefix, checkpoint.root)
        except EvidenceInvalid as error:
            raise _bad_source("tile", "the tiles do not lead to the signed root") from error
        if prefix != head.root:
            self._accuse(ForkProof(head.checkpoint, data, prefix, hashes), head.size, checkpoint.size)

    def _accuse(self, proof: ForkProof, smaller: int, larger: int) -> None:
        """Raise `ForkFound`, unless the proof does not hold: then what is stored here is damaged."""
        check_fork(proof, self._verifiers, self.origin)
        raise ForkFound(self.origin, proof, smaller=smaller, larger=larger)

    def pull(
        self, source: LogFiles, data: bytes, *, progress: Progress = SILENT, quota: Quota | None = None
    ) -> Pulled:
        """Bring the mirror up to the signed checkpoint `data`, from the files of `source`.

        A checkpoint that is not larger than the mirror changes nothing, once it was compared. `quota` is
        asked before anything is fetched, and before each batch is written.

        Raises:
            ForkFound: the log shows two histories; nothing is changed.
            EvidenceInvalid: `mirror-source`, what the source gives is not what the log signed; what
                `compare` raises.
            EvidenceMissing: the source lacks a file (`log-tile-missing`, `log-bundle-missing`).
            DiskProblem: the disk is full or failing.
        """
        checkpoint = self.compare(data, source)
        head = self.head()
        size = 0 if head is None else head.size
        if head is not None and checkpoint.size <= size:
            if checkpoint.size == size and data.count(_SIGNED) > head.checkpoint.count(_SIGNED):
                head = Head(size, head.root, data)  # the same tree, cosigned by more
                self._state.swap_head(self._name, size, head)
            self._settle(head)
            return Pulled(size, size, 0)
        if quota is not None:
            quota.check_entries(size, checkpoint.size)
        with writing(self.files.folder):
            self.files.folder.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(LogDisk(self.files.folder)) as disk:
            work = _Pull(self.files, source, disk, size, checkpoint, quota)
            work.run(progress)
            new = Head(checkpoint.size, checkpoint.root, data)
            if head is None:
                self._state.create_head(self._name, new)
            else:
                self._state.swap_head(self._name, head.size, new)
            _publish(disk, data)
            work.remove_partials()
        return Pulled(size, checkpoint.size, work.fetched)

    def refill(self, source: LogFiles, data: bytes, *, progress: Progress = SILENT) -> Pulled:
        """Bring back what is missing or torn below the head too, and what `source` has beyond it.

        Files that lie here whole are checked and kept. `data` is the checkpoint of `source`.

        Raises:
            EvidenceMissing: `log-tail-missing`, the source has not come as far as the head.
            ForkFound, EvidenceInvalid, EvidenceMissing, DiskProblem: as `pull`.
        """
        checkpoint, head = self.open_checkpoint(data), self.head()
        size = 0 if head is None else head.size
        if checkpoint.size < size:
            raise EvidenceMissing(
                "log-tail-missing",
                "the source has fewer entries than the log had",
                path=self.origin,
                expected=f"{size} entries",
                found=f"{checkpoint.size} entries",
            )
        if head is not None and checkpoint.size > size > 0:
            self._compare_larger(checkpoint, data, head, source)
        elif head is not None and checkpoint.root != head.root:
            self._accuse(ForkProof(head.checkpoint, data, checkpoint.root, ()), size, size)
        with contextlib.closing(LogDisk(self.files.folder)) as disk:
            work = _Pull(self.files, source, disk, 0, checkpoint)
            work.run(progress)
            if head is None:
                head = Head(checkpoint.size, checkpoint.root, data)
                self._state.create_head(self._name, head)
            elif checkpoint.size > size:
                head = Head(checkpoint.size, checkpoint.root, data)
                self._state.swap_head(self._name, size, head)
            _publish(disk, head.checkpoint)
        return Pulled(size, head.size, work.fetched)

    def _settle(self, head: Head) -> None:
        """Publish the head's checkpoint, where a crash came between."""
        with contextlib.suppress(HeritageError):
            if self.files.read_checkpoint() == head.checkpoint:
                return
        with contextlib.closing(LogDisk(self.files.folder)) as disk:
            _publish(disk, head.checkpoint)


class _Pull:
    """The work of one pull, from `start` entries to those of `checkpoint`."""

    def __init__(  # noqa: PLR0917 - the parts of a pull
        self,
        files: LogFiles,
        source: LogFiles,
        disk: LogDisk,
        start: int,
        checkpoint: Checkpoint,
        quota: Quota | None = None,
    ) -> None:
        self.fetched = 0
        self._quota = quota
        self._files = files
        self._source = source
        self._disk = disk
        self._start = start
        self._size = checkpoint.size
        self._known: dict[int, tuple[int, list[bytes]]] = {}  # the tile last used, by level
        self._written: list[Tile | Bundle] = []
        self._edges = self._open_edges(checkpoint)

    def _open_edges(self, checkpoint: Checkpoint) -> list[bytes]:
        """Fetch the unfinished tile of each level; together they give the root or are not believed."""
        edges: list[bytes] = []
        while hashes := self._size >> (TILE_HEIGHT * len(edges)):
            index, width = divmod(hashes, TILE_WIDTH)
            edges.append(self._source.read_tile(len(edges), index, width) if width else b"")
        if compact_of(self._size, edges).root() != checkpoint.root:
            raise _bad_source("tile", "the tiles at the edge do not come to the signed root")
        return edges

    def run(self, progress: Progress) -> None:
        """Fetch, check and write everything between; the files are on the disk when this returns."""
        progress.begin("mirror", files=self._size - self._start)
        first, last = self._start // TILE_WIDTH, -(-self._size // TILE_WIDTH)
        files: list[tuple[Tile | Bundle, bytes]] = []
        for number, hashes, data in self._bundles(range(first, last)):
            if data is not None:
                files.append((Tile(0, number, len(hashes)), b"".join(hashes)))
                files.append((Bundle(number, len(hashes)), data))
            if len(files) >= 2 * BUNDLES_AT_ONCE or sum(len(some) for _, some in files) >= BYTES_AT_ONCE:
                self._write(files)
                files = []
            progress.advance(files=len(hashes))
        self._write(files)
        self._write(list(self._upper_files()))

    def _bundles(self, numbers: range) -> Iterator[tuple[int, list[bytes], bytes | None]]:
        """Yield each bundle with its leaf hashes, in order; the next ones are on their way meanwhile."""
        waiting: deque[tuple[int, list[bytes], Future[bytes | None]]] = deque()
        with ThreadPoolExecutor(FETCH_THREADS, "mirror") as pool:
            try:
                for number in numbers:
                    hashes = self._tile(0, number)
                    waiting.append((number, hashes, pool.submit(self._bundle, number, hashes)))
                    if len(waiting) == FETCH_THREADS:
                        done, leaves, future = waiting.popleft()
                        yield done, leaves, future.result()
                while waiting:
                    done, leaves, future = waiting.popleft()
                    yield done, leaves, future.result()
            finally:
                for _, _, future in waiting:
                    future.cancel()

    def _upper_files(self) -> Iterator[tuple[Tile | Bundle, bytes]]:
        for level in range(1, len(self._edges)):
            shift = TILE_HEIGHT * (level + 1)
            hashes_here = self._size >> (TILE_HEIGHT * level)
            for index in range(self._start >> shift, -(-hashes_here // TILE_WIDTH)):
                hashes = self._tile(level, index)
                yield Tile(level, index, len(hashes)), b"".join(hashes)

    def _tile(self, level: int, index: int) -> list[bytes]:
        """Return the hashes of a tile, checked from the root down."""
        width = (self._size >> (TILE_HEIGHT * level)) - index * TILE_WIDTH
        if width < TILE_WIDTH:
            return decode_tile(self._edges[level], width)
        known = self._known.get(level)
        if known is not None and known[0] == index:
            return known[1]
        above = self._tile(level + 1, index // TILE_WIDTH)[index % TILE_WIDTH]
        for source in (self._files, self._source):
            # one's own file may be missing or torn: then it is fetched
            passed = (EvidenceMissing, EvidenceInvalid) if source is self._files else ()
            with contextlib.suppress(*passed):
                hashes = decode_tile(source.read_tile(level, index, TILE_WIDTH), TILE_WIDTH)
                if root_of(hashes) == above:
                    self._known[level] = index, hashes
                    return hashes
        raise _bad_source(Tile(level, index).path, "the tile does not hash to the one above it")

    def _bundle(self, number: int, leaves: Sequence[bytes]) -> bytes | None:
        """Return a bundle that was fetched and checked; None for one that lies here whole already."""
        width = len(leaves)
        if width == TILE_WIDTH:
            with contextlib.suppress(EvidenceMissing, EvidenceInvalid):
                tile = self._files.read_tile(0, number, width)
                if tile == b"".join(leaves) and _is_whole(self._files.read_bundle(number, width), leaves):
                    return None
        data = self._source.read_bundle(number, width)
        if not _is_whole(data, leaves):
            raise _bad_source(Bundle(number, width).path, "the entries do not hash to their leaves")
        self.fetched += 1
        return data

    def _write(self, items: Sequence[tuple[Tile | Bundle, bytes]]) -> None:
        if not items:
            return
        if self._quota is not None:
            self._quota.charge(sum(len(data) for _, data in items), len(items))
        for place, _ in items:
            self._disk.make_folder(place.path)
        self._disk.write([(place.path, data) for place, data in items], lambda: None)
        self._written += [place for place, _ in items if self._may_replace(place)]

    def _may_replace(self, place: Tile | Bundle) -> bool:
        level = place.level if isinstance(place, Tile) else 0
        return place.index == self._start >> (TILE_HEIGHT * (level + 1))

    def remove_partials(self) -> None:
        """Remove the partial files that wider ones replace; what cannot be removed does no harm."""
        for place in self._written:
            with contextlib.suppress(HeritageError):
                widths = self._files.partial_widths(place)
                self._disk.remove_partials(place, [width for width in widths if width != place.width])
                if widths and place.width == TILE_WIDTH:
                    self._disk.remove_folder(place)


def _is_whole(data: bytes, leaves: Sequence[bytes]) -> bool:
    return [leaf_hash(entry) for entry in decode_bundle(data, len(leaves))] == list(leaves)


def _publish(disk: LogDisk, data: bytes) -> None:
    with disk.prepare(data) as unpublished:
        disk.publish(CHECKPOINT, unpublished)


def _bad_source(path: str, message: str) -> EvidenceInvalid:
    return EvidenceInvalid(
        "mirror-source",
        f"what the other side gives is not the log: {message}",
        path=path,
        advice="nothing of it was kept; try another mirror of the log",
        rule="specs/federation.md",
    )
