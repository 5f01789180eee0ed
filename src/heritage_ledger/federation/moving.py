"""Nodes that move: peers are told, and follow when the log itself is found where it says.

Which URL each peer was told is noted beside its mirror. Where there is no note, the one of now becomes it: a
peer may know this node by a name of its own choice, and only a change is worth telling.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from heritage_ledger.errors import EvidenceInvalid, EvidenceMissing
from heritage_ledger.federation.notices import MOVED_NOTICE, format_moved
from heritage_ledger.federation.peers import discover
from heritage_ledger.home.durable import write_file, writing
from heritage_ledger.log.checkpoint import open_checkpoint
from heritage_ledger.log.files import CHECKPOINT
from heritage_ledger.log.note import MAX_NOTE_SIZE

if TYPE_CHECKING:
    from heritage_ledger.federation.client import Client
    from heritage_ledger.federation.notices import Notices
    from heritage_ledger.federation.peers import Peer, Peers
    from heritage_ledger.home.layout import MirrorHome

_LONGEST: Final = 4_096
MOVED_PROTOCOL: Final = 2
"""The first protocol in which a node can say that it moved."""


def tell_moved(place: MirrorHome, peer: Peer, notices: Notices, url: str) -> bool:
    """Tell a peer where this node is reached now, if that is another URL than it was told before.

    `place` is where its mirror lies. Says whether it was told.

    Raises:
        HeritageError: it did not hear it; DiskProblem: it cannot be noted.
    """
    known = None
    with contextlib.suppress(OSError, UnicodeDecodeError), place.told.open("rb") as file:
        known = file.read(_LONGEST).decode().strip()
    if known == url:
        return False
    if known is not None:
        speaker = notices.speaker
        if speaker.protocols.of(peer, speaker.client) < MOVED_PROTOCOL:
            return False  # it knows no such notice; it is told when it is updated
        notices.tell(peer, MOVED_NOTICE, format_moved(url))
    with writing(place.log):
        place.log.mkdir(parents=True, exist_ok=True)
    write_file(place.told, f"{url}\n".encode(), mode=0o644, replace=True)
    return known is not None


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
