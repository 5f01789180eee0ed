"""Every place where we ask the network, by every shape that an answer can have: each ends, as our error.

`PLACES` names the function of `src` that asks; a test compares it with the source, so that a new place comes
with its row here.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from heritage_ledger import Ledger
from heritage_ledger.content.car import open_car
from heritage_ledger.content.cid import RAW, make_cid
from heritage_ledger.content.cluster import Cluster
from heritage_ledger.content.exchange import Waits
from heritage_ledger.content.gateway import Gateway
from heritage_ledger.content.http import parse_address
from heritage_ledger.content.kubo_rpc import KuboRpc
from heritage_ledger.content.pinning import PinningService
from heritage_ledger.errors import HeritageError
from heritage_ledger.federation.asking import ASK_SECONDS, Asking, OwnLog
from heritage_ledger.federation.client import Client
from heritage_ledger.federation.mirroring import mirror_of, sync_mirror
from heritage_ledger.federation.notices import Notices
from heritage_ledger.federation.peers import Peer, discover, peer_fetch
from heritage_ledger.federation.protocol import PROTOCOL, Protocols
from heritage_ledger.federation.source import PeerBlocks
from heritage_ledger.federation.speaking import Speaker
from heritage_ledger.federation.witnessing import Witnesses
from heritage_ledger.home.layout import Home
from heritage_ledger.log.checkpoint import open_checkpoint
from heritage_ledger.log.fork import MAX_FORK_SIZE
from heritage_ledger.log.mirror import FetchedLog
from heritage_ledger.log.policy import Policy, PolicyLog, PolicyWitness
from heritage_testkit.hostile import SHAPES, hostile

if TYPE_CHECKING:
    from collections.abc import Callable

SOURCE = Path(__file__).parents[3] / "src" / "heritage_ledger"
WAITS = Waits(connect=0.5, headers=0.5, silent=0.3, slowest=64 << 20, whole=1.0)
DEADLINE = WAITS.whole + 2.0
LOAD = 20.0
"""Seconds that a machine with much else to do may add."""
BLOCK = b"block"
CID = make_cid(RAW, hashlib.sha256(BLOCK).digest())
SAID_NOTHING = frozenset({"nothing"})


@dataclass
class World:
    """A home, and another institution's log whose node is hostile."""

    ledger: Ledger
    other: Ledger
    folder: Path
    client: Client = field(default_factory=lambda: Client(allow_private=True, waits=WAITS))

    def peer(self, url: str) -> Peer:
        keys = tuple(verifier.vkey for verifier in self.other.federation.verifiers)
        return Peer(self.other.origin, "Other", url, keys, keys, "", "00" * 32)

    @property
    def speaker(self) -> Speaker:
        """Speaks what both do, without asking: that is a place of its own."""
        protocols = Protocols(self.ledger.home)
        protocols.note(self.other.origin, PROTOCOL)
        return replace(self.ledger.federation.speaker, client=self.client, protocols=protocols)

    def witnesses(self, url: str) -> Witnesses:
        own, (vkey, *_) = self.ledger.federation, self.peer(url).log_keys
        policy = Policy((PolicyLog(own.verifiers[0].vkey),), (PolicyWitness("w", vkey, url),), (), "w")
        return Witnesses(
            own.home,
            own.log,
            own.state,
            self.ledger.origin,
            verifiers=own.verifiers,
            policy=policy,
            client=self.client,
        )


def look(world, url):
    synced = sync_mirror(
        world.ledger.home,
        world.ledger.federation.state,
        world.peer(url),
        world.client,
        settings=world.ledger.settings.node,
    )
    for finding in synced.findings:
        raise HeritageError(finding.code, finding.message)


def pull(world, url):
    peer = world.peer(url)
    mirror = mirror_of(world.ledger.home, world.ledger.federation.state, peer)
    data = world.other.federation.log.read_checkpoint()
    mirror.pull(FetchedLog(world.ledger.home.mirror_of(peer.origin).log, peer_fetch(world.client, url)), data)


def list_forks(world, url):
    with contextlib.closing(world.ledger.federation.client):
        federation = world.ledger.federation
        client, federation.client = federation.client, world.client
        try:
            federation.fork_watch.take_from(world.peer(url))
        finally:
            federation.client = client


def one_fork(world, url):
    world.ledger.federation.take_fork(world.client.get(f"{url}/x.fork.json", limit=MAX_FORK_SIZE) or b"")


def notify(world, url):
    Notices(world.speaker).tell(world.peer(url), "checkpoint")


def cosign(world, url):
    witnesses = world.witnesses(url)
    witnesses.ask(url, witnesses.show())


def blocks(world, url):
    PeerBlocks(world.speaker, [world.peer(url)]).get(CID)


def engine(kind, work):
    def call(_world, url):
        with contextlib.closing(kind(parse_address(url), None, waits=WAITS)) as one:
            work(one)

    return call


def kubo(work):
    return engine(KuboRpc, work)


def export(rpc):
    with rpc.dag_export(CID) as read:
        for _ in open_car(read).blocks:
            pass


