"""The demonstration of a federation: three institutions as three real processes, told in plain words.

Every step runs the commands that it names, and fails where they do not come out as told. The nodes listen on
loopback, on ports that the system picks, and are stopped by their process ids.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from heritage_cli.demonstration import Story, expect, make_scans, remove_demo
from heritage_cli.session import Ending

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from heritage_cli.session import Session

ASSET: Final = "https://museum.example/object/1887.12"
WAIT: Final = 60.0
"""Seconds until something that the nodes do by themselves must have happened."""
_SETTINGS: Final = '\n[node]\nlisten = "127.0.0.1:{port}"\nallow_private = true\nsync_seconds = 1\n'
_PROGRAM: Final = "from heritage_cli.app import main; main()"


@dataclass
class _Institution:
    name: str
    home: Path
    word: str
    url: str = ""
    process: subprocess.Popen[str] | None = None

    @property
    def origin(self) -> str:
        return f"{self.name}.example/ledger/1"

    def _words(self, *words: object) -> list[str]:
        return [sys.executable, "-c", _PROGRAM, "--home", str(self.home), "--json", *map(str, words)]

    def run(self, *words: object, ok: tuple[int, ...] = (0,)) -> list[dict[str, Any]]:
        done = subprocess.run(  # noqa: S603 - this program
            self._words(*words),
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            env=os.environ | {"HERITAGE_PASSPHRASE": self.word},
        )
        expect(
            done.returncode in ok, f"{words[0]} at the {self.name}: {done.stdout[-300:]} {done.stderr[-300:]}"
        )
        return [json.loads(line) for line in done.stdout.splitlines()]

    def make(self) -> None:
        title = f"{self.name.title()} of Examples"
        self.run("init", "--institution", title, "--origin", self.origin)
        self._listen(0)

    def _listen(self, port: int) -> None:
        path = self.home / "heritage.toml"
        text = path.read_text(encoding="utf-8").partition("\n[node]")[0]
        path.write_text(text + _SETTINGS.format(port=port), encoding="utf-8")

    def start(self) -> None:
        self.process = subprocess.Popen(  # noqa: S603 - this program
            self._words("node", "run"),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            text=True,
            env=os.environ | {"HERITAGE_PASSPHRASE": self.word},
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        expect(bool(line), f"the node of the {self.name} starts")
        self.url = json.loads(line)["url"]
        self._listen(int(self.url.rpartition(":")[2]))  # peers find it there again

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(WAIT)
            assert self.process.stdout is not None
            self.process.stdout.close()
            self.process = None

    def key(self) -> str:
        return str(self.run("log", "key")[0]["vkey"])

    def standing(self) -> str:
        return str(self.run("show", ASSET)[0].get("standing"))


def demonstrate_federation(session: Session, *, keep: bool) -> Ending:
    """Run the demonstration in a folder of its own; `keep` leaves the folder.

    Raises:
        OperationFailed: something did not come out as told (`demo-failed`).
    """
    folder = Path(tempfile.mkdtemp(prefix="heritage-demo-"))
    try:
        with _institutions(folder) as made:
            _run(Story(session), folder, *made)
    finally:
        if not keep:
            remove_demo(folder)
    return Ending(fields={"folder": str(folder) if keep else None})


@contextlib.contextmanager
def _institutions(folder: Path) -> Iterator[list[_Institution]]:
    word = secrets.token_hex(16)
    made = [_Institution(name, folder / name, word) for name in ("museum", "archive", "library")]
    try:
        yield made
    finally:
        for one in made:
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                one.stop()


def _run(
    story: Story, folder: Path, museum: _Institution, archive: _Institution, library: _Institution
) -> None:
    story.step("Three institutions make a ledger each, and run a node", "heritage init …; heritage node run")
    for one in (museum, archive, library):
        one.make()
        one.start()
        assert one.process is not None
        story.told(f"{one.origin} answers at {one.url}, process {one.process.pid}")
    story.step("Each compares the others' log keys, and trusts them", "heritage peer add URL --key VKEY")
    for one in (museum, archive, library):
        for other in (museum, archive, library):
            if one is not other:
                one.run("peer", "add", other.url, "--yes", "--key", other.key())
    receipt = _deposit(story, folder, museum)
    _replicate(story, museum, archive, receipt)
    _repair(story, museum, receipt)
    _lose(story, folder, museum, receipt)
    _check(story, folder, museum)
    story.step("What this proved", "heritage peer status")
    story.told(
        "No institution can rewrite its log unseen: two others have signed what they saw of it.",
        "A damaged file and a lost disk came back from others, each byte checked by the museum's own keys.",
        "A stranger can check all of it with three small files, and needs to trust none of the three.",
    )


def _deposit(story: Story, folder: Path, museum: _Institution) -> dict[str, Any]:
    story.step(
        "The museum takes in some files; the others cosign its log", f"heritage ingest scans --asset {ASSET}"
    )
    make_scans(folder / "scans")
    receipt = museum.run("ingest", folder / "scans", "--asset", ASSET, "--title", "Amphora, page 12")[-1]
    story.told(f"package {receipt['package_cid']}", f"log entry {receipt['log_index']}: pending")
    _until(lambda: museum.standing() == "witnessed", "the deposit is witnessed")
    story.told("witnessed: both others have signed the log that holds it, each with two kinds of key")
    return receipt


def _replicate(story: Story, museum: _Institution, archive: _Institution, receipt: dict[str, Any]) -> None:
    story.step("The archive promises to hold copies", f"heritage pledge {museum.origin} --until 2099-12-31")
    archive.run("pledge", museum.origin, "--until", "2099-12-31")
    replica = archive.home / "replicas" / museum.origin / receipt["package_cid"]
    _until(replica.is_dir, "the package is replicated")
    _until(lambda: museum.run("copies", ok=(0, 3))[0]["copies"] == 2, "the museum knows of the copy")
    holder = museum.run("copies")[0]["holders"][0]
    story.told(
        f"held by {holder['origin']}, verified {holder['verified']}: entry {holder['log_index']} of its log"
    )


def _repair(story: Story, museum: _Institution, receipt: dict[str, Any]) -> None:
    story.step(
        "A bit flips on the museum's disk; it comes back from the archive", "heritage verify; heritage repair"
    )
    page = Path(receipt["bag_path"]) / "data" / "page-12.ppm"
    data = bytearray(page.read_bytes())
    data[len(data) // 2] ^= 1
    page.chmod(0o600)
    page.write_bytes(data)
    lines = museum.run("verify", ASSET, ok=(3,))
    found = next(line for line in lines if line["type"] == "finding")
    story.told(f"found: {found['path']}: {found['message']}")
    repaired = next(line for line in museum.run("repair", ASSET) if line["type"] == "repaired")
    museum.run("verify", ASSET)
    story.told(
        f"mended: {', '.join(repaired['files'])}, from {', '.join(repaired['helpers'])}; the package is whole"
    )


def _lose(story: Story, folder: Path, museum: _Institution, receipt: dict[str, Any]) -> None:
    story.step(
        "The museum loses its disk; only keys, settings and peers were kept elsewhere", "heritage restore"
    )
    museum.stop()
    kept = folder / "kept-elsewhere"
    kept.mkdir()
    for name in ("keys", "peers"):
        shutil.copytree(museum.home / name, kept / name)
    for name in ("heritage.toml", "policy"):
        shutil.copy(museum.home / name, kept / name)
    remove_demo(museum.home)
    museum.home = kept
    done = museum.run("restore")[-1]
    whole = museum.run("verify", "--deep")[-1]
    expect(whole["outcome"] == "ok" and done["lost"] == 0, "everything came back")
    story.told(
        f"{done['size']} log entries and {done['packages']} package are back, as far as witnesses had seen",
        f"verify --deep: {whole['passed']} passed; {receipt['package_cid']} has every byte that it had",
    )
    museum.start()
    _until(lambda: museum.standing() == "witnessed", "the restored log is witnessed")
    story.told("witnessed: its node runs again, and both others have signed the log as it stands")


def _check(story: Story, folder: Path, museum: _Institution) -> None:
    story.step(
        "A stranger has only files: a proof, the log's key, and a policy that asks for two witnesses",
        "heritage check 1887.12.proof --log-key KEY --policy policy",
    )
    proof = folder / "1887.12.proof"
    museum.run("prove", ASSET, "-o", proof)
    nowhere = _Institution("stranger", folder / "nowhere", "")
    lines = nowhere.run("check", proof, "--log-key", museum.key(), "--policy", museum.home / "policy")
    for line in lines:
        if line["type"] == "stage" and line["outcome"] == "pass":
            story.told(f"{line['name']} pass: {line['detail'][:150]}")
    expect("witnesses" in {line.get("name") for line in lines}, "witnesses are judged")


def _until(what: Callable[[], bool], promise: str) -> None:
    deadline = time.monotonic() + WAIT
    while not what():
        expect(time.monotonic() < deadline, promise)
        time.sleep(0.2)
