"""A museum behind a firewall that lets nobody in: a full member of a federation of real processes."""

import contextlib
import os
import shutil
import signal
import subprocess

import pytest

from heritage_testkit.network import network
from heritage_testkit.nodes import Institution, until

pytestmark = pytest.mark.xdist_group("bad peer")


def one_way(net, number):
    """Let a host call others, and nobody call it: what is new on its cable is dropped."""
    if shutil.which("nft") is None:
        pytest.skip("no nft command: on Debian, apt-get install nftables")
    for rule in (
        "add table inet wall",
        "add chain inet wall input { type filter hook input priority 0; policy accept; }",
        "add rule inet wall input iifname cable ct state new drop",
    ):
        subprocess.run([*net.within(number), "nft", rule], check=True, capture_output=True)


def ask(one, path):
    """A reader on the host of an institution asks its node."""
    code = f"import urllib.request as u; print(len(u.urlopen('{one.url}{path}', timeout=60).read()))"
    return subprocess.run(
        [*one.within, "python3", "-c", code], check=False, capture_output=True, text=True, timeout=120
    )


def deposit(one, tmp_path, name, sizes=(1_000, 3_000_000)):
    folder = tmp_path / f"scan-{name}"
    folder.mkdir()
    for number, size in enumerate(sizes):
        (folder / f"{number}.tif").write_bytes(os.urandom(size))
    return one.run("ingest", folder, "--asset", f"urn:example:{name}")[-1]


def damage(folder):
    """Flip a bit of the largest file below a folder; returns what says whether it is whole again."""
    path = max((one for one in folder.rglob("*") if one.is_file()), key=lambda one: one.stat().st_size)
    data = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(data[:2_000_000] + bytes([data[2_000_000] ^ 1]) + data[2_000_001:])
    return lambda: path.read_bytes() == data


def stop(one):
    with contextlib.suppress(AssertionError):
        one.stop(signal.SIGKILL)


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    with network(3) as net, contextlib.ExitStack() as held:
        folder = tmp_path_factory.mktemp("members")
        made = [
            Institution.make(folder, name, host=net.address(number), within=net.within(number))
            for number, name in enumerate(("museum", "archive", "library"), 1)
        ]
        museum, *others = made
        one_way(net, 1)
        settings = museum.home / "heritage.toml"
        settings.write_text(settings.read_text() + "call_in = true\n")
        for one in made:
            one.start()
            held.callback(stop, one)
        card = folder / "museum.card.json"
        museum.run("peer", "card", "-o", card)
        for one in others:
            one.run("peer", "add", card, "--yes", "--key", museum.key())
            for other in others:
                if other is not one:
                    one.trust(other)
            museum.trust(one)
        yield net, made


def test_nobody_reaches_it(members):
    _net, (museum, archive, _library) = members
    code = f"import urllib.request as u; u.urlopen('{museum.url}/log/checkpoint', timeout=2)"
    found = subprocess.run([*archive.within, "python3", "-c", code], capture_output=True, check=False)
    assert found.returncode, "the firewall lets others in"


def test_a_member_behind_a_firewall_is_a_full_one(members, tmp_path):
    _net, (museum, archive, library) = members
    archive.run("pledge", museum.origin, "--until", "2099-12-31")
    museum.run("pledge", archive.origin, "--until", "2099-12-31")

    # witnessed, mirrored, replicated
    own = deposit(museum, tmp_path, "museum")
    until(lambda: "pending" not in str(museum.run("show", "urn:example:museum")))
    for one in (archive, library):
        until(lambda one=one: one.mirrored(museum) > own["log_index"])
    replica = archive.replica(museum, own["package_cid"])
    until(replica.is_dir)
    assert archive.run("verify", "--bag", replica)[-1]["outcome"] == "ok"

    # it holds for others, and nobody's checkpoint waits for it
    theirs = deposit(archive, tmp_path, "archive")
    held = museum.replica(archive, theirs["package_cid"])
    until(held.is_dir)
    until(lambda: "pending" not in str(archive.run("show", "urn:example:archive")))
    assert str(archive.standing()["cosigned"]).count(museum.origin) == 0

    # what rots elsewhere comes back from it, and the other way round
    for one, folder, cid in (
        (archive, replica, own["package_cid"]),
        (archive, next(iter((archive.home / "packages").glob("*/*"))), theirs["package_cid"]),
    ):
        is_whole = damage(folder)
        ask(one, f"/ipfs/{cid}?format=car")
        until(is_whole)
    is_whole = damage(next(iter((museum.home / "packages").glob("*/*"))))
    museum.run("repair")
    assert is_whole()


def test_its_home_is_restored_from_the_others(members, tmp_path):
    _net, (museum, archive, _library) = members
    done = deposit(museum, tmp_path, "lost")
    until(archive.replica(museum, done["package_cid"]).is_dir)
    entries = museum.standing()["entries"]
    until(lambda: archive.mirrored(museum) == museum.standing()["entries"])
    museum.stop()
    kept = tmp_path / "kept"
    kept.mkdir()
    for name in ("keys", "peers"):
        shutil.copytree(museum.home / name, kept / name)
    for name in ("heritage.toml", "policy"):
        shutil.copy(museum.home / name, kept / name)
    subprocess.run(["chmod", "-R", "u+w", museum.home], check=True)
    shutil.rmtree(museum.home)
    kept.rename(museum.home)
    for folder in museum.marks:
        shutil.rmtree(folder, ignore_errors=True)
    found = museum.run("restore")[-1]
    assert (found["size"] >= entries, found["lost"]) == (True, 0)
    assert museum.run("verify", "--deep")[-1]["outcome"] == "ok"
    museum.start()
    after = deposit(museum, tmp_path, "after")
    until(lambda: archive.mirrored(museum) > after["log_index"])


def test_while_it_is_away_the_others_go_on(members, tmp_path):
    _net, (museum, archive, library) = members
    museum.stop(signal.SIGKILL)
    done = deposit(archive, tmp_path, "alone")
    until(lambda: "pending" not in str(archive.run("show", "urn:example:alone")))
    until(lambda: library.mirrored(archive) > done["log_index"])
    museum.start()
    until(lambda: museum.mirrored(archive) > done["log_index"])
    own = deposit(museum, tmp_path, "back")
    until(lambda: archive.mirrored(museum) > own["log_index"])
