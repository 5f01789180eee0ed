"""Which protocol two nodes speak: each says the latest that it knows (`specs/federation.md`, "Protocols").

What a peer has once been seen to speak is kept beside its mirror. From then on nothing earlier is spoken to
it or taken from it in silence: whoever stands between must not make two nodes fall back.
"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Final

from heritage_ledger.errors import HeritageError
from heritage_ledger.home.durable import write_file, writing

if TYPE_CHECKING:
    from heritage_ledger.federation.client import Client
    from heritage_ledger.federation.peers import Peer
    from heritage_ledger.home.layout import Home

PROTOCOL: Final = 2
"""The latest protocol between nodes that this software speaks; 1 is that of release 0.1."""
HEADER: Final = "Heritage-Protocol"
"""The header of every request and answer of a node that says its protocol; release 0.1 sends none."""
_LATEST: Final = 999
_ASKED_AGAIN: Final = 600.0
"""Seconds after which a peer that spoke the first protocol is asked again which one it speaks."""


def parse_protocol(text: str | None) -> int | None:
    """Return the protocol that a header says; None where it says none that can be."""
    if text is None or not text.isascii() or not text.isdecimal() or len(text) > 3:
        return None
    number = int(text)
    return number if 0 < number <= _LATEST else None


class Protocols:
    """What each peer was seen to speak. Any thread may use it."""

    def __init__(self, home: Home) -> None:
        """Read and keep notes beside the mirrors of `home`."""
        self._home = home
        self._turn = threading.Lock()
        self._asked: dict[str, float] = {}

    def seen(self, origin: str) -> int:
        """Return the latest protocol that a peer was seen to speak; 1 where nothing is known.

        Read anew at every call, so that all processes see one truth.
        """
        return _read(self._home, origin)

    def note(self, origin: str, number: int | None) -> None:
        """Note what a peer says that it speaks, where that is later than what was known."""
        if number is None or number <= self.seen(origin):
            return
        place = self._home.mirror_of(origin)
        with contextlib.suppress(HeritageError):  # a note: it is made again with the next answer
            with writing(place.log):
                place.log.mkdir(parents=True, exist_ok=True)
            write_file(place.protocol, b"%d\n" % number, mode=0o644, replace=True)

    def forget(self, origin: str) -> None:
        """Begin anew with a peer: a person has added it again."""
        with self._turn:
            self._asked.pop(origin, None)
        path = self._home.mirror_of(origin).protocol
        with writing(path):
            path.unlink(missing_ok=True)

    def of(self, peer: Peer, client: Client) -> int:
        """Return the protocol to speak to a peer: the latest that both know. It is asked where need be.

        Raises:
            HeritageError: it cannot be asked now, and was never seen to speak more than the first.
        """
        known = self.seen(peer.origin)
        if known == 1:
            said = client.protocol_of(peer.url)
            with self._turn:
                is_due = time.monotonic() - self._asked.get(peer.origin, -_ASKED_AGAIN) >= _ASKED_AGAIN
            if said is None and is_due:
                client.ask("GET", f"{peer.url}/api/v1/node")
                with self._turn:
                    self._asked[peer.origin] = time.monotonic()
                said = client.protocol_of(peer.url)
            self.note(peer.origin, said)
            known = self.seen(peer.origin)
        return min(known, PROTOCOL)


def _read(home: Home, origin: str) -> int:
    path = home.mirror_of(origin).protocol
    with contextlib.suppress(OSError, UnicodeDecodeError), path.open("rb") as file:
        return parse_protocol(file.read(8).decode("ascii").strip()) or 1
    return 1
