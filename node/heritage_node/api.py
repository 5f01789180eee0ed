"""`/api/v1/…`: what this institution holds and says, as JSON; `openapi.json` here is the contract."""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from heritage_ledger.content.cid import parse_cid
from heritage_ledger.errors import EvidenceInvalid, EvidenceMissing
from heritage_ledger.federation.federation import NOTICE
from heritage_ledger.federation.forks import stored_forks
from heritage_node.gateway import CAR, stream
from heritage_node.limits import read_body
from heritage_node.service import SERVICE, Service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heritage_ledger.content.cid import Cid
    from heritage_ledger.federation.forks import StoredFork
    from heritage_ledger.provenance.views import PackageSummary

PAGE: Final = 100
MAX_PAGE: Final = 1_000
MAX_WANTED: Final = 4_096
"""Blocks that one request may ask for."""
LOOKED_UP: Final = 128
"""Blocks that are looked up together."""

routes = web.RouteTableDef()


def openapi() -> dict[str, Any]:
    """The OpenAPI 3.1 document of this interface."""
    document: dict[str, Any] = json.loads(files("heritage_node").joinpath("openapi.json").read_bytes())
    return document


@routes.get("/api/v1/openapi.json")
async def contract(_: web.Request) -> web.Response:
    """The contract."""
    return web.json_response(openapi())


@routes.get("/api/v1/node")
async def node(request: web.Request) -> web.Response:
    """Who runs this node."""
    return web.json_response(await request.app[SERVICE].run(_node, request.app[SERVICE]))


def _node(service: Service) -> dict[str, Any]:
    checkpoint = service.ledger.evidence().checkpoint
    standing = service.federation.standing()
    return {
        "institution": service.ledger.institution,
        "origin": service.ledger.origin,
        "log_keys": [key.vkey for key in service.ledger.log_keys()],
        "size": 0 if checkpoint is None else checkpoint.size,
        "witnessed": standing.size if standing.required else None,
        "cosigned": dict(standing.cosigned),
    }


@routes.get("/api/v1/assets")
async def assets(request: web.Request) -> web.Response:
    """The assets, a page at a time; `after` is the last asset that was seen."""
    service, limit = request.app[SERVICE], _limit(request)
    after = request.query.get("after")

    def read() -> list[dict[str, Any]]:
        found: Iterator[dict[str, Any]] = map(asdict, service.ledger.assets())
        if after is not None:
            found = itertools.dropwhile(lambda asset: asset["asset"] != after, found)
            next(found, None)
        return list(itertools.islice(found, limit))

    return web.json_response({"assets": await service.run(read)})


@routes.get("/api/v1/packages/{cid}")
async def package(request: web.Request) -> web.Response:
    """One package by its CID."""
    service, name = request.app[SERVICE], request.match_info["cid"]

    def read() -> dict[str, Any]:
        row = service.ledger.index.package_by_cid(_cid(name))
        if row is None:
            raise EvidenceMissing("not-found", "no package of this CID is recorded here", path=name)
        shown: PackageSummary = service.ledger.reader.package(row)
        return {key: value for key, value in asdict(shown).items() if key != "folder"} | {
            "witnessed": service.federation.standing().says(shown.log_index)
        }

    return web.json_response(await service.run(read))


@routes.get("/api/v1/events")
async def events(request: web.Request) -> web.Response:
    """Events of the log in its order, a page at a time; `after` is the last log index that was seen."""
    service, limit = request.app[SERVICE], _limit(request)
    after, asset = _number(request, "after", -1), request.query.get("asset")

    def read() -> list[dict[str, Any]]:
        from heritage_ledger.provenance.trace import summarise  # noqa: PLC0415 - only here

        rows = service.ledger.index.events(asset, after=after, limit=limit)
        return [asdict(summarise(row)) for row in rows]

    return web.json_response({"events": await service.run(read)})


@routes.get("/api/v1/events/{which}")
async def event(request: web.Request) -> web.Response:
    """One signed event, as its stored bytes, by log index or id."""
    service, which = request.app[SERVICE], request.match_info["which"]

    def read() -> bytes:
        name = int(which) if which.isascii() and which.isdecimal() and len(which) < 19 else which
        row = service.ledger.index.event(name)
        if row is None:
            raise EvidenceMissing("not-found", "no such event", path=which[:100])
        return service.ledger.evidence().read_entry(row.log_index)

    return web.Response(body=await service.run(read), content_type="application/ld+json")


