"""What each route may cost: which pool does its work, how its answer is paged, how long it may take.

A route states it beside its path (`@costs(Cost(…))`); `check_routes` refuses an application with one that
does not, and a test walks the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web


@dataclass(frozen=True, slots=True)
class Room:
    """What a pool has: threads, requests under way at once, of one address, and a rate for one address.

    `share` times the `public_rate` of the settings are the units of work a second for one address, `burst`
    seconds of them may be taken at once. A request that would have to wait less than `pace` seconds for its
    units waits; another is refused. One that finds no room waits `patience` seconds for it.
    """

    threads: int
    most: int
    each: int
    share: float
    burst: float = 10.0
    pace: float = 0.0
    patience: float = 0.0


class Pool(Enum):
    """Who does the work of a route: no pool keeps another one waiting."""

    LOG = Room(threads=4, most=256, each=64, share=4.0, pace=1.0)
    """Files of the own log and of mirrors."""
    WITNESS = Room(threads=2, most=64, each=16, share=2.0, pace=1.0)
    """Cosigning."""
    PEERS = Room(threads=4, most=64, each=32, share=1.0)
    """Requests that a peer signed; the rate is for those that are not."""
    MEMBERS = Room(threads=8, most=256, each=64, share=1.0)
    """Calls of members that nobody can call: they wait for questions, and bring answers."""
    BLOCKS = Room(threads=4, most=24, each=8, share=2.0, pace=5.0, patience=10.0)
    """Blocks and CARs for everyone: large answers. Kubo asks for all blocks of a folder at once, and gives up
    what is refused; so it waits."""
    PUBLIC = Room(threads=2, most=32, each=8, share=1.0)
    """Lists, packages, events, proofs."""
    WATCH = Room(threads=2, most=16, each=8, share=1.0)
    """Health and numbers, for whoever looks after the machine."""


class Paging(Enum):
    """Why the answer of a route is small."""

    ONE = "one thing, of bounded size"
    KEYSET = "a page that begins after a key, read by one query with a limit"
    FEW = "one row for each peer or log that is followed"
    STREAM = "sent piece by piece, one piece in memory"


@dataclass(frozen=True, slots=True)
class Cost:
    """What a route may cost.

    `units` are taken from the rate of an address, and `each` for every row that `limit` in the query asks
    for; `seconds` is how long each step of the work may take before it is broken off. A route that is
    `signed` is for peers, who are not limited by the rate. One that `writes` is not broken off.
    """

    pool: Pool
    paging: Paging
    units: float = 1
    each: float = 0.0
    seconds: float = 10.0
    signed: bool = False
    writes: bool = False

    def price(self, rows: int) -> float:
        """Units of a request for so many rows."""
        return self.units + self.each * rows


UNKNOWN: Final = Cost(Pool.PUBLIC, Paging.ONE)
"""What a path costs that is none of ours."""
_COSTS: Final[dict[Any, Cost]] = {}
_Handler = TypeVar("_Handler", bound="Callable[..., Any]")


def costs(cost: Cost) -> Callable[[_Handler], _Handler]:
    """State what a handler's route may cost; stands below the route's own decorator."""

    def stated(handler: _Handler) -> _Handler:
        _COSTS[handler] = cost
        return handler

    return stated


def cost_of(handler: object) -> Cost | None:
    """What was stated for a handler; None where nothing was."""
    return _COSTS.get(handler)


def check_routes(app: web.Application) -> None:
    """Raise LookupError for a route that does not state its cost."""
    for route in app.router.routes():
        if cost_of(route.handler) is None:
            raise LookupError(f"{route.method} {route.resource} does not state what it may cost")
