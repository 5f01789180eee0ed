"""What nodes ask of each other, counted by the nodes themselves, and when there is no more to ask."""

from __future__ import annotations

import re
import signal
import time
import urllib.request
from collections import Counter
from typing import TYPE_CHECKING

from heritage_ledger.federation.guard import RECENT_SECONDS
from heritage_node.fences import NEWS_SECONDS
from heritage_testkit.nodes import until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from heritage_testkit.nodes import Institution

_LINE = re.compile(r'heritage_requests_total\{route="([^"]+)",status="([^"]+)"\} ([0-9.]+)')


def requests(nodes: Sequence[Institution]) -> Counter[tuple[str, str]]:
    """Requests that the nodes have answered since their start, by route and status, but for this one."""
    found: Counter[tuple[str, str]] = Counter()
    for one in nodes:
        with urllib.request.urlopen(f"{one.url}/metrics", timeout=60) as answer:
            text = answer.read().decode()
        for route, status, count in _LINE.findall(text):
            if route != "/metrics":
                found[route, status] += int(float(count))
    return found


def size(checkpoint: Path) -> int:
    """How many entries a checkpoint is of; -1 where there is none."""
    return int(checkpoint.read_text().split("\n")[1]) if checkpoint.exists() else -1


def is_settled(nodes: Sequence[Institution]) -> bool:
    """Say whether everybody has cosigned and mirrored everything of everybody."""
    for owner in nodes:
        entries = size(owner.home / "log" / "checkpoint")
        text = (owner.home / "log" / "checkpoint").read_text()
        for other in nodes:
            if other is not owner and (
                f"{other.origin}/witness " not in text
                or size(other.home / "mirrors" / owner.origin / "checkpoint") != entries
            ):
                return False
        if size(owner.home / "log" / "witnessed") != entries:
            return False
    return True


def settle(nodes: Sequence[Institution]) -> None:
    """Wait until there is nothing more to cosign or to mirror."""
    until(lambda: is_settled(nodes))


def fresh(nodes: Sequence[Institution]) -> None:
    """Start the nodes again, for whoever was asked before it knew the other waits for a long time; then wait
    until what their start set off is over.
    """
    for one in nodes:
        one.stop()
    for one in nodes:
        one.start()
    for one in nodes:
        assert one.process is not None
        one.process.send_signal(signal.SIGHUP)  # whoever came first found nobody
    settle(nodes)
    time.sleep(2 * NEWS_SECONDS + RECENT_SECONDS)


def deposit(nodes: Sequence[Institution], source: Path, asset: str) -> Counter[tuple[str, str]]:
    """Deposit at the first node, which all others pledged to; return what it took until all is quiet."""
    owner, *others = nodes
    before, had = requests(nodes), [_entries(one) for one in others]
    receipt = owner.run("ingest", source, "--asset", asset)[-1]
    until(lambda: all(one.replica(owner, receipt["package_cid"]).is_dir() for one in others))
    until(lambda: all(_entries(one) > least for one, least in zip(others, had, strict=True)))  # and recorded
    settle(nodes)
    return requests(nodes) - before


def _entries(one: Institution) -> int:
    return size(one.home / "log" / "checkpoint")