@dataclass(frozen=True)
class Place:
    """A place in the source, how it is reached, and the shapes that say something right there."""

    sites: tuple[str, ...]
    call: Callable[[World, str], object]
    fine: frozenset[str] = frozenset()


PLACES = {
    "a peer's log, at first": Place(
        ("federation.peers.discover", "federation.peers.fetch"), lambda w, url: discover(w.client, url)
    ),
    "a peer's checkpoint": Place(("federation.mirroring.pull",), look),
    "a peer's tiles": Place(("federation.peers.fetch", "federation.mirroring._keep_branch"), pull),
    "a peer's list of forks": Place(("federation.fork_watch.take_from",), list_forks),
    "a peer's fork proof": Place(("federation.fork_watch.take_from",), one_fork),
    "a notice": Place(("federation.notices.tell", "federation.speaking.ask"), notify),
    "a witness": Place(("federation.witnessing._ask",), cosign),
    "blocks of a peer": Place(("federation.source._ask", "federation.speaking.opened"), blocks),
    "Kubo's version": Place(("content.kubo_rpc.version",), kubo(KuboRpc.version)),
    "Kubo's addresses": Place(("content.kubo_rpc.addresses",), kubo(KuboRpc.addresses)),
    "Kubo's repository": Place(
        ("content.kubo_rpc.repo_stat",), kubo(KuboRpc.repo_stat), frozenset({"wrong types"})
    ),  # 7 bytes, 7 blocks
    "a block of Kubo": Place(
        ("content.kubo_rpc.block_get",),
        kubo(lambda rpc: rpc.block_get(CID)),
        # whoever asks hashes it, and bytes after the length are no part of it
        frozenset(name for name, shape in SHAPES.items() if shape.is_content)
        | {"a length that is too short"},
    ),
    "unpinning": Place(("content.kubo_rpc.pin_rm",), kubo(lambda rpc: rpc.pin_rm(CID))),
    "an import into Kubo": Place(
        ("content.kubo_rpc.dag_import", "content.http.lines"),
        kubo(lambda rpc: rpc.dag_import(CID, iter([b"x" * 300_000] * 40))),
    ),
    "an export from Kubo": Place(("content.kubo_rpc.dag_export",), kubo(export)),
    "pinning in Kubo": Place(("content.kubo_rpc.pin_add",), kubo(lambda rpc: rpc.pin_add(CID, "name"))),
    "Kubo's pins": Place(("content.kubo_rpc.pins",), kubo(lambda rpc: list(rpc.pins())), SAID_NOTHING),
    "the name of a pin": Place(
        ("content.kubo_rpc._pins_of", "content.http.json", "content.http.call"),
        kubo(lambda rpc: rpc.pin_name(CID)),
    ),
    "what a pin is over": Place(("content.kubo_rpc._pins_of",), kubo(lambda rpc: rpc.pin_over(CID))),
    "removing a block": Place(
        ("content.kubo_rpc.block_rm",), kubo(lambda rpc: rpc.block_rm(CID)), SAID_NOTHING
    ),
    "Kubo's own word on a pin": Place(
        ("content.kubo_rpc.pin_verify",), kubo(lambda rpc: rpc.pin_verify(CID)), SAID_NOTHING
    ),
    "Cluster's peers": Place(("content.cluster.peers",), engine(Cluster, Cluster.peers), SAID_NOTHING),
    "Cluster's copies": Place(("content.cluster.copies",), engine(Cluster, lambda one: one.copies(CID))),
    "asking Cluster": Place(
        ("content.cluster.ask",), engine(Cluster, lambda one: one.ask(CID, "name", 1, 2, ()))
    ),
    "a pinning service's copies": Place(
        ("content.pinning.copies",), engine(PinningService, lambda one: one.copies(CID))
    ),
    "asking a pinning service": Place(
        ("content.pinning.ask",), engine(PinningService, lambda one: one.ask(CID, "name", 1, 1, ()))
    ),
    "a gateway": Place(("content.gateway.get",), engine(Gateway, lambda one: one.get(CID))),
}
ELSEWHERE = {
    "federation.asking._question": "as a witness is asked; whatever comes is no confirmation: tested below",
    "federation.asking.fetch_proof": "as a checkpoint is; whatever comes proves nothing: tested below",
    "federation.floor._pull": "pulls as mirrors do",
    "federation.guard.catch_up": "pulls as mirrors do",
    "federation.recover.fill": "pulls as mirrors do",
    "federation.peers.peer_fetch": "holds `fetch`",
    "federation.calling._next": "what is no question is refused: `tests/unit/node/test_turns.py`",
    "federation.calling._send": "an answer that is not 202 ends the call: `tests/contract/test_members.py`",
    "federation.greeting._names": "whatever comes says nothing: `tests/contract/test_cards.py`",
    "federation.greeting.greet": "whatever comes is a warning: `tests/contract/test_cards.py`",
    "federation.moving.follow": "discovers as at first, and reads a checkpoint as mirrors do",
    "federation.protocol.of": "whatever comes says no more than the first: tested below",
    "federation.client.ask": "the client itself",
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    with contextlib.ExitStack() as held:
        ledgers = [
            held.enter_context(
                Ledger.init(
                    folder / name, institution=name, origin=f"{name}.example/ledger/1", passphrase=None
                )
            )
            for name in ("museum", "library")
        ]
        world = World(*ledgers, folder)
        held.callback(world.client.close)
        assert world.ledger.federation.node_key
        assert world.ledger.federation.state
        yield world


def outcome(place: Place, world: World, shape: str) -> tuple[str, float]:
    """What came of one shape at one place, and how long it took."""
    with hostile(SHAPES[shape]) as url:
        began = time.monotonic()
        try:
            place.call(world, url)
            said = "ok"
        except HeritageError as error:
            said = error.code
        except Exception as error:  # noqa: BLE001 - the finding
            said = f"{type(error).__name__}: {error}"[:300]
        return said, time.monotonic() - began


@pytest.mark.parametrize("name", PLACES)
def test_every_shape_ends_as_an_error_of_ours(world, name):
    place = PLACES[name]
    found: dict[str, tuple[str, float]] = {}
    kept = files(world.folder)

    def ask(shape):
        found[shape] = outcome(place, world, shape)

    threads = [threading.Thread(target=ask, args=(shape,), daemon=True) for shape in SHAPES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert set(SHAPES) - set(found) == set()  # none hangs
    assert {shape: said for shape, (said, _) in found.items() if not said.replace("-", "").isalpha()} == {}
    assert {shape for shape, (said, _) in found.items() if said == "ok"} <= place.fine
    assert {shape: taken for shape, (_, taken) in found.items() if taken > DEADLINE + LOAD} == {}
    assert files(world.folder) == kept  # and nothing half-written is left


def files(folder: Path) -> set[str]:
    """Files of evidence: locks, notes and what SQLite makes are none."""
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".") and ".db" not in path.name
    }


