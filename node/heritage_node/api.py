"""`/api/v1/…`: what this institution holds and says, as JSON; `openapi.json` here is the contract."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from heritage_ledger.content.cid import parse_cid_spelling
from heritage_ledger.errors import EvidenceInvalid, EvidenceMissing
from heritage_ledger.federation.notices import CHECKPOINT_NOTICE, MOVED_NOTICE, parse_moved
from heritage_ledger.federation.protocol import PROTOCOL
from heritage_ledger.federation.signing import NOTICE
from heritage_ledger.index.resolve import recorded_at
from heritage_ledger.log.fork import TYPE as FORK_TYPE
from heritage_ledger.provenance.trace import summarise
from heritage_node.costs import Cost, Paging, Pool, costs
from heritage_node.gateway import CAR, stream
from heritage_node.limits import read_body
from heritage_node.service import SERVICE, Service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from heritage_ledger.content.cid import Cid
    from heritage_ledger.federation.signing import Signed
    from heritage_ledger.index.rows import EventRow
    from heritage_ledger.index.store import Index

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


async def _answer(request: web.Request, read: Callable[[], object]) -> web.Response:
    """What `read` gives, as JSON; both are made in a thread."""
    body = await request.app[SERVICE].ask(request, lambda: json.dumps(read()).encode())
    return web.Response(body=body, content_type="application/json", charset="utf-8")


@routes.get("/api/v1/openapi.json")
@costs(Cost(Pool.PUBLIC, Paging.ONE))
async def contract(request: web.Request) -> web.Response:
    """The contract."""
    return await _answer(request, openapi)


@routes.get("/api/v1/node")
@costs(Cost(Pool.PUBLIC, Paging.ONE, units=2))
async def node(request: web.Request) -> web.Response:
    """Who runs this node."""
    service = request.app[SERVICE]
    return await _answer(request, lambda: _node(service))


def _node(service: Service) -> dict[str, Any]:
    standing = service.federation.standing()
    return {
        "institution": service.ledger.institution,
        "origin": service.ledger.origin,
        "url": service.ledger.settings.node.url,
        "protocol": PROTOCOL,
        "log_keys": [key.vkey for key in service.ledger.log_keys()],
        "size": service.checkpoint().size,
        "witnessed": standing.size if standing.required else None,
        "cosigned": dict(standing.cosigned),
    }


@routes.get("/api/v1/assets")
@costs(Cost(Pool.PUBLIC, Paging.KEYSET, units=2, each=0.03))
async def assets(request: web.Request) -> web.Response:
    """The assets, a page at a time; `after` is the last asset that was seen."""
    service, limit = request.app[SERVICE], _limit(request)
    after = request.query.get("after")

    def read() -> list[dict[str, Any]]:
        return list(map(asdict, service.ledger.reader.assets(after, limit=limit)))

    return await _answer(request, lambda: {"assets": read()})


@routes.get("/api/v1/packages/{cid}")
@costs(Cost(Pool.PUBLIC, Paging.ONE, units=2))
async def package(request: web.Request) -> web.Response:
    """One package by its CID."""
    service, name = request.app[SERVICE], request.match_info["cid"]

    def read() -> dict[str, Any]:
        row = service.ledger.index.package_by_cid(_cid(name))
        if row is None:
            raise EvidenceMissing("not-found", "no package of this CID is recorded here", path=name)
        shown = service.ledger.reader.package(row)
        return {key: value for key, value in asdict(shown).items() if key != "folder"} | {
            "witnessed": service.federation.standing().says(shown.log_index)
        }

    return await _answer(request, read)


@routes.get("/api/v1/events")
@costs(Cost(Pool.PUBLIC, Paging.KEYSET, units=2, each=0.03))
async def events(request: web.Request) -> web.Response:
    """Events of the log in its order, a page at a time; `after` is the last log index that was seen."""
    service, limit = request.app[SERVICE], _limit(request)
    after, asset = _number(request, "after", -1), request.query.get("asset")

    def read() -> list[dict[str, Any]]:
        index = service.ledger.index
        if asset is not None and index.asset(asset) is None:
            raise EvidenceMissing("not-found", "no asset of this name", path=asset)
        if after >= 0 and index.event(after) is None:
            raise EvidenceMissing("not-found", "no event of this log index to go on after", path=str(after))
        return [asdict(summarise(row)) for row in index.events(asset, after=after, limit=limit)]

    return await _answer(request, lambda: {"events": read()})


@routes.get("/api/v1/events/{which}")
@costs(Cost(Pool.PUBLIC, Paging.ONE, units=2))
async def event(request: web.Request) -> web.Response:
    """One signed event, as its stored bytes, by log index or id."""
    service, which = request.app[SERVICE], request.match_info["which"]

    def read() -> bytes:
        row = _event(service.ledger.index, which)
        if row is None:
            raise EvidenceMissing("not-found", "no such event", path=which[:100])
        return service.ledger.log.read_entry(row.log_index, service.checkpoint().size)

    return web.Response(body=await service.ask(request, read), content_type="application/ld+json")


def _event(index: Index, which: str) -> EventRow | None:
    is_number = which.isascii() and which.isdecimal() and len(which) < 19
    return index.event(int(which) if is_number else which)


@routes.get("/api/v1/proofs/{what:.+}")
@costs(Cost(Pool.PUBLIC, Paging.ONE, units=5))
async def proof(request: web.Request) -> web.Response:
    """A proof file of an event, asset or package, to check offline."""
    service, what = request.app[SERVICE], request.match_info["what"]

    def read() -> bytes:
        # the names that an index finds at once: to look for a path in all bags reads a row of every file
        row = _event(service.ledger.index, what)
        return service.ledger.prove(str(row.log_index if row else recorded_at(service.ledger.index, what)))

    return web.Response(body=await service.ask(request, read), content_type="application/json")


@routes.get("/api/v1/peers")
@costs(Cost(Pool.PUBLIC, Paging.FEW, units=5))
async def peers(request: web.Request) -> web.Response:
    """The peers, and how far their logs are mirrored."""
    service = request.app[SERVICE]

    def read() -> list[dict[str, Any]]:
        frozen = {fork.origin for fork in service.forks()}
        return [
            {
                "origin": peer.origin,
                "institution": peer.institution,
                "url": peer.url,
                "log_keys": list(peer.log_keys),
                "mirrored": service.federation.mirrored(peer.origin),
                "frozen": peer.origin in frozen,
            }
            for peer in service.federation.peers
        ]

    return await _answer(request, lambda: {"peers": read()})


@routes.get("/api/v1/forks")
@costs(Cost(Pool.PUBLIC, Paging.FEW, units=5))
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
            for fork in service.forks()
        ]

    return await _answer(request, lambda: {"forks": read()})


@routes.get("/api/v1/forks/{file}")
@costs(Cost(Pool.PUBLIC, Paging.ONE, units=5))
async def fork(request: web.Request) -> web.Response:
    """One fork proof, as it is kept."""
    service, name = request.app[SERVICE], request.match_info["file"]

    def read() -> bytes:
        for kept in service.forks():
            if kept.path.name == name:
                return kept.path.read_bytes()
        raise EvidenceMissing("not-found", "no fork proof of this name is kept here", path=name[:100])

    return web.Response(body=await service.ask(request, read), content_type="application/json")


@routes.post("/api/v1/blocks")
@costs(Cost(Pool.PEERS, Paging.STREAM, seconds=60.0, signed=True))
async def blocks(request: web.Request) -> web.StreamResponse:
    """The named blocks that are held here, as a CAR, to a peer that signed the request."""
    service = request.app[SERVICE]
    signed = await service.check_peer(request)
    wanted = await service.ask(request, parse_wanted, signed, await read_body(request))
    headers = {"Content-Type": f"{CAR}; version=1", "Cache-Control": "no-store"}
    return await stream(
        request, service, headers, lambda: given_blocks(service, signed.origin, wanted), wanted[:1]
    )


def parse_wanted(signed: Signed, body: bytes) -> list[Cid]:
    """Return the blocks that a peer asks for.

    Raises:
        KeyProblem: the body is not the one that was signed.
        EvidenceInvalid, web.HTTPBadRequest: it names no blocks.
    """
    signed.check_body(body)
    try:
        names = json.loads(body)["cids"]
        if not isinstance(names, list) or not 0 < len(names) <= MAX_WANTED:
            raise web.HTTPBadRequest(reason="Name Some Blocks")
        return [_cid(name) for name in names]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise web.HTTPBadRequest(reason="Not A List Of Blocks") from error


def given_blocks(service: Service, peer: str, wanted: list[Cid]) -> Iterator[tuple[Cid, bytes]]:
    """Yield what is here; the peer sees which blocks are not, and asks another one."""
    cids = list(dict.fromkeys(wanted))
    for start in range(0, len(cids), LOOKED_UP):
        for cid, block in service.holdings.get_many(cids[start : start + LOOKED_UP]):
            service.given[peer] += len(block)
            service.watch.given[peer] += len(block)
            yield cid, block


@routes.post("/api/v1/notices")
@costs(Cost(Pool.PEERS, Paging.ONE, signed=True, writes=True))
async def notices(request: web.Request) -> web.Response:
    """Take a peer's word that there is something new to look at, or a fork proof."""
    service = request.app[SERVICE]
    signed = await service.check_peer(request)
    kind = await service.ask(
        request, _notice, service, signed, request.headers.get(NOTICE), await read_body(request)
    )
    if kind == CHECKPOINT_NOTICE:
        service.nudge(signed.origin, is_told=True)  # its own log alone is looked at, and not at once for ever
    return web.json_response({"taken": True}, status=202)


