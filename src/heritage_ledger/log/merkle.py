"""Merkle tree hashing, proofs and their checks (RFC 6962 §2.1, RFC 9162 §2.1; `specs/log.md`).

    leaf  = SHA-256(0x00 || entry)
    node  = SHA-256(0x01 || left || right), split at the largest power of two below the number of leaves
    empty = SHA-256("")

A *complete* subtree is named by `(height, index)`: it spans the leaves `index * 2**height` up to but not
including `(index + 1) * 2**height`. Only complete subtrees have a hash that never changes as the tree grows,
so only they are stored; every root and every proof is put together from them.

The checks share no code with the provers. A consistency proof from size 0 proves nothing and is refused;
protocols in which an empty proof from size 0 stands for "nothing seen yet" treat that case themselves.
When the old size is a power of two the proof leaves the old root out, so a wrong old root is reported as a
new root that does not come out (RFC 9162 §2.1.4.2).

>>> leaf_hash(b"").hex()
'6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d'
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final, TypeAlias

from heritage_ledger.errors import EvidenceInvalid, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

HASH_SIZE: Final = 32
"""Bytes of a SHA-256 hash."""
MAX_TREE_SIZE: Final = 2**63 - 1
"""Leaves: the largest size that every C2SP implementation can hold in a signed 64-bit number."""
MAX_PROOF_HASHES: Final = 63
"""Hashes of the longest inclusion proof, for a tree of the largest size."""
EMPTY_ROOT: Final = sha256(b"").digest()
"""The root of a tree without leaves."""

Subtree: TypeAlias = "tuple[int, int]"
"""`(height, index)` of a complete subtree."""
ReadHashes: TypeAlias = "Callable[[Sequence[Subtree]], Sequence[bytes]]"
"""Gives the hashes of complete subtrees, in the order asked for."""

_LEAF: Final = b"\x00"
_NODE: Final = b"\x01"


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of the leaf that holds `entry`."""
    return sha256(_LEAF + entry).digest()


def root_of(leaves: Sequence[bytes]) -> bytes:
    """Return the root over leaf hashes held in memory; the same fold over the hashes of equal subtrees."""
    if not leaves:
        return EMPTY_ROOT
    row = list(leaves)
    while len(row) > 1:
        odd = row[-1:] if len(row) & 1 else []
        pairs = iter(row)
        row = [sha256(_NODE + left + right).digest() for left, right in zip(pairs, pairs, strict=False)]
        row += odd
    return row[0]


class CompactRange:
    """The growing edge of a tree: the hashes of the complete subtrees that its size is the sum of.

    Memory is one hash for each 1-bit of the size. Not safe for use by two threads at once.
    """

    __slots__ = ("_hashes", "size")

    def __init__(self, size: int = 0, hashes: Iterable[bytes] = ()) -> None:
        """Start at `size` with the hashes of `cover(0, size)`, the largest subtree first."""
        self.size = size
        self._hashes = list(hashes)
        if size < 0 or len(self._hashes) != size.bit_count():
            raise UsageError(
                "merkle-range",
                "these are not the subtrees that make up a tree of this size",
                expected=f"{max(size, 0).bit_count()} hashes for size {size}",
                found=f"{len(self._hashes)} hashes",
            )

    @property
    def hashes(self) -> tuple[bytes, ...]:
        """The hashes of `cover(0, size)`, the largest subtree first."""
        return tuple(self._hashes)

    def copy(self) -> CompactRange:
        """Return a range of its own, at the same size."""
        return CompactRange(self.size, self._hashes)

    def append(self, leaf: bytes) -> list[bytes]:
        """Add one leaf hash.

        Returns:
            The hashes of the complete subtrees that it finished, by height from 0: the leaf itself, then
            each subtree whose last leaf it is. These are what a store has to keep.
        """
        finished = [leaf]
        index = self.size
        hashes = self._hashes
        while index & 1:
            leaf = sha256(_NODE + hashes.pop() + leaf).digest()
            finished.append(leaf)
            index >>= 1
        hashes.append(leaf)
        self.size += 1
        return finished

    def root(self) -> bytes:
        """Return the root of the tree at its present size."""
        return _fold(self._hashes)


def cover(start: int, end: int) -> list[Subtree]:
    """Return the complete subtrees, left to right, whose fold is the hash of the leaves from start to end.

    `start` must be a multiple of the smallest power of two that is at least `end - start`, as it is for
    every subtree that RFC 6962 hashes.
    """
    subtrees = []
    while start < end:
        height = (end - start).bit_length() - 1
        subtrees.append((height, start >> height))
        start += 1 << height
    return subtrees


