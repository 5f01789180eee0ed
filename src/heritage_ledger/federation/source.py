"""Blocks from peers: asked for by CID, many at once, each hashed as it comes (`specs/federation.md`)."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Final

from heritage_ledger.content.car import MAX_SECTION, open_car
from heritage_ledger.content.cid import format_cid
from heritage_ledger.errors import EvidenceInvalid, EvidenceMissing, Finding, HeritageError
from heritage_ledger.federation.client import check_status
from heritage_ledger.federation.signing import Request, sign_request

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from heritage_ledger.content.cid import Cid
    from heritage_ledger.federation.client import Client
    from heritage_ledger.federation.peers import Peer
    from heritage_ledger.identity.keys import Ed25519Signer

MAX_BATCH: Final = 512
"""Blocks that one request asks for."""
BATCH_BYTES: Final = 16 << 20
"""Bytes that one request asks for, as far as sizes are known."""
_OVERHEAD: Final = 4_096


class PeerBlocks:
    """Asks peers for blocks, in their order, and remembers who gave how much. For one thread at a time.

    A peer that gives a wrong block, or more than it was asked for, is not asked again by this object.
    """

    def __init__(self, client: Client, peers: Sequence[Peer], signer: Ed25519Signer, origin: str) -> None:
        """Sign requests by `signer`, the node key of the log `origin`."""
        self.given: Counter[str] = Counter()
        self.findings: list[Finding] = []
        self._client = client
        self._peers = list(peers)
        self._signer = signer
        self._origin = origin

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

    def get_many(self, cids: Sequence[Cid]) -> dict[Cid, bytes]:
        """Return those of the blocks that any peer gave; at most `MAX_BATCH` may be asked for."""
        found: dict[Cid, bytes] = {}
        for peer in list(self._peers):
            missing = [cid for cid in dict.fromkeys(cids) if cid not in found]
            if not missing:
                break
            try:
                self._ask(peer, missing, found)
            except HeritageError as error:
                self.findings.append(_about(peer, error))
                if isinstance(error, EvidenceInvalid):
                    self._peers.remove(peer)
        return found

    def _ask(self, peer: Peer, cids: Sequence[Cid], found: dict[Cid, bytes]) -> None:
        url = f"{peer.url}/api/v1/blocks"
        body = json.dumps({"cids": [format_cid(cid) for cid in cids]}).encode()
        request = Request("POST", url, body)
        headers = sign_request(request, self._signer, origin=self._origin, audience=peer.origin)
        wanted = set(cids)
        limit = len(cids) * MAX_SECTION + _OVERHEAD
        with self._client.opened("POST", url, limit=limit, body=body, headers=headers) as answer:
            check_status(answer, url)
            for cid, block in open_car(answer.read, max_size=limit).blocks:
                if cid not in wanted:
                    raise EvidenceInvalid(
                        "peer-unasked-block", "the peer gives a block twice or unasked", path=format_cid(cid)
                    )
                wanted.discard(cid)
                found[cid] = block
                self.given[peer.origin] += len(block)


def _about(peer: Peer, error: HeritageError) -> Finding:
    return Finding(
        error.code, f"{peer.origin}: {error.message}", error.path, error.expected, error.found, error.advice
    )


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
