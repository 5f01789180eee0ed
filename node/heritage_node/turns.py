"""`POST /api/v1/turns`: members that nobody can call take questions along, and bring answers."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from aiohttp import web

from heritage_ledger.errors import HeritageError, OperationFailed
from heritage_ledger.federation.reverse import HOLD_SECONDS, is_reverse
from heritage_ledger.federation.turns import PATH, format_question, parse_turn
from heritage_node.costs import Cost, Paging, Pool, costs
from heritage_node.limits import read_body
from heritage_node.service import SERVICE, Service

if TYPE_CHECKING:
    from heritage_ledger.federation.signing import Signed
    from heritage_ledger.federation.turns import Question

LATE_SECONDS: Final = 20.0
"""How long a piece of an answer waits until the ones before it are read."""

routes = web.RouteTableDef()


@routes.post(PATH)
@costs(Cost(Pool.MEMBERS, Paging.ONE, signed=True, writes=True))
async def turns(request: web.Request) -> web.StreamResponse:
    """A question for the member that calls, or 204; or a piece of its answer, taken.

    The last piece of an answer may be answered by the next question.
    """
    service = request.app[SERVICE]
    signed = await service.check_peer(request)
    await service.ask(request, _check_member, service, signed)
    if "answer" in request.query:
        return await _answered(request, service, signed)
    signed.check_body(await read_body(request))
    return await _question(request, service, signed.origin)


def _check_member(service: Service, signed: Signed) -> None:
    peer = service.federation.peers.find(signed.origin)
    if peer is None or not is_reverse(peer.url):
        raise OperationFailed(
            "turns-unwanted",
            "this node has an address of the member, and calls it itself",
            path=signed.origin,
            expected="a member that was added by a file without a URL",
            advice="ask the operators to add the file of `heritage peer card`, or leave call_in out",
        )
    service.federation.client.note_clock(peer.url, signed.created - time.time() + 0.5)


async def _question(request: web.Request, service: Service, origin: str) -> web.StreamResponse:
    call = service.desk.take(origin)
    try:
        async with asyncio.timeout(HOLD_SECONDS):
            question = await asyncio.shield(asyncio.wrap_future(call))
    except TimeoutError:
        service.desk.leave(origin, call)
        return web.Response(status=204)
    except asyncio.CancelledError:
        service.desk.leave(origin, call)
        raise
    return await _asking(request, service, question)


async def _answered(request: web.Request, service: Service, signed: Signed) -> web.StreamResponse:
    name, part, is_last, head = parse_turn(request.query)
    question = service.desk.check(signed.origin, name, part)
    try:
        data = await read_body(request)
        await service.ask(request, signed.check_body, data)
        await service.ask(
            request, lambda: service.desk.add(question, head, data, is_last=is_last, seconds=LATE_SECONDS)
        )
    except HeritageError as error:
        service.desk.fail(question, error)
        raise
    following = service.desk.take_waiting(signed.origin) if is_last else None
    if following is not None:
        return await _asking(request, service, following)
    return web.json_response({"taken": True}, status=202)


async def _asking(request: web.Request, service: Service, question: Question) -> web.Response:
    body = await service.ask(request, format_question, question)
    return web.Response(body=body, content_type="application/json", headers={"Cache-Control": "no-store"})
