"""Whether a request is heard at all, and that its answer is sent whole or visibly not."""

from __future__ import annotations

import asyncio
import logging
import math
from typing import TYPE_CHECKING, Final

from aiohttp import web

from heritage_node.costs import UNKNOWN, cost_of
from heritage_node.journal import REASON
from heritage_node.limits import cut, send
from heritage_node.pools import TooMany
from heritage_node.problems import problem_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from heritage_node.costs import Cost
    from heritage_node.limits import Connections
    from heritage_node.pools import Pools

    _Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

USUAL_ROWS: Final = 100
"""Rows of a page for which no limit was given."""
GONE: Final = 499
"""The status that is counted, and seen by nobody, where the client was gone or too slow."""
log = logging.getLogger("heritage_node")


class Admission:
    """Takes the price of a request from its address, keeps room for it, and sends the answer."""

    def __init__(self, pools: Pools, connections: Connections) -> None:
        """Count addresses as `connections` sees them."""
        self._pools = pools
        self._connections = connections
        self._has_warned = False

    @web.middleware
    async def middleware(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Answer 429 or 503 where there is no room; else let the handler answer, and send it."""
        cost = cost_of(request.match_info.handler) or UNKNOWN
        address = self._connections.client(request)
        self._warn_of_proxy(request)
        try:
            async with self._pools.room(cost.pool, address):
                response = await self._answer(request, handler, cost, address)
                await send(request, response)
                return response
        except TooMany as error:
            response = refusal(error)
            request[REASON] = (error.code, error.message)
            await send(request, response)
            return response

    async def _answer(
        self, request: web.Request, handler: _Handler, cost: Cost, address: str
    ) -> web.StreamResponse:
        if not cost.signed:
            wait = self._pools.charge(cost, address, _rows(request))
            if wait:
                await asyncio.sleep(wait)
        try:
            response = await handler(request)
        except (ConnectionError, TimeoutError):
            cut(request.transport)
            return web.Response(status=GONE)
        except BaseException:
            cut(request.transport)  # part of an answer may be out
            raise
        if cost.signed and response.status == web.HTTPUnauthorized.status_code:
            self._pools.charge(cost, address)  # nobody whom we know
        return response

    def _warn_of_proxy(self, request: web.Request) -> None:
        if "X-Forwarded-For" in request.headers and not self._connections.trusted and not self._has_warned:
            self._has_warned = True
            log.warning(
                "requests come through a proxy that trusted_proxies under [node] does not name:"
                " all its clients share the rate of one address"
            )


def _rows(request: web.Request) -> int:
    """How many rows are asked for; what is no number is refused later, and costs as one."""
    text = request.query.get("limit", "")
    return int(text) if len(text) < 6 and text.isascii() and text.isdecimal() else USUAL_ROWS


def refusal(error: TooMany) -> web.Response:
    """The answer to a request for which there is no room now."""
    response = problem_of(error)
    response.headers["Retry-After"] = str(max(1, math.ceil(error.seconds)))
    return response
