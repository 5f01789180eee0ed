"""Performance beside peers: `make bench`, or `bench/run.py [--runs N] [section …]`.

Each run takes all peers one after the other, so that noise meets them alike. Printed are medians with the least
and the most, and the ratio to the first line. Data lies in a temporary folder (BENCH_DIR names its parent).
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from engines import database, kubo
from federation import catch_up, replicas, serving
from idle import idle
from measure import clear, make_files, table, timed
from public import public
from push import push

HERE = Path(__file__).resolve().parent
PEAK = """
def peak():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
"""
"""Peak memory of a process in MiB; getrusage would count the parent's from before exec."""
SHAPES = {"1 x 1 GiB": (1, 1 << 30), "8 x 128 MiB": (8, 1 << 27), "20,000 x 10 KiB": (20_000, 10_240)}
QUIET = 0.5
"""Load average above which figures are not to be trusted."""


def _ours(root: Path, source: Path) -> tuple[float, float, float]:
    from heritage_ledger import Ledger  # noqa: PLC0415 - not needed for the peers
    from heritage_ledger.fixity.bag import verify_bag  # noqa: PLC0415 - not needed for the peers

    home = root / "home"
    clear(home)
    with Ledger.init(home, institution="Bench", origin="bench.example/l/1", passphrase=None) as ledger:
        assert ledger.books
        receipts = []
        took = timed(lambda: receipts.append(ledger.ingest(source)))
        bag = sum(path.stat().st_size for path in receipts[0].bag_path.rglob("*") if path.is_file())
        every = sum(path.stat().st_size for path in home.rglob("*") if path.is_file())
        check = timed(lambda: verify_bag(receipts[0].bag_path))
    clear(home)
    return took, check, 100 * (every - bag) / bag


def _bagit(root: Path, source: Path) -> tuple[float, float]:
    copy = root / "copy"
    clear(copy)
    shutil.copytree(source, copy)
    script = (
        "import bagit, sys, time; t = time.perf_counter(); b = bagit.make_bag(sys.argv[1], checksums=['sha512']);"
        "u = time.perf_counter(); b.validate(); print(u - t, time.perf_counter() - u)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(copy)], capture_output=True, text=True, check=True
    )
    clear(copy)
    made, checked = map(float, done.stdout.split())
    return made, checked


def _floor(root: Path, source: Path) -> float:
    target = root / "floor"
    clear(target)
    took = timed(
        lambda: subprocess.run([sys.executable, str(HERE / "floor.py"), str(source), str(target)], check=True)
    )
    clear(target)
    return took


def _raw(source: Path) -> float:
    def work() -> None:
        for path in source.rglob("*"):
            if path.is_file():
                with path.open("rb") as file:
                    hashlib.file_digest(file, "sha512")

    return timed(work)


def bags(root: Path, runs: int) -> None:
    """Ingest and verify beside bagit.py, the floor and a bare read."""
    for shape, numbers in SHAPES.items():
        source = make_files(root, *numbers)
        made: dict[str, list[float]] = {
            "ingest, bag + address + event + fsync": [],
            "floor": [],
            "bagit make_bag, in place, no fsync": [],
        }
        checked: dict[str, list[float]] = {
            "verify --bag, with address": [],
            "bagit validate": [],
            "read + SHA-512, one thread": [],
        }
        extra = 0.0
        for _ in range(runs):
            took, check, extra = _ours(root, source)
            bag_made, bag_checked = _bagit(root, source)
            for rows, values in (
                (made, (took, _floor(root, source), bag_made)),
                (checked, (check, bag_checked, _raw(source))),
            ):
                for row, value in zip(rows.values(), values, strict=True):
                    row.append(value)
        table(f"{shape}: create", made)
        table(f"{shape}: check", checked)
        print(f"  disk used beside the bag: {extra:.3f} %")
        clear(source)


def manifest(root: Path, runs: int) -> None:
    """Open a manifest of 200,000 lines: seconds, and memory above the bare import."""
    bag = root / "manifest"
    (bag / "data").mkdir(parents=True)
    (bag / "bagit.txt").write_text("BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n")
    with (bag / "manifest-sha512.txt").open("w") as file:
        for number in range(200_000):
            file.write(f"{hashlib.sha512(b'%d' % number).hexdigest()}  data/folder/file-{number:06}.tif\n")
    peers = {
        "ours": "from heritage_ledger.bags.read import open_bag as work; from pathlib import Path as P",
        "bagit.Bag": "from bagit import Bag as work; P = str",
    }
    seconds: dict[str, list[float]] = {name: [] for name in peers}
    memory: dict[str, list[float]] = {name: [] for name in peers}
    for _ in range(runs):
        for name, head in peers.items():
            script = (
                f"import sys, time; {head}\n{PEAK}m = peak()\n"
                "t = time.perf_counter(); b = work(P(sys.argv[1])); t = time.perf_counter() - t\n"
                "print(t, peak() - m)"
            )
            done = subprocess.run(
                [sys.executable, "-c", script, str(bag)], capture_output=True, text=True, check=True
            )
            for rows, value in zip((seconds, memory), map(float, done.stdout.split()), strict=True):
                rows[name].append(value)
    table("open a manifest of 200,000 lines", seconds)
    table("the same: memory", memory, "MiB")


