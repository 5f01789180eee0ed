"""Nodes on hosts of their own, whose cables are pulled: each side goes on, and all is one when it heals."""

import os
import time

import pytest

from heritage_testkit.network import network
from heritage_testkit.nodes import federation, until

pytestmark = pytest.mark.xdist_group("bad peer")


def deposit(one, tmp_path, name, size=1_000):
    folder = tmp_path / f"scan-{name}"
    folder.mkdir()
    (folder / "page.tif").write_bytes(os.urandom(size))
    return one.run("ingest", folder, "--asset", f"urn:example:{name}")[-1]


@pytest.fixture(scope="module")
def apart(tmp_path_factory):
    with network(3) as net:
        places = [(net.address(number), net.within(number)) for number in (1, 2, 3)]
        folder = tmp_path_factory.mktemp("apart")
        with federation(folder, "museum", "archive", "library", places=places) as made:
            yield net, made


def size(checkpoint):
    """The size that a checkpoint file says, 0 without one."""
    return int(checkpoint.read_bytes().splitlines()[1]) if checkpoint.exists() else 0


def is_one(made):
    """Whether all is witnessed, and everybody mirrors everything."""
    sizes = {one.origin: size(one.home / "log" / "checkpoint") for one in made}
    return all(size(one.home / "log" / "witnessed") == sizes[one.origin] for one in made) and all(
        size(one.home / "mirrors" / other.origin / "checkpoint") == sizes[other.origin]
        for one in made
        for other in made
        if other is not one
    )


def heals(made):
    """Wait until all is one again, and say how long that took."""
    since = time.monotonic()
    until(lambda: is_one(made))
    print(f"one again after {time.monotonic() - since:.1f} s")


def test_partition_heals(apart, tmp_path):
    net, made = apart
    museum, archive, library = made
    for one in made:
        deposit(one, tmp_path, f"before-{one.host}")
    until(lambda: is_one(made))
    net.cut(1)
    time.sleep(2)
    alone = deposit(museum, tmp_path, "alone")  # it goes on, and knows that nobody has seen it
    others = [deposit(one, tmp_path, f"others-{one.host}") for one in (archive, library)]
    until(lambda: size(archive.home / "mirrors" / library.origin / "checkpoint") > others[1]["log_index"])
    time.sleep(4)
    assert museum.standing()["size"] <= alone["log_index"]
    assert archive.mirrored(museum) <= alone["log_index"]
    assert "pending" in str(museum.run("show", "urn:example:alone"))
    assert museum.stop() == 0  # though it waits for peers that do not answer
    museum.start()
    net.heal(1)
    heals(made)
    assert "pending" not in str(museum.run("show", "urn:example:alone"))


def test_losses_are_made_good(apart, tmp_path):
    net, made = apart
    museum, archive, library = made
    until(lambda: is_one(made))
    archive.run("pledge", museum.origin, "--until", "2099-12-31")
    with net.flapping(1, 2, 3):
        receipts = [deposit(museum, tmp_path, f"lossy-{number}", 3_000_000) for number in range(3)]
        deposit(library, tmp_path, "lossy-library")
        time.sleep(5)
    heals(made)
    for receipt in receipts:
        replica = archive.replica(museum, receipt["package_cid"])
        until(replica.is_dir)
        assert archive.run("verify", "--bag", replica)[-1]["outcome"] == "ok"
