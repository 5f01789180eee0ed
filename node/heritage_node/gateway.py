"""`/ipfs/{cid}`: the IPFS trustless gateway, raw blocks and CARs of what is held here and of nothing else.

Source: specs.ipfs.tech, trustless-gateway. Nothing is fetched for anyone: what is not held is 404, or 412
where the client asked `only-if-cached`. No block is converted, and each is hashed before it leaves.
"""

from __future__ import annotations

import hashlib
import logging
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from aiohttp import web

from heritage_ledger.content.car import encode_header, encode_section
from heritage_ledger.content.cid import Cid, format_cid, parse_cid_spelling
from heritage_ledger.content.directory import list_directory
from heritage_ledger.content.message import Kind
from heritage_ledger.content.walk import block_cids, file_leaves, read_leaf, resolve
from heritage_ledger.errors import EvidenceInvalid, EvidenceMissing, HeritageError, OperationFailed
from heritage_node.accept import ANY, accepted
from heritage_node.costs import Cost, Paging, Pool, costs
from heritage_node.limits import cut, write
from heritage_node.service import SERVICE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from heritage_ledger.content.walk import Found
    from heritage_node.service import Service

RAW: Final = "application/vnd.ipld.raw"
CAR: Final = "application/vnd.ipld.car"
EMPTY: Final = "bafkqaaa"
"""The identity CID of no bytes, by which clients probe a gateway."""
IMMUTABLE: Final = "public, max-age=29030400, immutable"
STREAMED: Final = "public, max-age=3600"
"""For an answer that may yet fail: should a cache keep a part of it after all, then not for a year."""
_CAR_KIND: Final = f"{CAR}; version=1; order=dfs; dups=n"
_UNPLAIN: Final = re.compile(r'[^ -~]|["\\/]')
"""What the file name of a header does not hold as it is."""
_BYTES: Final = re.compile(r"(-?[0-9]{1,18}):(\*|-?[0-9]{1,18})", re.ASCII)
PIECE: Final = 1 << 20
"""Bytes of a CAR that are made in one go, in a thread."""
PIECE_BLOCKS: Final = 256
"""Blocks that are made in one go: a folder of a million small files is no step of work."""
_VARIANT: Final = {"version": ("", "1"), "order": ("", "dfs", "unk"), "dups": ("", "n")}
_CROSS_ORIGIN: Final = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, HEAD, OPTIONS",
    "Access-Control-Allow-Headers": "Accept, Cache-Control, If-None-Match",
    "Access-Control-Expose-Headers": "Content-Disposition, Content-Length, ETag, Ipfs-Uri, X-Ipfs-Path, "
    "X-Ipfs-Roots",
}
"""What lets a page of another origin ask, and read the answer."""
_SCOPES: Final = frozenset({"block", "entity", "all"})

log = logging.getLogger("heritage_node")

routes = web.RouteTableDef()


@routes.get("/ipfs/{cid}")
@routes.get(r"/ipfs/{cid}/{path:[\s\S]*}")
@costs(Cost(Pool.BLOCKS, Paging.STREAM, units=2, seconds=30.0))
async def ipfs(request: web.Request) -> web.StreamResponse:
    """A block, or a DAG as a CAR."""
    service = request.app[SERVICE]
    form = _form(request)
    name, path = request.match_info["cid"], request.match_info.get("path", "").strip("/")
    if form == "raw" and path:
        raise web.HTTPBadRequest(reason="Raw Blocks Have No Paths")
    if name == EMPTY:
        return _raw(request, EMPTY, b"") if form == "raw" else _probe(request)
    root = _parse(name)
    try:
        if form == "raw":
            return _raw(request, format_cid(root), await service.ask(request, service.holdings.get, root))
        return await _car(request, service, root, path)
    except EvidenceMissing as error:
        raise _absent(request) from error


@routes.options("/ipfs/{cid}")
@routes.options(r"/ipfs/{cid}/{path:[\s\S]*}")
@costs(Cost(Pool.BLOCKS, Paging.ONE))
async def preflight(_: web.Request) -> web.Response:
    """Let pages of every origin ask: what is served here is public."""
    return web.Response(status=204, headers=_CROSS_ORIGIN | {"Access-Control-Max-Age": "86400"})


def _form(request: web.Request) -> str:
    """Return `raw` or `car`; the query parameter wins over Accept (IPIP-523), nothing is converted."""
    asked = request.query.get("format")
    if asked is not None:
        if asked not in {"raw", "car"}:
            raise web.HTTPNotAcceptable
        if asked == "car" and not _is_made({}, request):
            raise web.HTTPNotAcceptable
        return asked
    ranges = accepted(request)
    for one in ranges:
        if one.kind == RAW:
            return "raw"
        if one.kind == CAR and _is_made(one.parameters, request):
            return "car"
    if any(one.kind == ANY for one in ranges) and not any(one.kind == CAR for one in ranges):
        raise web.HTTPBadRequest(reason="Ask For A Raw Block Or A CAR")
    raise web.HTTPNotAcceptable


