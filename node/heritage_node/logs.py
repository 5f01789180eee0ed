"""`/log/…` and `/mirrors/<origin>/…`: static C2SP tlog-tiles, of the own log and of those mirrored here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp import web

from heritage_ledger.errors import EvidenceInvalid
from heritage_ledger.federation.floor import UNSURE_HEADER
from heritage_ledger.home.marks import read_unsure
from heritage_ledger.log.files import CHECKPOINT
from heritage_ledger.log.tiles import parse_path
from heritage_node.service import SERVICE

if TYPE_CHECKING:
    from pathlib import Path

IMMUTABLE: Final = "public, max-age=31536000, immutable"
_TEXT: Final = frozenset({CHECKPOINT, "witnessed"})

routes = web.RouteTableDef()


@routes.get("/log/{path:.+}")
async def own(request: web.Request) -> web.StreamResponse:
    """A file of the own log."""
    service = request.app[SERVICE]
    return _file(service.ledger.home.log, request.match_info["path"])


@routes.get(r"/mirrors/{origin:[^/]+/[^/]+/[1-9][0-9]*}/{path:.+}")
async def mirrored(request: web.Request) -> web.StreamResponse:
    """A file of a mirror."""
    service = request.app[SERVICE]
    peer = service.federation.peers.find(request.match_info["origin"])
    if peer is None:
        raise web.HTTPNotFound
    response = _file(service.ledger.home.mirror_of(peer.origin).log, request.match_info["path"])
    unsure = await service.run(read_unsure, service.ledger.home)
    if unsure is not None and unsure.needs_floor(peer.origin):
        response.headers[UNSURE_HEADER] = "1"
    return response


def _file(folder: Path, path: str) -> web.StreamResponse:
    if path not in _TEXT:
        try:
            parse_path(path)
        except EvidenceInvalid as error:
            raise web.HTTPNotFound from error
    place = folder / path
    if not place.is_file():
        raise web.HTTPNotFound
    text = path in _TEXT
    headers = {
        "Content-Type": "text/plain; charset=utf-8" if text else "application/octet-stream",
        "Cache-Control": "no-cache" if text else IMMUTABLE,
        "X-Content-Type-Options": "nosniff",
        "Access-Control-Allow-Origin": "*",
    }
    return web.FileResponse(place, headers=headers)
