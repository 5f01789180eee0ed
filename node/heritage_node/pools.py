"""Threads and room for the work of requests: a pool for each kind, so that none keeps another waiting.

A read in a thread ends when its time is over or its client is gone (`heritage_ledger.home.deadline`); what is
written is finished, whoever is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self, TypeVar

from heritage_ledger.errors import TemporaryFailure
from heritage_ledger.home.deadline import Deadline, bounded
from heritage_node.costs import Pool
from heritage_node.rates import Rates

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from heritage_node.costs import Cost

_T = TypeVar("_T")


class TooMany(TemporaryFailure):
    """A request that has to wait; `seconds` until it is worth asking again."""

    def __init__(self, code: str, message: str, seconds: float) -> None:
        super().__init__(code, message, advice="ask again after the time that Retry-After names")
        self.seconds = seconds


class Pools:
    """The pools of a node. A context; its rooms and rates are for one event loop."""

    def __init__(self, public_rate: int) -> None:
        """Let one address have `public_rate` units of public work a second, and each pool's share of it."""
        self._held = contextlib.ExitStack()
        self.threads = {
            pool: self._held.enter_context(ThreadPoolExecutor(pool.value.threads, pool.name.lower()))
            for pool in Pool
        }
        self.under_way: Counter[Pool] = Counter()
        self._each: Counter[tuple[Pool, str]] = Counter()
        self._left = {pool: asyncio.Event() for pool in Pool}
        self.rates = {
            pool: Rates(public_rate * pool.value.share, public_rate * pool.value.share * pool.value.burst)
            for pool in Pool
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pool, threads in self.threads.items():
            threads.shutdown(wait=False, cancel_futures=pool is not Pool.LOG)  # it closes files too
        self._held.close()

    def charge(self, cost: Cost, address: str, rows: int = 0) -> float:
        """Take the units of a request for `rows` from the rate of its address; returns how long it must wait.

        Raises:
            TooMany: they are not there (`rate-exceeded`).
        """
        room = cost.pool.value
        wait = self.rates[cost.pool].take(address, cost.price(rows), pace=room.pace)
        if wait > room.pace:
            raise TooMany("rate-exceeded", "this address asks for more than its share", wait)
        return wait

    @contextlib.asynccontextmanager
    async def room(self, pool: Pool, address: str) -> AsyncIterator[None]:
        """Count a request as under way for the length of a block; it waits as long as the pool has patience.

        How many wait is bounded by the connections that there may be.

        Raises:
            TooMany: there are too many, of this address or in all (`node-busy`).
        """
        end = time.monotonic() + pool.value.patience
        while (refused := self._refusal(pool, address)) is not None:
            left = end - time.monotonic()
            if left <= 0:
                raise refused
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._left[pool].wait()
        self.under_way[pool] += 1
        self._each[pool, address] += 1
        try:
            yield
        finally:
            self.under_way[pool] -= 1
            self._each[pool, address] -= 1
            if not self._each[pool, address]:
                del self._each[pool, address]
            self._left[pool].set()  # whoever waits looks once more
            self._left[pool].clear()

    def _refusal(self, pool: Pool, address: str) -> TooMany | None:
        if self._each[pool, address] >= pool.value.each:
            return TooMany("node-busy", "too many requests of this address are under way", 1.0)
        if self.under_way[pool] >= pool.value.most:
            return TooMany("node-busy", "too many requests are under way", 1.0)
        return None

    async def ask(self, cost: Cost, function: Callable[..., _T], *values: Any) -> _T:
        """Do a step of a request's work in a thread of its pool.

        Raises:
            TemporaryFailure: it took too long (`read-too-long`).
        """
        loop, threads = asyncio.get_running_loop(), self.threads[cost.pool]
        here = contextvars.copy_context()  # the name of the request goes along
        if cost.writes:
            return await asyncio.shield(loop.run_in_executor(threads, here.run, function, *values))
        deadline = Deadline(cost.seconds)

        def call() -> _T:
            deadline.check()
            with bounded(deadline):
                return function(*values)

        try:
            return await loop.run_in_executor(threads, here.run, call)
        except asyncio.CancelledError:
            deadline.cancel()
            raise
