"""What the log says of requests: each has a name, and whoever was refused a reason (`specs/federation.md`).

A refusal is one line with its stable code. Strangers cannot fill a disk by it: of each code few lines a
minute are written, and the next one says how many were left out. Bodies, queries, headers and signatures are
never logged.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from typing import TYPE_CHECKING, Final

from aiohttp import web

from heritage_ledger.federation.tracing import HEADER, new_id, parse_id, traced

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from heritage_node.limits import Connections

LINES: Final = 20
"""Lines about refusals of one code in a minute."""
_MINUTE: Final = 60.0
_LOUD: Final = frozenset({401, 403, 500, 503, 507})
"""Statuses that somebody should look into: who is not known, or what this node cannot do."""
ID: Final = web.RequestKey("request_id", str)
REASON: Final = web.RequestKey("reason", tuple)
"""Where whoever refuses leaves the code, and what was wrong in words."""
PEER: Final = web.RequestKey("peer", str)
"""Where the origin of the peer is left that signed the request."""
log = logging.getLogger("heritage_node.requests")


class Journal:
    """Names requests and tells of those that were refused; with `access` of all."""

    def __init__(self, connections: Connections, *, access: bool = False) -> None:
        """Believe the proxies that `connections` does."""
        self._connections = connections
        self._access = access
        self._since: dict[str, float] = {}
        self._lines: Counter[str] = Counter()

    @web.middleware
    async def middleware(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Answer a request under a name of its own."""
        said = parse_id(request.headers.get(HEADER))
        name = said if said is not None and self._connections.is_from_proxy(request) else new_id()
        request[ID] = name
        began = time.perf_counter()
        with traced(name):
            response = await handler(request)
            if response.status >= 400 or self._access:
                fields: dict[str, object] = {
                    "kind": "request",
                    "address": self._connections.client(request),
                    "peer": request.get(PEER),
                    "caller_id": said if said != name else None,
                    "method": request.method,
                    "path": request.path[:200],
                    "status": response.status,
                    "seconds": round(time.perf_counter() - began, 4),
                }
                self._tell(response.status, fields, request.get(REASON))
        return response

    def _tell(self, status: int, fields: dict[str, object], reason: tuple[str, str] | None) -> None:
        who = fields["peer"] or fields["address"]
        what = f"{who}: {fields['method']} {fields['path']}: {status}"
        if status < 400:
            log.info("%s", what, extra={"fields": fields})
            return
        code, words = reason or (f"status-{status}", "refused")
        more = self._left_out(code)
        if more is None:
            return
        fields |= {"code": code, "reason": words, "more": more or None}
        level = logging.WARNING if status in _LOUD else logging.INFO
        log.log(level, "%s %s: %s", what, code, words, extra={"fields": fields})

    def _left_out(self, code: str) -> int | None:
        """How many lines of a code were left out before this one; None where this one is, too."""
        now = time.monotonic()
        left_out = 0
        if now - self._since.get(code, -_MINUTE) >= _MINUTE:
            left_out = max(0, self._lines[code] - LINES)
            self._since[code], self._lines[code] = now, 0
        self._lines[code] += 1
        return left_out if self._lines[code] <= LINES else None


async def name_answer(request: web.Request, response: web.StreamResponse) -> None:
    """Say in an answer what the request is called in the log (a signal of aiohttp)."""
    if ID in request:
        response.headers[HEADER] = request[ID]