def prove_root(size: int, read_hashes: ReadHashes) -> bytes:
    """Return the root of the tree's first `size` leaves, from stored hashes."""
    return _fold(read_hashes(cover(0, size))) if size else EMPTY_ROOT


def prove_inclusion(index: int, size: int, read_hashes: ReadHashes) -> tuple[bytes, ...]:
    """Return the inclusion proof of leaf `index` in the tree of `size` leaves, the leaf's sibling first.

    Raises:
        UsageError: `merkle-range`, there is no such leaf.
    """
    if not 0 <= index < size <= MAX_TREE_SIZE:
        raise UsageError(
            "merkle-range",
            "the tree has no such leaf",
            expected=f"an index below the size {size}",
            found=f"index {index}",
        )
    siblings = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            siblings.append((middle, end))
            end = middle
        else:
            siblings.append((start, middle))
            start = middle
    siblings.reverse()
    return _read_ranges(siblings, read_hashes)


def prove_consistency(old_size: int, new_size: int, read_hashes: ReadHashes) -> tuple[bytes, ...]:
    """Return the proof that the tree of `new_size` leaves begins with the tree of `old_size` leaves.

    Raises:
        UsageError: `merkle-range`, unless 0 < old_size <= new_size.
    """
    if not 0 < old_size <= new_size <= MAX_TREE_SIZE:
        raise UsageError(
            "merkle-range",
            "there is no consistency proof between these sizes",
            expected="0 < old size <= new size",
            found=f"{old_size} and {new_size}",
        )
    ranges = []
    start, end = 0, new_size
    while old_size < end:
        middle = start + _split(end - start)
        if old_size <= middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((start, middle))
            start = middle
    if start > 0:  # else the subtree is the old tree itself, whose root the checker holds
        ranges.append((start, end))
    ranges.reverse()
    return _read_ranges(ranges, read_hashes)


