"""A pinning service as the target of replication (IPFS Pinning Services API 1.0.0)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from heritage_ledger.content.cid import format_cid
from heritage_ledger.content.http import Service
from heritage_ledger.content.replication import CopyState, PeerCopy
from heritage_ledger.errors import OperationFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heritage_ledger.content.cid import Cid
    from heritage_ledger.content.exchange import Waits
    from heritage_ledger.content.http import Address

MAX_NAME: Final = 255
"""Characters of a pin's name (the API's own limit)."""
_STATES: Final = {
    "pinned": CopyState.HELD,
    "pinning": CopyState.COMING,
    "queued": CopyState.COMING,
    "failed": CopyState.FAILED,
}


class PinningService:
    """One service: it counts as one peer, named by its host, however many disks it has."""

    def __init__(
        self,
        address: Address,
        token: str | None = None,
        *,
        origins: Sequence[str] = (),
        waits: Waits | None = None,
    ) -> None:
        """`origins` are the multiaddrs of a daemon from which the service can fetch."""
        self._service = Service("the pinning service", address, token, waits)
        self._origins = list(origins)
        self.peer = address.host

    def close(self) -> None:
        """Let go of every connection."""
        self._service.close()

    def ask(self, root: Cid, name: str, fewest: int, most: int, peers: Sequence[str]) -> None:
        """Ask for a copy; see `Replicator.ask`. How many copies it keeps is the service's own affair."""
        del most, peers
        if fewest > 1:
            raise OperationFailed(
                "copies-refused",
                "one pinning service counts as one copy",
                path=self._service.address.url,
                expected="copies_min = 1",
                found=f"copies_min = {fewest}",
                advice="lower copies_min in heritage.toml, or replicate through IPFS Cluster",
            )
        if any(copy.state is not CopyState.FAILED for copy in self.copies(root)):
            return
        document: dict[str, Any] = {"cid": format_cid(root), "name": name[:MAX_NAME]}
        if self._origins:
            document["origins"] = self._origins
        self._service.json("POST", "/pins", document=document)

    def copies(self, root: Cid) -> list[PeerCopy]:
        """What the service says of its copy: the best of its answers where there are several requests."""
        query = [("cid", format_cid(root)), ("status", ",".join(_STATES)), ("limit", "10")]
        found = self._service.json("GET", "/pins", query=query)
        results = found.get("results") if isinstance(found, dict) else None
        if not isinstance(results, list) or not all(isinstance(one, dict) for one in results):
            raise self._service.unexpected("a list of pins", repr(found)[:80])
        words = [one.get("status") for one in results]
        if not all(isinstance(word, str) for word in words):
            raise self._service.unexpected("a status of each pin", repr(found)[:80])
        for word, state in _STATES.items():
            if word in words:
                return [PeerCopy(self.peer, state, word)]
        return [PeerCopy(self.peer, CopyState.FAILED, words[0])] if words else []