def log(root: Path, runs: int) -> None:
    """Append, verify events, verify inclusion."""
    from heritage_ledger import Ledger  # noqa: PLC0415 - not needed for the peers
    from heritage_ledger.events.event import open_event  # noqa: PLC0415 - not needed for the peers
    from heritage_ledger.log.merkle import check_inclusion, leaf_hash, prove_inclusion, root_of  # noqa: PLC0415

    (root / "one").mkdir()
    (root / "one" / "a").write_text("a")
    rows: dict[str, list[float]] = {
        "append, one at a time": [],
        "append, batches of 256": [],
        "verify an event": [],
        "verify inclusion, 17 hashes": [],
    }
    leaves = [leaf_hash(b"%d" % number) for number in range(1 << 17)]
    for _ in range(runs):
        clear(root / "home")
        with Ledger.init(
            root / "home", institution="B", origin="bench.example/l/1", passphrase=None
        ) as ledger:
            ledger.ingest(root / "one")
            entry = ledger.log.read_entry(1, 2)
            appender = ledger.books.appender
            rows["append, one at a time"].append(
                300 / timed(lambda: [appender.append([entry], time=1) for _ in range(300)])
            )
            rows["append, batches of 256"].append(
                5_120 / timed(lambda: [appender.append([entry] * 256, time=1) for _ in range(20)])
            )
        rows["verify an event"].append(5_000 / timed(lambda: [open_event(entry) for _ in range(5_000)]))
        top = root_of(leaves)
        proof = prove_inclusion(
            70_001, len(leaves), lambda wanted: [_subtree(leaves, *item) for item in wanted]
        )
        rows["verify inclusion, 17 hashes"].append(
            20_000
            / timed(
                lambda: [
                    check_inclusion(leaves[70_001], 70_001, len(leaves), proof, top) for _ in range(20_000)
                ]
            )
        )
    table("log", rows, "/s")


def _subtree(leaves: list[bytes], height: int, index: int) -> bytes:
    from heritage_ledger.log.merkle import root_of  # noqa: PLC0415 - not needed for the peers

    return root_of(leaves[index << height : (index + 1) << height])


def start(root: Path, runs: int) -> None:
    """How long `heritage --help` takes beside a bare interpreter."""
    assert root
    heritage = str(Path(sys.executable).parent / "heritage")
    rows: dict[str, list[float]] = {"heritage --help": [], "python -c pass": []}
    for _ in range(runs):
        for name, words in (
            ("heritage --help", [heritage, "--help"]),
            ("python -c pass", [sys.executable, "-c", "pass"]),
        ):
            rows[name].append(timed(lambda: subprocess.run(words, check=True, stdout=subprocess.DEVNULL)))
    table("start-up", rows)


def million(root: Path, runs: int) -> None:
    """A million tiny files, once: time and peak memory. Not in the default set."""
    assert runs
    source = root / "million"
    for folder in range(1_000):
        (source / f"{folder:03}").mkdir(parents=True)
        for number in range(1_000):
            (source / f"{folder:03}" / f"{number:03}").write_bytes(b"%d" % (folder * 1_000 + number))
    script = (
        f"import sys, time; from pathlib import Path; from heritage_ledger import Ledger\n{PEAK}"
        "with Ledger.init(Path(sys.argv[2]), institution='B', origin='b.example/l/1', passphrase=None) as l:\n"
        "    t = time.perf_counter(); l.ingest(Path(sys.argv[1])); t = time.perf_counter() - t\n"
        "print(f'1,000,000 files: {t:.1f} s, peak {peak():.0f} MiB')"
    )
    subprocess.run([sys.executable, "-c", script, str(source), str(root / "home")], check=True)


SECTIONS = {
    "bags": bags,
    "manifest": manifest,
    "log": log,
    "start": start,
    "kubo": kubo,
    "database": database,
    "replicas": replicas,
    "serving": serving,
    "catch-up": catch_up,
    "push": push,
    "public": public,
    "idle": idle,
    "million": million,
}


def main() -> None:
    """Run the sections that are named, or all but `million`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("section", nargs="*", choices=[*SECTIONS, []], help="default: all but million")
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    load = os.getloadavg()[0]
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, load {load:.2f}")
    if load > QUIET:
        print("  the machine is not quiet: figures below are too high")
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR"), prefix="heritage-bench-") as folder:
        for name in given.section or [name for name in SECTIONS if name != "million"]:
            place = Path(folder) / name
            place.mkdir()
            SECTIONS[name](place, given.runs)
            clear(place)
    print(f"\nload at the end {os.getloadavg()[0]:.2f}")


if __name__ == "__main__":
    main()
