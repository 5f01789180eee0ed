"""What a federation costs while nothing happens, and what one deposit sets off, with real nodes on loopback."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from measure import clear, timed
from public import fill

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from heritage_testkit.nodes import Institution, federation
from heritage_testkit.traffic import deposit, fresh, requests

if TYPE_CHECKING:
    from collections import Counter

SECONDS = float(os.environ.get("BENCH_IDLE_SECONDS", "300"))
MEMBERS = (3, 5, 9)
WARM_SECONDS = 70.0
"""How long nodes run before they are measured: one round of looks, and what they do at their start."""


def idle(root: Path, runs: int) -> None:
    """CPU and requests of idle nodes, requests of a deposit by members, start of a node with many packages."""
    _quiet(root / "quiet")
    _deposits(root, runs)
    _start(root / "start", runs)


def _quiet(root: Path) -> None:
    root.mkdir()
    with federation(root, "a", "b", "c", sync=60) as nodes:
        fresh(nodes)
        time.sleep(WARM_SECONDS)
        before, used, began = requests(nodes), [_used(one) for one in nodes], time.monotonic()
        time.sleep(SECONDS)
        took = time.monotonic() - began
        shares = [100 * (_used(one) - then) / took for one, then in zip(nodes, used, strict=True)]
        asked = (requests(nodes) - before).total()
    each = asked / (took / 60) / (len(nodes) * (len(nodes) - 1))
    print(f"\n3 idle nodes, {took:.0f} s")
    print(f"  CPU of each                        {' '.join(f'{one:.3f}' for one in shares)} %   (aim: 0.1)")
    print(f"  requests a minute and peer         {each:.2f} asked, {each:.2f} answered   (aim: 2 together)")


def _used(one: Institution) -> float:
    """Seconds of processor time that a node has used."""
    assert one.process is not None
    words = Path(f"/proc/{one.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def _deposits(root: Path, runs: int) -> None:
    print(f"\none deposit, a replica at every other member, {runs} runs")
    for members in MEMBERS:
        place = root / f"of-{members}"
        source = place / "source"
        source.mkdir(parents=True)
        counts: list[Counter[tuple[str, str]]] = []
        with federation(place, *(f"n{number}" for number in range(members)), sync=600) as nodes:
            for other in nodes[1:]:
                other.run("pledge", nodes[0].origin, "--until", "2099-12-31")
            fresh(nodes)
            for number in range(runs):
                (source / "page.bin").write_bytes(number.to_bytes(4, "big") * 1_024)
                time.sleep(6)  # longer than an answer of the witnesses is believed
                counts.append(deposit(nodes, source, f"urn:bench:{number}"))
        totals = [one.total() for one in counts]
        pairs = members * (members - 1)
        aim = "   (aim: 80 at most)" if members == 5 else ""
        print(
            f"  {members} members   {min(totals)} to {max(totals)} requests, {max(totals) / pairs:.1f} a pair{aim}"
        )
        for (route, status), count in sorted(counts[-1].items()):
            print(f"      {route:<32} {status} {count:>6}")
        clear(place)


def _start(root: Path, runs: int) -> None:
    root.mkdir()
    museum = Institution.make(root, "museum", sync=60)
    took = timed(lambda: fill(museum.home))
    seconds = []
    for _ in range(runs):
        seconds.append(timed(museum.start))
        museum.stop()
    print(f"\nstart of a node with 100,000 packages (made in {took:.0f} s)")
    print(f"  until it answers                   {min(seconds):.2f} to {max(seconds):.2f} s   (aim: 2)")
