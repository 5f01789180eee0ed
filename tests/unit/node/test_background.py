"""A node beside peers that break whatever is done for them: the others are served, and the node goes on."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import json
import logging
import shutil
import sqlite3
import subprocess
import time
import urllib.request
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from heritage_ledger import Ledger
from heritage_ledger.content.exchange import Waits
from heritage_ledger.errors import EvidenceInvalid, Finding, TemporaryFailure
from heritage_ledger.federation.client import Client
from heritage_ledger.federation.pledges import pledge
from heritage_ledger.identity.didkey import format_did_key
from heritage_ledger.identity.keys import Ed25519Signer
from heritage_ledger.log.cosignature import Ed25519CosignatureVerifier, Ed25519Verifier
from heritage_node import fences as module
from heritage_node.fences import Done, Fences
from heritage_testkit.hostile import SHAPES, hostile
from heritage_testkit.nodes import until
from heritage_testkit.running import make_home, running

KINDS = (
    ValueError("x"),
    KeyError("x"),
    TypeError("x"),
    AttributeError("x"),
    AssertionError("x"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "x"),
    OverflowError("Python int too large to convert to SQLite INTEGER"),
    RecursionError("x"),
    MemoryError(),
    StopIteration(7),
    ExceptionGroup("several", [ValueError("a"), OSError("b")]),
    OSError(errno.EIO, "x"),
    sqlite3.OperationalError("x"),
    EvidenceInvalid("peer-answer", "x"),
    TemporaryFailure("peer-silent", "x"),
)
STEPS = {
    "log": "/log/",
    "forks": "/api/v1/forks",
    "witness": "/witness/add-checkpoint",
    "notice": "/api/v1/notices",
    "blocks": "/api/v1/blocks",
}


class Breaking(Client):
    """Raises something else at each request of one step to one peer."""

    def __init__(self):
        super().__init__(allow_private=True)
        self.url, self.step = "http://nobody", ""
        self.raised = {step: set() for step in STEPS}
        self._next = itertools.cycle(KINDS)

    @contextlib.contextmanager
    def opened(self, method, url, **words):
        if self.step == "notice" and url.startswith(f"{self.url}{STEPS['witness']}"):
            raise TemporaryFailure("peer-silent", "x")  # who cosigns needs no notice
        if url.startswith(self.url) and self.step and STEPS[self.step] in url:
            error = next(self._next)
            self.raised[self.step].add(type(error))
            raise error.with_traceback(None)
        with super().opened(method, url, **words) as stream:
            yield stream


def deposit(home, folder, number):
    source = folder / f"{home.name}-{number}"
    source.mkdir()
    (source / "page").write_bytes(b"%d" % number * 1000)
    with Ledger.open(home) as ledger:
        return ledger.ingest(source, asset=f"urn:example:{home.name}:{number}")


def introduce(home, *urls):
    with Ledger.open(home) as ledger:
        for url in urls:
            ledger.federation.peers.add(ledger.federation.discover(url))


def promise(home, origin):
    with Ledger.open(home) as ledger:
        pledge(ledger.books, origin, datetime.now(UTC) + timedelta(days=9))


def cosigned(home, origin):
    return f"{origin}/witness " in (home / "log" / "checkpoint").read_text()


def ready(url):
    with urllib.request.urlopen(f"{url}/readyz", timeout=30) as answer:
        return answer.status == 200


def test_whatever_one_peer_sets_off_the_other_is_served(tmp_path, caplog):
    caplog.set_level(logging.INFO, "heritage_node")
    museum, archive, library = (make_home(tmp_path, name) for name in ("museum", "archive", "library"))
    kept = deposit(library, tmp_path, 0)
    client = Breaking()
    with running(archive, first=0.05) as good, running(library, first=0.05) as bad:
        introduce(museum, good.url, bad.url)
        with Ledger.open(museum) as ledger:
            for peer in ledger.federation.peers:
                assert ledger.federation.sync_peer(peer).findings == ()
        promise(museum, "archive.example/ledger/1")
        client.url = bad.url
        with running(museum, client=client, first=0.05) as node:
            introduce(archive, node.url)
            introduce(library, node.url)
            for number, step in enumerate(STEPS, 1):
                client.step = step
                if step == "blocks":
                    promise(museum, "library.example/ledger/1")
                receipt = deposit(archive, tmp_path, number)
                replica = museum / "replicas" / "archive.example/ledger/1" / receipt.package_cid
                until(replica.is_dir)  # the other one's log is followed, and its pledge kept
                until(lambda: cosigned(museum, "archive.example/ledger/1"))
                while step == "notice" and len(client.raised[step]) < len(KINDS):
                    promise(museum, "archive.example/ledger/1")
                    time.sleep(0.6)
                until(lambda step=step: len(client.raised[step]) == len(KINDS))
                assert ready(node.url)
            client.step = ""
            until((museum / "replicas" / "library.example/ledger/1" / kept.package_cid).is_dir)
            until(lambda: cosigned(museum, "library.example/ledger/1"))
    internal = [one for one in caplog.records if getattr(one, "finding", {}).get("code") == "internal-error"]
    assert {one.finding["kind"] for one in internal} >= {"sync", "witness", "announce"}
    blocks = [one for one in caplog.records if one.name == "heritage_ledger.federation"]
    assert blocks  # what one peer's blocks set off is told where the next peer is asked
    assert all(
        one.exc_info for one in (*internal, *blocks) if getattr(one, "finding", {}).get("kind") != "replicate"
    )


SOME = (
    "silent after accept",
    "silent in TLS",
    "reads nothing",
    "reset in the middle",
    "headers drip",
    "headers cut",
    "1xx slowly",
    "body drips",
    "half a body",
    "a chunk line drips",
    "trailers drip",
    "zeroes for ever",
    "compressed",
    "somewhere else",
    "a size of 10^12",
    "JSON as deep as the sea",
    "wrong types in objects",
    "bytes",
)
"""One of each kind: each of them is a peer, so all at once."""


def stranger(honest, number, url):
    """A peer with keys of its own, at a URL where nothing is as it should be."""
    origin = f"bad{number}.example/ledger/1"
    own, witness, node = (
        Ed25519Signer.from_seed(bytes([kind]) * 31 + bytes([number])).public for kind in range(3)
    )
    return replace(
        honest,
        origin=origin,
        url=url,
        log_keys=(Ed25519Verifier(origin, own).vkey,),
        witness_keys=(Ed25519CosignatureVerifier(f"{origin}/witness", witness).vkey,),
        node_key=format_did_key(node),
    )


def test_among_peers_of_every_shape_the_honest_one_is_served(tmp_path):
    museum, archive = (make_home(tmp_path, name) for name in ("museum", "archive"))
    waits = Waits(connect=2.0, headers=2.0, silent=1.0, slowest=1 << 20)
    with contextlib.ExitStack() as held:
        good = held.enter_context(running(archive, first=0.05))
        introduce(museum, good.url)
        with Ledger.open(museum) as ledger:
            (honest,) = ledger.federation.peers
            for number, shape in enumerate(SOME):
                url = held.enter_context(hostile(SHAPES[shape]))
                ledger.federation.peers.add(stranger(honest, number, url))
        policy = museum / "policy"  # the honest one is enough for us
        policy.write_text(
            policy.read_text().partition("\n")[2].replace("quorum federation", f"quorum {honest.origin}")
        )
        node = held.enter_context(running(museum, client=Client(allow_private=True, waits=waits), first=2.0))
        introduce(archive, node.url)
        promise(museum, honest.origin)
        for number in range(2):
            receipt = deposit(archive, tmp_path, number)
            own = deposit(museum, tmp_path, number)
            until((museum / "replicas" / honest.origin / receipt.package_cid).is_dir)
            with Ledger.open(museum) as ledger:
                until(lambda own=own: ledger.federation.standing().size > own.log_index)
            assert ready(node.url)
        for number in range(len(SOME)):
            assert not (museum / "mirrors" / f"bad{number}.example/ledger/1" / "checkpoint").exists()


def fenced(work):
    """Run `work(fences)` in a loop of its own."""

    async def run():
        async with Fences(0.01) as fences:
            await work(fences)

    asyncio.run(run())


@pytest.mark.parametrize("error", KINDS, ids=lambda error: type(error).__name__)
def test_pauses_grow_to_a_limit_and_end_with_the_first_success(error, caplog, monkeypatch):
    monkeypatch.setattr(module, "jittered", lambda seconds: seconds)
    caplog.set_level(logging.INFO, "heritage_node")
    tries = []

    def work():
        tries.append(time.monotonic())
        if len(tries) < 7:
            raise error
        return Done(lines=("done",))

    async def go(fences):
        while len(tries) < 7:
            fences.start("sync", "bad", work)
            fences.start("sync", "good", Done)
            await asyncio.sleep(0.002)
        async with asyncio.timeout(30):
            await asyncio.gather(*(piece.task for piece in fences._pieces.values() if piece.task))
        assert fences._pieces["sync", "bad"].pause == 0.0

    fenced(go)
    pauses = [after - before for before, after in itertools.pairwise(tries)]
    for pause, least in zip(pauses, (0.01, 0.02, 0.04, 0.08, 0.08, 0.08), strict=True):
        assert pause >= least * 0.9
    told = [record for record in caplog.records if record.levelno >= logging.WARNING]
    is_ours = isinstance(error, EvidenceInvalid | TemporaryFailure)
    assert len(told) == (1 if is_ours else 6)  # what stays the same is told once, a fault each time
    assert caplog.records[-1].getMessage() == "done"


def test_one_that_hangs_keeps_nobody_waiting():
    async def go(fences):
        over = asyncio.Event()
        loop = asyncio.get_running_loop()
        hung = asyncio.run_coroutine_threadsafe
        fences.start("sync", "bad", lambda: hung(over.wait(), loop).result() and Done())
        seen = []
        while len(seen) < 20:
            assert not fences.start("sync", "bad", Done)
            fences.start("sync", "good", lambda: seen.append(1) or Done())
            await asyncio.sleep(0.002)
        over.set()

    fenced(go)


def test_news_of_one_wake_it_alone_and_not_more_often_than_its_gap(monkeypatch):
    monkeypatch.setattr(module, "NEWS_SECONDS", 0.2)
    began = {"loud": [], "quiet": []}

    async def main():
        async with Fences(3_600.0) as fences:
            end = time.monotonic() + 1.1
            while time.monotonic() < end:
                fences.hurry("sync", "loud")
                for who in began:
                    fences.start("sync", who, partial(look, who), again=3_600.0)
                await asyncio.sleep(0.005)

    def look(who):
        began[who].append(time.monotonic())
        return Done()

    asyncio.run(main())
    assert len(began["quiet"]) == 1
    assert 2 <= len(began["loud"]) <= 6


def test_news_during_a_look_is_not_lost(monkeypatch):
    monkeypatch.setattr(module, "NEWS_SECONDS", 0.0)
    looks = []

    async def main():
        async with Fences(3_600.0) as fences:
            for _ in range(40):
                fences.start("sync", "peer", look, again=3_600.0)
                await asyncio.sleep(0.01)
                if len(looks) == 1:
                    fences.hurry("sync", "peer")

    def look():
        looks.append(1)
        time.sleep(0.1)
        return Done()

    asyncio.run(main())
    assert len(looks) == 2


def test_what_stays_wrong_is_never_called_well_again(tmp_path, caplog):
    """A bad file among those of peers, a package that does not fit: each round finds the same."""
    caplog.set_level("INFO", "heritage_node")
    home = make_home(tmp_path / "museum", "museum")
    with Ledger.open(home) as ledger:
        ledger.home.peers.mkdir(exist_ok=True)
        (ledger.home.peers / "x.json").write_text("{")
    with running(home, first=0.05):
        until(lambda: "x.json" in caplog.text)
        time.sleep(1.5)
    assert "well again" not in caplog.text
    assert sum("x.json" in line for line in caplog.text.splitlines()) == 1


def test_a_bag_that_is_not_in_its_place_is_brought_back_at_once(tmp_path):
    """As after a restore: nobody waits for the next check of it."""
    museum, archive = (make_home(tmp_path, name) for name in ("museum", "archive"))
    settings = museum / "heritage.toml"
    settings.write_text(settings.read_text().replace("check_days = 0", "check_days = 30"))
    receipts = [deposit(museum, tmp_path, number) for number in range(2)]
    with running(archive, first=0.05) as good:
        introduce(museum, good.url)
        with running(museum, first=0.05) as node:
            introduce(archive, node.url)
            promise(archive, "museum.example/ledger/1")
            replicas = archive / "replicas" / "museum.example/ledger/1"
            until(lambda: all((replicas / one.package_cid).is_dir() for one in receipts))
        subprocess.run(["chmod", "-R", "u+w", receipts[0].bag_path], check=True)
        shutil.rmtree(receipts[0].bag_path)
        with running(museum, first=0.05), Ledger.open(museum) as ledger:
            until(lambda: {one.outcome.value for one in ledger.verify()} == {"pass"})


def test_a_finding_is_told_when_it_is_news(caplog):
    caplog.set_level(logging.INFO, "heritage_node")
    report = module.Report()
    found = Finding("peer-unreachable", "gone", "http://x", found="refused")
    for _ in range(5):
        report.findings("sync", "bad", (found,))
    report.findings("sync", "bad", ())
    report.findings("sync", "bad", ())
    report.findings("sync", "bad", (found,))
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "bad: sync: peer-unreachable: gone (http://x) found refused",
        "bad: sync: well again",
        "bad: sync: peer-unreachable: gone (http://x) found refused",
    ]
    assert json.dumps(caplog.records[0].finding)


class Counting(Client):
    """Remembers what witnesses answered."""

    def __init__(self):
        super().__init__(allow_private=True)
        self.said = []

    def ask(self, method, url, **words):
        answer = super().ask(method, url, **words)
        if url.endswith("/add-checkpoint"):
            self.said.append(answer.status)
        return answer


def test_a_witness_is_asked_once_for_each_checkpoint(tmp_path):
    museum, archive = (make_home(tmp_path, name) for name in ("museum", "archive"))
    with running(archive) as good, running(museum) as node:
        introduce(museum, good.url)
        introduce(archive, node.url)
        with Ledger.open(museum) as ledger:
            assert ledger.federation.collect().is_met
        assert good.service.noticed == {"museum.example/ledger/1"}  # what was cosigned is looked at soon
        for _ in range(2):  # a process that knows nothing yet goes by the note in the home
            with Ledger.open(museum) as ledger:
                client = ledger.federation.client = Counting()
                for _ in range(3):
                    pledge(ledger.books, "archive.example/ledger/1", datetime.now(UTC) + timedelta(days=9))
                    client.said.clear()
                    assert ledger.federation.witnesses.collect().is_met
                    assert client.said == [200]
