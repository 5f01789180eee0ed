"""`/witness/add-checkpoint`: C2SP tlog-witness v1.0.0, and what monitors read."""

from __future__ import annotations

import time
from hashlib import sha256

from aiohttp import web

from heritage_ledger.errors import HeritageError
from heritage_ledger.federation.forks import keep_fork
from heritage_ledger.log.checkpoint import parse_checkpoint, read_unverified
from heritage_ledger.log.fork import ForkProof
from heritage_ledger.log.note import parse_note
from heritage_ledger.log.witness import MAX_REQUEST_SIZE, SIZE_TYPE, WitnessRefusal, parse_request
from heritage_node.costs import Cost, Paging, Pool, costs
from heritage_node.journal import REASON
from heritage_node.limits import read_body
from heritage_node.problems import reason_of
from heritage_node.service import SERVICE, Service

routes = web.RouteTableDef()


@routes.post("/witness/add-checkpoint")
@costs(Cost(Pool.WITNESS, Paging.ONE, writes=True))
async def add_checkpoint(request: web.Request) -> web.Response:
    """Cosign a checkpoint of a peer's log, if the log only grew."""
    service = request.app[SERVICE]
    body = await read_body(request, MAX_REQUEST_SIZE)
    try:
        lines, grown = await service.ask(request, _add, service, body)
    except WitnessRefusal as refusal:
        request[REASON] = (refusal.code, reason_of(refusal))
        if refusal.size is not None:
            return web.Response(body=b"%d\n" % refusal.size, status=409, headers={"Content-Type": SIZE_TYPE})
        return web.Response(text=f"{refusal.code}: {refusal}\n", status=refusal.status)
    # what only its log holds ends that log when its disk is lost: it is looked at soon
    if grown is not None:
        service.nudge(grown, is_told=False)
    return web.Response(body=lines, headers={"Content-Type": "text/plain; charset=utf-8"})


def _add(service: Service, body: bytes) -> tuple[bytes, str | None]:
    """Return the cosignatures, and the origin of the log if it has more now than its mirror."""
    try:
        lines = service.witness.add_checkpoint(body, time=int(time.time()))
        request = parse_request(body)
        shown = read_unverified(request.checkpoint)
        if request.old_size < shown.size:  # what anyone may show again was signed at any time
            service.watch.note_heard(shown.origin)
        return lines, shown.origin if shown.size > service.federation.mirrored(shown.origin) else None
    except WitnessRefusal as refusal:
        if refusal.code == "witness-root":
            _keep_evidence(service, body)
        raise


def _keep_evidence(service: Service, body: bytes) -> None:
    """Two signed trees of one size are a fork proof as they stand."""
    second = parse_request(body).checkpoint
    checkpoint = parse_checkpoint(parse_note(second).text)
    first = service.witness.latest(checkpoint.origin)
    peer = service.federation.peers.find(checkpoint.origin)
    if first is not None and peer is not None:
        proof = ForkProof(first, second, checkpoint.root, ())
        try:
            keep_fork(service.ledger.home, proof, peer.verifiers, peer.origin)
        except HeritageError:
            return  # the refusal stands in any case


@routes.get("/witness/{name:[0-9a-f]{64}}/checkpoint")
@costs(Cost(Pool.LOG, Paging.ONE))
async def latest(request: web.Request) -> web.Response:
    """The last checkpoint of a log that was cosigned here; the log is named by SHA-256 of its origin."""
    service = request.app[SERVICE]
    found = await service.ask(request, _latest, service, request.match_info["name"])
    if found is None:
        raise web.HTTPNotFound
    return web.Response(body=found, headers={"Content-Type": "text/plain; charset=utf-8"})


def _latest(service: Service, name: str) -> bytes | None:
    for peer in service.federation.peers:
        if sha256(peer.origin.encode()).hexdigest() == name:
            return service.witness.latest(peer.origin)
    return None
