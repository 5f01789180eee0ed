"""Nodes killed at any moment while they mirror, witness and replicate: nothing is lost, nobody helps."""

import contextlib
import os
import random
import signal
import subprocess
import time

import pytest

from heritage_testkit.nodes import HERITAGE, federation, until

pytestmark = pytest.mark.xdist_group("bad peer")
KILLS = 8


def deposit(one, tmp_path, number):
    folder = tmp_path / f"scan-{number}"
    folder.mkdir()
    (folder / "master.tif").write_bytes(os.urandom(6_000_000))
    for at in range(200):
        (folder / f"{at}.txt").write_text(f"page {at} of {number}")
    return one.run("ingest", folder, "--move", "--asset", f"urn:example:{number}")[-1]


def test_killed_at_any_moment_of_a_sync(tmp_path):
    chance = random.Random(5)
    with federation(tmp_path, "museum", "archive") as (museum, archive):
        archive.run("pledge", museum.origin, "--until", "2099-12-31")
        receipts = []
        for number in range(KILLS):
            victim = chance.choice((archive, archive, museum))
            victim.stop(signal.SIGKILL)
            receipts.append(deposit(museum, tmp_path, number))
            victim.start()
            time.sleep(chance.uniform(0.0, 1.2))
            archive.stop(signal.SIGKILL)
            archive.start()
        for receipt in receipts:
            until(archive.replica(museum, receipt["package_cid"]).is_dir)
        until(lambda: museum.standing()["size"] == museum.standing()["entries"])
        until(lambda: archive.mirrored(museum) == museum.standing()["entries"])
        until(lambda: count(archive, "Replication") >= KILLS)
        for one in (museum, archive):
            assert one.run("verify", "--deep")[-1]["outcome"] == "ok"
        for receipt in receipts:
            verdict = archive.run("verify", "--bag", archive.replica(museum, receipt["package_cid"]))[-1]
            assert verdict["outcome"] == "ok"
        assert count(archive, "Replication") == KILLS  # each once
        assert list((archive.home / "replicas" / ".incoming").glob("bafy*/")) == []


def count(one, kind):
    return sum(kind in line["types"] for line in one.run("events") if line["type"] == "event")


def test_repair_killed_at_any_moment_is_told_of_by_the_next(tmp_path):
    chance = random.Random(11)
    with federation(tmp_path, "museum", "archive") as (museum, archive):
        receipt = deposit(museum, tmp_path, 1)
        archive.run("pledge", museum.origin, "--until", "2099-12-31")
        until(lambda: count(archive, "Replication") == 1)
        museum.stop()
        bag = museum.home / receipt["bag_path"]
        whole = {path: path.read_bytes() for path in bag.rglob("*") if path.is_file()}
        victims = sorted(path for path in whole if path.suffix == ".txt" and path.parent.name == "data")
        for round_ in range(6):
            damaged = chance.sample(victims, 60)
            for path in damaged:
                path.chmod(0o600)
                path.write_bytes(b"damaged")
            words = [HERITAGE, "--home", museum.home, "--json", "repair"]
            with subprocess.Popen(words, stdout=subprocess.DEVNULL) as running:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    running.wait(chance.uniform(0.7, 1.6))
                running.kill()
            assert {path for path in bag.rglob("*") if path.is_file()} <= set(
                whole
            )  # nothing strange in the bag
            museum.run("repair")
            assert {path: path.read_bytes() for path in bag.rglob("*") if path.is_file()} == whole
            told = [
                line
                for line in museum.run("events")
                if line["type"] == "event" and "Recovery" in line["types"]
            ]
            assert len(told) >= round_ + 1
            assert list((museum.home / "quarantine").glob(".repairing-*")) == []
        assert museum.run("verify", "--deep")[-1]["outcome"] == "ok"
