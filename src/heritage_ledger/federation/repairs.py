"""Repairs: packages compared with their addresses and mended, for a person or by the node's own checks.

What mends one package is `heritage_ledger.federation.repair`; here is which ones, and what is recorded.
"""

from __future__ import annotations

import json
import math
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

from heritage_ledger.content.blocks import PackageKey
from heritage_ledger.content.budget import TreeBudget
from heritage_ledger.content.cid import format_cid
from heritage_ledger.deposit.statement import frame, record_statement
from heritage_ledger.errors import HeritageError, TemporaryFailure
from heritage_ledger.events.bodies import dissemination_body
from heritage_ledger.events.timestamps import format_timestamp
from heritage_ledger.federation.aside import settle
from heritage_ledger.federation.checks import being_checked, due, is_noted_damaged, note_check
from heritage_ledger.federation.holdings import Holdings
from heritage_ledger.federation.mirroring import open_mirror_index
from heritage_ledger.federation.repair import Repair, record_recovery
from heritage_ledger.fixity.evidence import open_log
from heritage_ledger.fixity.rows import check_complete
from heritage_ledger.home.release import is_released
from heritage_ledger.home.room import free_room
from heritage_ledger.index.absorb import add_whole_content
from heritage_ledger.index.resolve import packages_here
from heritage_ledger.index.selection import not_found
from heritage_ledger.progress import SILENT

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator

    from heritage_ledger.content.cid import Cid
    from heritage_ledger.content.kubo import KuboEngine
    from heritage_ledger.deposit.books import Books
    from heritage_ledger.federation.federation import Federation
    from heritage_ledger.federation.repair import Repaired
    from heritage_ledger.index.rows import PackageRow
    from heritage_ledger.index.store import Index
    from heritage_ledger.progress import Progress

LOOK_SECONDS: Final = 3_600.0
"""How often it is looked whether every own bag is in its place, while no peer's log grows."""

NEWS_SECONDS: Final = 5.0
"""How soon after the last look the mirrors are read again because one has grown."""


