"""When each peer was last reached by us, and last heard from: notes for people (`specs/federation.md`).

They lie beside the mirror, may be lost, and decide nothing.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from heritage_ledger.home.durable import writing

if TYPE_CHECKING:
    from heritage_ledger.home.layout import MirrorHome

_MOST = 253_402_300_799
"""The last second of the year 9999."""


@dataclass(frozen=True, slots=True)
class Contact:
    """POSIX seconds: `reached`, of our last look that went well; `heard`, of what the peer signed last.

    What it signs is a request to us, or a checkpoint that it had us cosign. None where that never was.
    """

    reached: int | None = None
    heard: int | None = None


def note_contact(place: MirrorHome, contact: Contact) -> None:
    """Keep what is known now; a time that is not known leaves the one that was.

    Raises:
        DiskProblem: it cannot be written.
    """
    known = read_contact(place)
    reached, heard = contact.reached or known.reached, contact.heard or known.heard
    if Contact(reached, heard) == known:
        return
    path = place.contact
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d %d\n" % (reached or 0, heard or 0))


def read_contact(place: MirrorHome) -> Contact:
    """Return what was noted last; nothing where there is no note, or none of use."""
    with contextlib.suppress(OSError, ValueError), place.contact.open("rb") as file:
        reached, heard = map(int, file.read(40).split())
        if 0 <= reached <= _MOST and 0 <= heard <= _MOST:
            return Contact(reached or None, heard or None)
    return Contact()
