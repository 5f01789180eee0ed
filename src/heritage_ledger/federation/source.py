"""Blocks from peers: asked for by CID, many at once, each hashed as it comes (`specs/federation.md`)."""

from __future__ import annotations

import json
import threading
from collections import Counter
from typing import TYPE_CHECKING, Final

from heritage_ledger.content.car import MAX_SECTION, open_car
from heritage_ledger.content.cid import DAG_PB, check_block, codec_of, format_cid
from heritage_ledger.content.dagpb import parse_node
from heritage_ledger.errors import EvidenceInvalid, EvidenceMissing, HeritageError
from heritage_ledger.federation.client import check_status
from heritage_ledger.federation.fence import finding_about

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

    from heritage_ledger.content.cid import Cid
    from heritage_ledger.errors import Finding
    from heritage_ledger.federation.peers import Peer
    from heritage_ledger.federation.speaking import Speaker

    Get: TypeAlias = Callable[[Cid], bytes]
    GetMany: TypeAlias = Callable[..., dict[Cid, bytes]]

PATH: Final = "/api/v1/blocks"
MAX_BATCH: Final = 512
"""Blocks that one request asks for."""
BATCH_BYTES: Final = 8 << 20
"""Bytes that one request asks for, as far as sizes are known."""
MAX_TRIES: Final = 3
"""Requests that one peer may leave unanswered."""
MAX_NODES: Final = 64
"""Nodes of a tree that one request asks for."""
HELD_BYTES: Final = 16 << 20
"""Bytes of nodes that were fetched and are not needed yet; those of one request come on top."""
MAX_AHEAD: Final = 65_536
"""Nodes of a tree that are known to come, and not asked for yet."""
_OVERHEAD: Final = 4_096
_SECTION_HEAD: Final = 64


class PeerBlocks:
    """Asks peers for blocks, in their order, and remembers who gave how much. Any thread may use it.

    A peer that gives a wrong block, or more than it was asked for, is not asked again by this object; one
    that does not answer is asked last, and `MAX_TRIES` times only.
    """

    def __init__(self, speaker: Speaker, peers: Sequence[Peer]) -> None:
        """Sign requests by `speaker`."""
        self.given: Counter[str] = Counter()
        self.findings: list[Finding] = []
        self._speaker = speaker
        self._peers = list(peers)
        self._turn = threading.Lock()
        self._away: Counter[str] = Counter()

    def get(self, cid: Cid) -> bytes:
        """Return one block.

        Raises:
            EvidenceMissing: no peer gave it (`block-missing`).
        """
        found = self.get_many([cid])
        if cid not in found:
            raise EvidenceMissing(
                "block-missing",
                "no peer gave this block",
                path=format_cid(cid),
                advice="see with `heritage peer status` which peers can be reached",
            )
        return found[cid]

    def get_many(self, cids: Sequence[Cid], most: int | None = None) -> dict[Cid, bytes]:
        """Return those of the blocks that any peer gave; at most `MAX_BATCH` may be asked for.

        `most` is how many bytes they have together, where that is known: no more is taken.
        """
        found: dict[Cid, bytes] = {}
        for peer in list(self._peers):
            missing = [cid for cid in dict.fromkeys(cids) if cid not in found]
            if not missing:
                break
            try:
                self._ask(peer, missing, found, most)
            except Exception as error:  # noqa: BLE001 - whatever one peer's bytes set off, the next is asked
                self._put_back(peer, error)
        return found

    def _put_back(self, peer: Peer, error: Exception) -> None:
        with self._turn:
            self.findings.append(finding_about(peer.origin, error))
            self._away[peer.origin] += 1
            if peer in self._peers:
                self._peers.remove(peer)
                is_ours = isinstance(error, HeritageError) and not isinstance(error, EvidenceInvalid)
                if is_ours and self._away[peer.origin] < MAX_TRIES:
                    self._peers.append(peer)

    def _ask(self, peer: Peer, cids: Sequence[Cid], found: dict[Cid, bytes], most: int | None) -> None:
        body = json.dumps({"cids": [format_cid(cid) for cid in cids]}).encode()
        wanted = set(cids)
        size = len(cids) * MAX_SECTION if most is None else most
        limit = size + len(cids) * _SECTION_HEAD + _OVERHEAD
        with self._speaker.opened(peer, PATH, body, limit=limit) as answer:
            check_status(answer, f"{peer.url}{PATH}")
            for cid, block in open_car(answer.read, max_size=limit).blocks:
                if cid not in wanted:
                    raise EvidenceInvalid(
                        "peer-unasked-block", "the peer gives a block twice or unasked", path=format_cid(cid)
                    )
                wanted.discard(cid)
                found[cid] = block
                with self._turn:
                    self.given[peer.origin] += len(block)


class Nodes:
    """A `get` for walking a tree from its root: nodes that are linked come along with the next request.

    For one thread. It holds about `HELD_BYTES` that were fetched and not asked for yet.
    """

    def __init__(self, get: Get, get_many: GetMany) -> None:
        """`get` is asked for single blocks, `get_many` for many at once; it may return fewer."""
        self._get = get
        self._get_many = get_many
        self._ahead: dict[Cid, None] = {}
        self._held: dict[Cid, bytes] = {}
        self._last: tuple[Cid, bytes] | None = None

    def __call__(self, cid: Cid) -> bytes:
        """Return one block; raises what `get` raises, and EvidenceInvalid for a damaged node."""
        if codec_of(cid) != DAG_PB:
            return self._get(cid)
        if self._last is not None and self._last[0] == cid:
            return self._last[1]
        self._ahead.pop(cid, None)
        block = self._held.pop(cid, None)
        if block is None and self._ahead:
            block = self._batch(cid)
        if block is None:
            block = self._get(cid)
            self._look_into(cid, block)
        self._last = (cid, block)
        return block

    def _batch(self, cid: Cid) -> bytes | None:
        while sum(map(len, self._held.values())) > HELD_BYTES:
            del self._held[next(iter(self._held))]  # held the longest: needed last, and asked for again then
        wanted = [cid]
        while self._ahead and len(wanted) < MAX_NODES:
            wanted.append(self._ahead.popitem()[0])
        found = self._get_many(wanted)
        for one in reversed(wanted):  # what is below the first is needed first
            if one in found:
                self._look_into(one, found[one])
                self._held[one] = found[one]
        return self._held.pop(cid, None)

    def _look_into(self, cid: Cid, block: bytes) -> None:
        check_block(cid, block)
        for link in reversed(parse_node(block).links):
            if codec_of(link.cid) == DAG_PB and link.cid not in self._held:
                self._ahead[link.cid] = None
        while len(self._ahead) > MAX_AHEAD:
            del self._ahead[next(iter(self._ahead))]


def first_of(*sources: Callable[[Cid], bytes]) -> Callable[[Cid], bytes]:
    """Ask one source after the other; the last one's error is raised."""

    def get(cid: Cid) -> bytes:
        for source in sources[:-1]:
            try:
                return source(cid)
            except (EvidenceMissing, EvidenceInvalid):
                continue
        return sources[-1](cid)

    return get
