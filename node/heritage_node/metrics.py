"""`/healthz`, `/readyz`, `/metrics`: for whoever looks after the machine. The home of prometheus_client."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Final

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from heritage_ledger.errors import HeritageError
from heritage_node.problems import problem
from heritage_node.service import SERVICE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from heritage_node.limits import Connections
    from heritage_node.service import Service

routes = web.RouteTableDef()


class Metrics:
    """What the node counts."""

    def __init__(self, connections: Connections) -> None:
        """Count into a registry of one's own."""
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "heritage_requests", "Requests answered", ["route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "heritage_request_seconds", "Time to answer", ["route"], registry=self.registry
        )
        self.log_size = Gauge("heritage_log_entries", "Entries of the own log", registry=self.registry)
        self.witnessed = Gauge(
            "heritage_log_witnessed_entries", "Entries that meet the witness policy", registry=self.registry
        )
        self.mirrored = Gauge(
            "heritage_mirror_entries", "Entries of a mirror", ["origin"], registry=self.registry
        )
        self.frozen = Gauge(
            "heritage_mirror_frozen",
            "1 where a log has shown two histories",
            ["origin"],
            registry=self.registry,
        )
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
async def healthz(_: web.Request) -> web.Response:
    """The process answers."""
    return web.json_response({"status": "ok"})


@routes.get("/readyz")
async def readyz(request: web.Request) -> web.Response:
    """The home can be read: log, heads and index."""
    service = request.app[SERVICE]
    try:
        await service.run(_look, service)
    except HeritageError as error:
        return problem(503, error.code, error.message)
    return web.json_response({"status": "ready"})


def _look(service: Service) -> None:
    service.federation.state.heads()
    service.ledger.checkpoint()


@routes.get("/metrics")
async def metrics(request: web.Request) -> web.Response:
    """The counts, in the form of Prometheus."""
    service, counts = request.app[SERVICE], request.app[METRICS]
    await service.run(_gauge, service, counts)
    return web.Response(body=generate_latest(counts.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _gauge(service: Service, counts: Metrics) -> None:
    size = service.ledger.log_size()
    counts.log_size.set(math.nan if size is None else size)
    counts.witnessed.set(service.federation.standing().size)
    for status in service.federation.status():
        counts.mirrored.labels(status.peer.origin).set(status.size)
        counts.frozen.labels(status.peer.origin).set(bool(status.forks))
