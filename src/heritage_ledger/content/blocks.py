"""The engine: where the blocks of packages live, and what may be relied on.

Two engines keep these promises: the embedded one, which stores nothing twice (`content.embedded`), and one
that streams packages into a Kubo daemon as CARv1. The promises are what both can keep:

- a block that `get` returns hashes to its CID, whatever the store did in between;
- the blocks of a package that `add_package` returned from can be read until the package is removed, as long
  as the disk keeps them; `damaged` tells when it did not;
- nothing is fetched from a network: a block is here, or it is missing.

They promise no order, no count of copies, and nothing about blocks of packages that were removed. The
package's bag is truth; an engine can always be filled again from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from heritage_ledger.content.cid import DAG_PB, codec_of
from heritage_ledger.content.dagpb import parse_node
from heritage_ledger.errors import EvidenceInvalid, EvidenceMissing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heritage_ledger.content.cid import Cid
    from heritage_ledger.content.directory import Get
    from heritage_ledger.content.package import FileRow


class State(Enum):
    """What is known of a block after its bytes were read.

    `OK`: some copy hashes to the CID. `CHANGED`: a copy was read and none hashes to it. `MISSING`: there is
    no copy, or none that can be read.
    """

    OK = "ok"
    CHANGED = "changed"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class PackageKey:
    """Names one version of an asset in an engine; a Kubo pin carries both in its name."""

    asset: str
    version: int


def damaged_below(get: Get, todo: list[Cid], seen: set[Cid]) -> Iterator[tuple[Cid, State]]:
    """Read the blocks of `todo` and all below them, but for those in `seen`; yield those that are not `OK`.

    `get` returns a block that it hashed, or raises as `Engine.get` does.
    """
    while todo:
        cid = todo.pop()
        if cid in seen:
            continue
        seen.add(cid)
        try:
            block = get(cid)
        except EvidenceMissing:
            yield cid, State.MISSING
        except EvidenceInvalid:
            yield cid, State.CHANGED
        else:
            if codec_of(cid) == DAG_PB:
                todo.extend(link.cid for link in parse_node(block).links)


class PackageBlocks(Protocol):
    """Where the blocks of one sealed package come from (`content.package.PackageGraph` is one)."""

    def files(self) -> Iterator[FileRow]:
        """Yield every file of the bag, its path relative to the bag's folder."""

    def nodes(self) -> Iterator[tuple[Cid, bytes]]:
        """Yield every dag-pb node; one may come more than once."""


class Engine(Protocol):
    """Holds blocks. Methods may be called from any thread."""

    def get(self, cid: Cid) -> bytes:
        """Return the block of `cid`, hashed after it was read.

        Raises:
            EvidenceMissing: `block-missing`: no copy here, or none that can be read.
            EvidenceInvalid: `block-damaged`: copies were read and none of them is the block.
            TemporaryFailure: the store did not answer.
        """

    def has(self, cid: Cid) -> bool:
        """Say whether the store has a record of `cid`; nothing is read, `state` says whether it is whole."""

    def state(self, cid: Cid) -> State:
        """Read the copies of `cid` until one is whole, and say what was found; a finding raises nothing.

        Raises:
            TemporaryFailure: the store did not answer.
        """

    def add_package(self, package: PackageKey, root: Cid, folder: str, blocks: PackageBlocks) -> None:
        """Hold the blocks of a sealed bag; when this returns, they can be read.

        `folder` is the bag's, relative to the home, with `/`; its files are final and on disk. They are
        read when a block is asked for (embedded) or now, once (Kubo). Adding what is there changes nothing;
        after an error, or a crash, adding again is enough.

        Raises:
            EvidenceMissing: `block-missing`: the DAG below `root` is not whole.
            EvidenceInvalid: `block-damaged`: a file of the bag is not what its digests say.
            TemporaryFailure, DiskProblem: the store did not take it.
        """

    def remove_package(self, package: PackageKey, root: Cid) -> None:
        """Stop holding a package; blocks that another package holds stay, and no file of a bag is touched.

        Removing what is not there is no error.
        """

    def damaged(self, root: Cid) -> Iterator[tuple[Cid, State]]:
        """Read every block of the DAG below `root` once and yield those that are not `OK`, lazily.

        Below a node that is not `OK` nothing can be said; it is one line here for all that hangs on it.
        """
