"""Notices to peers: something is new, a fork was found, blocks were of use. Hints, no evidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from heritage_ledger.errors import HeritageError
from heritage_ledger.federation.client import answer_error, check_status
from heritage_ledger.federation.fence import ask_all, finding_about
from heritage_ledger.federation.signing import NOTICE, Request, sign_request

if TYPE_CHECKING:
    from collections.abc import Iterable

    from heritage_ledger.federation.client import Client
    from heritage_ledger.federation.peers import Peer
    from heritage_ledger.identity.keys import Ed25519Signer

CHECKPOINT_NOTICE: Final = "checkpoint"
TAKEN: Final = 202
"""The status of a notice that was taken."""
NOTICE_SECONDS: Final = 10.0
"""How long whoever has something to say waits for peers to hear it."""


@dataclass(frozen=True, slots=True)
class Notices:
    """What the log `origin` says to its peers, signed by its node key. Any thread may use it."""

    client: Client
    key: Ed25519Signer
    origin: str

    def tell(self, peer: Peer, kind: str, body: bytes = b"{}") -> None:
        """Send one peer a notice.

        Raises:
            HeritageError: it was not taken.
        """
        url = f"{peer.url}/api/v1/notices"
        request = Request("POST", url, body)
        request.headers[NOTICE] = kind
        headers = sign_request(request, self.key, origin=self.origin, audience=peer.origin)
        answer = self.client.ask("POST", url, body=body, headers=headers)
        if answer.status != TAKEN:
            check_status(answer, url)
            raise answer_error(url, f"status {TAKEN}", f"status {answer.status}")

    def tell_all(self, peers: Iterable[Peer], kind: str, body: bytes = b"{}") -> None:
        """Tell peers at once, for `NOTICE_SECONDS` at most; whoever is slower may hear it or not."""
        for peer, said in ask_all(lambda peer: self.tell(peer, kind, body), peers, seconds=NOTICE_SECONDS):
            if isinstance(said, Exception) and not isinstance(said, HeritageError):
                finding_about(peer.origin, said)  # it goes to the log
