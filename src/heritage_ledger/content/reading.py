"""One read of each file: every digest, the chunk digests that its CID is made of, and the copy.

A file is read once, in pieces of one chunk (1 MiB, profile `unixfs-v1-2025`). While a piece is in memory it
is written to the copy, added to each whole-file digest and hashed as a leaf block. hashlib frees the
interpreter for pieces of this size, so a second thread takes half of the hashing; for small files whole
files are spread over the threads instead.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from heritage_ledger.content.algorithms import ALGORITHMS
from heritage_ledger.errors import OperationFailed
from heritage_ledger.home.deep import lstat_below, open_regular

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from heritage_ledger.content.algorithms import Hasher

CHUNK_SIZE = 1 << 20
"""Bytes in a leaf block (IPIP-499, profile `unixfs-v1-2025`)."""
DEFAULT_THREADS = 2
SPLIT_FROM = 4 * CHUNK_SIZE
"""Bytes from which one file's hashing is worth splitting over two threads."""
_PIECES_AHEAD = 4
_ITEMS_AHEAD = 32

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


@dataclass(frozen=True, slots=True)
class FileDigests:
    """What one read of a file gives.

    `size` in bytes; `digests` raw, by BagIt algorithm name; `leaves` the SHA-256 of each 1 MiB chunk, 32
    bytes each, one after the other (an empty file has one leaf: the digest of nothing).
    """

    size: int
    digests: Mapping[str, bytes]
    leaves: bytes


def _hasher(algorithm: str) -> Hasher:
    try:
        return ALGORITHMS[algorithm].new()
    except (KeyError, ValueError) as error:
        raise OperationFailed(
            "algorithm-unknown", "this machine cannot compute the digest algorithm", found=algorithm
        ) from error


def read_small(data: bytes | memoryview, algorithms: Sequence[str]) -> FileDigests:
    """Return the digests of a file that is already in memory."""
    digests = {}
    for algorithm in algorithms:
        hasher = _hasher(algorithm)
        hasher.update(data)
        digests[algorithm] = hasher.digest()
    view = memoryview(data)
    pieces = range(0, len(view), CHUNK_SIZE) or (0,)
    leaves = b"".join(hashlib.sha256(view[at : at + CHUNK_SIZE]).digest() for at in pieces)
    return FileDigests(len(view), digests, leaves)


def digest_pieces(pieces: Iterable[bytes], algorithms: Sequence[str]) -> FileDigests:
    """Return the digests of a file that comes in pieces of any length."""
    hashers = [_hasher(algorithm) for algorithm in algorithms]
    leaves = []
    size = 0
    left = b""
    for piece in pieces:
        for hasher in hashers:
            hasher.update(piece)
        size += len(piece)
        left = left + piece if left else piece
        while len(left) >= CHUNK_SIZE:
            leaves.append(hashlib.sha256(memoryview(left)[:CHUNK_SIZE]).digest())
            left = left[CHUNK_SIZE:]
    if left or not size:
        leaves.append(hashlib.sha256(left).digest())
    digests = {name: hasher.digest() for name, hasher in zip(algorithms, hashers, strict=True)}
    return FileDigests(size, digests, b"".join(leaves))


def read_descriptor(
    descriptor: int,
    algorithms: Sequence[str],
    *,
    write: Callable[[bytes, int], None] | None = None,
    progress: Callable[[int], None] | None = None,
    helper: ThreadPoolExecutor | None = None,
) -> FileDigests:
    """Read `descriptor` from where it stands to its end, once.

    `write` gets each piece and its offset, in any order; `progress` the number of bytes of each piece;
    `helper` is a pool in which leaf digests and `write` run beside the whole-file digests.

    Raises:
        OSError: reading failed. Whatever `write` raises is raised as it is.
    """
    hashers = [_hasher(algorithm) for algorithm in algorithms]
    leaves: list[bytes | Future[bytes]] = []
    size = 0
    waiting: deque[Future[bytes]] = deque()
    while True:
        piece = _read_piece(descriptor)
        if not piece and size:
            break
        if helper is None:
            leaves.append(_leaf_and_write(piece, size, write))
        else:
            future = helper.submit(_leaf_and_write, piece, size, write)
            leaves.append(future)
            waiting.append(future)
        for hasher in hashers:
            hasher.update(piece)
        size += len(piece)
        if len(waiting) >= _PIECES_AHEAD:
            waiting.popleft().result()
        if progress is not None:
            progress(len(piece))
        if len(piece) < CHUNK_SIZE:
            break
    done = [leaf if isinstance(leaf, bytes) else leaf.result() for leaf in leaves]
    digests = {name: hasher.digest() for name, hasher in zip(algorithms, hashers, strict=True)}
    return FileDigests(size, digests, b"".join(done))


