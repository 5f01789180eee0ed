"""What the handlers of a node share: the home's ledger and federation, keys, and threads for the disk."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from aiohttp import web

from heritage_ledger.content.cid import parse_cid
from heritage_ledger.deposit.books import witness_signers
from heritage_ledger.errors import EvidenceInvalid, HeritageError, TemporaryFailure
from heritage_ledger.federation.holdings import Holdings
from heritage_ledger.federation.signing import Gate
from heritage_ledger.home.keyring import open_node_keys
from heritage_ledger.home.settings import check_origin, read_secret

if TYPE_CHECKING:
    from collections.abc import Callable

    from heritage_ledger.content.cid import Cid
    from heritage_ledger.federation.federation import Federation
    from heritage_ledger.home.keyring import NodeKeyring
    from heritage_ledger.ledger import Ledger
    from heritage_ledger.log.witness import Witness

DISK_THREADS: Final = 8
"""Threads that read the disk for requests."""
PEER_THREADS: Final = 32
"""Threads that ask peers, and check what is held."""

_T = TypeVar("_T")


class Stoppable:
    """Progress of work that ends when the node stops: nothing is half-done, the next start goes on."""

    def __init__(self) -> None:
        self.stopping = False

    def begin(self, phase: str, *, files: int | None = None, size: int | None = None) -> None:  # noqa: ARG002 - the protocol's
        """Raise when the node stops."""
        self.advance()

    def advance(self, *, files: int = 0, size: int = 0) -> None:  # noqa: ARG002 - the protocol's
        """Raise when the node stops."""
        if self.stopping:
            raise TemporaryFailure("node-stopping", "the node is being stopped; the next start goes on")


@dataclass
class Service:
    """One running node. A context."""

    ledger: Ledger
    keys: NodeKeyring
    federation: Federation = field(init=False)
    holdings: Holdings = field(init=False)
    witness: Witness = field(init=False)
    gate: Gate = field(init=False)
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when somebody says that peers have something new."""
    looked: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a peer was looked at."""
    progress: Stoppable = field(default_factory=Stoppable)
    suspects: set[Cid] = field(default_factory=set)
    """Packages that were found damaged while they were served."""
    given: Counter[str] = field(default_factory=Counter)
    """Bytes of blocks that each peer was given since its last word of thanks."""

    @classmethod
    def of(cls, ledger: Ledger, passphrase: Callable[[], bytes] | bytes | None) -> Self:
        """Open the node keys of a ledger's home.

        Raises:
            KeyProblem: a key is missing, or the passphrase wrong.
        """
        return cls(ledger, open_node_keys(ledger.home, passphrase))

    def __enter__(self) -> Self:
        self._held = contextlib.ExitStack()
        self.federation = self.ledger.federation
        self._pool = self._held.enter_context(ThreadPoolExecutor(DISK_THREADS, "disk"))
        self._peers = self._held.enter_context(ThreadPoolExecutor(PEER_THREADS, "peers"))
        self.holdings = self._held.enter_context(
            Holdings(
                self.ledger.home,
                self.ledger.index,
                self.federation.peers,
                self.ledger.kubo,
                suspect=self.suspects.add,
            )
        )
        self.witness = self.federation.witness(witness_signers(self.ledger.origin, self.keys))
        self.gate = Gate(self.ledger.origin, self._key_of)
        self._token = read_secret(self.ledger.settings.node.admin_token)
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def _key_of(self, origin: str) -> bytes | None:
        peer = self.federation.peers.find(origin)
        return None if peer is None else peer.public_key

    def record_help(self, peer: str, body: bytes) -> None:
        """Record that a peer repaired a package with blocks of ours; once for what it was given.

        Raises:
            EvidenceInvalid: the notice names no package (`notice-malformed`).
        """
        try:
            document = json.loads(body)
            package, source = document["package"], document["source"]
            parse_cid(package)
            check_origin(source)
        except (ValueError, KeyError, TypeError, RecursionError, HeritageError) as error:
            raise EvidenceInvalid(
                "notice-malformed", "the notice names no package", found=repr(body[:80])
            ) from error
        given = self.given.pop(peer, 0)
        if given:
            self.federation.record_help(peer, package, source, given)

    async def run(self, function: Callable[..., _T], *values: Any) -> _T:
        """Call a function that waits for the disk, in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *values)

    async def work(self, function: Callable[..., _T], *values: Any) -> _T:
        """Call a function that may wait for peers, in a thread that no request needs."""
        return await asyncio.get_running_loop().run_in_executor(self._peers, function, *values)

    def check_admin(self, request: web.Request) -> None:
        """Raise HTTPUnauthorized unless the request bears the token for local administration."""
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        known = self._token
        if known is None or not hmac.compare_digest(_digest(given), _digest(known)):
            raise web.HTTPUnauthorized

    async def check_peer(self, request: web.Request, body: bytes) -> str:
        """Return the origin of the peer that signed a request; see `Gate.check_request`."""
        base = self.ledger.settings.node.url or f"{request.scheme}://{request.host}"
        return self.gate.check_request(request.method, f"{base}{request.path_qs}", request.headers, body)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


SERVICE: Final = web.AppKey("service", Service)
"""Where handlers find the service."""