def _is_made(given: Mapping[str, str], request: web.Request) -> bool:
    """Say whether this kind of CAR is made here: depth first, each block once, version 1.

    The query wins over Accept (IPIP-412).
    """
    asked = {name: request.query[f"car-{name}"] for name in _VARIANT if f"car-{name}" in request.query}
    wanted = {**given, **asked}
    return all(wanted.get(name, "") in known for name, known in _VARIANT.items())


def _parse(name: str) -> Cid:
    try:
        return parse_cid_spelling(name)
    except EvidenceInvalid as error:
        if error.code == "cid-unsupported":
            raise web.HTTPNotFound from error
        raise web.HTTPBadRequest(reason="Not A CID") from error


def _absent(request: web.Request) -> web.HTTPException:
    if "only-if-cached" in request.headers.get("Cache-Control", ""):
        return web.HTTPPreconditionFailed()
    return web.HTTPNotFound()


def _headers(
    request: web.Request, name: str, etag: str, kind: str, roots: Iterable[Cid] = ()
) -> dict[str, str]:
    suffix = "bin" if kind == RAW else "car"
    path = request.match_info.get("path", "")
    headers = {
        "Content-Type": kind,
        "Content-Disposition": _disposition(request.query.get("filename") or f"{name}.{suffix}"),
        "X-Content-Type-Options": "nosniff",
        "ETag": etag,
        "Ipfs-Uri": f"ipfs://{name}{'/' + quote(path) if path else ''}",
        "X-Ipfs-Roots": ",".join(map(format_cid, roots)) or name,
        "Cache-Control": IMMUTABLE,
        "Vary": "Accept",
    }
    if request.path.isascii() and request.path.isprintable():  # the older header cannot say another one
        headers["X-Ipfs-Path"] = request.path
    return headers | _CROSS_ORIGIN


def _disposition(filename: str) -> str:
    """Name the file that an answer is saved as (RFC 6266): in ASCII, and in full where that is not enough."""
    plain = _UNPLAIN.sub("_", filename)
    full = "" if plain == filename else f"; filename*=UTF-8''{quote(filename, safe='')}"
    return f'attachment; filename="{plain}"{full}'


def _is_known(request: web.Request, etag: str) -> bool:
    given = request.headers.get("If-None-Match", "")
    tags = {tag.strip().removeprefix("W/") for tag in given.split(",")}
    return "*" in tags or etag.removeprefix("W/") in tags


def _raw(request: web.Request, name: str, block: bytes) -> web.StreamResponse:
    etag = f'"{name}.raw"'
    headers = _headers(request, name, etag, RAW)
    if _is_known(request, etag):
        return web.Response(status=304, headers={"ETag": etag, "Cache-Control": IMMUTABLE, "Vary": "Accept"})
    return web.Response(body=block, headers=headers)


def _probe(request: web.Request) -> web.Response:
    """Answer the probe for CARs: the root is the empty identity CID, and there are no blocks."""
    headers = _headers(request, EMPTY, f'W/"{EMPTY}.car"', _CAR_KIND)
    return web.Response(body=encode_header([Cid(b"\x01\x55\x00\x00")]), headers=headers)


async def _car(request: web.Request, service: Service, root: Cid, path: str) -> web.StreamResponse:
    query = request.query
    scope = query.get("dag-scope", "all")
    if scope not in _SCOPES:
        raise web.HTTPBadRequest(reason="No Such Scope")
    span = _span(query.get("entity-bytes"))
    if span is not None:
        scope = "entity"
    get = service.holdings.get
    try:
        found = await service.ask(request, resolve, get, root, path)
    except OperationFailed as error:
        raise web.HTTPNotFound from error
    if span is not None and found.kind is Kind.FILE and _is_outside(span, found.size or 0):
        raise web.HTTPBadRequest(reason="Bytes Beyond The File")
    words = hashlib.sha256(f"{path} {scope} {span}".encode()).hexdigest()[:16]
    name = format_cid(root)
    etag = f'W/"{name}.car.{words}"'
    if _is_known(request, etag):
        return web.Response(status=304, headers={"ETag": etag, "Cache-Control": IMMUTABLE, "Vary": "Accept"})
    headers = _headers(request, name, etag, _CAR_KIND, found.roots) | {"Accept-Ranges": "none"}
    if "format" not in query:
        headers["Content-Location"] = str(request.rel_url.update_query(format="car"))
    if request.method == "HEAD":
        return web.Response(headers=headers)
    return await stream(request, service, headers, lambda: _blocks(get, found, scope, span), [root])


