"""A disk that others' packages would fill: the own log can still append, and there is always a way back.

Two real homes on loopback, one of them on a tmpfs of a few MiB.
"""

from __future__ import annotations

import os
import subprocess

import pytest

from heritage_testkit.nodes import Institution, until

pytestmark = [pytest.mark.external, pytest.mark.xdist_group("reserve")]
SMALL = 16 << 20


@pytest.fixture
def small_disk(tmp_path):
    """A tmpfs of a few MiB; needs root. Required in CI."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SMALL},mode=0755", "tmpfs", place],
        capture_output=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {done.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture
def pair(tmp_path, small_disk):
    """A museum with packages, its node running, and an archive on the small disk that trusts it."""
    museum, archive = Institution.make(tmp_path, "museum"), Institution.make(small_disk, "archive")
    museum.start()
    try:
        archive.start()  # to be known by its URL; the museum gives blocks to peers alone
        museum.trust(archive)
        archive.trust(museum)
        archive.stop()
        yield museum, archive
    finally:
        archive.stop()
        museum.stop()


def deposit(one, tmp_path, name, size, **how):
    folder = tmp_path / f"source-{name}"
    folder.mkdir()
    (folder / "scan.bin").write_bytes(os.urandom(size))
    return one.run("ingest", folder, "--asset", f"urn:example:{name}", **how)[-1]


def free(place):
    found = os.statvfs(place)
    return found.f_bavail * found.f_frsize


def codes(lines):
    return [line["code"] for line in lines if line["type"] == "finding"]


def test_a_pledge_fills_its_share_and_no_more(pair, tmp_path, small_disk):
    museum, archive = pair
    small = deposit(museum, tmp_path, "small", 300_000)
    large = deposit(museum, tmp_path, "large", 12_000_000)
    pledged = archive.run("pledge", museum.origin, "--until", "2099-12-31", "--max-bytes", 1 << 40)[0]
    assert pledged["max_bytes"] == 1 << 40
    said = archive.run("peer", "sync", ok=(3,))
    assert "disk-full" in codes(said)  # by the size that was signed, before its first byte
    assert archive.replica(museum, small["package_cid"]).is_dir()
    assert not archive.replica(museum, large["package_cid"]).exists()
    assert list((archive.home / "replicas" / ".incoming").iterdir()) == []
    assert free(small_disk) >= 4 << 20  # the reserve
    deposit(archive, tmp_path, "own", 100_000)

    held = archive.run("replica", "list")
    assert [(line["package_cid"], line["pledged"]) for line in held[:-1]] == [(small["package_cid"], True)]
    refused = archive.run("replica", "drop", museum.origin, "--yes", ok=(1,))
    assert refused[-1]["code"] == "replica-pledged"
    assert archive.run("replica", "drop", museum.origin, ok=(1,))[-1]["code"] == "replica-not-confirmed"

    taken_back = archive.run("pledge", museum.origin, "--withdraw")[0]
    event = archive.run("show", archive.run("events")[-2]["event_id"])
    assert taken_back["until"] in str(event)
    assert archive.run("pledge", museum.origin, "--withdraw", ok=(1,))[-1]["code"] == "pledge-none"
    assert archive.run("peer", "sync", ok=(0, 3))[-1]["type"] == "verdict"
    assert archive.replica(museum, small["package_cid"]).is_dir()  # nothing is dropped by itself

    dropped = archive.run("replica", "drop", museum.origin, small["package_cid"].upper(), "--yes")
    assert [line["package_cid"] for line in dropped[:-1]] == [small["package_cid"]]
    assert archive.run("replica", "list")[-1]["replicas"] == 0
    assert archive.run("replica", "drop", museum.origin, "--yes", ok=(5,))[-1]["code"] == "replica-unknown"

    again = archive.run("pledge", museum.origin, "--until", "2099-12-31", "--assets", "urn:example:small")[0]
    assert 0 < again["max_bytes"] < SMALL  # half of what is free beside the reserve
    archive.run("peer", "sync", ok=(0, 3))
    assert archive.replica(museum, small["package_cid"]).is_dir()
    kinds = [line["types"] for line in archive.run("events")[:-1]]
    assert sum("Replication" in kind for kind in kinds) == 2  # what was dropped is recorded anew


def test_replicas_are_dropped_on_a_disk_without_a_byte_left(pair, tmp_path, small_disk):
    museum, archive = pair
    receipt = deposit(museum, tmp_path, "one", 2_000_000)
    archive.run("pledge", museum.origin, "--until", "2099-12-31")
    archive.run("peer", "sync", ok=(0, 3))
    replica = archive.replica(museum, receipt["package_cid"])
    until(replica.is_dir)
    archive.run("pledge", museum.origin, "--withdraw")
    with (small_disk / "ballast").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, free(small_disk))
    assert free(small_disk) == 0
    assert archive.run("replica", "list")[0]["package_cid"] == receipt["package_cid"]
    archive.run("replica", "drop", museum.origin, "--yes")
    assert not replica.exists()
    assert free(small_disk) > 1_500_000
    deposit(archive, tmp_path, "own", 10_000)  # and the log goes on
