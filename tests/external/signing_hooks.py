"""Hooks of schemathesis: requests for peers are signed as a peer does, and judged on their answers.

SIGNED_BY is the home of the peer, SIGNED_FOR the origin of the log whose node is asked, ADMIN its token.
"""

import os
from pathlib import Path

import schemathesis
from requests.auth import AuthBase

from heritage_ledger import Ledger
from heritage_ledger.federation.signing import NOTICE, Request, sign_request
from heritage_ledger.home.keyring import open_node_keys

with Ledger.open(Path(os.environ["SIGNED_BY"])) as _ledger:
    ORIGIN, KEY = _ledger.origin, open_node_keys(_ledger.home, None).node


class Signed(AuthBase):
    """What a peer and an administrator send."""

    def __call__(self, request):
        if request.url.partition("?")[0].endswith("/sync"):
            request.headers["Authorization"] = f"Bearer {os.environ['ADMIN']}"
            return request
        body = request.body or b""
        asked = Request(request.method, request.url, body.encode() if isinstance(body, str) else body)
        if NOTICE in request.headers:
            asked.headers[NOTICE] = request.headers[NOTICE]
        if request.method == "POST":
            audience = os.environ["SIGNED_FOR"]
            request.headers.update(sign_request(asked, KEY, origin=ORIGIN, audience=audience))
        return request


schemathesis.auth.set_from_requests(Signed())
