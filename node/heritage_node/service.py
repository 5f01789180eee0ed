"""What the handlers of a node share: the home's ledger and federation, keys, and threads for the disk."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import os
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar
from urllib.parse import urlsplit

from aiohttp import web

from heritage_ledger.content.cid import parse_cid
from heritage_ledger.deposit.books import witness_signers
from heritage_ledger.errors import EvidenceInvalid, HeritageError, KeyProblem, TemporaryFailure
from heritage_ledger.federation.client import WAITS
from heritage_ledger.federation.forks import stored_forks
from heritage_ledger.federation.holdings import Holdings
from heritage_ledger.federation.reverse import Desk
from heritage_ledger.federation.signing import Gate
from heritage_ledger.home.keyring import open_node_keys
from heritage_ledger.home.settings import check_origin
from heritage_ledger.home.settings_table import read_secret
from heritage_node.costs import cost_of
from heritage_node.journal import PEER
from heritage_node.pools import Pools
from heritage_node.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from heritage_ledger.content.cid import Cid
    from heritage_ledger.federation.federation import Federation
    from heritage_ledger.federation.forks import StoredFork
    from heritage_ledger.federation.signing import Signed
    from heritage_ledger.home.keyring import NodeKeyring
    from heritage_ledger.ledger import Ledger
    from heritage_ledger.log.checkpoint import Checkpoint
    from heritage_ledger.log.witness import Witness

DISK_THREADS: Final = 4
"""Threads that read the disk for what the node does by itself; requests have pools of their own."""
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
    desk: Desk = field(init=False)
    """Where members that call in are asked."""
    here: str = ""
    """The URL by which this node reaches itself."""
    pools: Pools = field(init=False)
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when somebody says that peers have something new."""
    noticed: set[str] = field(default_factory=set)
    """Origins of peers that say it of their own logs, or had them cosigned."""
    moved: dict[str, str] = field(default_factory=dict)
    """Where peers say that they moved to, by origin; looked at before it is believed."""
    told: set[str] = field(default_factory=set)
    """Those of them that are asked for what they publish now."""
    nudged: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when one of these was added, or `woken` is set."""
    grown: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the own checkpoint is another file than before."""
    listed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the files of peers, of forks or of the policy are others than before."""
    looked: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when there may be something to replicate."""
    whole_looks: dict[str, float] = field(default_factory=dict)
    """By origin, when the last look at what a peer publishes began (monotonic), if it found nothing wrong."""
    unheld: set[str] = field(default_factory=set)
    """Origins of which something is pledged that could not be had."""
    progress: Stoppable = field(default_factory=Stoppable)
    suspects: set[Cid] = field(default_factory=set)
    """Packages that were found damaged while they were served."""
    engine_asked: asyncio.Future[str] | None = None
    """The last question to the daemon that holds the blocks, whether it is there."""
    watch: Watch = field(default_factory=Watch)
    """What was seen since the node began, for `/metrics`."""
    given: Counter[str] = field(default_factory=Counter)
    """Bytes of blocks that each peer was given since its last word of thanks."""

    @classmethod
    def of(cls, ledger: Ledger, passphrase: Callable[[], bytes] | bytes | None) -> Self:
        """Open the node keys of a ledger's home.

        Raises:
            KeyProblem: a key is missing, or the passphrase wrong.
        """
        return cls(ledger, open_node_keys(ledger.home, passphrase))

    loop: asyncio.AbstractEventLoop = field(init=False)
    """The loop that the events belong to; other threads set them through it."""

    def __enter__(self) -> Self:
        self._held = contextlib.ExitStack()
        self.loop = asyncio.get_running_loop()
        self.federation = self.ledger.federation
        self._pool = self._held.enter_context(ThreadPoolExecutor(DISK_THREADS, "disk"))
        self.pools = self._held.enter_context(Pools(self.ledger.settings.node.public_rate))
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
        protocols = self.federation.protocols
        self.gate = Gate(self.ledger.origin, self._key_of, protocols.seen, protocols.note)
        self._turn = threading.Lock()
        self._forks: list[StoredFork] = []
        self._forks_signature: tuple[tuple[str, int, int], ...] | None = None
        self.desk = self.federation.client.desk = Desk(WAITS)
        self.watch.read_contacts(self.ledger.home, [peer.origin for peer in self.federation.peers])
        self._held.callback(self.watch.keep_contacts, self.ledger.home)
        self._token = read_secret(self.ledger.settings.node.admin_token)
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def listens(self, host: str, port: int) -> None:
        """Note where this node listens, for what it asks itself."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - not bound
        self.here = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def nudge(self, origin: str, *, is_told: bool) -> None:
        """Have a peer's log looked at soon; when `is_told` at what it publishes, not at what was cosigned."""
        self.noticed.add(origin)
        if is_told:
            self.told.add(origin)
        self.nudged.set()

    def wake(self) -> None:
        """Have every peer's log looked at soon."""
        self.woken.set()
        self.nudged.set()

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
            self.federation.repairs.record_help(peer, package, source, given)

    async def ask(self, request: web.Request, function: Callable[..., _T], *values: Any) -> _T:
        """Do a step of a request's work in the pool of its route; see `Pools.ask`."""
        cost = cost_of(request.match_info.handler)
        assert cost is not None  # `check_routes` has seen to it
        return await self.pools.ask(cost, function, *values)

    async def run(self, function: Callable[..., _T], *values: Any) -> _T:
        """Call a function that waits for the disk, in a thread that no request needs."""
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

    async def check_peer(self, request: web.Request) -> Signed:
        """Return who signed a request, before its body is read; see `Gate.check_headers`.

        A peer may know this node by another name than its settings do: the one that it asked is in Host,
        and the audience that is signed says that this node is meant.
        """
        if "Signature-Input" not in request.headers:
            raise KeyProblem(
                "request-unsigned",
                "the request is not signed by a peer for this node",
                expected="Signature-Input and Signature",
                rule="RFC 9421",
            )
        here = f"{request.scheme}://{request.host}"
        urls = [f"{here}{request.path_qs}"]
        if self.ledger.settings.node.url is not None:
            named = urlsplit(self.ledger.settings.node.url)
            way = f"{named.path}{request.path_qs}"
            urls = [f"{named.scheme}://{host}{way}" for host in (named.netloc, request.host)] + urls
        method, headers = request.method, request.headers
        signed = await self.ask(request, self.gate.check_headers, method, urls, headers)
        request[PEER] = signed.origin
        self.watch.note_heard(signed.origin)
        return signed

    def checkpoint(self) -> Checkpoint:
        """Return the published checkpoint of the own log, read anew.

        Raises:
            EvidenceInvalid: it cannot be trusted; nothing is said about the log's size then.
        """
        evidence = self.ledger.evidence()
        if evidence.checkpoint is None:
            (found,) = evidence.checkpoint_findings
            raise EvidenceInvalid.of(found)
        return evidence.checkpoint

    def forks(self) -> list[StoredFork]:
        """The fork proofs that are kept here; the files are read again only when one of them changed."""
        with self._turn:
            signature = listing(self.ledger.home.forks)
            if signature != self._forks_signature:
                self._forks = list(stored_forks(self.ledger.home))
                self._forks_signature = signature
            return list(self._forks)


def listing(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """What tells whether a folder's files are the same as before; reads none of them."""
    try:
        with os.scandir(folder) as entries:
            stats = [(entry.name, entry.stat(follow_symlinks=False)) for entry in entries]
    except OSError:
        return ()
    return tuple(sorted((name, stat.st_mtime_ns, stat.st_size) for name, stat in stats))


def stamp_of(path: Path) -> tuple[int, int, int] | None:
    """What tells whether a file is the same as before, without reading it; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


SERVICE: Final = web.AppKey("service", Service)
"""Where handlers find the service."""
