"""A peer that says it is reached elsewhere: followed when its own log is found there."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from heritage_ledger.errors import EvidenceInvalid, EvidenceMissing
from heritage_ledger.federation.peers import discover
from heritage_ledger.log.checkpoint import open_checkpoint
from heritage_ledger.log.files import CHECKPOINT
from heritage_ledger.log.note import MAX_NOTE_SIZE

if TYPE_CHECKING:
    from heritage_ledger.federation.client import Client
    from heritage_ledger.federation.peers import Peer, Peers


def follow(client: Client, peers: Peers, origin: str, url: str, *, mirrored: int) -> Peer | None:
    """Know the peer of a log by another URL; None where it is no peer, or known by that already.

    `mirrored` is how many entries of its log are here.

    Raises:
        EvidenceInvalid: another log is found there (`peer-changed`), or an older state of it than is mirrored
            here (`peer-stale`); and as `peers.discover` says.
    """
    known = peers.find(origin)
    if known is None or known.url == url:
        return None
    found = discover(client, url)
    if (found.origin, found.genesis, found.log_keys) != (origin, known.genesis, known.log_keys):
        raise _refused("peer-changed", "another log is found there", url, origin, found.origin)
    data = client.get(f"{url}/log/{CHECKPOINT}", limit=MAX_NOTE_SIZE)
    if data is None:
        raise EvidenceMissing("peer-no-log", "there is no log at this URL", path=url)
    size = open_checkpoint(data, known.verifiers, origin)[0].size
    if size < mirrored:
        said = "an older state of its log is found there"
        raise _refused("peer-stale", said, url, f"{mirrored} entries or more", f"{size} entries")
    moved = replace(known, url=url)
    peers.add(moved)
    return moved


def _refused(code: str, said: str, url: str, expected: str, found: str) -> EvidenceInvalid:
    return EvidenceInvalid(
        code,
        f"a peer says that it moved, and {said}",
        path=url,
        expected=expected,
        found=found,
        advice="it stays known by the URL that it had; ask the institution",
    )
