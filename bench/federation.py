"""The federation beside peers: replicas beside rsync, catch-up, blocks and CARs over HTTP, repair."""

from __future__ import annotations

import functools
import http.client
import http.server
import os
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measure import clear, make_files, table, timed

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from heritage_testkit.nodes import Institution, federation, until

if TYPE_CHECKING:
    from collections.abc import Iterator

SHAPES = {"1 x 1 GiB": (1, 1 << 30), "20,000 x 10 KiB": (20_000, 10_240)}
ASKED = 2_000
ORIGIN = "bench.example/l/1"


@contextmanager
def _rsync_server(folder: Path, root: Path) -> Iterator[str]:
    """An rsync daemon on loopback that serves `folder`; its URL."""
    settings = root / "rsyncd.conf"
    settings.write_text(
        f"use chroot = no\nuid = {os.getuid()}\ngid = {os.getgid()}\n[bag]\npath = {folder}\n"
    )
    for port in range(20_873, 20_973):
        words = ["--daemon", "--no-detach", f"--config={settings}", "--address=127.0.0.1", f"--port={port}"]
        process = subprocess.Popen(["rsync", *words], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.3)
        if process.poll() is None:
            break
    try:
        yield f"rsync://127.0.0.1:{port}/bag/"
    finally:
        process.terminate()
        process.wait()


def _beside(bag: Path, root: Path) -> tuple[float, float, float]:
    """Seconds of rsync over loopback with --fsync, that and bagit.py's check, and a copy by one thread."""
    target = root / "copy"
    copied = timed(lambda: shutil.copytree(bag, target))
    clear(target)
    if shutil.which("rsync") is None:
        return float("nan"), float("nan"), copied
    target.mkdir()
    with _rsync_server(bag, root) as url:
        words = ["rsync", "-a", "--whole-file", "--fsync", url, str(target)]
        took = timed(lambda: subprocess.run(words, check=True))
    script = "import bagit, sys; bagit.Bag(sys.argv[1]).validate()"
    checked = timed(lambda: subprocess.run([sys.executable, "-c", script, str(target)], check=True))
    clear(target)
    return took, took + checked, copied


def _replicate(museum: Institution, archive: Institution, source: Path, asset: str) -> dict[str, Any]:
    receipt = museum.run("ingest", source, "--asset", asset)[-1]
    until(lambda: archive.mirrored(museum) > receipt["log_index"])
    archive.stop()
    archive.run("pledge", museum.origin, "--until", "2099-12-31", "--assets", asset)
    return receipt


def replicas(root: Path, runs: int) -> None:
    """Replicate packages over loopback beside rsync, and repair one flipped bit."""
    if shutil.which("rsync") is None:
        print("  rsync is not installed: only a plain copy stands beside")
    mended: dict[str, list[float]] = {"repair of a flipped bit in 1 GiB": []}
    wire: list[int] = []
    for shape, numbers in SHAPES.items():
        rows: dict[str, list[float]] = {
            "rsync daemon, --fsync": [],
            "the same, then bagit.py's check": [],
            "plain copy, no network, no fsync": [],
            "peer sync: fetch, check, seal, event": [],
        }
        for run in range(runs):
            place = root / f"run-{run}"
            place.mkdir()
            source = make_files(place, *numbers)
            with federation(place, "museum", "archive") as (museum, archive):
                receipt = _replicate(museum, archive, source, "urn:x:bench")
                clear(source)
                bag = Path(receipt["bag_path"])
                for row, value in zip(rows.values(), _beside(bag, place), strict=False):
                    row.append(value)
                rows["peer sync: fetch, check, seal, event"].append(
                    timed(lambda: archive.run("peer", "sync", ok=(0, 3)))
                )
                assert archive.replica(museum, receipt["package_cid"]).is_dir()
                if "GiB" in shape and shape.startswith("1 "):
                    archive.start()
                    seconds, sent = _flipped(museum, bag)
                    mended["repair of a flipped bit in 1 GiB"].append(seconds)
                    wire.append(sent)
            clear(place)
        table(f"{shape}: a replica", rows)
    table("repair", mended)
    print(f"  bytes over the wire: {max(wire):,}")


def _flipped(museum: Institution, bag: Path) -> tuple[float, int]:
    file = next(bag.rglob("*.bin"))
    file.chmod(0o600)
    with file.open("r+b") as opened:
        opened.seek(500_000_000)
        (byte,) = opened.read(1)
        opened.seek(500_000_000)
        opened.write(bytes([byte ^ 1]))
    lines: list[dict[str, Any]] = []
    seconds = timed(lambda: lines.extend(museum.run("repair", "urn:x:bench")))
    return seconds, next(line["fetched"] for line in lines if line["type"] == "repaired")


