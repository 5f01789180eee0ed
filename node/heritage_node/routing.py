"""`/routing/v1/providers/{cid}`: tells a Kubo that this node has a block (HTTP delegated routing v1)."""

from __future__ import annotations

import ipaddress
import json
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from aiohttp import web

from heritage_ledger.content.cid import parse_cid_spelling
from heritage_ledger.errors import EvidenceInvalid
from heritage_ledger.identity.didkey import encode_base58btc
from heritage_node.accept import accepted
from heritage_node.costs import Cost, Paging, Pool, costs
from heritage_node.service import SERVICE

if TYPE_CHECKING:
    from heritage_node.service import Service

PROTOCOL: Final = "transport-ipfs-gateway-http"
NDJSON: Final = "application/x-ndjson"
_PUBLIC_KEY: Final = b"\x08\x01\x12\x20"  # protobuf: Ed25519, 32 bytes

routes = web.RouteTableDef()


def peer_id(public: bytes) -> str:
    """Return the libp2p peer id of an Ed25519 key: the identity multihash of its protobuf."""
    return encode_base58btc(b"\x00\x24" + _PUBLIC_KEY + public)


def gateway_addresses(url: str) -> list[str]:
    """Return the multiaddr of a gateway's URL."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        kind = f"ip{ipaddress.ip_address(host).version}"
    except ValueError:
        kind = "dns"
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    scheme = "tls/http" if parts.scheme == "https" else "http"
    return [f"/{kind}/{host}/tcp/{port}/{scheme}"]


@routes.get("/routing/v1/providers/{cid}")
@costs(Cost(Pool.BLOCKS, Paging.ONE))
async def providers(request: web.Request) -> web.Response:
    """This node, when it holds the block; an empty list otherwise."""
    service = request.app[SERVICE]
    try:
        cid = parse_cid_spelling(request.match_info["cid"])
    except EvidenceInvalid as error:
        if error.code != "cid-unsupported":
            raise web.HTTPUnprocessableEntity(reason="Not A CID") from error
        found = []
    else:
        wanted = set(filter(None, request.query.get("filter-protocols", "").split(",")))
        allowed = not wanted or PROTOCOL in wanted
        is_here = allowed and await service.ask(request, service.holdings.has, cid)
        found = [_self(request, service)] if is_here else []
    headers = {"Cache-Control": f"public, max-age={300 if found else 15}", "Vary": "Accept"}
    if _likes_lines(request):
        lines = "".join(json.dumps(one) + "\n" for one in found)
        return web.Response(text=lines, headers=headers, content_type=NDJSON)
    return web.json_response({"Providers": found}, headers=headers)


def _likes_lines(request: web.Request) -> bool:
    kinds = [one.kind for one in accepted(request)]
    return NDJSON in kinds and "application/json" not in kinds[: kinds.index(NDJSON)]


def _self(request: web.Request, service: Service) -> dict[str, object]:
    url = service.ledger.settings.node.url or f"{request.scheme}://{request.host}"
    return {
        "Schema": "peer",
        "ID": peer_id(service.keys.node.public),
        "Addrs": gateway_addresses(url),
        "Protocols": [PROTOCOL],
    }
