"""`/log/…` and `/mirrors/<origin>/…`: static C2SP tlog-tiles, of the own log and of those mirrored here."""

from __future__ import annotations

import stat
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from aiohttp import web

from heritage_ledger.errors import EvidenceInvalid
from heritage_ledger.federation.floor import UNSURE_HEADER
from heritage_ledger.federation.forks import FORKS_HEADER, word_of
from heritage_ledger.home.marks import read_unsure
from heritage_ledger.log.files import CHECKPOINT
from heritage_ledger.log.note import MAX_NOTE_SIZE
from heritage_ledger.log.tiles import parse_path
from heritage_node.costs import Cost, Paging, Pool, costs
from heritage_node.limits import SIZE
from heritage_node.service import SERVICE

if TYPE_CHECKING:
    from pathlib import Path

    from aiohttp.abc import AbstractStreamWriter

IMMUTABLE: Final = "public, max-age=31536000, immutable"
_HEADERS: Final = {"X-Content-Type-Options": "nosniff", "Access-Control-Allow-Origin": "*"}
_TEXT: Final = frozenset({CHECKPOINT, "witnessed"})

routes = web.RouteTableDef()


class _LogFile(web.FileResponse):
    """A file that is sent once, also when aiohttp asks again for what was sent already."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        return None if self.prepared else await super().prepare(request)


@routes.get("/log/{path:.+}")
@costs(Cost(Pool.LOG, Paging.ONE))
async def own(request: web.Request) -> web.StreamResponse:
    """A file of the own log."""
    service = request.app[SERVICE]
    response = await _file(request, service.ledger.home.log)
    if request.match_info["path"] == CHECKPOINT:
        response.headers[FORKS_HEADER] = await service.ask(request, lambda: word_of(service.forks()))
    return response


@routes.get(r"/mirrors/{origin:[^/]+/[^/]+/[1-9][0-9]*}/{path:.+}")
@costs(Cost(Pool.LOG, Paging.ONE))
async def mirrored(request: web.Request) -> web.StreamResponse:
    """A file of a mirror."""
    service = request.app[SERVICE]
    peer = await service.ask(request, service.federation.peers.find, request.match_info["origin"])
    if peer is None:
        raise web.HTTPNotFound
    response = await _file(request, service.ledger.home.mirror_of(peer.origin).log)
    unsure = await service.ask(request, read_unsure, service.ledger.home)
    if unsure is not None and unsure.needs_floor(peer.origin):
        response.headers[UNSURE_HEADER] = "1"
    return response


async def _file(request: web.Request, folder: Path) -> web.StreamResponse:
    path = request.match_info["path"]
    if path in _TEXT:
        return await _text(request, folder / path)
    try:
        parse_path(path)
    except EvidenceInvalid as error:
        raise web.HTTPNotFound from error
    place = folder / path
    size = await request.app[SERVICE].ask(request, _size, place)
    if size is None:
        raise web.HTTPNotFound
    request[SIZE] = size
    kind = "application/octet-stream"
    return _LogFile(place, headers=_HEADERS | {"Content-Type": kind, "Cache-Control": IMMUTABLE})


async def _text(request: web.Request, place: Path) -> web.Response:
    """A signed note, which changes: who has it already is told so."""
    data = await request.app[SERVICE].ask(request, _read, place)
    if data is None:
        raise web.HTTPNotFound
    etag = sha256(data).hexdigest()[:32]
    if any(tag.value in {etag, "*"} for tag in request.if_none_match or ()):
        response = web.Response(status=304, headers={"Cache-Control": "no-cache"})
    else:
        kind = "text/plain; charset=utf-8"
        response = web.Response(
            body=data, headers=_HEADERS | {"Content-Type": kind, "Cache-Control": "no-cache"}
        )
    response.etag = etag
    return response


def _read(place: Path) -> bytes | None:
    try:
        with place.open("rb") as file:
            return file.read(MAX_NOTE_SIZE)
    except OSError:
        return None


def _size(place: Path) -> int | None:
    try:
        found = place.stat()
    except OSError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None
