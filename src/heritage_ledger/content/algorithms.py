"""Digest algorithms: how a manifest's file name calls them, and how this machine computes them.

A name is the algorithm's common name in lower case, letters and digits only (RFC 8493 §2.4). The common names
are those of the registries that the RFC points to, "Named Information Hash Algorithm" and "Hash Function
Textual Names", and what other bag software writes. Reading and writing use this one table: what is not in it
is neither verified nor written.

>>> plain_name("SHA-512/256")
'sha512256'
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final, Protocol

_NOT_PLAIN: Final = re.compile(r"[^a-z0-9]")


class Hasher(Protocol):
    """What hashlib's objects promise."""

    def update(self, data: bytes | memoryview, /) -> None:
        """Add bytes."""

    def digest(self) -> bytes:
        """Return the digest of all bytes added."""


@dataclass(frozen=True, slots=True)
class Algorithm:
    """One digest algorithm: hashlib's name for it, and the bytes of a digest.

    With `cut` the digest is the beginning of the longer one that hashlib gives; `strong` where nobody can
    make two files of one digest.
    """

    hashlib_name: str
    size: int
    strong: bool = False
    cut: bool = False

    def new(self) -> Hasher:
        """Begin a digest.

        Raises:
            ValueError: this machine's libraries do not know the algorithm, or refuse it.
        """
        if self.hashlib_name == "blake2b":
            # the length is an input of BLAKE2: one of 32 bytes is not the first half of one of 64
            return hashlib.blake2b(digest_size=self.size, usedforsecurity=False)
        hasher = hashlib.new(self.hashlib_name, usedforsecurity=False)
        return _Cut(hasher, self.size) if self.cut else hasher


class _Cut:
    def __init__(self, hasher: Hasher, size: int) -> None:
        self._hasher = hasher
        self._size = size
        self.update = hasher.update

    def digest(self) -> bytes:
        return self._hasher.digest()[: self._size]


ALGORITHMS: Final = {
    "blake2b": Algorithm("blake2b", 64, strong=True),
    "blake2b256": Algorithm("blake2b", 32, strong=True),
    "blake2b512": Algorithm("blake2b", 64, strong=True),
    "blake2s": Algorithm("blake2s", 32, strong=True),
    "blake2s256": Algorithm("blake2s", 32, strong=True),
    "md5": Algorithm("md5", 16),
    "ripemd160": Algorithm("ripemd160", 20),
    "sha1": Algorithm("sha1", 20),
    "sha224": Algorithm("sha224", 28, strong=True),
    "sha256": Algorithm("sha256", 32, strong=True),
    "sha256128": Algorithm("sha256", 16, cut=True),
    "sha256120": Algorithm("sha256", 15, cut=True),
    "sha25696": Algorithm("sha256", 12, cut=True),
    "sha25664": Algorithm("sha256", 8, cut=True),
    "sha25632": Algorithm("sha256", 4, cut=True),
    "sha384": Algorithm("sha384", 48, strong=True),
    "sha512": Algorithm("sha512", 64, strong=True),
    "sha512224": Algorithm("sha512_224", 28, strong=True),
    "sha512256": Algorithm("sha512_256", 32, strong=True),
    "sha3224": Algorithm("sha3_224", 28, strong=True),
    "sha3256": Algorithm("sha3_256", 32, strong=True),
    "sha3384": Algorithm("sha3_384", 48, strong=True),
    "sha3512": Algorithm("sha3_512", 64, strong=True),
    "sm3": Algorithm("sm3", 32),
}
"""Every algorithm of a manifest that can be verified or written, by the name that its file has.

SHAKE has no length of its own, K12 and MD2 are in no library that is used here.
"""
STRONG: Final = frozenset(name for name, algorithm in ALGORITHMS.items() if algorithm.strong)
"""Algorithms for which nobody can make two files of one digest."""


def plain_name(text: str) -> str:
    """Return an algorithm's name as a manifest's file name has it, whatever people write: `SHA3-256`."""
    return _NOT_PLAIN.sub("", text.lower())


def supports(name: str) -> bool:
    """Say whether this machine can compute the algorithm that manifests call `name`.

    Some are in the table and still refused: old ones by the system's rules, others by an old library.
    """
    try:
        ALGORITHMS[name].new()
    except (KeyError, ValueError):
        return False
    return True
