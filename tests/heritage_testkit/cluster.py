"""A real IPFS Cluster: peers that each mind a Kubo daemon of their own, on loopback, on free ports."""

from __future__ import annotations

import base64
import contextlib
import json
import secrets
import signal
import socket
import subprocess
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from heritage_testkit.kubo import Kubo, environment, kubo, programs

if TYPE_CHECKING:
    from collections.abc import Iterator

WAIT = 90.0
"""Seconds until peers must know each other; their metrics take ten."""
METRICS = ("ping", "tag:group", "freespace")
USER, PASSWORD = "museum", "a cluster's password"


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago: Cluster cannot be given port 0."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@dataclass
class Peer:
    """One Cluster peer with its Kubo."""

    name: str
    folder: Path
    daemon: Kubo
    secret: str
    ports: list[int] = field(default_factory=lambda: free_ports(4))
    process: subprocess.Popen[bytes] | None = None

    @property
    def api(self) -> str:
        """The REST API's multiaddr."""
        return f"/ip4/127.0.0.1/tcp/{self.ports[0]}"

    @property
    def pinning(self) -> str:
        """The Pinning Services API's URL."""
        return f"http://127.0.0.1:{self.ports[3]}"

    @property
    def address(self) -> str:
        """Where other peers find this one."""
        identity = json.loads((self.folder / "identity.json").read_text())["id"]
        return f"/ip4/127.0.0.1/tcp/{self.ports[1]}/p2p/{identity}"

    def _environment(self) -> dict[str, str]:
        rest, swarm, proxy, pinning = (f"/ip4/127.0.0.1/tcp/{port}" for port in self.ports)
        return environment(
            IPFS_CLUSTER_PATH=str(self.folder),
            CLUSTER_SECRET=self.secret,
            CLUSTER_PEERNAME=self.name,
            CLUSTER_RESTAPI_HTTPLISTENMULTIADDRESS=rest,
            CLUSTER_RESTAPI_BASICAUTHCREDENTIALS=f"{USER}:{PASSWORD}",
            CLUSTER_LISTENMULTIADDRESS=swarm,
            CLUSTER_IPFSPROXY_LISTENMULTIADDRESS=proxy,
            CLUSTER_PINSVCAPI_HTTPLISTENMULTIADDRESS=pinning,
            CLUSTER_IPFSHTTP_NODEMULTIADDRESS=self.daemon.api,
            CLUSTER_CRDT_TRUSTEDPEERS="*",
            CLUSTER_CRDT_REBROADCASTINTERVAL="2s",
            CLUSTER_MONITORPINGINTERVAL="1s",
            CLUSTER_DISK_METRICTTL="6s",
            CLUSTER_TAGS_METRICTTL="6s",
            CLUSTER_PINQUEUE_METRICTTL="6s",
            CLUSTER_IPFSHTTP_CONNECTSWARMSDELAY="2s",
        )

    def init(self) -> None:
        subprocess.run(
            [programs("cluster") / "ipfs-cluster-service", "init", "--consensus", "crdt"],
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
        )

    def start(self, *others: str) -> None:
        words = ["--bootstrap", ",".join(others)] if others else []
        with (self.folder / "daemon.log").open("ab") as log:
            self.process = subprocess.Popen(
                [programs("cluster") / "ipfs-cluster-service", "daemon", *words],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
            self.process = None

    def get(self, route: str) -> list[dict[str, object]]:
        """What the REST API answers, line by line."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.ports[0]}{route}")
        pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        request.add_header("Authorization", f"Basic {pair}")
        with urllib.request.urlopen(request, timeout=10) as answer:
            return [json.loads(line) for line in answer.read().splitlines() if line.strip()]

    def sees(self, count: int) -> bool:
        """Whether this peer knows `count` peers and has all fresh metrics of them that it allocates by."""
        with contextlib.suppress(OSError):
            if len([peer for peer in self.get("/peers") if not peer.get("error")]) != count:
                return False
            return all(self._fresh(name) == count for name in METRICS)
        return False

    def _fresh(self, metric: str) -> int:
        found = self.get(f"/monitor/metrics/{metric}")
        flat = found[0] if found and isinstance(found[0], list) else found
        return len([one for one in flat if one.get("valid")])


@dataclass
class Peers:
    """A whole cluster."""

    peers: list[Peer]

    def settle(self, count: int | None = None) -> None:
        """Wait until the running peers know each other."""
        running = [peer for peer in self.peers if peer.process is not None]
        deadline = time.monotonic() + WAIT
        while not all(peer.sees(count or len(running)) for peer in running):
            assert time.monotonic() < deadline, "the cluster's peers do not find each other"
            time.sleep(0.3)


@contextlib.contextmanager
def cluster(folder: Path, count: int = 2) -> Iterator[Peers]:
    """A running cluster of `count` peers."""
    programs("cluster")
    secret = secrets.token_hex(32)
    with contextlib.ExitStack() as held:
        peers = []
        for number in range(count):
            daemon = held.enter_context(kubo(folder / f"kubo-{number}"))
            place = folder / f"cluster-{number}"
            place.mkdir()
            peer = Peer(f"peer-{number}", place, daemon, secret)
            peer.init()
            held.callback(peer.stop)
            peer.start(*(peers[0].address for _ in peers[:1]))
            peers.append(peer)
        whole = Peers(peers)
        whole.settle()
        yield whole
