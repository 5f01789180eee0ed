"""An hour in which everything goes wrong at once, and nothing is lost, forked or stopped.

The museum's home and the archive's are put back to older copies of themselves; between museum and archive
stands somebody who is honest, then gone, then slow, then lies in every shape; the library's disk is full; a
public that means no good asks the museum. `HERITAGE_SOAK_SECONDS` makes it shorter. Figures are printed at
the end.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from heritage_testkit.between import between
from heritage_testkit.hostile import SHAPES
from heritage_testkit.nodes import federation, until
from heritage_testkit.restores import need_root, run

SECONDS = int(os.environ.get("HERITAGE_SOAK_SECONDS", "3600"))
PHASE = max(30, SECONDS // 40)
"""Seconds for which whoever stands between keeps to one way of being."""
LIBRARY_MIB = 48

pytestmark = [pytest.mark.slow, pytest.mark.timeout(SECONDS + 1_800)]


def resident(pid: int) -> float:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0]) / 1024


def quantile(values: list[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * part))] if values else 0.0


class Month:
    """Threads that do one thing each until it is over; `turn` keeps apart what needs the museum's home."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.turn = threading.Lock()
        self.wrong: list[str] = []
        self.done: dict[str, int] = {}
        self.seconds: dict[str, list[float]] = {}
        self._threads: list[threading.Thread] = []

    def every(self, seconds: float, work, *, tolerate: tuple[type[BaseException], ...] = ()) -> None:
        def go() -> None:
            while not self.over.wait(seconds):
                start = time.monotonic()
                try:
                    work()
                except tolerate:
                    continue
                except Exception as error:  # noqa: BLE001 - told of at the end
                    self.wrong.append(f"{work.__name__}: {error!r}"[:2_000])
                self.done[work.__name__] = self.done.get(work.__name__, 0) + 1
                self.seconds.setdefault(work.__name__, []).append(time.monotonic() - start)

        self._threads.append(threading.Thread(target=go, daemon=True))
        self._threads[-1].start()

    def stop(self) -> None:
        self.over.set()
        for thread in self._threads:
            thread.join(300)


def gone(handler, _path, _answer):
    handler.connection.shutdown(socket.SHUT_RDWR)


def slow(handler, _path, answer):
    status, headers, body = answer
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    for at in range(0, len(body), 4_096):
        handler.wfile.write(body[at : at + 4_096])
        time.sleep(0.2)


def lies(over: threading.Event):
    names = [name for name, shape in SHAPES.items() if shape.is_content or "endless" not in name]
    count = iter(range(1 << 40))

    def say(handler, _path, _answer):
        SHAPES[names[next(count) % len(names)]].say(handler.connection, over)

    return say


@contextlib.contextmanager
def small_disk(folder: Path):
    """A disk of its own that is soon full."""
    need_root("mount")
    folder.mkdir()
    run("mount", "-t", "tmpfs", "-o", f"size={LIBRARY_MIB}m", "tmpfs", folder)
    try:
        yield folder / "home"
    finally:
        run("umount", "-l", folder)


