"""`/healthz`, `/readyz`, `/metrics`: for whoever looks after the machine; what is counted is in `numbers`."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Final

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from heritage_ledger.errors import DiskProblem, HeritageError, OperationFailed, Severity, TemporaryFailure
from heritage_ledger.fixity.heads import examine_heads
from heritage_ledger.home.room import free_room, reserve_of
from heritage_node.costs import Cost, Paging, Pool, costs
from heritage_node.journal import REASON
from heritage_node.numbers import Numbers
from heritage_node.problems import problem, reason_of
from heritage_node.service import SERVICE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from heritage_node.limits import Connections
    from heritage_node.service import Service

ENGINE_SECONDS: Final = 0.8
"""How long the engine may take to say that it is there."""

routes = web.RouteTableDef()


class Metrics:
    """What the node counts."""

    def __init__(self, connections: Connections) -> None:
        """Count into a registry of one's own."""
        self.registry = CollectorRegistry()
        self.turn = threading.Lock()
        self.requests = Counter(
            "heritage_requests", "Requests answered", ["route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "heritage_request_seconds", "Time to answer", ["route"], registry=self.registry
        )
        self.numbers = Numbers(self.registry)
        opened = Gauge("heritage_connections", "Open connections", registry=self.registry)
        opened.set_function(lambda: len(connections.open))
        slow = Gauge(
            "heritage_connections_closed_slow", "Closed for keeping us waiting", registry=self.registry
        )
        slow.set_function(lambda: connections.closed_slow)

    @web.middleware
    async def middleware(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Count a request by its route, never by its path."""
        start = time.perf_counter()
        status = 500
        try:
            response = await handler(request)
            status = response.status
            return response
        finally:
            resource = request.match_info.route.resource
            route = "unknown" if resource is None else resource.canonical
            self.requests.labels(route, status).inc()
            self.seconds.labels(route).observe(time.perf_counter() - start)


METRICS: Final = web.AppKey("metrics", Metrics)


@routes.get("/healthz")
@costs(Cost(Pool.WATCH, Paging.ONE))
async def healthz(_: web.Request) -> web.Response:
    """The process answers."""
    return web.json_response({"status": "ok"})


@routes.get("/readyz")
@costs(Cost(Pool.WATCH, Paging.ONE))
async def readyz(request: web.Request) -> web.Response:
    """The node can do its work: its log can be read and trusted, there is room, heads and engine answer."""
    service = request.app[SERVICE]
    try:
        await service.ask(request, _look, service)
        await _ask_engine(service)
    except HeritageError as error:
        request[REASON] = (error.code, reason_of(error))
        return problem(503, error.code, error.message, detail=error.found, advice=error.advice)
    return web.json_response({"status": "ready"})


def _look(service: Service) -> None:
    service.checkpoint()
    service.federation.state.heads()
    service.ledger.index.absorbed()
    for finding in examine_heads(service.ledger.home, service.ledger.settings):
        if finding.severity is Severity.ERROR:
            raise OperationFailed.of(finding)
    root = service.ledger.home.root
    free, least = free_room(root).bytes, reserve_of(root, service.ledger.settings.node.reserve_mib).bytes
    if free < least:
        raise DiskProblem(
            "disk-full",
            "the disk is full up to the reserve that log and state need",
            expected=f"{least} bytes or more",
            found=f"{free} bytes",
            advice="free space, or give the disk more: the log must be able to grow",
        )


async def _ask_engine(service: Service) -> None:
    """Ask the daemon that holds the blocks for its version; one that is silent is asked once at a time.

    Raises:
        HeritageError: it does not answer, or not as it should.
    """
    kubo = service.ledger.kubo
    if kubo is None:
        return
    if service.engine_asked is None or service.engine_asked.done():
        service.engine_asked = asyncio.ensure_future(service.run(kubo.rpc.version))
        service.engine_asked.add_done_callback(_heard)
    try:
        await asyncio.wait_for(asyncio.shield(service.engine_asked), ENGINE_SECONDS)
    except TimeoutError as error:
        raise TemporaryFailure(
            "engine-silent",
            "the daemon that holds the blocks does not answer",
            path=kubo.rpc.url,
            advice="see whether it runs and is not overloaded",
        ) from error


def _heard(asked: asyncio.Future[str]) -> None:
    if not asked.cancelled():
        asked.exception()  # told by whoever still waits; nobody may


@routes.get("/metrics")
@costs(Cost(Pool.WATCH, Paging.FEW))
async def metrics(request: web.Request) -> web.Response:
    """The counts, in the form of Prometheus."""
    service, counts = request.app[SERVICE], request.app[METRICS]
    await _time_engine(request, service)
    body = await service.ask(request, _scrape, service, counts)
    return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})


async def _time_engine(request: web.Request, service: Service) -> None:
    """Note how long what holds the blocks takes to answer: the daemon, or the folder of packages."""
    began, is_up = time.monotonic(), True
    try:
        if service.ledger.kubo is None:
            await service.ask(request, service.ledger.home.packages.stat)
        else:
            await _ask_engine(service)
    except (HeritageError, OSError):
        is_up = False
    service.watch.engine = is_up, time.monotonic() - began


def _scrape(service: Service, counts: Metrics) -> bytes:
    with counts.turn:
        counts.numbers.read(service)
        return generate_latest(counts.registry)
