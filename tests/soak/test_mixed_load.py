"""An hour of everything at once: deposits, replicas, readers, bad clients, damage, deaths. Memory is bounded.

`HERITAGE_SOAK_SECONDS` makes it shorter. Figures are printed at the end (`make soak`).
"""

import contextlib
import http.client
import os
import random
import secrets
import signal
import socket
import threading
import time
import urllib.request
from pathlib import Path

import pytest

from heritage_testkit.nodes import federation, until

SECONDS = int(os.environ.get("HERITAGE_SOAK_SECONDS", "3600"))
WARM = min(600, SECONDS // 4)
"""Seconds until caches and thread pools have the size that they keep."""
GROWTH_MIB = 64
"""MiB by which a node that lives through it all may grow once it is warm."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(SECONDS + 1_200)]


def resident(pid: int) -> float:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0]) / 1024


class Load:
    """Threads that do one thing each, again and again, until it is over; what goes wrong is kept."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.wrong: list[str] = []
        self.done: dict[str, int] = {}
        self._threads: list[threading.Thread] = []

    def every(self, seconds: float, work, *, tolerate: tuple[type[BaseException], ...] = ()) -> None:
        def run() -> None:
            while not self.over.wait(seconds):
                try:
                    work()
                    self.done[work.__name__] = self.done.get(work.__name__, 0) + 1
                except tolerate:
                    pass
                except Exception as error:  # noqa: BLE001 - told of at the end
                    self.wrong.append(f"{work.__name__}: {error!r}"[:2_000])

        self._threads.append(threading.Thread(target=run, name=work.__name__, daemon=True))
        self._threads[-1].start()

    def stop(self) -> None:
        self.over.set()
        for thread in self._threads:
            thread.join(180)


def read(url: str) -> int:
    with urllib.request.urlopen(url, timeout=60) as answer:
        return sum(map(len, iter(lambda: answer.read(1 << 20), b"")))


def test_mixed_load(tmp_path):  # noqa: C901 - a load has many parts
    chance = random.Random(8493)
    receipts: list[dict] = []
    memory: dict[str, list[tuple[float, float]]] = {}
    load = Load()
    with federation(tmp_path, "museum", "archive", "library") as (museum, archive, library):
        for one in (archive, library):
            one.run("pledge", museum.origin, "--until", "2099-12-31")

        def deposit() -> None:
            folder = tmp_path / f"scan-{len(receipts)}"
            folder.mkdir()
            for number in range(chance.randrange(1, 40)):
                (folder / f"{number}.bin").write_bytes(
                    secrets.token_bytes(chance.choice((10, 5_000, 1_000_000)))
                )
            receipts.append(
                museum.run("ingest", folder, "--move", "--asset", f"urn:example:{len(receipts)}")[-1]
            )

        def car() -> None:
            read(f"{museum.url}/ipfs/{chance.choice(receipts)['package_cid']}?format=car")

        def look() -> None:
            for route in ("assets", "events", "peers", "node", f"proofs/{chance.choice(receipts)['asset']}"):
                read(f"{museum.url}/api/v1/{route}")
            read(f"{museum.url}/metrics")

        def slow_client() -> None:
            with socket.create_connection(("127.0.0.1", int(museum.url.rpartition(":")[2]))) as one:
                one.sendall(b"POST /api/v1/blocks HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n")
                one.settimeout(60)
                one.recv(1_000)

        def bad_client() -> None:
            connection = http.client.HTTPConnection(
                "127.0.0.1", int(museum.url.rpartition(":")[2]), timeout=30
            )
            with contextlib.closing(connection):
                connection.request("POST", "/api/v1/blocks", secrets.token_bytes(60_000), {"Signature": "x"})
                assert connection.getresponse().status in {400, 401, 413}

        def damage_and_repair() -> None:
            if not receipts:
                return
            asset = chance.choice(receipts)
            file = chance.choice([path for path in Path(asset["bag_path"]).rglob("data/*") if path.is_file()])
            data = bytearray(file.read_bytes())
            data[len(data) // 2] ^= 1
            file.chmod(0o600)
            file.write_bytes(data)
            until(
                lambda: museum.run("repair", asset["asset"], ok=(0, 3, 1, 4, 5))[-1]["outcome"] == "ok", 120
            )

        def death() -> None:
            archive.stop(signal.SIGKILL)
            archive.start()

        def weigh() -> None:
            for one in (museum, library):
                assert one.process is not None
                memory.setdefault(one.origin, []).append((time.monotonic(), resident(one.process.pid)))

        start = time.monotonic()
        deposit()
        load.every(12, deposit)
        load.every(2, car)
        load.every(1, look)
        load.every(0.5, slow_client, tolerate=(TimeoutError,))
        load.every(0.2, bad_client, tolerate=(ConnectionError,))
        load.every(90, damage_and_repair)
        load.every(240, death)
        load.every(15, weigh)
        load.over.wait(SECONDS)
        load.stop()
        assert not load.wrong, load.wrong
        cids = {receipt["package_cid"] for receipt in receipts}
        for one in (archive, library):
            until(lambda one=one: all(one.replica(museum, cid).is_dir() for cid in cids), 300)
        assert museum.run("verify", "--deep")[-1]["outcome"] == "ok"
        for origin, weights in memory.items():
            warm = [mib for at, mib in weights if at - start > WARM]
            print(
                f"{origin}: {weights[0][1]:.0f} MiB at first, {warm[0]:.0f} warm, {warm[-1]:.0f} last, ",
                end="",
            )
            print(f"{max(mib for _, mib in weights):.0f} at most")
            assert warm[-1] < warm[0] + GROWTH_MIB
        print(f"{time.monotonic() - start:.0f} s: {load.done}, {len(cids)} packages")
