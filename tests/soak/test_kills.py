"""A thousand kills, with restores and copies file by file among them: nothing forks, nothing acknowledged is
lost, and there is always a way back.

`HERITAGE_SOAK_KILLS` makes it shorter. An archive witnesses and mirrors the museum, whose node and deposits
are killed; now and then the museum's home is replaced by an older copy of itself, made while it was in use or
not. Before a home is thrown away the archive has mirrored what it cosigned: an entry that a witness has seen
and nobody else holds when its disk is lost ends a log, and no software can help that.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter

import pytest

from heritage_ledger import Ledger
from heritage_ledger.errors import HeritageError
from heritage_testkit.dying import Child
from heritage_testkit.nodes import federation, until

KILLS = int(os.environ.get("HERITAGE_SOAK_KILLS", "1000"))
RESTORE_EVERY = 10
STATE = ("state.db", "state.db-wal", "state.db-shm")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(KILLS * 15 + 1_800)]


def copy(home, target, kind):
    """Copy a home as people do, in one go or file by file in an order that does not fit."""
    target.mkdir()
    names = sorted(path.name for path in home.iterdir())
    first = {"state-first": STATE, "log-first": ("log",)}.get(kind, ())
    names.sort(key=lambda name: name not in first)
    for name in names:
        if not (kind == "without-wal" and name in STATE[1:]):
            # what vanishes while it is copied is a warning of cp, as it is for its users
            subprocess.run(["cp", "-a", home / name, target], check=False, stderr=subprocess.DEVNULL)
        if name == names[len(first) - 1] and first:
            time.sleep(0.3)


def put_back(home, kept, kind):
    if kind == "anew":
        subprocess.run(["chmod", "-R", "u+w", home], check=True)
        shutil.rmtree(home)
        subprocess.run(["cp", "-a", kept, home], check=True)
    else:
        words = {"over": ["cp", "-a"], "rsync": ["rsync", "-a", "--delete", "--ignore-errors"]}[kind]
        subprocess.run([*words, f"{kept}/.", home], check=True, stderr=subprocess.DEVNULL)


class Museum:
    """The museum, whatever happens to it; what it acknowledged, and every tree that it signed."""

    def __init__(self, institution, folder, chance):
        self.one = institution
        self.source = folder / "source"
        self.source.mkdir()
        (self.source / "page.tif").write_bytes(chance.randbytes(300_000))
        self.chance = chance
        self.acknowledged: dict[int, str] = {}
        self.signed: dict[int, set[str]] = {}
        self.counts: Counter[str] = Counter()

    def stream(self, rounds):
        """Deposit in a process of its own, each with its cosignatures, until somebody ends it."""

        def work(acknowledge):
            os.environ.update(self.one.environment)
            with Ledger.open(self.one.home) as ledger:
                for _ in range(rounds):
                    receipt = ledger.ingest(self.source, asset="urn:example:killed")
                    _, size, root, *_ = receipt.checkpoint.decode().split("\n")
                    acknowledge(json.dumps([receipt.log_index, receipt.event_id, int(size), root]))
                    ledger.federation.collect()

        return Child(work)

    def take(self, lines):
        for index, event, size, root in map(json.loads, lines):
            self.acknowledged[index] = event
            self.signed.setdefault(size, set()).add(root)
            self.counts["acknowledged"] += 1

    def kill(self):
        child = self.stream(50)
        child.kill_after(self.chance.uniform(0.01, 0.8))
        code, lines = child.wait()
        self.counts["kills"] += code == -signal.SIGKILL
        self.take(lines)

    def go_on(self):
        """Deposit once, by whatever the software offers to a person whose home refuses to."""
        for words in ((), ("recover",), ("recover",), ("recover", "--newest", "--yes")):
            if words:
                self.one.run("log", *words, ok=tuple(range(14)))
                self.counts[" ".join(words)] += 1
            code, lines = self.stream(1).wait()
            self.take(lines)
            if code == 0 and lines:
                return
            time.sleep(0.5)
        self.counts["no way back"] += 1

    def check(self):
        with Ledger.open(self.one.home) as ledger:
            found = {event.log_index: event.event_id for event in ledger.events()}
        lost = {index: event for index, event in self.acknowledged.items() if found.get(index) != event}
        assert not lost, lost
        assert all(len(roots) == 1 for roots in self.signed.values()), self.signed


def test_kills_restores_and_copies(tmp_path, capsys):
    seed = int(os.environ.get("HERITAGE_SOAK_SEED", "20261127"))
    chance = random.Random(seed)
    kept: list = []
    with federation(tmp_path, "museum", "archive") as (one, archive):
        museum = Museum(one, tmp_path, chance)
        while museum.counts["kills"] < KILLS:
            museum.kill()
            if museum.counts["kills"] % RESTORE_EVERY:
                continue
            if chance.random() < 0.3:
                one.stop(signal.SIGKILL)
                one.start()
            kind = chance.choice(("cold", "hot", "state-first", "log-first", "without-wal"))
            target = tmp_path / f"copy-{museum.counts['copies']}"
            museum.counts["copies"] += 1
            if kind == "cold":
                one.stop()
                copy(one.home, target, kind)
                one.start()
            else:
                child = museum.stream(50)
                copy(one.home, target, kind)
                child.kill_after(0)
                museum.take(child.wait()[1])
            kept.append(target)
            while len(kept) > 3:
                old = kept.pop(0)
                subprocess.run(["chmod", "-R", "u+w", old], check=True)
                shutil.rmtree(old)
            museum.go_on()
            museum.check()
            if chance.random() < 0.7:
                size = max(museum.signed)
                until(lambda size=size: archive.mirrored(one) >= size)
                one.stop(chance.choice((signal.SIGTERM, signal.SIGKILL)))
                put_back(one.home, chance.choice(kept), chance.choice(("anew", "over", "rsync")))
                if chance.random() < 0.5:  # on another machine
                    for folder in one.marks:
                        shutil.rmtree(folder, ignore_errors=True)
                museum.counts["restores"] += 1
                one.start()
                museum.go_on()
                museum.check()
            with capsys.disabled():
                print(f"\r{dict(museum.counts)}", end="", flush=True)
        museum.go_on()
        museum.check()
        assert not list((archive.home / "forks").glob("*")), "the archive holds a fork of the museum's log"
        assert museum.counts["no way back"] == 0
        one.run("repair", ok=(0, 3))
        one.run("index", "rebuild", ok=(0, 3))
        try:
            with Ledger.open(one.home) as ledger:
                assert ledger.verify_log().outcome.value == "pass"
        except HeritageError as error:
            pytest.fail(str(error))
    with capsys.disabled():
        print(f"\n{seed}: {dict(museum.counts)}")
