"""Fork proofs that peers show, checked and kept; and the naming of files that are no proofs or peers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heritage_ledger.federation.forks import is_frozen, parse_hints, stray_forks, take_proof
from heritage_ledger.log.fork import MAX_FORK_SIZE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heritage_ledger.errors import Finding
    from heritage_ledger.federation.federation import Federation
    from heritage_ledger.federation.forks import StoredFork
    from heritage_ledger.federation.peers import Peer
    from heritage_ledger.log.note import NoteVerifier


class ForkWatch:
    """What a federation does with proofs that come from others."""

    def __init__(self, federation: Federation) -> None:
        """Keep them in its home, checked by the keys that it knows."""
        self._federation = federation

    def take(self, data: bytes) -> StoredFork | None:
        """Check a proof that somebody sent, and keep it; None when it is about a log unknown here.

        Raises:
            EvidenceInvalid: it shows no fork.
        """
        return take_proof(self._federation.home, data, self._keys)

    def take_from(self, peer: Peer) -> None:
        """Fetch the proofs that a peer keeps of logs known here, one for each that is not frozen yet.

        Raises:
            HeritageError: it does not answer, or with something else.
        """
        federation, url = self._federation, f"{peer.url}/api/v1/forks"
        data = federation.client.get(url)
        hints = {} if data is None else parse_hints(url, data)
        for origin in (federation.settings.origin, *(one.origin for one in federation.peers)):
            if origin in hints and not is_frozen(federation.home, origin):
                self.take(federation.client.get(f"{url}/{hints[origin]}", limit=MAX_FORK_SIZE) or b"")

    def strays(self) -> list[Finding]:
        """Name the files in `peers/` and `forks/` that are none."""
        return [*self._federation.peers.strays(), *stray_forks(self._federation.home)]

    def _keys(self, origin: str) -> Sequence[NoteVerifier]:
        if origin == self._federation.settings.origin:
            return self._federation.verifiers
        peer = self._federation.peers.find(origin)
        return () if peer is None else peer.verifiers
