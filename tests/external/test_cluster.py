"""Copies in a real IPFS Cluster: asked for by number and name, lost, damaged, and read back peer by peer."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from heritage_ledger import Ledger
from heritage_ledger.content.replication import CopyState
from heritage_ledger.errors import KeyProblem, OperationFailed, TemporaryFailure, UsageError
from heritage_ledger.fixity.verdict import Outcome
from heritage_ledger.progress import SILENT
from heritage_testkit.cluster import PASSWORD, USER, cluster
from heritage_testkit.nodes import until

pytestmark = [pytest.mark.external, pytest.mark.timeout(280), pytest.mark.xdist_group("cluster")]
ORIGIN = "museum.example/ledger/1"
LOGIN = "HERITAGE_TEST_CLUSTER"


@pytest.fixture(scope="module")
def peers(tmp_path_factory):
    with cluster(tmp_path_factory.mktemp("cluster"), 3) as running:
        yield running


@pytest.fixture
def settings(peers, tmp_path, monkeypatch):
    """A function that makes a home with the cluster as its target and opens it."""
    monkeypatch.setenv(LOGIN, f"basic:{USER}:{PASSWORD}")
    opened = []

    def make(content: str, *, readers: bool = True, engine: str = "kubo") -> Ledger:
        home = tmp_path / f"home-{len(opened)}"
        Ledger.init(home, institution="Museum", origin=ORIGIN, passphrase=None).close()
        text = (home / "heritage.toml").read_text()
        text += f'[content]\nengine = "{engine}"\nkubo_api = "{peers.peers[0].daemon.api}"\n{content}\n'
        for peer in peers.peers if readers else ():
            text += f'[copies.{peer.name}]\nkubo_api = "{peer.daemon.api}"\n'
        (home / "heritage.toml").write_text(text)
        ledger = Ledger.open(home)
        opened.append(ledger)
        return ledger

    yield make
    for ledger in opened:
        ledger.close()


@pytest.fixture
def target(peers):
    return f'cluster = "{peers.peers[0].api}"\ncluster_token = "env:{LOGIN}"\n'


def scan(tmp_path, seed: int):
    folder = tmp_path / f"scan-{seed}"
    folder.mkdir()
    (folder / "page.tif").write_bytes(bytes([seed]) * 3_000_000 + b"end")
    (folder / "note.txt").write_text(f"note {seed}")
    return folder


def heritage(ledger: Ledger, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("heritage"), "--home", ledger.home.root, *words],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def states(ledger: Ledger, asset: str, *, read: bool = True):
    (found,) = ledger.copies.look(asset, read=read, progress=SILENT)
    return found


def wait_for(ledger: Ledger, asset: str, held: int):
    deadline = time.monotonic() + 150
    while True:
        found = states(ledger, asset, read=False)
        if sum(copy.state is CopyState.HELD for copy in found.copies) == held:
            return states(ledger, asset)
        assert time.monotonic() < deadline, found
        time.sleep(0.3)


def test_copies_by_number_and_by_name(settings, target, tmp_path):
    ledger = settings(f'{target}copies_min = 2\ncopies_max = 2\nallocations = ["peer-2", "peer-1"]')
    receipt = ledger.ingest(scan(tmp_path, 1), asset="urn:example:1")
    assert [finding.code for finding in receipt.findings] == []
    found = wait_for(ledger, "urn:example:1", 2)
    assert {copy.peer: copy.outcome for copy in found.copies} == {
        "peer-0": Outcome.NOT_CHECKED,  # it holds the engine's own pin; the cluster did not choose it
        "peer-1": Outcome.PASS,
        "peer-2": Outcome.PASS,
    }
    assert (found.verified, found.wanted, found.finding) == (2, 2, None)
    done = heritage(ledger, "replicate")
    assert (done.returncode, done.stdout) == (0, "asked for copies of 1 package\n")
    done = heritage(ledger, "copies", "urn:example:1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("urn:example:1 version 1: 2 of 2 copies verified\n")
    assert "pinned, pass, every block read from /ip4/127.0.0.1/" in done.stdout
    done = heritage(ledger, "--json", "copies", "--no-read")
    line, verdict = map(json.loads, done.stdout.splitlines())
    assert (line["type"], line["verified"], verdict["outcome"]) == ("copies", 0, "ok")
    assert heritage(ledger, "copies", "urn:example:none").returncode == 5


def test_only_what_was_read_back_counts(settings, target, peers, tmp_path):
    ledger = settings(f"{target}copies_min = 3\ncopies_max = 3")
    ledger.ingest(scan(tmp_path, 2), asset="urn:example:2")
    assert wait_for(ledger, "urn:example:2", 3).verified == 3
    unread = states(ledger, "urn:example:2", read=False)
    assert (unread.verified, unread.finding.code) == (0, "copies-few")
    # a block changes in one peer's store: the cluster goes on saying "pinned"
    block = max(peers.peers[1].daemon.block_files(), key=lambda path: path.stat().st_size)
    whole = block.read_bytes()
    block.chmod(0o644)
    block.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    found = states(ledger, "urn:example:2")
    by_name = {copy.peer: copy for copy in found.copies}
    assert by_name["peer-1"].state is CopyState.HELD
    assert by_name["peer-1"].outcome is Outcome.FAIL
    assert (found.verified, found.finding.found) == (2, "2 of 3 that the target tells of")
    block.write_bytes(whole)
    assert states(ledger, "urn:example:2").verified == 3
    # and a peer that nobody told us how to read
    blind = settings(f"{target}copies_min = 3\ncopies_max = 3", readers=False)
    blind.ingest(scan(tmp_path, 22), asset="urn:example:blind")
    found = wait_for(blind, "urn:example:blind", 3)
    assert found.verified == 0
    assert all("[copies.peer-" in (copy.detail or "") for copy in found.copies)


def test_more_copies_than_peers_are_refused_and_the_deposit_is_safe(settings, target, tmp_path):
    ledger = settings(f"{target}copies_min = 4\ncopies_max = 4")
    receipt = ledger.ingest(scan(tmp_path, 3), asset="urn:example:3")
    (warning,) = receipt.findings
    assert warning.code == "copies-later"
    assert (warning.found or "").startswith("copies-refused")
    with pytest.raises(OperationFailed) as error:
        ledger.copies.ask("urn:example:3", progress=SILENT)
    assert error.value.code == "copies-refused"
    assert [verdict.outcome for verdict in ledger.verify(["urn:example:3"])] == [Outcome.PASS]
    assert states(ledger, "urn:example:3").finding.code == "copies-few"


def test_a_peer_that_is_lost(settings, target, peers, tmp_path):
    ledger = settings(f"{target}copies_min = 3\ncopies_max = 3")
    ledger.ingest(scan(tmp_path, 4), asset="urn:example:4")
    wait_for(ledger, "urn:example:4", 3)
    lost = peers.peers[2]
    lost.stop(signal.SIGKILL)
    lost.daemon.stop(signal.SIGKILL)
    try:
        found = states(ledger, "urn:example:4")
        by_name = {copy.peer: copy for copy in found.copies}
        assert by_name["peer-2"].state is CopyState.FAILED
        assert "cluster_error" in by_name["peer-2"].said
        assert (found.verified, found.finding.code) == (2, "copies-few")
    finally:
        lost.daemon.keep_port()
        lost.daemon.start()
        lost.start(peers.peers[0].address)
        peers.settle()

    def asked():
        """A peer that is back is given nothing before the others have heard what room it has."""
        with contextlib.suppress(OperationFailed):
            return ledger.copies.ask("urn:example:4", progress=SILENT) is not False
        return False

    until(asked)
    assert wait_for(ledger, "urn:example:4", 3).verified == 3


def test_what_cannot_be_asked(settings, target, peers, tmp_path, monkeypatch):
    unknown = settings(f'{target}allocations = ["peer-9"]')
    unknown.ingest(scan(tmp_path, 5), asset="urn:example:5")
    with pytest.raises(UsageError) as error:
        unknown.copies.ask(progress=SILENT)
    assert (error.value.code, error.value.expected) == ("copies-peer", "peer-0, peer-1, peer-2")
    embedded = settings(target, engine="embedded")
    with pytest.raises(UsageError) as error:
        embedded.copies.ask(progress=SILENT)
    assert error.value.code == "copies-engine"
    nothing = settings("")
    with pytest.raises(UsageError) as error:
        nothing.copies.ask(progress=SILENT)
    assert error.value.code == "copies-target"
    monkeypatch.setenv(LOGIN, f"basic:{USER}:a guess")
    wrong = settings(target)
    wrong.ingest(scan(tmp_path, 6), asset="urn:example:6")
    with pytest.raises(KeyProblem) as key:
        wrong.copies.ask(progress=SILENT)
    assert key.value.code == "engine-token"
    gone = settings('cluster = "/ip4/127.0.0.1/tcp/9"\n')
    receipt = gone.ingest(scan(tmp_path, 7), asset="urn:example:7")
    assert [finding.code for finding in receipt.findings] == ["copies-later"]
    with pytest.raises(TemporaryFailure) as down:
        gone.copies.ask(progress=SILENT)
    assert down.value.code == "engine-unreachable"


def test_a_pinning_service(settings, peers, tmp_path):
    """The Pinning Services API, served by the same cluster."""
    peer = peers.peers[1]
    ledger = settings(f'pinning = "{peer.pinning}"\n[copies."127.0.0.1"]\nkubo_api = "{peer.daemon.api}"')
    ledger.ingest(scan(tmp_path, 8), asset="urn:example:8")
    found = wait_for(ledger, "urn:example:8", 1)
    assert [(copy.peer, copy.said, copy.outcome) for copy in found.copies] == [
        ("127.0.0.1", "pinned", Outcome.PASS)
    ]
    assert ledger.copies.ask(progress=SILENT) == 1
    assert found.finding is None
    greedy = settings(f'pinning = "{peers.peers[1].pinning}"\ncopies_min = 2\n')
    assert greedy.settings.content.replication.copies_max == 2
    greedy.ingest(scan(tmp_path, 9), asset="urn:example:9")
    with pytest.raises(OperationFailed) as error:
        greedy.copies.ask(progress=SILENT)
    assert error.value.code == "copies-refused"


def test_read_back_through_a_gateway(settings, target, peers, tmp_path):
    """A stock Kubo's trustless gateway, asked only for what lies on its own disk."""
    one = f"{target}copies_min = 1\ncopies_max = 1\n"
    daemon = peers.peers[1].daemon
    gateway = (daemon.folder / "gateway").read_text().strip()
    ledger = settings(
        f"{one}allocations = ['peer-1']\n[copies.peer-1]\ngateway = \"{gateway}\"",
        readers=False,
    )
    receipt = ledger.ingest(scan(tmp_path, 10), asset="urn:example:10")
    found = wait_for(ledger, "urn:example:10", 1)
    assert found.verified == 1
    elsewhere = settings(
        f"{one}allocations = ['peer-2']\n[copies.peer-2]\ngateway = \"{gateway}\"",
        readers=False,
    )
    elsewhere.ingest(scan(tmp_path, 11), asset="urn:example:11")
    found = wait_for(elsewhere, "urn:example:11", 1)
    copy = next(copy for copy in found.copies if copy.peer == "peer-2")
    assert (copy.outcome, found.verified) == (Outcome.FAIL, 0), (
        "peer-1's gateway must not fetch it from peer-2"
    )
    assert receipt.package_cid != elsewhere.show("urn:example:11").packages[0].package_cid