def serving(root: Path, runs: int) -> None:
    """Raw blocks one at a time, and one CAR, from the gateway of a node; a static file server beside."""
    source = make_files(root, *SHAPES["1 x 1 GiB"])
    rates: dict[str, list[float]] = {"http.server: the same file": [], "CAR of 1 GiB": []}
    blocks: dict[str, list[float]] = {"raw blocks of 1 MiB": []}
    with federation(root, "museum") as (museum,):
        receipt = museum.run("ingest", source, "--asset", "urn:x:bench")[-1]
        bag = Path(receipt["bag_path"])
        cids = _leaves(museum)
        with _files(bag) as url:
            file = next(bag.rglob("*.bin")).relative_to(bag)
            for _ in range(runs):
                rates["http.server: the same file"].append(_drain(f"{url}/{file}"))
                rates["CAR of 1 GiB"].append(_drain(f"{museum.url}/ipfs/{receipt['package_cid']}?format=car"))
                blocks["raw blocks of 1 MiB"].append(_raw(museum.url, cids))
    table("serving", rates, "MiB/s")
    table("serving, one connection", blocks, "/s")


def _leaves(museum: Institution) -> list[str]:
    from heritage_ledger import Ledger  # noqa: PLC0415 - not needed for the peers
    from heritage_ledger.content.cid import RAW, codec_of, format_cid, parse_cid  # noqa: PLC0415
    from heritage_ledger.federation.assembly import pieces, tree_files  # noqa: PLC0415
    from heritage_ledger.federation.holdings import Holdings  # noqa: PLC0415

    with (
        Ledger.open(museum.home) as ledger,
        Holdings(ledger.home, ledger.index, ledger.federation.peers, None) as holdings,
    ):
        root = parse_cid(ledger.show("urn:x:bench").packages[0].package_cid)
        files = [file for file in tree_files(holdings.get, root) if file.cid and file.path.endswith(".bin")]
        found = [piece.cid for file in files for piece in pieces(holdings.get, file)]
        return [format_cid(cid) for cid in found if codec_of(cid) == RAW]


def _drain(url: str) -> float:
    size = 0
    start = time.perf_counter()
    with urllib.request.urlopen(url) as answer:
        while piece := answer.read(1 << 20):
            size += len(piece)
    return size / (time.perf_counter() - start) / (1 << 20)


def _raw(url: str, cids: list[str]) -> float:
    connection = http.client.HTTPConnection(url.removeprefix("http://"))
    start = time.perf_counter()
    for number in range(ASKED):
        connection.request("GET", f"/ipfs/{cids[number % len(cids)]}?format=raw")
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200
    return ASKED / (time.perf_counter() - start)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def _files(folder: Path) -> Iterator[str]:
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def catch_up(root: Path, runs: int) -> None:
    """A mirror that is 1,000 and 100,000 entries of 1.5 kB behind, over HTTP, without event signatures."""
    from heritage_ledger.federation.client import Client  # noqa: PLC0415 - not needed for the peers
    from heritage_ledger.home.state import StateStore  # noqa: PLC0415 - not needed for the peers
    from heritage_ledger.identity.keys import Ed25519Signer  # noqa: PLC0415 - not needed for the peers
    from heritage_ledger.log.append import Appender  # noqa: PLC0415 - not needed for the peers
    from heritage_ledger.log.cosignature import Ed25519NoteSigner  # noqa: PLC0415 - not needed for the peers
    from heritage_ledger.log.mirror import FetchedLog, Mirror  # noqa: PLC0415 - not needed for the peers

    log, store = root / "log", root / "state.db"
    log.mkdir()
    signer = Ed25519NoteSigner.of(ORIGIN, Ed25519Signer.from_seed(b"x" * 32))
    entries = [b'{"x":"' + b"y" * 1500 + b'%d"}' % number for number in range(1_000)]
    rows: dict[str, list[float]] = {"1,000 entries": [], "100,000 entries": []}
    with (
        StateStore.create(store) as state,
        Appender(log, state, ORIGIN, [signer]) as appender,
        _files(log) as url,
    ):
        appender.create(time=1)
        for name, batches in zip(rows, (1, 100), strict=True):
            for _ in range(batches):
                appender.append(entries, time=1)
            for run in range(runs):
                place = root / f"mirror-{batches}-{run}"
                place.mkdir()
                with StateStore.create(place / "state.db") as kept, Client(allow_private=True) as client:
                    mirror = Mirror(place / "log", kept, ORIGIN, [signer.verifier])

                    def get(path: str, limit: int, *, client: Client = client) -> bytes:
                        return client.get(f"{url}/{path}", limit=limit)

                    source = FetchedLog(place / "log", get)
                    head = (log / "checkpoint").read_bytes()
                    rows[name].append(timed(lambda: mirror.pull(source, head)))
                clear(place)
    table("catch-up", rows)