async def stream(
    request: web.Request,
    service: Service,
    headers: dict[str, str],
    blocks: Callable[[], Iterator[tuple[Cid, bytes]]],
    roots: Iterable[Cid],
) -> web.StreamResponse:
    """Send a CAR; what fits into one piece has a length.

    When a block of a longer one is missing on the way, or anything else fails, the connection is reset, and
    the client and every cache between know that it is not whole.
    """
    source = pieces(blocks(), roots)
    piece = await service.ask(request, next, source, b"")
    following = await service.ask(request, next, source, b"")
    if not following:
        return web.Response(body=piece, headers=headers)
    if "immutable" in headers.get("Cache-Control", ""):
        headers = headers | {"Cache-Control": STREAMED}
    response = web.StreamResponse(headers=headers)
    try:
        await response.prepare(request)
        while piece:
            await write(response, piece)
            piece, following = following, await service.ask(request, next, source, b"")
        await response.write_eof()
    except HeritageError as error:
        log.warning("an answer was cut off: %s: %s", error.code, error)
        cut(request.transport)
    except BaseException:
        cut(request.transport)
        raise
    return response


def pieces(blocks: Iterator[tuple[Cid, bytes]], roots: Iterable[Cid]) -> Iterator[bytes]:
    """Yield a CAR in pieces of `PIECE` bytes or `PIECE_BLOCKS` blocks."""
    parts = [encode_header(roots)]
    size = count = 0
    for cid, block in blocks:
        parts += encode_section(cid, block)
        size += len(block)
        count += 1
        if size >= PIECE or count >= PIECE_BLOCKS:
            yield b"".join(parts)
            parts, size, count = [], 0, 0
    if parts:
        yield b"".join(parts)


class _Recorder:
    """A `get` that remembers each block it gave, once, until it is taken."""

    def __init__(self, get: Callable[[Cid], bytes]) -> None:
        self._get = get
        self._seen: set[Cid] = set()
        self._new: list[tuple[Cid, bytes]] = []

    def __call__(self, cid: Cid) -> bytes:
        block = self._get(cid)
        if cid not in self._seen:
            self._seen.add(cid)
            self._new.append((cid, block))
        return block

    def take(self) -> list[tuple[Cid, bytes]]:
        new, self._new = self._new, []
        return new

    def missing(self, cid: Cid) -> bool:
        return cid not in self._seen


def _blocks(
    get: Callable[[Cid], bytes], found: Found, scope: str, span: tuple[int, int | None] | None
) -> Iterator[tuple[Cid, bytes]]:
    """Yield the blocks of an answer, each once, in the order of a depth-first walk."""
    record = _Recorder(get)
    for cid in found.blocks:
        record(cid)
    yield from record.take()
    if scope == "block":
        record(found.cid)
    elif found.kind is Kind.FILE and scope == "entity":
        yield from _file_blocks(record, found, span)
        record(found.cid)
    elif scope == "entity":
        for _ in list_directory(record, found.cid):
            yield from record.take()
        record(found.cid)
    else:
        for cid in block_cids(record, found.cid):
            if record.missing(cid):
                record(cid)
            yield from record.take()
    yield from record.take()


def _file_blocks(
    record: _Recorder, found: Found, span: tuple[int, int | None] | None
) -> Iterator[tuple[Cid, bytes]]:
    """Yield the blocks in which the bytes lie; none where there are no such bytes."""
    start, stop = _bounds(span, found.size or 0)
    if found.size and stop is not None and stop <= start:
        return
    for leaf in file_leaves(record, found.cid, start=start, stop=stop):
        if leaf.data is None:
            read_leaf(record, leaf)
        yield from record.take()


def _span(text: str | None) -> tuple[int, int | None] | None:
    """Return the first and last byte (None: the end) of `entity-bytes`; negative ones count from the end."""
    if text is None:
        return None
    found = _BYTES.fullmatch(text)
    if found is None:
        raise web.HTTPBadRequest(reason="No Such Bytes")
    first, last = found.groups()
    return int(first), None if last == "*" else int(last)


def _is_outside(span: tuple[int, int | None], size: int) -> bool:
    return 0 < size <= _bounds(span, size)[0]


def _bounds(span: tuple[int, int | None] | None, size: int) -> tuple[int, int | None]:
    if span is None:
        return 0, None
    first, last = span
    start = max(0, first + size) if first < 0 else first
    if last is None:
        return start, None
    stop = last + size + 1 if last < 0 else last + 1
    return start, max(stop, start)