def _notice(service: Service, signed: Signed, said: str | None, body: bytes) -> str | None:
    signed.check_body(body)
    shown = _kind(body)
    kind = said if signed.covers_notice else shown
    if kind == "fork":
        service.federation.take_fork(body)
    elif kind == "help":
        service.record_help(signed.origin, body)
    elif kind == MOVED_NOTICE and signed.covers_notice:
        service.moved[signed.origin] = parse_moved(body)
    elif kind != CHECKPOINT_NOTICE or shown == "unreadable":
        raise EvidenceInvalid("notice-malformed", "there is no such notice", found=repr(kind)[:80])
    return kind


def _kind(body: bytes) -> str:
    """What a notice is by its body alone: peers of release 0.1 do not sign the header that says it."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return "unreadable"
    if not isinstance(document, dict):
        return "unreadable"
    if document.get("type") == FORK_TYPE:
        return "fork"
    return "help" if document.keys() == {"package", "source"} else "checkpoint"


@routes.post("/api/v1/sync")
@costs(Cost(Pool.WATCH, Paging.ONE))
async def sync(request: web.Request) -> web.Response:
    """Look at the peers now; for whoever has the token for local administration."""
    service = request.app[SERVICE]
    service.check_admin(request)
    service.wake()
    return web.json_response({"taken": True}, status=202)


def _cid(name: object) -> Cid:
    if not isinstance(name, str):
        raise EvidenceInvalid("cid-malformed", "this is not a CID", found=repr(name)[:80])
    return parse_cid_spelling(name)


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
