"""Engines beside peers: ingest into Kubo, heads and index in PostgreSQL."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from measure import clear, make_files, table, timed

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from heritage_testkit.kubo import Kubo, environment
from heritage_testkit.postgres import Postgres

if TYPE_CHECKING:
    from collections.abc import Iterator

BAGIT = "import bagit, sys; bagit.make_bag(sys.argv[1], checksums=['sha512'])"
ORIGIN = "bench.example/l/1"
ASKED = 2_000
EVENTS = 20_000
FILES = 200_000


@contextmanager
def _daemon(folder: Path) -> Iterator[Kubo]:
    """A daemon as an institution runs it: blocks synced to the disk, no network."""
    clear(folder)
    daemon = Kubo(folder)
    daemon.run("init", "--profile=unixfs-v1-2025")
    for name in ("API", "Gateway"):
        daemon.run("config", f"Addresses.{name}", "/ip4/127.0.0.1/tcp/0")
    daemon.run("config", "--json", "Addresses.Swarm", '["/ip4/127.0.0.1/tcp/0"]')
    daemon.run("config", "Routing.Type", "none")
    for name in ("Provide.Enabled", "AutoConf.Enabled"):
        daemon.run("config", "--json", name, "false")
    daemon.run("bootstrap", "rm", "--all")
    daemon.start()
    try:
        yield daemon
    finally:
        daemon.stop()
        clear(folder)


def _size(folder: Path) -> float:
    """MiB of a folder's files; one that is linked twice counts once."""
    seen = {
        (found.st_ino, found.st_size)
        for path in folder.rglob("*")
        if (found := path.lstat()) and path.is_file()
    }
    return sum(size for _, size in seen) / (1 << 20)


def _ingest(
    root: Path, source: Path, *, engine: str, keep: bool = True, move: bool = False
) -> tuple[float, float]:
    """Seconds to take `source` in, and MiB on the disk afterwards."""
    from heritage_ledger import Ledger  # noqa: PLC0415 - not needed for the peers

    home, copy = root / "home", root / "copy"
    clear(home)
    if move:  # takes the folder over, as bagit.py does
        clear(copy)
        source = shutil.copytree(source, copy)
    os.sync()
    with _daemon(root / "repo") as daemon:
        Ledger.init(home, institution="Bench", origin="bench.example/l/1", passphrase=None).close()
        with (home / "heritage.toml").open("a") as file:
            file.write(
                f'[content]\nengine = "{engine}"\nkubo_api = "{daemon.api}"\n[storage.away]\nkeep_bag = false\n'
            )
        with Ledger.open(home) as ledger:
            assert ledger.books
            took = timed(
                lambda: ledger.ingest(source, storage_class="default" if keep else "away", move=move)
            )
        used = _size(home) + (_size(daemon.folder) if engine == "kubo" else 0)
    clear(home)
    return took, used


