"""Nothing forks, and no witness forgets: restores among real nodes that witness and mirror each other."""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import time
import urllib.request

import pytest

from heritage_ledger import Ledger
from heritage_testkit.dying import Child
from heritage_testkit.nodes import Institution, federation, until
from heritage_testkit.restores import RESTORES

pytestmark = pytest.mark.xdist_group("federation-restores")


def deposit(one, tmp_path, number, *, size):
    folder = tmp_path / f"scan-{number}"
    folder.mkdir()
    (folder / "page.txt").write_bytes(bytes([number]) * size)
    return one.run("ingest", folder, "--asset", f"urn:example:{number}")[-1]


def signed(*institutions):
    """Every tree of the museum's log that anyone has kept, by size."""
    found = {}
    for one in institutions:
        for path in (*one.home.glob("log/checkpoint"), *one.home.glob("mirrors/**/checkpoint")):
            origin, size, root, *_ = path.read_text().split("\n")
            found.setdefault((origin, int(size)), set()).add(root)
    return found


def cosigned(one, other):
    """The size of what a node says that it cosigned last of another's log."""
    name = hashlib.sha256(other.origin.encode()).hexdigest()
    with (
        contextlib.suppress(OSError),
        urllib.request.urlopen(f"{one.url}/witness/{name}/checkpoint") as answer,
    ):
        return int(answer.read().split(b"\n")[1])
    return None


def forget_marks(one):
    """What another machine has not."""
    for folder in one.marks:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("machine", ["same", "other"])
@pytest.mark.parametrize("kind", ["cp", "rsync", "image", "btrfs"])
def test_a_node_from_the_past_catches_up_before_it_signs(tmp_path, kind, machine):
    (tmp_path / "disk").mkdir()
    with contextlib.ExitStack() as held:
        past = held.enter_context(RESTORES[kind](tmp_path / "disk"))
        homes = {"museum": past.home}
        museum, archive = held.enter_context(federation(tmp_path, "museum", "archive", homes=homes))
        deposit(museum, tmp_path, 1, size=1000)
        until(lambda: museum.standing()["size"] == archive.mirrored(museum) == 2)
        museum.stop()
        past.take()
        museum.start()
        second = deposit(museum, tmp_path, 2, size=1000)
        until(lambda: museum.standing()["size"] == archive.mirrored(museum) == 3)
        museum.stop()
        past.restore()
        if machine == "other":
            forget_marks(museum)
        third = deposit(museum, tmp_path, 3, size=1000)
        assert third["log_index"] == second["log_index"] + 1
        museum.start()
        until(lambda: museum.standing()["size"] == archive.mirrored(museum) == 4)
        assert not list((archive.home / "forks").glob("*"))
        assert all(len(roots) == 1 for roots in signed(museum, archive).values())


def test_both_of_two_are_restored_and_neither_believes_the_other(tmp_path):
    with federation(tmp_path, "museum", "archive") as (museum, archive):
        deposit(museum, tmp_path, 1, size=1000)
        until(lambda: museum.standing()["size"] == archive.mirrored(museum) == 2)
        for one in (museum, archive):
            one.stop()
            shutil.copytree(one.home, tmp_path / f"{one.home.name}-then", symlinks=True)
        for one in (museum, archive):
            one.start()
        deposit(museum, tmp_path, 2, size=1000)
        until(lambda: museum.standing()["size"] == archive.mirrored(museum) == 3)
        for one in (museum, archive):
            one.stop()
            shutil.rmtree(one.home)
            (tmp_path / f"{one.home.name}-then").rename(one.home)
            forget_marks(one)
            one.start()
        (tmp_path / "scan-2" / "page.txt").write_text("another second")
        refused = museum.run("ingest", tmp_path / "scan-2", "--asset", "urn:example:3", ok=(5, 6))[-1]
        assert refused["code"] in {"witnesses-silent", "log-unsure"}
        assert museum.standing()["entries"] == 2
        # only a person can say it, and it is written where everybody sees it
        museum.run("log", "recover", "--newest", "--yes")
        receipt = museum.run("ingest", tmp_path / "scan-2", "--asset", "urn:example:3")[-1]
        until(lambda: archive.mirrored(museum) == 3)
        shown = archive.run("events", "--peer", museum.origin)
        (event,) = [line for line in shown if line.get("log_index") == receipt["log_index"]]
        proof = tmp_path / "event.proof"
        museum.run("prove", str(receipt["log_index"]), "--output", proof)
        assert "declared this home the newest copy" in proof.read_text()
        assert event["event_id"] == receipt["event_id"]