def _leaf_and_write(piece: bytes, offset: int, write: Callable[[bytes, int], None] | None) -> bytes:
    if write is not None:
        write(piece, offset)
    return hashlib.sha256(piece).digest()


def _read_piece(descriptor: int) -> bytes:
    """Read up to one chunk; shorter only at the end of the file."""
    piece = os.read(descriptor, CHUNK_SIZE)
    if len(piece) in {0, CHUNK_SIZE}:
        return piece
    parts = [piece]
    size = len(piece)
    while size < CHUNK_SIZE:
        more = os.read(descriptor, CHUNK_SIZE - size)
        if not more:
            break
        parts.append(more)
        size += len(more)
    return b"".join(parts)


def read_file(
    path: str | os.PathLike[str],
    algorithms: Sequence[str],
    *,
    progress: Callable[[int], None] | None = None,
    helper: ThreadPoolExecutor | None = None,
) -> FileDigests:
    """Read the regular file `path` once, without following a link at its end.

    Raises:
        OSError: it cannot be opened or read, or is a link.
    """
    folder, _, name = os.fspath(path).rpartition("/")
    return read_below(folder or ".", name, algorithms, progress=progress, helper=helper)


def read_below(
    folder: str | os.PathLike[str],
    path: str,
    algorithms: Sequence[str],
    *,
    progress: Callable[[int], None] | None = None,
    helper: ThreadPoolExecutor | None = None,
) -> FileDigests:
    """Read the regular file `path` below `folder` once, however long both are together.

    Raises:
        OSError: it cannot be opened or read, or is no regular file.
    """
    descriptor = open_regular(folder, path)
    try:
        return read_descriptor(descriptor, algorithms, progress=progress, helper=helper)
    finally:
        os.close(descriptor)


def is_large(folder: str | os.PathLike[str], path: str) -> bool:
    """Say whether the file `path` below `folder` is worth threads of its own; what is not there is not."""
    try:
        return lstat_below(folder, path).st_size >= SPLIT_FROM
    except OSError:
        return False


def spread(
    items: Iterable[Item],
    work: Callable[[Item, ThreadPoolExecutor | None], Outcome],
    *,
    is_large: Callable[[Item], bool],
    threads: int = DEFAULT_THREADS,
) -> Iterator[tuple[Item, Outcome]]:
    """Yield `(item, work(item, helper))` in the order given.

    Large items run ahead in `threads` threads and get a pool for their pieces; small ones run in the
    caller's thread, since for them threads cost more than they save (measured: 10 KiB files take twice the
    time in two threads). At most a few dozen items are under way, so memory does not grow with their count.
    """
    source = iter(items)
    if threads <= 1:
        for item in source:
            yield item, work(item, None)
        return
    with ThreadPoolExecutor(threads) as pool, ThreadPoolExecutor(threads) as helper:

        def start(item: Item) -> tuple[Item, Future[Outcome] | None]:
            return item, pool.submit(work, item, helper) if is_large(item) else None

        waiting = deque(start(item) for item in islice(source, _ITEMS_AHEAD))
        try:
            while waiting:
                item, future = waiting.popleft()
                yield item, work(item, None) if future is None else future.result()
                waiting.extend(start(item) for item in islice(source, 1))
        finally:
            for _, future in waiting:
                if future is not None:
                    future.cancel()