def test_a_bad_month(tmp_path):  # noqa: C901 - it has many days
    chance = random.Random(int(os.environ.get("HERITAGE_SOAK_SEED", "20261127")))
    month = Month()
    receipts: list[dict] = []
    memory: list[float] = []
    copies: dict[str, Path] = {}
    with contextlib.ExitStack() as held:
        homes = {"library": held.enter_context(small_disk(tmp_path / "small"))}
        museum, archive, library = held.enter_context(
            federation(tmp_path, "museum", "archive", "library", homes=homes)
        )
        proxy = held.enter_context(between(archive.url))
        with contextlib.suppress(AssertionError):
            museum.run("peer", "remove", archive.origin)
        museum.run("peer", "add", proxy.url, "--yes", "--key", archive.key())
        for one in (archive, library):
            one.run("pledge", museum.origin, "--until", "2099-12-31", "--max-bytes", 1 << 40)
        port = int(museum.url.rpartition(":")[2])

        def deposit() -> None:
            folder = tmp_path / f"scan-{time.monotonic_ns()}"
            folder.mkdir()
            for number in range(chance.randrange(1, 20)):
                (folder / f"{number}.bin").write_bytes(
                    secrets.token_bytes(chance.choice((10, 5_000, 400_000)))
                )
            with month.turn:
                done = museum.run(
                    "ingest", folder, "--move", "--asset", f"urn:example:{folder.name}", ok=(0, 5, 6)
                )
            if done[-1]["exit_code"] == 0:
                receipts.append(done[-1])

        def between_them() -> None:
            proxy.lie = chance.choice((None, None, gone, slow, lies(month.over)))

        def cids() -> list[str]:
            return [one["package_cid"] for one in receipts]

        def has_all_bags() -> bool:
            missing = [one for one in receipts if not (Path(one["bag_path"]) / "bagit.txt").is_file()]
            if missing:
                museum.run("repair", ok=(0, 3))
            return not missing

        def put_back_archive() -> None:
            with month.turn:
                proxy.lie = None
                until(has_all_bags, 900)  # two disks that are lost at once are not of this month
                put_back(archive)

        def put_back_museum() -> None:
            with month.turn:
                proxy.lie = None
                size = museum.standing()["entries"]
                until(lambda: archive.mirrored(museum) >= size, 300)
                # a bag that nobody else holds is lost with its disk
                until(
                    lambda: all(archive.replica(museum, one["package_cid"]).is_dir() for one in receipts), 600
                )
                put_back(museum)
                until(
                    lambda: museum.run("log", "recover", ok=tuple(range(14)))[-1].get("exit_code") == 0, 300
                )
                museum.run("repair", ok=(0, 3))

        def put_back(one) -> None:
            """Replace a home by the copy that was made of it before, if there is one, and make the next."""
            one.stop(chance.choice((signal.SIGTERM, signal.SIGKILL)))
            old = copies.pop(one.origin, None)
            if old is not None:
                subprocess.run(["chmod", "-R", "u+w", one.home], check=True)
                shutil.rmtree(one.home)
                old.rename(one.home)
                for folder in one.marks if chance.random() < 0.5 else ():
                    shutil.rmtree(folder, ignore_errors=True)
                month.done["restores"] = month.done.get("restores", 0) + 1
            one.start()
            if old is None:
                copies[one.origin] = tmp_path / f"copy-{time.monotonic_ns()}"
                subprocess.run(
                    ["cp", "-a", one.home, copies[one.origin]], check=False, stderr=subprocess.DEVNULL
                )

        def checkpoint() -> None:
            with urllib.request.urlopen(f"{museum.url}/log/checkpoint", timeout=30) as answer:
                assert answer.read()

        def readyz() -> None:
            with contextlib.suppress(urllib.error.HTTPError):  # it may well say that it is not ready
                urllib.request.urlopen(f"{museum.url}/readyz", timeout=30).close()

        def closed_at_once() -> None:
            with socket.create_connection(("127.0.0.1", port), 10) as one:
                one.sendall(b"GET /api/v1/assets?after=nobody&limit=1000 HTTP/1.1\r\nHost: x\r\n\r\n")

        def unknown_cursor() -> None:
            with contextlib.suppress(urllib.error.HTTPError):
                urllib.request.urlopen(f"{museum.url}/api/v1/assets?after={secrets.token_hex(8)}", timeout=30)

        def unsigned_post() -> None:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            with contextlib.closing(connection):
                connection.request("POST", "/api/v1/blocks", secrets.token_bytes(20_000), {"Signature": "x"})
                assert connection.getresponse().status in {400, 401, 413, 429, 503}

        def drip() -> None:
            with socket.create_connection(("127.0.0.1", port), 10) as one:
                one.settimeout(1)
                for byte in b"GET /metrics HTTP/1.1\r\n":
                    one.sendall(bytes([byte]))
                    time.sleep(0.5)

        def weigh() -> None:
            assert museum.process is not None
            memory.append(resident(museum.process.pid))

        start = time.monotonic()
        broken = (ConnectionError, TimeoutError, urllib.error.URLError, http.client.HTTPException)
        deposit()
        month.every(10, deposit)
        month.every(PHASE, between_them)
        month.every(max(60, SECONDS // 16), put_back_archive)
        month.every(max(90, SECONDS // 10), put_back_museum)
        month.every(0.25, checkpoint, tolerate=broken)
        month.every(1, readyz, tolerate=broken)
        month.every(15, weigh, tolerate=(AssertionError, OSError))
        for work, pause in ((closed_at_once, 0.1), (unknown_cursor, 0.1), (unsigned_post, 0.2), (drip, 1)):
            month.every(pause, work, tolerate=broken)
        month.over.wait(SECONDS)
        month.stop()
        proxy.lie = None
        assert not month.wrong, month.wrong
        known = {line["asset"] for line in museum.run("list") if line["type"] == "asset"}
        assert {receipt["asset"] for receipt in receipts} <= known
        museum.run("repair")
        assert museum.run("verify", "--deep", ok=(0, 3))[-1]["outcome"] == "ok"
        until(lambda: archive.mirrored(museum) == museum.standing()["entries"], 600)
        for one in (museum, archive, library):
            assert not list((one.home / "forks").glob("*")), one.origin
        small = tmp_path / "small-deposit"
        small.mkdir()
        (small / "page.txt").write_text("there is always room for this")
        library.run("ingest", small, "--asset", "urn:example:small")
        took = time.monotonic() - start
        print(f"\n{took:.0f} s: {month.done}, {len(receipts)} deposits acknowledged, 0 lost")
        print(f"memory of the museum's node: {max(memory):.0f} MiB at most, {memory[-1]:.0f} last")
        for name in ("checkpoint", "readyz"):
            seconds = month.seconds[name]
            shown = [1e3 * one for one in (quantile(seconds, 0.5), quantile(seconds, 0.95), max(seconds))]
            print(f"{name}: p50 {shown[0]:.0f} ms, p95 {shown[1]:.0f} ms, {shown[2]:.0f} ms at most")
