"""A node before the public: pages far into a long list, and honest readers beside hostile ones."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import multiprocessing
import os
import re
import secrets
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from heritage_testkit.nodes import Institution

if TYPE_CHECKING:
    from collections.abc import Callable

ASSETS = int(os.environ.get("BENCH_ASSETS", "100000"))
ASKED = 400
BAD_SECONDS = 30.0
BAD_EACH = 25
"""Requests a second of each kind of bad client."""
HELD_SECONDS = 20.0
"""How long a client that is slow goes on with it."""
TITLE = "A deposit of the bench, with a title as long as titles are"


def fill(home: Path) -> None:
    """Make a log and an index of `ASSETS` deposits: the entries are copies of one, the rows are not."""
    from heritage_ledger import Ledger  # noqa: PLC0415 - not needed for the bad clients
    from heritage_ledger.content.cid import DAG_PB, block_cid  # noqa: PLC0415 - the same
    from heritage_ledger.index.rows import EventRow, PackageRow  # noqa: PLC0415 - the same

    source = home.parent / "one"
    source.mkdir()
    (source / "a.txt").write_text("a")
    (source / "big.bin").write_bytes(secrets.token_bytes(8 << 20))
    with Ledger.open(home) as ledger:
        ledger.ingest(source, asset="urn:bench:first")
        entry = ledger.log.read_entry(1, 2)
        while (size := ledger.log_size()) < ASSETS + 2:
            ledger.books.appender.append([entry] * min(1_024, ASSETS + 2 - size), time=1)
        with ledger.index.begin() as writer:
            for number in range(2, ASSETS + 2):
                asset, cid = f"https://bench.example/object/{number}", block_cid(DAG_PB, b"%d" % number)
                writer.add_event(
                    EventRow(
                        number,
                        ledger.origin,
                        f"urn:uuid:{number}",
                        ("Ingestion",),
                        "2026-11-27T12:00:00.000Z",
                        "Bench",
                        "key",
                        asset=asset,
                        version=1,
                        package_cid=cid,
                    )
                )
                package = PackageRow(
                    number, asset, 1, cid, cid, f"packages/{number}/1", "1.0", 1, 1, 5, "ingest"
                )
                writer.add_package(package, title=TITLE)
            writer.set_absorbed(ASSETS + 2)


def _times(url: str, paths: Callable[[int], str], count: int, pause: float = 0.0) -> list[float]:
    """Seconds of each of `count` GETs on one connection; every one is answered with 200."""
    host = url.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=60)
    found = []
    for number in range(count):
        start = time.perf_counter()
        connection.request("GET", paths(number))
        answer = connection.getresponse()
        body = answer.read()
        found.append(time.perf_counter() - start)
        assert answer.status == 200, body[:200]
        time.sleep(pause)
    connection.close()
    return found


def _line(name: str, times: list[float]) -> float:
    ordered = sorted(1_000 * one for one in times)
    p95 = ordered[int(len(ordered) * 0.95)]
    print(
        f"  {name:<44} p50 {statistics.median(ordered):>8.2f} ms   p95 {p95:>8.2f} ms   most {ordered[-1]:>8.2f} ms"
    )
    return p95


def _memory(pid: int) -> tuple[float, float]:
    text = Path(f"/proc/{pid}/status").read_text()
    now, most = (int(text.partition(f"{name}:")[2].split()[0]) / 1_024 for name in ("VmRSS", "VmHWM"))
    return now, most


def _processor(museum: Institution) -> float:
    """Seconds of processor time that the node has used."""
    assert museum.process is not None
    words = Path(f"/proc/{museum.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def _start(museum: Institution, rate: int) -> None:
    path = museum.home / "heritage.toml"
    text = re.sub(
        r"public_rate = \d+\n(check_days = 0\n)?", f"public_rate = {rate}\ncheck_days = 0\n", path.read_text()
    )
    path.write_text(text)
    museum.start()


def _paging(museum: Institution) -> None:
    print(f"\npublic GET, {ASSETS:,} assets, pages of 100 ({ASKED} of each kind by turns, one connection)")
    near, far = ASSETS // 10, ASSETS - 200
    for what, key in (
        ("assets", lambda number: f"https://bench.example/object/{number}"),
        ("events", str),
    ):
        pages = {
            "first page": lambda _, what=what: f"/api/v1/{what}?limit=100",
            "page in the first tenth": lambda n, what=what, key=key: (
                f"/api/v1/{what}?limit=100&after={key(near + n)}"
            ),
            "last page": lambda n, what=what, key=key: f"/api/v1/{what}?limit=100&after={key(far + n % 99)}",
        }
        kinds = list(pages)
        # by turns: what else the machine does falls on all of them alike
        times = _times(museum.url, lambda n, pages=pages: pages[kinds[n % 3]](n // 3), 3 * ASKED)
        found = {kind: _line(f"{what}: {kind}", times[at::3]) for at, kind in enumerate(kinds)}
        print(f"  {'':<44} last / first p95: x {found['last page'] / found['first page']:.2f}")


async def _bad(kind: str, host: str, port: int, source: str, counts: dict[str, int]) -> None:
    counts[kind] = counts.get(kind, 0) + 1
    with contextlib.suppress(OSError, TimeoutError):
        reader, writer = await asyncio.open_connection(host, port, local_addr=(source, 0))
        try:
            await _misbehave(kind, reader, writer)
        finally:
            writer.transport.abort()


async def _misbehave(kind: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    if kind == "drip headers":
        writer.write(b"GET / HTTP/1.1\r\nX-Slow: ")
        end = time.monotonic() + HELD_SECONDS
        while time.monotonic() < end and not reader.at_eof():
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(1)
    elif kind == "slow readers":
        writer.write(b"GET /api/v1/assets?limit=1000 HTTP/1.1\r\nHost: a\r\n\r\n")
        writer.transport.pause_reading()
        await asyncio.sleep(HELD_SECONDS)
    elif kind == "unknown cursors":
        writer.write(b"GET /api/v1/assets?after=nobody HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        await asyncio.wait_for(reader.read(), 60)
    elif kind == "unsigned posts":
        writer.write(
            b"POST /api/v1/blocks HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 60000\r\n\r\n"
        )
        writer.write(bytes(60_000))
        await asyncio.wait_for(reader.read(), 60)
    else:
        writer.write(b"GET /api/v1/assets?limit=1000 HTTP/1.1\r\nHost: a\r\n\r\n")
        await writer.drain()


KINDS = ("drip headers", "slow readers", "unknown cursors", "unsigned posts", "closed at once")


def _hostile(host: str, port: int, seconds: float, sent: multiprocessing.Queue[dict[str, int]]) -> None:
    """Send bad requests from eight addresses, `BAD_EACH` a second of each kind."""

    async def main() -> dict[str, int]:
        counts: dict[str, int] = {}
        tasks = set()
        start = time.monotonic()
        for at in range(int(seconds * BAD_EACH)):
            for number, kind in enumerate(KINDS):
                source = f"127.0.0.{2 + (at + number) % 8}"
                tasks.add(asyncio.create_task(_bad(kind, host, port, source, counts)))
            await asyncio.sleep(max(0.0, start + (at + 1) / BAD_EACH - time.monotonic()))
        taken = time.monotonic() - start
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return counts | {"milliseconds": int(1_000 * taken)}

    sent.put(asyncio.run(main()))


def _beside(museum: Institution) -> None:
    host, _, port = museum.url.removeprefix("http://").partition(":")
    quiet = _times(museum.url, lambda _: "/log/checkpoint", ASKED, 0.005)
    sent: multiprocessing.Queue[dict[str, int]] = multiprocessing.Queue()
    process = multiprocessing.Process(target=_hostile, args=(host, int(port), BAD_SECONDS, sent))
    process.start()
    time.sleep(3)
    beside, ready = [], []
    used = _processor(museum)
    end = time.monotonic() + BAD_SECONDS - 5
    while time.monotonic() < end:
        beside += _times(museum.url, lambda _: "/log/checkpoint", 20, 0.02)
        ready += _times(museum.url, lambda _: "/readyz", 1)
    used = _processor(museum) - used
    counts = sent.get()
    process.join()
    print(f"\n  processor time of the node beside them: {100 * used / (BAD_SECONDS - 5):.0f} % of a core")
    seconds = counts.pop("milliseconds") / 1_000
    print(
        f"\nhonest readers beside {sum(counts.values()) / seconds:.0f} bad requests a second: {json.dumps(counts)}"
    )
    _line("/log/checkpoint, quiet", quiet)
    _line("/log/checkpoint, beside", beside)
    _line("/readyz, beside", ready)


def public(root: Path, runs: int) -> None:
    """Pages of a long list; honest reads beside bad ones; memory of the node."""
    assert runs
    museum = Institution.make(root, "bench")
    fill(museum.home)
    _start(museum, 1_000_000)
    try:
        assert museum.process is not None
        print(f"  memory of the node when it began: {_memory(museum.process.pid)[0]:.0f} MiB")
        _paging(museum)
        print(f"  memory after it: {_memory(museum.process.pid)[0]:.0f} MiB")
        museum.stop()
        _start(museum, 50)
        assert museum.process is not None
        _beside(museum)
        now, most = _memory(museum.process.pid)
        print(f"  memory of the node: {now:.0f} MiB, {most:.0f} MiB at most")
    finally:
        museum.stop()
