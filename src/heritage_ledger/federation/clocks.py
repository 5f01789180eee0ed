"""How far the clocks of peers are from ours, by the Date of their answers (`specs/federation.md`).

A note for people: nothing is decided by it, and it may be lost. Whose clock is wrong it does not say.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from heritage_ledger.errors import Finding, Severity
from heritage_ledger.home.durable import write_file, writing

if TYPE_CHECKING:
    from heritage_ledger.federation.peers import Peer
    from heritage_ledger.home.layout import MirrorHome

FAR_SECONDS: Final = 120
"""Seconds between two clocks that are told of: signed requests are valid for a minute, and five at most."""
_SAME_SECONDS: Final = 5
"""Less than this is not written anew."""


def note_clock(place: MirrorHome, peer: Peer, ahead: float | None) -> Finding | None:
    """Note how many seconds a peer's clock is ahead; return a warning where that is too far.

    Raises:
        DiskProblem: it cannot be written.
    """
    if ahead is None:
        return None
    known = read_clock(place)
    if known is None or abs(known - ahead) >= _SAME_SECONDS:
        with writing(place.log):
            place.log.mkdir(parents=True, exist_ok=True)
        write_file(place.clock, b"%d\n" % round(ahead), mode=0o644, replace=True)
    if abs(ahead) < FAR_SECONDS:
        return None
    return Finding(
        "peer-clock",
        "the clock of the peer and ours are far apart",
        path=peer.url,
        expected=f"within {FAR_SECONDS} seconds",
        found=f"{abs(round(ahead))} seconds {'ahead of' if ahead > 0 else 'behind'} ours",
        advice="set the wrong one right, both by NTP; until then signed requests may be refused",
        severity=Severity.WARNING,
    )


def read_clock(place: MirrorHome) -> int | None:
    """Return what was noted last; None where there is nothing, or nothing of use."""
    with contextlib.suppress(OSError, ValueError), place.clock.open("rb") as file:
        return int(file.read(20))
    return None
