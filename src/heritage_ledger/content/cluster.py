"""IPFS Cluster's REST API as the target of replication (ipfscluster.io, "REST API"; measured with 1.1.6)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from heritage_ledger.content.cid import format_cid
from heritage_ledger.content.http import Service
from heritage_ledger.content.replication import CopyState, PeerCopy
from heritage_ledger.errors import OperationFailed, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heritage_ledger.content.cid import Cid
    from heritage_ledger.content.exchange import Waits
    from heritage_ledger.content.http import Address

_STATES: Final = {
    "pinned": CopyState.HELD,
    "pinning": CopyState.COMING,
    "pin_queued": CopyState.COMING,
    "queued": CopyState.COMING,
    "unpinned": CopyState.NONE,
    "unpinning": CopyState.NONE,
    "unpin_queued": CopyState.NONE,
    "remote": CopyState.NONE,
}
"""What Cluster's words mean; every other word is a failure."""


class Cluster:
    """One peer's REST API, which speaks for the whole cluster."""

    def __init__(self, address: Address, token: str | None = None, waits: Waits | None = None) -> None:
        self._service = Service("IPFS Cluster", address, token, waits)

    def close(self) -> None:
        """Let go of every connection."""
        self._service.close()

    def peers(self) -> dict[str, str]:
        """The name of every peer that answers, with its id."""
        found = {}
        for peer in self._service.lines("GET", "/peers"):
            if not isinstance(peer, dict):
                raise self._service.unexpected("a peer", repr(peer)[:80])
            if not peer.get("error"):
                name, identity = peer.get("peername"), peer.get("id")
                if not isinstance(name, str) or not isinstance(identity, str):
                    raise self._service.unexpected("a peer's name and id", repr(peer)[:80])
                found[name] = identity
        return found

    def ask(self, root: Cid, name: str, fewest: int, most: int, peers: Sequence[str]) -> None:
        """Ask for copies on `peers` first, and peers that failed to try again; see `Replicator.ask`."""
        query = [
            ("name", name),
            ("mode", "recursive"),
            ("replication-min", str(fewest)),
            ("replication-max", str(most)),
        ]
        if peers:
            query.append(("user-allocations", ",".join(self._ids(peers))))
        try:
            self._service.json("POST", f"/pins/{format_cid(root)}", query=query)
        except OperationFailed as error:
            if "not enough peers" not in (error.found or ""):
                raise
            raise OperationFailed(
                "copies-refused",
                "the cluster has not enough peers for the copies that are asked for",
                path=self._service.address.url,
                expected=f"{fewest} peers with room",
                found=error.found,
                advice="start the missing peers or lower copies_min, then run `heritage replicate`",
            ) from error
        if any(copy.state is CopyState.FAILED for copy in self.copies(root)):
            self._service.call("POST", f"/pins/{format_cid(root)}/recover")

    def _ids(self, names: Sequence[str]) -> list[str]:
        known = self.peers()
        for name in names:
            if name not in known:
                raise UsageError(
                    "copies-peer",
                    "the cluster has no peer of this name that answers",
                    path=self._service.address.url,
                    expected=", ".join(sorted(known)),
                    found=name,
                    advice="mend `allocations` in heritage.toml, or start the peer",
                )
        return [known[name] for name in names]

    def copies(self, root: Cid) -> list[PeerCopy]:
        """Every peer's copy; see `Replicator.copies`."""
        found = self._service.json("GET", f"/pins/{format_cid(root)}", missing=True)
        if found is None:
            return []
        peers = found.get("peer_map") if isinstance(found, dict) else None
        if not isinstance(peers, dict):
            raise self._service.unexpected("a peer_map", repr(found)[:80])
        return sorted(
            (self._copy(identity, entry) for identity, entry in peers.items()), key=lambda copy: copy.peer
        )

    def _copy(self, identity: str, entry: Any) -> PeerCopy:
        word = entry.get("status") if isinstance(entry, dict) else None
        if not isinstance(word, str):
            raise self._service.unexpected("a peer's status", repr(entry)[:80])
        error = str(entry.get("error") or "")
        return PeerCopy(
            str(entry.get("peername") or identity),
            _STATES.get(word, CopyState.FAILED),
            f"{word}: {error}" if error else word,
        )