def test_a_restored_witness_takes_a_floor_from_other_mirrors_before_it_cosigns(tmp_path):
    """The archive forgets what it cosigned of the museum, and a twin of the museum shows another history."""
    with federation(tmp_path, "museum", "archive", "library") as (museum, archive, library):
        deposit(museum, tmp_path, 1, size=1000)
        until(lambda: museum.standing()["size"] == archive.mirrored(museum) == library.mirrored(museum) == 2)
        archive.stop()
        shutil.copytree(archive.home, tmp_path / "archive-then")
        archive.start()
        museum.stop()
        twin = tmp_path / "twin"
        shutil.copytree(museum.home, twin)
        museum.start()
        deposit(museum, tmp_path, 2, size=1000)
        until(lambda: museum.standing()["size"] == archive.mirrored(museum) == library.mirrored(museum) == 3)
        for one in (museum, archive):
            one.stop()
        shutil.rmtree(archive.home)
        (tmp_path / "archive-then").rename(archive.home)
        forget_marks(archive)
        # the twin takes the museum's place, and its keeper says that it is the newest
        shutil.move(museum.home, tmp_path / "museum-true")
        shutil.move(twin, museum.home)
        forget_marks(museum)
        library.stop()
        museum.run("log", "recover", "--newest", "--yes")
        other = deposit(museum, tmp_path, 9, size=1000)
        assert other["log_index"] == 2
        museum.start()
        archive.start()
        for _ in range(8):  # while nobody else shows how far the log had come, it cosigns nothing of it
            time.sleep(0.5)
            assert cosigned(archive, museum) in {None, 2}
        library.start()
        until(lambda: list((archive.home / "forks").glob("*.fork.json")))
        museum.stop(signal.SIGKILL)
        kept = Institution(archive.home, archive.origin).status()
        assert any(line["forks"] for line in kept if line["type"] == "peer")


def test_an_absent_partner_stops_no_deposit_after_a_crash(tmp_path):
    with federation(tmp_path, "museum", "archive", "library") as (museum, archive, library):
        deposit(museum, tmp_path, 1, size=1000)
        until(lambda: museum.standing()["size"] == 2)
        museum.stop(signal.SIGKILL)
        archive.stop()
        assert deposit(museum, tmp_path, 2, size=1000)["log_index"] == 2
        library.stop()
        assert deposit(museum, tmp_path, 3, size=1000)["log_index"] == 3


def test_with_an_absent_partner_a_restored_home_is_decided_by_the_other(tmp_path):
    with federation(tmp_path, "museum", "archive", "library") as (museum, archive, _):
        deposit(museum, tmp_path, 1, size=1000)
        until(lambda: museum.standing()["size"] == archive.mirrored(museum) == 2)
        museum.stop()
        shutil.copytree(museum.home, tmp_path / "then")
        shutil.rmtree(museum.home)
        (tmp_path / "then").rename(museum.home)
        forget_marks(museum)
        archive.stop()
        assert deposit(museum, tmp_path, 2, size=1000)["log_index"] == 2


class Twins:
    """A process, and a fork of it that has the memory which it had then; each goes on when it is told to."""

    def __init__(self, home, environment, source):
        self._home, self._source = home, source
        self._go = [os.pipe(), os.pipe()]
        self._done = os.pipe()
        self._environment = environment
        self.child = Child(self._work)
        self.said()

    def _work(self, _):
        os.setpgrp()
        os.environ.update(self._environment)
        with Ledger.open(self._home) as ledger:
            self._deposit(ledger, "kept")
            which = int(os.fork() == 0)
            os.close(self._go[which][1])
            if os.read(self._go[which][0], 1):
                self._deposit(ledger, ("lost", "again")[which])
            signal.pause()

    def _deposit(self, ledger, name):
        try:
            said = ledger.ingest(self._source, asset=f"urn:example:{name}").log_index
        except Exception as error:  # noqa: BLE001 - the test is told
            said = repr(error)
        os.write(self._done[1], json.dumps(said).encode())

    def said(self):
        return json.loads(os.read(self._done[0], 10_000))

    def go(self, which):
        """Let the first (0) or the second (1) make its deposit; return its place in the log."""
        os.write(self._go[which][1], b"x")
        return self.said()

    def end(self):
        os.killpg(self.child.pid, signal.SIGKILL)


def test_a_machine_put_back_with_its_memory_asks_again_when_its_answer_is_old(tmp_path):
    """Disk, marks and memory are those of one moment, and its clock stood still: it trusts for 5 s."""
    with contextlib.ExitStack() as held:
        museum, archive = held.enter_context(federation(tmp_path, "museum", "archive"))
        source = tmp_path / "source"
        source.mkdir()
        (source / "page.txt").write_text("page")
        twins = Twins(museum.home, museum.environment, source)
        held.callback(twins.end)
        until(lambda: museum.standing()["size"] == archive.mirrored(museum) == 2)
        places = {place: tmp_path / f"{place.name}.kept" for place in (museum.home, *museum.marks)}
        for place, kept in places.items():
            subprocess.run(["rsync", "-a", f"{place}/", kept], check=True)
        assert twins.go(0) == 2
        until(lambda: museum.standing()["size"] == archive.mirrored(museum) == 3)
        os.kill(twins.child.pid, signal.SIGKILL)
        museum.stop(signal.SIGKILL)
        for place, kept in places.items():  # in place: the second one holds files open
            subprocess.run(["rsync", "-a", "--inplace", "--delete", f"{kept}/", place], check=True)
        museum.start()
        time.sleep(5.5)
        assert twins.go(1) == 3  # what was lost came back before it
        until(lambda: museum.standing()["size"] == archive.mirrored(museum) == 4)
        trees = signed(museum, archive)
        assert all(len(roots) == 1 for (origin, _), roots in trees.items() if origin == museum.origin)
        assert not list((archive.home / "forks").glob("*"))
        codes = {line["code"] for line in museum.run("verify", ok=(3,)) if line["type"] == "finding"}
        assert codes == {"package-missing"}  # its entry came back; its bag was on the lost disk alone