def test_there_are_enough_shapes():
    assert len([one for one in SHAPES.values() if not one.is_content]) >= 30
    assert len([one for one in SHAPES.values() if one.is_content]) >= 12


ASKING = {
    "client": {"get", "ask", "opened"},
    "_client": {"get", "ask", "opened"},
    "speaker": {"ask", "opened"},
    "_speaker": {"ask", "opened"},
    "self": {"_library", "opened", "lines", "json", "call"},
    "_service": {"call", "json", "lines", "opened"},
}


def sites() -> set[str]:
    """Every function of the source that asks the network."""
    found = set()
    for path in SOURCE.rglob("*.py"):
        module = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
        if not module.startswith(("content.", "federation.")):
            assert "heritage_ledger.federation.client" not in path.read_text().replace(
                "client import check", ""
            )
            continue
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef):
                for node in ast.walk(function):
                    if isinstance(node, ast.Call) and _asks(node.func):
                        found.add(f"{module}.{function.name}")
    return found


def _asks(called: ast.expr) -> bool:
    if not isinstance(called, ast.Attribute):
        return False
    of = called.value
    name = of.attr if isinstance(of, ast.Attribute) else of.id if isinstance(of, ast.Name) else ""
    return called.attr in ASKING.get(name, ())


def test_every_place_that_asks_is_in_the_table():
    listed = {site for place in PLACES.values() for site in place.sites} | set(ELSEWHERE)
    assert sites() - listed == set()
    assert listed - sites() == set()


def test_a_peer_of_any_shape_speaks_the_first_protocol(world, tmp_path):
    def ask(_world, url):
        assert Protocols(Home(tmp_path)).of(world.peer(url), world.client) == 1

    found = {shape: outcome(Place((), ask), world, shape)[0] for shape in SHAPES if SHAPES[shape].is_content}
    assert {said for said in found.values() if said != "ok"} <= {
        "peer-answer",
        "peer-too-large",
        "peer-unreachable",
    }


def test_a_witness_of_any_shape_confirms_nothing_and_keeps_nobody_waiting(world):
    """Whether this home is the newest copy of its log is not decided by an answer that is none."""
    found: dict[str, tuple[str, float]] = {}

    def ask(shape):
        with hostile(SHAPES[shape]) as url:
            own = OwnLog(
                world.ledger.origin,
                world.ledger.federation.log,
                tuple(world.ledger.federation.verifiers),
                *open_checkpoint(
                    world.ledger.federation.log.read_checkpoint(),
                    world.ledger.federation.verifiers,
                    world.ledger.origin,
                ),
            )
            policy = world.witnesses(url)._policy
            start = time.monotonic()
            said = Asking(world.client, policy, own, {}, set()).wait()
            found[shape] = type(said[url]).__name__, time.monotonic() - start

    threads = [threading.Thread(target=ask, args=(shape,), daemon=True) for shape in SHAPES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert set(SHAPES) - set(found) == set()
    assert {said for said, _ in found.values()} <= {"Silent", "Claimed", "Forgot"}
    assert {shape: taken for shape, (_, taken) in found.items() if taken > ASK_SECONDS + LOAD} == {}
