"""Every block that this home can give out: of its own packages and of the replicas that it holds.

Which those are is said by the indexes of the own log and of the mirrors, never by a daemon: a Kubo holds what
its institution put there, and that is nobody's business. It is asked for blocks of recorded packages alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from typing import TYPE_CHECKING, Self

from heritage_ledger.content.cid import digest_of, format_cid
from heritage_ledger.content.embedded import EmbeddedEngine
from heritage_ledger.errors import EvidenceInvalid, EvidenceMissing, HeritageError
from heritage_ledger.federation.mirroring import open_mirror_index

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from heritage_ledger.content.cid import Cid
    from heritage_ledger.content.kubo import KuboEngine
    from heritage_ledger.federation.peers import Peer, Peers
    from heritage_ledger.home.layout import Home
    from heritage_ledger.index.store import Index


class Holdings:
    """Blocks by CID, each hashed before it leaves. Any thread may use it; to be closed."""

    def __init__(
        self,
        home: Home,
        own: Index,
        peers: Peers,
        kubo: KuboEngine | None,
        *,
        suspect: Callable[[Cid], None] = lambda _: None,
    ) -> None:
        """Look into the own index first, then into those of the mirrors; Kubo has blocks of the first only.

        `suspect` is told the CID of a package that is recorded here and was found damaged on the way.
        """
        self._home = home
        self._own = EmbeddedEngine(home.root, own)
        self._own_index = own
        self._peers = peers
        self._kubo = kubo
        self._suspect = suspect
        self._held = contextlib.ExitStack()
        self._mirrors: dict[str, EmbeddedEngine] = {}
        self._mirror_indexes: list[Index] = []
        self._looked = -1
        self._waiting: list[Peer] = []
        """Peers whose mirror has no index yet."""
        self._turn = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the mirrors' indexes."""
        self._held.close()

    def get(self, cid: Cid) -> bytes:
        """Return the block of `cid`, hashed.

        Raises:
            EvidenceMissing: it is not here (`block-missing`).
            EvidenceInvalid: no copy of it is whole (`block-damaged`).
        """
        problem: HeritageError | None = None
        for engine in self._engines():
            try:
                return engine.get(cid)
            except EvidenceMissing as error:
                problem = problem or error
            except EvidenceInvalid as error:
                problem = error
        if self._kubo is not None and self._own.has(cid):
            with contextlib.suppress(HeritageError):
                block = self._kubo.get(cid)
                if hashlib.sha256(block).digest() == digest_of(cid):
                    return block
        for package in self._packages_with(cid):
            self._suspect(package)
        raise problem or EvidenceMissing("block-missing", "the block is not here", path=format_cid(cid))

    def get_many(self, cids: Sequence[Cid]) -> Iterator[tuple[Cid, bytes]]:
        """Yield those blocks that are here and whole, one in memory at a time, in any order."""
        missing = list(cids)
        for engine in self._engines():
            found = set()
            for cid, block in engine.get_many(missing):
                found.add(cid)
                yield cid, block
            missing = [cid for cid in missing if cid not in found]
            if not missing:
                return
        for cid in missing:
            with contextlib.suppress(EvidenceMissing, EvidenceInvalid):
                yield cid, self.get(cid)

    def has(self, cid: Cid) -> bool:
        """Say whether the block is here whole."""
        try:
            self.get(cid)
        except (EvidenceMissing, EvidenceInvalid):
            return False
        return True

    def _packages_with(self, cid: Cid) -> Iterator[Cid]:
        """The packages in whose files this block should lie."""
        for index in self._indexes():
            for row in index.packages_with(digest_of(cid)):
                yield row.package_cid

    def _indexes(self) -> Iterator[Index]:
        yield self._own_index
        self._mirror_engines()
        yield from list(self._mirror_indexes)

    def _engines(self) -> Iterator[EmbeddedEngine]:
        yield self._own
        yield from self._mirror_engines()

    def _mirror_engines(self) -> list[EmbeddedEngine]:
        with self._turn:
            changed = self._folder_changed()
            if changed != self._looked:
                self._looked = changed
                self._waiting = [peer for peer in self._peers if peer.origin not in self._mirrors]
            for peer in list(self._waiting):
                if self._home.mirror_of(peer.origin).index.exists():
                    index = self._held.enter_context(open_mirror_index(self._home, peer))
                    self._mirrors[peer.origin] = EmbeddedEngine(self._home.root, index)
                    self._mirror_indexes.append(index)
                    self._waiting.remove(peer)
            return list(self._mirrors.values())

    def _folder_changed(self) -> int:
        """When a file of a peer last came or went: reading all of them for each block is too much."""
        try:
            return self._home.peers.stat().st_mtime_ns
        except OSError:
            return 0