@routes.get("/api/v1/proofs/{what:.+}")
async def proof(request: web.Request) -> web.Response:
    """A proof file of an event, asset or package, to check offline."""
    service = request.app[SERVICE]
    data = await service.run(service.ledger.prove, request.match_info["what"])
    return web.Response(body=data, content_type="application/json")


@routes.get("/api/v1/peers")
async def peers(request: web.Request) -> web.Response:
    """The peers, and how far their logs are mirrored."""
    service = request.app[SERVICE]

    def read() -> list[dict[str, Any]]:
        return [
            {
                "origin": status.peer.origin,
                "institution": status.peer.institution,
                "url": status.peer.url,
                "log_keys": list(status.peer.log_keys),
                "mirrored": status.size,
                "frozen": bool(status.forks),
            }
            for status in service.federation.status()
        ]

    return web.json_response({"peers": await service.run(read)})


@routes.get("/api/v1/forks")
async def forks(request: web.Request) -> web.Response:
    """The fork proofs that are kept here."""
    service = request.app[SERVICE]

    def read() -> list[dict[str, Any]]:
        return [
            {
                "origin": fork.origin,
                "sizes": [fork.first_size, fork.second_size],
                "file": fork.path.name,
            }
            for fork in stored_forks(service.ledger.home)
        ]

    return web.json_response({"forks": await service.run(read)})


@routes.get("/api/v1/forks/{file}")
async def fork(request: web.Request) -> web.Response:
    """One fork proof, as it is kept."""
    service, name = request.app[SERVICE], request.match_info["file"]
    kept_here: list[StoredFork] = await service.run(lambda: list(stored_forks(service.ledger.home)))
    for kept in kept_here:
        if kept.path.name == name:
            return web.Response(body=kept.path.read_bytes(), content_type="application/json")
    raise web.HTTPNotFound


@routes.post("/api/v1/blocks")
async def blocks(request: web.Request) -> web.StreamResponse:
    """The named blocks that are held here, as a CAR, to a peer that signed the request."""
    service = request.app[SERVICE]
    body = await read_body(request)
    peer = await service.check_peer(request, body)
    wanted = _wanted(body)
    headers = {"Content-Type": f"{CAR}; version=1", "Cache-Control": "no-store"}
    return await stream(request, service, headers, lambda: _held(service, peer, wanted), wanted[:1])


def _wanted(body: bytes) -> list[Cid]:
    try:
        names = json.loads(body)["cids"]
        if not isinstance(names, list) or not 0 < len(names) <= MAX_WANTED:
            raise web.HTTPBadRequest(reason="Name Some Blocks")
        return [_cid(name) for name in names]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise web.HTTPBadRequest(reason="Not A List Of Blocks") from error


def _held(service: Service, peer: str, wanted: list[Cid]) -> Iterator[tuple[Cid, bytes]]:
    """Yield what is here; the peer sees which blocks are not, and asks another one."""
    cids = list(dict.fromkeys(wanted))
    for start in range(0, len(cids), LOOKED_UP):
        for cid, block in service.holdings.get_many(cids[start : start + LOOKED_UP]):
            service.given[peer] += len(block)
            yield cid, block


@routes.post("/api/v1/notices")
async def notices(request: web.Request) -> web.Response:
    """Take a peer's word that there is something new to look at, or a fork proof."""
    service = request.app[SERVICE]
    body = await read_body(request)
    peer = await service.check_peer(request, body)
    kind = request.headers.get(NOTICE)
    if kind == "fork":
        await service.run(service.federation.take_fork, body)
    elif kind == "help":
        await service.run(service.record_help, peer, body)
    service.woken.set()
    return web.json_response({"taken": True}, status=202)


@routes.post("/api/v1/sync")
async def sync(request: web.Request) -> web.Response:
    """Look at the peers now; for whoever has the token for local administration."""
    service = request.app[SERVICE]
    service.check_admin(request)
    service.woken.set()
    return web.json_response({"taken": True}, status=202)


def _cid(name: object) -> Cid:
    if not isinstance(name, str):
        raise EvidenceInvalid("cid-malformed", "this is not a CID", found=repr(name)[:80])
    return parse_cid(name)


def _limit(request: web.Request) -> int:
    limit = _number(request, "limit", PAGE)
    if limit > MAX_PAGE:
        raise web.HTTPBadRequest(reason="Too Long A Page")
    return limit


def _number(request: web.Request, name: str, usual: int) -> int:
    text = request.query.get(name)
    if text is None:
        return usual
    if not text.isascii() or not text.isdecimal() or len(text) > 18:
        raise web.HTTPBadRequest(reason="Not A Number")
    return int(text)