class Repairs:
    """The repairs of one federation. Different packages may be mended from different threads at once."""

    def __init__(
        self,
        federation: Federation,
        books: Callable[[], Books],
        kubo: Callable[[], KuboEngine | None],
        *,
        signing: threading.RLock,
    ) -> None:
        """Mend the packages of its home, and what Kubo holds of them; `signing` is held to record it."""
        self._federation = federation
        self._home = federation.home
        self._settings = federation.settings
        self._books = books
        self._kubo = kubo
        self._signing = signing
        self._next_look = 0.0
        self._last_look = -math.inf
        self._is_news = False
        self._is_absent = False

    def news(self) -> None:
        """A peer's log has grown: it may hold what is missing here, or say that it does."""
        self._is_news = True

    @property
    def is_waiting(self) -> bool:
        """Say whether an own bag is absent that somebody may hold by what came since the last look."""
        is_old = time.monotonic() - self._last_look >= NEWS_SECONDS
        return self._is_absent and self._is_news and is_old

    def run(self, what: str | None = None, *, progress: Progress = SILENT) -> Iterator[Repaired]:
        """Mend the packages that are damaged, own ones and replicas, all or those of an asset or CID.

        Raises:
            EvidenceMissing: there is no such asset or package (`not-found`).
            EvidenceInvalid: the log took packages in that the index does not have, so that they were not
                looked at (`index-package-missing`, `index-count`); after the others.
            HomeLocked: another process kept at one of them (`home-locked`).
        """
        with self._signing:
            books = self._books()
        rows = list(self._packages(books.index, what))
        looked: dict[Cid, bool] = {}
        if what is not None and not rows:
            raise not_found(what)
        with Holdings(self._home, books.index, self._federation.peers, self._kubo()) as holdings:
            for origin, row in rows:
                done = []
                with being_checked(self._home, row.package_cid):
                    if origin == self._settings.origin:
                        self._complete(books, row)  # the rows say what the tree is, where no peer does
                    for started, repaired in self._repair(holdings, origin, row, progress):
                        if repaired.is_statement:
                            with self._signing:
                                record_recovery(books, repaired, started)
                        done.append(repaired)
                    settle(self._home, format_cid(row.package_cid))
                looked[row.package_cid] = looked.get(row.package_cid, True) and not any(
                    one.findings for one in done
                )
                self._note(row.package_cid, is_whole=looked[row.package_cid])
                if origin == self._settings.origin and looked[row.package_cid]:
                    self._complete(books, row)
                for repaired in done:
                    if repaired.is_statement:
                        self._thank(repaired)
                    yield repaired
        if what is None:
            evidence = open_log(self._federation.log, self._settings.origin, self._federation.verifiers)
            check_complete(self._home, books.index, evidence)

    def _repair(
        self, holdings: Holdings, origin: str, row: PackageRow, progress: Progress
    ) -> Iterator[tuple[str, Repaired]]:
        """Mend the bag of one package, and what Kubo holds of an own one; yields when each began."""
        folder, kubo = self._home.root / row.folder, self._kubo()
        is_own = origin == self._settings.origin
        room = partial(free_room, self._home.root) if is_own else self._federation.promises.room
        budget = partial(TreeBudget, format_cid(row.package_cid), files=row.files, size=row.bytes)
        if not is_released(folder) and (is_own or folder.is_dir()):
            work = Repair(self._home, holdings.get, self._federation.source(origin), room=room)
            started = format_timestamp(datetime.now(UTC))
            yield started, work.run(folder, row.package_cid, budget(), origin=origin, progress=progress)
        if is_own and kubo is not None:
            work = Repair(self._home, holdings.get, self._federation.source(origin))
            key = PackageKey(row.asset, row.version)
            started = format_timestamp(datetime.now(UTC))
            done = work.run_engine(kubo, key, row.package_cid, budget(), origin=origin, progress=progress)
            if done.was_damaged or is_released(folder):
                yield started, done

    def due(self, index: Index) -> list[Cid]:
        """The packages that the node should look at now, own ones first, in the order of the logs.

        Own bags that are not there, as after a restore, are due at once where a peer says that it holds them,
        and those that came back since.
        """
        every = timedelta(days=self._settings.node.check_days)
        if not every:
            return []
        held = [
            row.package_cid
            for origin, row in self._packages(index, None)
            if origin == self._settings.origin or (self._home.root / row.folder).is_dir()
        ]
        missing = self._missing(index)
        return [*missing, *due(self._home, dict.fromkeys(held), every, time.time())]

    def _missing(self, index: Index) -> list[Cid]:
        """Own packages that are not in their places, not known to be damaged, and held by a peer.

        With them those that came back by other means, so that their files are not in the index: nobody could
        be helped with these.

        While nobody is known to hold them, the mirrors are read again when one has grown, or an hour later.
        """
        now = time.monotonic()
        if now < self._next_look and not self.is_waiting:
            return []
        self._next_look, self._last_look, self._is_news = now + LOOK_SECONDS, now, False
        absent = [row.package_cid for row in index.packages() if not self._is_here(row)]
        unread = [row.package_cid for row in index.unread_packages() if self._is_here(row)]
        absent, unread = (
            [cid for cid in cids if not is_noted_damaged(self._home, cid)] for cids in (absent, unread)
        )
        self._is_absent = bool(absent)
        if not absent:
            return unread
        held = {one.package_cid for one in self._federation.copies(index) if one.holders}
        found = [cid for cid in absent if format_cid(cid) in held]
        if found:
            self._next_look = now  # whoever holds them may be away: they stay due
        return [*unread, *found]

    def _is_here(self, row: PackageRow) -> bool:
        folder = self._home.root / row.folder
        return (folder / "bagit.txt").is_file() or is_released(folder)

    def check(self, cid: Cid, *, progress: Progress = SILENT) -> list[Repaired]:
        """Compare a package with its address, mend what is not whole, and note that it was looked at.

        Raises:
            HeritageError: as `run`; it is not noted when that was a `TemporaryFailure`.
        """
        try:
            return list(self.run(format_cid(cid), progress=progress))
        except TemporaryFailure:
            raise
        except HeritageError:
            self._note(cid, is_whole=False)
            raise

    def _complete(self, books: Books, row: PackageRow) -> None:
        """Add the rows of a bag that was not there when its event was read: without them nobody is helped."""
        kubo = self._kubo()
        add_whole_content(books.index, self._home, row, get=None if kubo is None else kubo.get)

    def _note(self, cid: Cid, *, is_whole: bool) -> None:
        every = timedelta(days=self._settings.node.check_days)
        note_check(self._home, cid, every, time.time(), is_whole=is_whole)

    def _packages(self, own: Index, what: str | None) -> Iterator[tuple[str, PackageRow]]:
        yield from ((self._settings.origin, row) for row in packages_here(own, what))
        for peer in self._federation.peers:
            if self._home.mirror_of(peer.origin).index.exists():
                with open_mirror_index(self._home, peer) as index:
                    yield from ((peer.origin, row) for row in packages_here(index, what))

    def _thank(self, repaired: Repaired) -> None:
        """Tell the helpers what their blocks were for, so that they record it too."""
        body = json.dumps({"package": repaired.package_cid, "source": repaired.origin}).encode()
        helpers = [peer for peer in self._federation.peers if peer.origin in repaired.helpers]
        self._federation.notices.tell_all(helpers, "help", body)

    def record_help(self, recipient: str, package: str, source: str, given: int) -> None:
        """Record that blocks of a package were given to a peer for its repair."""
        with self._signing:
            books = self._books()
            body = dissemination_body(
                frame(books, books.now()),
                package_cid=package,
                source=source,
                recipient=recipient,
                byte_count=given,
            )
            record_statement(books, body)
