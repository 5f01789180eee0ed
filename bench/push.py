"""Replication out of a node that nobody can call, beside the same over connections to it."""

from __future__ import annotations

import contextlib
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from measure import clear, make_files, table, timed

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from heritage_testkit.nodes import Institution, until

if TYPE_CHECKING:
    from collections.abc import Iterator

SHAPES = {"1 x 1 GiB": (1, 1 << 30), "20,000 x 10 KiB": (20_000, 10_240)}
PULL, PUSH = "to its address", "over its calls"


@contextlib.contextmanager
def _pair(place: Path, *, calls_in: bool) -> Iterator[tuple[Institution, Institution]]:
    museum, archive = (Institution.make(place, name) for name in ("museum", "archive"))
    settings = museum.home / "heritage.toml"
    if calls_in:
        settings.write_text(settings.read_text() + "call_in = true\n")
    try:
        for one in (museum, archive):
            one.start()
        if calls_in:
            museum.run("peer", "card", "-o", place / "card.json")
            archive.run("peer", "add", place / "card.json", "--yes", "--key", museum.key())
        else:
            archive.trust(museum)
        museum.trust(archive)
        yield museum, archive
    finally:
        for one in (museum, archive):
            with contextlib.suppress(AssertionError):
                one.stop(signal.SIGKILL)


def push(root: Path, runs: int) -> None:
    """The archive's node replicates a package of the museum, by both ways in turns."""
    for shape, numbers in SHAPES.items():
        rows: dict[str, list[float]] = {PULL: [], PUSH: []}
        source = make_files(root, *numbers)
        for run in range(runs):
            for way, row in rows.items():
                place = root / f"run-{run}-{way.rpartition(' ')[2]}"
                place.mkdir()
                copy = place / "source"
                shutil.copytree(source, copy)
                with _pair(place, calls_in=way == PUSH) as (museum, archive):
                    receipt = museum.run("ingest", copy, "--move", "--asset", "urn:x:bench")[-1]
                    until(lambda a=archive, m=museum, r=receipt: a.mirrored(m) > r["log_index"])
                    replica = archive.replica(museum, receipt["package_cid"])
                    archive.run("pledge", museum.origin, "--until", "2099-12-31")
                    row.append(timed(lambda replica=replica: until(replica.is_dir, 600)))
                clear(place)
        clear(source)
        table(f"{shape}: a replica, by the node itself (looked at every 0.1 s)", rows)
