"""The promises of one home: made, taken back, and what is held by them."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from heritage_ledger.errors import HeritageError, UsageError
from heritage_ledger.events.event import MAX_COUNT
from heritage_ledger.federation.held import HeldReplica, drop_replicas, held_replicas
from heritage_ledger.federation.pledges import (
    DEFAULT_SHARE,
    Duties,
    no_pledge,
    pledge,
    pledges_in,
    withdraw,
)
from heritage_ledger.fixity.evidence import open_log
from heritage_ledger.fixity.home import log_verifiers
from heritage_ledger.home.room import room_for_others
from heritage_ledger.index.store import Index
from heritage_ledger.log.files import LogFiles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from heritage_ledger.deposit.books import Books
    from heritage_ledger.federation.peers import Peers
    from heritage_ledger.federation.pledges import Pledge
    from heritage_ledger.home.layout import Home
    from heritage_ledger.home.room import Room
    from heritage_ledger.home.settings import Settings


class Promises:
    """Pledges to peers and the replicas that are held by them; any thread may use it."""

    def __init__(
        self,
        home: Home,
        settings: Settings,
        peers: Peers,
        books: Callable[[], Books],
        *,
        signing: contextlib.AbstractContextManager[object],
        duties: Duties,
    ) -> None:
        """`books` is asked for only to sign, and `signing` held meanwhile."""
        self._home = home
        self._settings = settings
        self._peers = peers
        self._books = books
        self._signing = signing
        self._duties = duties

    def pledge(
        self, which: str, until: datetime, *, assets: Sequence[str] = (), max_bytes: int | None = None
    ) -> Pledge:
        """Promise a peer to hold replicas of its packages; recorded in the own log.

        Without `max_bytes` the promise is for half of what is free now beside the reserve.

        Raises:
            EvidenceMissing: there is no such peer (`peer-unknown`).
            UsageError: the time is over (`pledge-until`), or the bytes are beyond any event (`pledge-bytes`).
        """
        peer = self._peers.get(which)
        if until <= datetime.now(UTC):
            raise UsageError("pledge-until", "a pledge ends in the future", found=until.isoformat())
        if max_bytes is None:
            max_bytes = self.room().bytes // DEFAULT_SHARE
        if not 0 <= max_bytes <= MAX_COUNT:
            raise UsageError(
                "pledge-bytes", "nobody can hold so much", expected=f"0 to {MAX_COUNT}", found=str(max_bytes)
            )
        with self._signing:
            pledge(self._books(), peer.origin, until, assets=assets, max_bytes=max_bytes)
        return self.latest()[peer.origin]

    def room(self) -> Room:
        """What may be written for others now, on the disk of the home."""
        return room_for_others(self._home.root, self._settings.node.reserve_mib)

    def withdraw(self, which: str) -> Pledge:
        """Take the pledge to a peer back, or to the log of an origin that is no peer any more.

        Raises:
            EvidenceMissing: there is no such peer, nor a pledge to such a log (`peer-unknown`).
            UsageError: nothing is promised to it (`pledge-none`).
        """
        origin = self.origin_of(which)
        with self._signing:
            last = self.latest().get(origin)
            if last is None:
                self._peers.get(which)
                raise no_pledge(origin)
            withdraw(self._books(), last)
        return self.latest()[origin]

    def latest(self) -> dict[str, Pledge]:
        """The latest pledge for each log."""
        with self._signing:
            self._duties.follow(self._books())
            return dict(self._duties.pledges)

    def published(self) -> dict[str, Pledge]:
        """The same by the published log: needs no key, and neither an index nor room where these fail.

        Raises:
            EvidenceInvalid, EvidenceMissing: the log is damaged.
        """
        log, origin = LogFiles(self._home.log), self._settings.origin
        checkpoint = open_log(log, origin, log_verifiers(self._home, origin, log)).checkpoint
        size = 0 if checkpoint is None else checkpoint.size
        with contextlib.suppress(HeritageError):
            place = self._settings.kept_in(self._home.index)
            with Index.open(place, origin=origin, make=False) as index:
                if index.absorbed() >= size:
                    duties = Duties()
                    duties.update(index, log, size)
                    return duties.pledges
        return pledges_in(log, size)

    def origin_of(self, which: str) -> str:
        """The origin of a peer by its origin or URL; what names no peer is taken as an origin."""
        named = which.rstrip("/")
        return next((peer.origin for peer in self._peers if named in {peer.origin, peer.url}), which)

    def replicas(self, which: str | None = None, cid: str | None = None) -> Iterator[HeldReplica]:
        """What is held for others, all of it or for one log; with `cid`, in any spelling, that package alone.

        Raises:
            EvidenceMissing: no peer has this name, and nothing is held of such a log (`peer-unknown`).
        """
        held = list(held_replicas(self._home, None if which is None else self.origin_of(which), cid))
        if which is not None and not held:
            self._peers.get(which)
        return iter(held)

    def drop(self, which: str, cid: str | None = None) -> Iterator[HeldReplica]:
        """Give up replicas of a log's packages, all or one; yield each that is gone.

        Raises:
            EvidenceMissing: none is held (`replica-unknown`).
            UsageError: a pledge that counts covers one (`replica-pledged`); none was removed then.
        """
        origin = self.origin_of(which)
        return drop_replicas(self._home, origin, cid, self.published().get(origin))
