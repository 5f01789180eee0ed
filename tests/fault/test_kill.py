"""A process killed at any moment loses nothing that it acknowledged, and the next start needs no hand."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from heritage_ledger import Ledger
from heritage_ledger.fixity.verdict import Outcome
from heritage_testkit.dying import Child, die_at

KILLS = 200
ROUNDS = 8
"""Homes over which the kills are spread: a home that grows makes each later start slower."""


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    (folder / "scans").mkdir(parents=True)
    (folder / "notes.txt").write_text("a note\n")
    (folder / "scans" / "page.tif").write_bytes(random.Random(1).randbytes(1_200_000))
    return folder


def _new_home(root: Path) -> Path:
    Ledger.init(root, institution="Museum", origin="museum.example/ledger/1", passphrase=None).close()
    return root


def _ingest_for_ever(home: Path, source: Path, rounds: int):
    def work(acknowledge):
        with Ledger.open(home) as ledger:
            for _ in range(rounds):
                receipt = ledger.ingest(source, asset="urn:example:killed")
                acknowledge(json.dumps([receipt.version, receipt.log_index, receipt.event_id]))

    return work


def _check(home: Path, source: Path, acknowledged: list[list]) -> None:
    """Everything acknowledged is there and whole; the next deposit works without repair."""
    with Ledger.open(home) as ledger:
        ledger.ingest(source, asset="urn:example:after")
        # on a disk that is stalled for seconds each process may have died before its first deposit
        is_there = ledger.index.asset("urn:example:killed") is not None
        events = ledger.events("urn:example:killed") if is_there else ()
        recorded = {(event.version, event.log_index, event.event_id) for event in events}
        assert {tuple(item) for item in acknowledged} <= recorded
        bad = [
            (verdict.subject, finding)
            for verdict in ledger.verify(deep=True)
            if verdict.outcome is not Outcome.PASS
            for finding in verdict.findings
        ]
        assert bad == []
        versions = sorted(version for version, _, _ in recorded)
        assert versions == list(range(1, len(versions) + 1))
        bags = {path.name for path in (home / "packages").glob("urn-example-killed-*/*")}
        assert bags == {str(version) for version in versions}
    assert list((home / "staging").iterdir()) == []


def test_kill_at_random_moments(tmp_path, source, capsys):
    chance = random.Random(20261123)
    kills = acked = 0
    for number in range(ROUNDS):
        home = _new_home(tmp_path / f"home{number}")
        acknowledged: list[list] = []
        for _ in range(KILLS // ROUNDS):
            child = Child(_ingest_for_ever(home, source, 50))
            child.kill_after(chance.uniform(0.005, 0.25))
            code, lines = child.wait()
            kills += code == -9
            acknowledged += [json.loads(line) for line in lines]
        acked += len(acknowledged)
        _check(home, source, acknowledged)
    with capsys.disabled():
        print(f"\n{kills} kills, {acked} deposits acknowledged, 0 lost")
    assert kills == KILLS
    assert acked > 0


def test_die_before_every_disk_call_of_an_ingest(tmp_path, source, capsys):
    small = tmp_path / "small"
    small.mkdir()
    (small / "a.txt").write_text("a")
    home = _new_home(tmp_path / "home")
    acknowledged: list[list] = []
    call = 0
    while True:
        call += 1

        def work(acknowledge, call=call):
            with Ledger.open(home) as ledger:
                die_at(call)
                receipt = ledger.ingest(small, asset="urn:example:killed")
                acknowledge(json.dumps([receipt.version, receipt.log_index, receipt.event_id]))

        code, lines = Child(work).wait()
        acknowledged += [json.loads(line) for line in lines]
        if code != -9:
            assert code == 0
            break
    with capsys.disabled():
        print(f"\n{call - 1} points to die at, 0 acknowledged deposits lost")
    assert call > 20
    _check(home, small, acknowledged)