def _peer(root: Path, source: Path, *, bag: bool) -> tuple[float, float]:
    """Seconds of bagit.py and `ipfs add`, or of the latter alone, and MiB on the disk afterwards."""
    copy = root / "copy"
    clear(copy)
    shutil.copytree(source, copy)
    os.sync()
    with _daemon(root / "repo") as daemon:
        took = 0.0
        if bag:
            took += timed(lambda: subprocess.run([sys.executable, "-c", BAGIT, copy], check=True))
        words = [daemon.program, "add", "-r", "-Q", "--hidden", "--pin", str(copy)]
        variables = environment(IPFS_PATH=str(daemon.folder))
        took += timed(
            lambda: subprocess.run(
                words, env=variables, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        )
        used = _size(copy) + _size(daemon.folder)
    clear(copy)
    return took, used


def kubo(root: Path, runs: int) -> None:
    """Ingest into Kubo beside bagit.py and `ipfs add` into the same kind of daemon; the disk used."""
    work = {
        "bagit.py in place, then ipfs add": lambda source: _peer(root, source, bag=True),
        "ipfs add alone": lambda source: _peer(root, source, bag=False),
        "ours into Kubo, --move": lambda source: _ingest(root, source, engine="kubo", move=True),
        "ours into Kubo, source copied": lambda source: _ingest(root, source, engine="kubo"),
        "the same, read back, bag gone": lambda source: _ingest(root, source, engine="kubo", keep=False),
        "ours, embedded engine": lambda source: _ingest(root, source, engine="embedded"),
    }
    for title, count, size in (("1 x 1 GiB", 1, 1 << 30), ("10,000 x 4 KiB", 10_000, 4096)):
        source = make_files(root, count, size)
        seconds: dict[str, list[float]] = {name: [] for name in work}
        disk: dict[str, list[float]] = {name: [] for name in work}
        for _ in range(runs):
            for name, do in work.items():
                took, used = do(source)
                seconds[name].append(took)
                disk[name].append(used)
        table(f"{title}: bag, address, event and Kubo", seconds)
        table(f"{title}: disk used, without the source", disk, "MiB")
        clear(source)


def database(root: Path, runs: int) -> None:
    """Appends, rows and queries over PostgreSQL beside SQLite."""
    server = Postgres(root / "postgres", flags=())
    server.init()
    server.start()
    rates: dict[str, dict[str, list[float]]] = {}
    try:
        for run in range(runs):
            for name in ("SQLite", "PostgreSQL"):
                place = root / f"{name}-{run}"
                place.mkdir()
                urls = (
                    (None, place / "bench.db") if name == "SQLite" else (server.database(), server.database())
                )
                for what, rate in (*_append_rates(place, urls[0]), *_index_rates(urls[1])):
                    rates.setdefault(what, {}).setdefault(name, []).append(rate)
                clear(place)
    finally:
        server.stop()
    for what, rows in rates.items():
        table(what, rows, "/s")


def _append_rates(place: Path, url: str | None) -> Iterator[tuple[str, float]]:
    from heritage_ledger import Ledger  # noqa: PLC0415 - not needed for the peers

    (place / "one").mkdir()
    (place / "one" / "a").write_text("a")
    with Ledger.init(place / "home", institution="B", origin=ORIGIN, passphrase=None, database=url) as ledger:
        ledger.ingest(place / "one", asset="urn:example:0")
        entry = ledger.log.read_entry(1, 2)
        books = ledger.books

        def append() -> None:
            with books.exclusive():
                books.appender.append([entry], time=1)

        yield "append, lock taken each time", 300 / timed(lambda: [append() for _ in range(300)])
    clear(place / "home")


def _index_rates(target: Path | str) -> Iterator[tuple[str, float]]:
    from heritage_ledger.content.cid import DAG_PB, RAW, make_cid  # noqa: PLC0415 - not needed for the peers
    from heritage_ledger.content.package import FileRow  # noqa: PLC0415 - the same
    from heritage_ledger.index.rows import EventRow, PackageRow  # noqa: PLC0415 - the same
    from heritage_ledger.index.store import Index  # noqa: PLC0415 - the same

    def cid(kind: int, number: int) -> bytes:
        return make_cid(kind, hashlib.sha256(b"%d" % number).digest())

    def events(index: Index) -> None:
        for start in range(0, EVENTS, 1_000):
            with index.begin() as writer:
                for number in range(start, start + 1_000):
                    asset, root = f"urn:example:{number}", cid(DAG_PB, number)
                    row = EventRow(
                        number, ORIGIN, f"urn:uuid:{number}", ("ingestion",), "2026-11-23T09:00:00Z", "A", "K",
                        asset=asset, version=1, package_cid=root,
                    )  # fmt: skip
                    writer.add_event(row)
                    writer.add_package(
                        PackageRow(
                            number, asset, 1, root, root, f"packages/{number}/1", "1.0", 1, 9, 4, "ingest"
                        )
                    )
                writer.set_absorbed(start + 1_000)

    def files(index: Index) -> None:
        with index.begin() as writer:
            writer.add_files(
                5, (FileRow(f"data/{number:07}.tif", 4096, cid(RAW, number), b"") for number in range(FILES))
            )

    with Index.open(target, origin=ORIGIN) as index:
        yield f"index {EVENTS:,} events with packages", EVENTS / timed(lambda: events(index))
        yield f"index {FILES:,} files", FILES / timed(lambda: files(index))
        picks = [(number * 7_919) % EVENTS for number in range(ASKED)]
        wanted = [cid(RAW, (number * 7_919) % FILES) for number in range(ASKED)]
        yield (
            "find an asset's package",
            ASKED / timed(lambda: [index.package(f"urn:example:{number}") for number in picks]),
        )
        yield "find a file by its CID", ASKED / timed(lambda: [list(index.find_file(one)) for one in wanted])
        yield (
            "read 1,000 events in order",
            20 / timed(lambda: [list(index.events(after=number, limit=1_000)) for number in range(20)]),
        )
