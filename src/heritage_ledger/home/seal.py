"""The digests that make a changed or lost row of `state.db` show (`specs/index.md`, "State").

They guard against decay, not against somebody who can write the file: no key goes into them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Self

DIGEST_BYTES = 32
"""Bytes of a SHA-256 digest."""


def row_digest(origin: str, size: int, root: bytes, checkpoint: bytes) -> bytes:
    """SHA-256 over one row: a heading, then each part led by its length in 8 big-endian bytes."""
    state = hashlib.sha256(b"heritage-ledger state head v1\n")
    for part in (origin.encode(), size.to_bytes(8, "big"), root, checkpoint):
        state.update(len(part).to_bytes(8, "big") + part)
    return state.digest()


@dataclass(frozen=True, slots=True)
class Seal:
    """How many rows there are, and the exclusive-or of their digests, which no order changes."""

    version: int
    heads: int = 0
    mix: bytes = bytes(DIGEST_BYTES)

    def digest(self) -> bytes:
        """SHA-256 over the seal itself."""
        text = f"heritage-ledger state seal v1\n{self.version}\n{self.heads}\n{self.mix.hex()}\n"
        return hashlib.sha256(text.encode()).digest()

    def with_row(self, digest: bytes) -> Self:
        """The seal with one row more."""
        return type(self)(self.version, self.heads + 1, _exclusive_or(self.mix, digest))

    def with_change(self, old: bytes, new: bytes) -> Self:
        """The seal with a row of digest `old` changed to one of digest `new`."""
        return type(self)(self.version, self.heads, _exclusive_or(self.mix, old, new))


def _exclusive_or(*digests: bytes) -> bytes:
    total = 0
    for digest in digests:
        total ^= int.from_bytes(digest, "big")
    return total.to_bytes(DIGEST_BYTES, "big")
