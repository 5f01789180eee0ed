"""What is known here of each peer, without asking it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from heritage_ledger.events.timestamps import format_timestamp
from heritage_ledger.federation.clocks import FAR_SECONDS, read_clock
from heritage_ledger.federation.contacts import read_contact
from heritage_ledger.federation.forks import stored_forks
from heritage_ledger.federation.mirroring import mirror_of

if TYPE_CHECKING:
    from heritage_ledger.federation.forks import StoredFork
    from heritage_ledger.federation.peers import Peer
    from heritage_ledger.home.layout import Home
    from heritage_ledger.home.state import StateStore


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """What is known here of one peer: how far its log is mirrored, and the forks that it showed.

    `reached` is when a look at it last went well, `heard` when it last signed a request to us or a checkpoint
    that it had us cosign; None where that is not known. `clock_ahead` is how many seconds its clock was ahead
    of ours at the last look; None where nobody looked.
    """

    peer: Peer
    size: int
    forks: tuple[StoredFork, ...]
    clock_ahead: int | None
    reached: str | None = None
    heard: str | None = None

    @property
    def is_clock_far(self) -> bool:
        """Say whether the two clocks are too far apart."""
        return self.clock_ahead is not None and abs(self.clock_ahead) >= FAR_SECONDS


def status_of(home: Home, state: StateStore, peer: Peer) -> PeerStatus:
    """What the files of the home say of one peer."""
    head = mirror_of(home, state, peer).head()
    forks = tuple(stored_forks(home, peer.origin))
    clock = read_clock(home.mirror_of(peer.origin))
    contact = read_contact(home.mirror_of(peer.origin))
    size = 0 if head is None else head.size
    return PeerStatus(peer, size, forks, clock, _time(contact.reached), _time(contact.heard))


def _time(seconds: int | None) -> str | None:
    return None if seconds is None else format_timestamp(datetime.fromtimestamp(seconds, UTC))
