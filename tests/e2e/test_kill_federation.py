"""Nodes killed at any moment while they mirror, witness and replicate: nothing is lost, nobody helps."""

import os
import random
import signal
import time

import pytest

from heritage_testkit.nodes import federation, until

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
        until(lambda: replications(archive) >= KILLS)
        for one in (museum, archive):
            assert one.run("verify", "--deep")[-1]["outcome"] == "ok"
        for receipt in receipts:
            verdict = archive.run("verify", "--bag", archive.replica(museum, receipt["package_cid"]))[-1]
            assert verdict["outcome"] == "ok"
        assert replications(archive) == KILLS  # each once
        assert list((archive.home / "replicas" / ".incoming").glob("bafy*/")) == []


def replications(one):
    return sum("Replication" in line["types"] for line in one.run("events") if line["type"] == "event")
