"""The floor under an ingest: read, copy, SHA-512 and chunk SHA-256 in two threads, and put it on the disk."""

from __future__ import annotations

import ctypes
import hashlib
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

CHUNK = 1 << 20
LARGE = 4 << 20


def _leaf(data: bytes, target: int, offset: int) -> bytes:
    os.pwrite(target, data, offset)
    return hashlib.sha256(data).digest()


def _one(source: Path, target: Path, pool: ThreadPoolExecutor) -> None:
    whole = hashlib.sha512()
    waiting = []
    split = source.stat().st_size >= LARGE
    with source.open("rb", buffering=0) as reader, target.open("wb", buffering=0) as writer:
        offset = 0
        while data := reader.read(CHUNK):
            if split:
                waiting.append(pool.submit(_leaf, data, writer.fileno(), offset))
            else:
                _leaf(data, writer.fileno(), offset)
            whole.update(data)
            offset += len(data)
            if len(waiting) > LARGE // CHUNK:
                waiting.pop(0).result()
        for item in waiting:
            item.result()


def main(source: Path, target: Path) -> None:
    """Copy the folder `source` to `target`."""
    with ThreadPoolExecutor(2) as pool:
        for path in sorted(source.rglob("*")):
            place = target / path.relative_to(source)
            if path.is_dir():
                place.mkdir(parents=True)
            else:
                place.parent.mkdir(parents=True, exist_ok=True)
                _one(path, place, pool)
    folder = os.open(target, os.O_RDONLY)
    ctypes.CDLL(None).syncfs(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
