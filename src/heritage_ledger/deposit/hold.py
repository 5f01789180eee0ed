"""The engine holds a package before its event is written, and lets go of it when no event comes of it."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from heritage_ledger.content.blocks import PackageKey
from heritage_ledger.errors import HeritageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heritage_ledger.content.package import PackageGraph
    from heritage_ledger.deposit.books import Books
    from heritage_ledger.deposit.record import Deposit
    from heritage_ledger.deposit.staging import Staging
    from heritage_ledger.progress import Progress


class Hold:
    """A package in the engine whose event is about to be written."""

    def __init__(self, books: Books, deposit: Deposit) -> None:
        self._books = books
        self._deposit = deposit
        self._version = books.next_version(deposit.asset)
        self._confirmed = False

    @property
    def _key(self) -> PackageKey:
        return PackageKey(self._deposit.asset, self._version)

    def take(self, work: Staging, graph: PackageGraph) -> None:
        """Stream the staged bag into the engine."""
        if self._books.kubo is not None:
            folder = str(work.bag.relative_to(work.home.root))
            self._books.kubo.add_package(self._key, self._deposit.package_cid, folder, graph)

    def confirm(self, version: int) -> None:
        """Say that the event is written; another deposit may have taken the version that was expected."""
        self._confirmed = True
        expected, self._version = self._version, version
        if self._books.kubo is not None and version != expected:
            self._books.kubo.rename(self._key, self._deposit.package_cid)

    def keep(self) -> None:
        """Let the engine hold it whatever comes: whether the event is written is not known."""
        self._confirmed = True

    def let_go(self) -> None:
        """Take the pin away again, or give it back to the version that has the same bytes."""
        kubo, cid = self._books.kubo, self._deposit.package_cid
        if kubo is None or self._confirmed:
            return
        with contextlib.suppress(HeritageError):  # the first error is the one to tell; status shows the rest
            if self._books.index.package(self._deposit.asset, self._version) is not None:
                return  # recorded after all: only what came later failed
            older = self._books.index.package_by_cid(cid)
            if older is not None and older.package_cid == cid:
                kubo.rename(PackageKey(older.asset, older.version), cid)
            else:
                kubo.remove_package(self._key, cid)


@contextlib.contextmanager
def held(
    books: Books, work: Staging, graph: PackageGraph, deposit: Deposit, progress: Progress
) -> Iterator[Hold]:
    """Put the staged bag on the disk and let the engine hold it, for good once that is confirmed."""
    hold = Hold(books, deposit)
    try:
        if books.kubo is None:
            work.sync()
        else:
            progress.begin("hand to Kubo", files=graph.count)
            with ThreadPoolExecutor(max_workers=1) as beside:
                synced = beside.submit(work.sync)  # our disk works while the daemon is fed
                hold.take(work, graph)
            synced.result()
        yield hold
    except BaseException:
        hold.let_go()
        raise