def check_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check that the leaf hash `leaf` is at `index` in the tree of `size` leaves with root `root`.

    The result is that of RFC 9162 §2.1.3.2: the lowest `inner` hashes come from the side that the bits of
    the index say, the rest are the left neighbours along the tree's right edge.

    Raises:
        EvidenceInvalid: `merkle-inclusion`, the proof does not show it; `merkle-hash-size`.
    """
    if not 0 <= index < size <= MAX_TREE_SIZE:
        raise EvidenceInvalid(
            "merkle-inclusion",
            "the leaf's index lies outside the tree",
            expected=f"an index below the size {size}",
            found=f"index {index}",
        )
    inner = (index ^ (size - 1)).bit_length()
    if len(proof) != inner + (index >> inner).bit_count():
        raise EvidenceInvalid(
            "merkle-inclusion",
            "the inclusion proof has the wrong length",
            expected=f"{inner + (index >> inner).bit_count()} hashes",
            found=f"{len(proof)} hashes",
        )
    if len(root) != HASH_SIZE or len(leaf) != HASH_SIZE or len(b"".join(proof)) != HASH_SIZE * len(proof):
        raise _hash_size()
    computed, bits = leaf, index
    for sibling in proof[:inner]:
        computed = sha256(_NODE + sibling + computed if bits & 1 else _NODE + computed + sibling).digest()
        bits >>= 1
    for sibling in proof[inner:]:
        computed = sha256(_NODE + sibling + computed).digest()
    if computed != root:
        raise EvidenceInvalid(
            "merkle-inclusion",
            "the inclusion proof leads to another root",
            expected=root.hex(),
            found=computed.hex(),
        )


def check_consistency(
    old_size: int, new_size: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes
) -> None:
    """Check that the tree of `new_size` leaves begins with the tree of `old_size` (RFC 9162 §2.1.4.2).

    Raises:
        EvidenceInvalid: `merkle-consistency`, the proof does not show it, or `old_size` is 0;
            `merkle-hash-size`.
    """
    if old_size <= 0:
        raise EvidenceInvalid(
            "merkle-consistency",
            "a consistency proof from an empty tree shows nothing",
            expected="an old size of at least 1",
            found=str(old_size),
        )
    check_subtree_consistency(proof, old_root, new_root, start=0, end=old_size, size=new_size)


def check_subtree_inclusion(
    leaf: bytes, index: int, proof: Sequence[bytes], root: bytes, *, start: int, end: int
) -> None:
    """Check that `leaf` is at `index` in the subtree of the leaves from start to end, with root `root`.

    Raises:
        EvidenceInvalid: `merkle-inclusion`, `merkle-subtree` or `merkle-hash-size`.
    """
    _check_subtree(start, end)
    check_inclusion(leaf, index - start, end - start, proof, root)


def check_subtree_consistency(
    proof: Sequence[bytes], subtree_root: bytes, root: bytes, *, start: int, end: int, size: int
) -> None:
    """Check that the subtree of the leaves from start to end is part of the tree of `size` leaves.

    An empty subtree is part of every tree that reaches it; its root is that of the empty tree, its proof has
    no hashes, and nothing is said about `root` (draft-ietf-plants-merkle-tree-certs, "Subtree consistency").

    Raises:
        EvidenceInvalid: `merkle-consistency`, `merkle-subtree` or `merkle-hash-size`.
    """
    _check_subtree(start, end)
    if not end <= size <= MAX_TREE_SIZE:
        raise EvidenceInvalid(
            "merkle-consistency",
            "the tree does not reach so far",
            expected=f"{end} leaves or more",
            found=f"{size} leaves",
        )
    if any(len(value) != HASH_SIZE for value in (*proof, subtree_root, root)):
        raise _hash_size()
    if start == end:
        old, new, root = EMPTY_ROOT, EMPTY_ROOT, EMPTY_ROOT
        if proof:
            raise _length()
    else:
        old, new = _climb((start, end - 1, size - 1), list(proof), subtree_root)
    if old != subtree_root:
        raise _inconsistent("the old root", subtree_root, old)
    if new != root:
        raise _inconsistent("the new root", root, new)


def _climb(path: tuple[int, int, int], proof: list[bytes], subtree_root: bytes) -> tuple[bytes, bytes]:
    """Return the roots of the subtree and of the tree that the proof leads to.

    `path` is the subtree's first and last leaf and the tree's last leaf; on each level up, the nodes over
    them.
    """
    first, last, rightmost = path
    while first != last and (last & 1 or last == rightmost):  # levels that lie inside the subtree
        first, last, rightmost = first >> 1, last >> 1, rightmost >> 1
    if first != last and not proof:
        raise _length()
    old = new = subtree_root if first == last else proof.pop(0)
    for sibling in proof:
        if rightmost == 0:
            raise _length()
        if last & 1 or last == rightmost:
            if first < last:
                old = sha256(_NODE + sibling + old).digest()
            new = sha256(_NODE + sibling + new).digest()
            lone = (last & -last).bit_length() - 1 if last else 0  # levels without a left neighbour
            first, last, rightmost = first >> lone, last >> lone, rightmost >> lone
        else:
            new = sha256(_NODE + new + sibling).digest()
        first, last, rightmost = first >> 1, last >> 1, rightmost >> 1
    if rightmost:
        raise _length()
    return old, new


def _check_subtree(start: int, end: int) -> None:
    # (end - start - 1).bit_length() is the height of the smallest perfect tree that holds the subtree
    if not 0 <= start <= end or (end > start and start & ((1 << (end - start - 1).bit_length()) - 1)):
        raise EvidenceInvalid(
            "merkle-subtree",
            "these leaves are not a subtree",
            expected="a start that is a multiple of the subtree's width, rounded up to a power of two",
            found=f"leaves {start} to {end}",
        )


def _split(width: int) -> int:
    return 1 << ((width - 1).bit_length() - 1)


def _fold(hashes: Sequence[bytes]) -> bytes:
    if not hashes:
        return EMPTY_ROOT
    computed = hashes[-1]
    for left in hashes[-2::-1]:
        computed = sha256(_NODE + left + computed).digest()
    return computed


def _read_ranges(ranges: Sequence[tuple[int, int]], read_hashes: ReadHashes) -> tuple[bytes, ...]:
    covers = [cover(start, end) for start, end in ranges]
    hashes = iter(read_hashes([subtree for subtrees in covers for subtree in subtrees]))
    return tuple(_fold([next(hashes) for _ in subtrees]) for subtrees in covers)


def _hash_size() -> EvidenceInvalid:
    return EvidenceInvalid("merkle-hash-size", "a hash is not a SHA-256 hash", expected=f"{HASH_SIZE} bytes")


def _length() -> EvidenceInvalid:
    return EvidenceInvalid("merkle-consistency", "the consistency proof has the wrong length")


def _inconsistent(which: str, expected: bytes, found: bytes) -> EvidenceInvalid:
    return EvidenceInvalid(
        "merkle-consistency",
        f"the consistency proof leads to another root than {which}",
        expected=expected.hex(),
        found=found.hex(),
    )
