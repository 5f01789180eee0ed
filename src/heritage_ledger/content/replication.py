"""Copies beyond this machine: what a target promises, and what it merely says (`specs/engines.md`).

A target (IPFS Cluster, a pinning service) is asked to keep a package in several places and tells how that
stands. What it tells is hearsay: a copy counts once its blocks were read back and hashed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heritage_ledger.content.cid import Cid


class CopyState(Enum):
    """What a target says of one peer's copy.

    `HELD`: it is there. `COMING`: it is being fetched, or waits to be. `FAILED`: the peer tried in vain, lost
    it, or does not answer. `NONE`: the peer is not to hold it.
    """

    HELD = "held"
    COMING = "coming"
    FAILED = "failed"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class PeerCopy:
    """One peer's copy as the target tells it; `said` is its own word, with its error where it has one."""

    peer: str
    state: CopyState
    said: str


class Replicator(Protocol):
    """Asks for copies and tells of them; every method raises what `content.http.Service` promises."""

    def ask(self, root: Cid, name: str, fewest: int, most: int, peers: Sequence[str]) -> None:
        """Ask for `fewest` to `most` copies of the DAG below `root`, on `peers` first.

        Returns when the wish is noted; the copies are made later.

        Raises:
            OperationFailed: there are not enough peers for `fewest` copies (`copies-refused`).
            UsageError: the target knows no peer of that name (`copies-peer`).
        """

    def copies(self, root: Cid) -> list[PeerCopy]:
        """Every peer's copy of the DAG below `root`, by name; none where nobody asked for it."""

    def close(self) -> None:
        """Let go of every connection."""
