"""Notices to peers: something is new, a fork was found, blocks were of use. Hints, no evidence."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from heritage_ledger.errors import EvidenceInvalid, HeritageError, UsageError
from heritage_ledger.federation.client import answer_error, check_status, check_url
from heritage_ledger.federation.fence import ask_all, finding_about
from heritage_ledger.federation.signing import NOTICE, normal_url

if TYPE_CHECKING:
    from collections.abc import Iterable

    from heritage_ledger.federation.peers import Peer
    from heritage_ledger.federation.speaking import Speaker

PATH: Final = "/api/v1/notices"
CHECKPOINT_NOTICE: Final = "checkpoint"
MOVED_NOTICE: Final = "moved"
"""A notice of where the sender's node is reached now; its body is that of `format_moved`."""
TAKEN: Final = 202
"""The status of a notice that was taken."""
NOTICE_SECONDS: Final = 10.0
"""How long whoever has something to say waits for peers to hear it."""


@dataclass(frozen=True, slots=True)
class Notices:
    """What a log says to its peers, signed by its node key. Any thread may use it."""

    speaker: Speaker

    def tell(self, peer: Peer, kind: str, body: bytes = b"{}") -> None:
        """Send one peer a notice.

        Raises:
            HeritageError: it was not taken.
        """
        answer = self.speaker.ask(peer, PATH, body, headers={NOTICE: kind})
        if answer.status != TAKEN:
            check_status(answer, f"{peer.url}{PATH}")
            raise answer_error(peer.url, f"status {TAKEN}", f"status {answer.status}")

    def tell_all(self, peers: Iterable[Peer], kind: str, body: bytes = b"{}") -> None:
        """Tell peers at once, for `NOTICE_SECONDS` at most; whoever is slower may hear it or not."""
        for peer, said in ask_all(lambda peer: self.tell(peer, kind, body), peers, seconds=NOTICE_SECONDS):
            if isinstance(said, Exception) and not isinstance(said, HeritageError):
                finding_about(peer.origin, said)  # it goes to the log


def format_moved(url: str) -> bytes:
    """Return the body of a notice that says where a node is reached."""
    return json.dumps({"url": url}).encode()


def parse_moved(body: bytes) -> str:
    """Return where a node says that it is reached.

    Raises:
        EvidenceInvalid: it says no URL (`notice-malformed`).
    """
    try:
        url = json.loads(body)["url"]
        check_url(url)
        return normal_url(url).rstrip("/")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, UsageError) as error:
        raise EvidenceInvalid("notice-malformed", "the notice names no URL", found=repr(body[:80])) from error
