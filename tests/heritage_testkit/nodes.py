"""Institutions as real processes on loopback: homes, nodes on ports that the system picks, the command."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HERITAGE = Path(sys.executable).with_name("heritage")
WAIT = 120.0
SETTINGS = (
    '\n[node]\nlisten = "{host}:{port}"\nallow_private = true\nsync_seconds = {sync}\n'
    "public_rate = 1000000\n"  # all of them come from one address
)


@dataclass
class Institution:
    """A home, and its node while it runs."""

    home: Path
    origin: str
    process: subprocess.Popen[str] | None = None
    url: str = ""
    host: str = "127.0.0.1"
    place: Path | None = None
    """Where its marks and its log lie, when not beside the home."""
    within: tuple[str, ...] = ()
    """Words before each command: what runs it somewhere else, such as in a network namespace."""
    program: tuple[str, ...] = (str(HERITAGE),)
    """The command: that of another release has its words here."""

    @classmethod
    def make(
        cls,
        folder: Path,
        name: str,
        *,
        sync: int = 1,
        host: str = "127.0.0.1",
        within: tuple[str, ...] = (),
        home: Path | None = None,
        program: tuple[str, ...] = (str(HERITAGE),),
    ) -> Institution:
        made = cls(
            home or folder / name, f"{name}.example/ledger/1", host=host, within=within, program=program
        )
        words = ["--institution", f"{name.title()} of Examples", "--origin", made.origin, "--no-passphrase"]
        made.place = folder
        made.run("init", *words)
        made.settings(sync=sync)
        return made

    @property
    def marks(self) -> tuple[Path, Path]:
        """The folders of this institution's machine where marks lie, on tmpfs and lasting."""
        folder = self.place or self.home.parent
        return folder / f"{self.home.name}.run", folder / f"{self.home.name}.state"

    @property
    def environment(self) -> dict[str, str]:
        """What every process of it is started with: each institution is a machine of its own."""
        memory, lasting = self.marks
        memory.mkdir(mode=0o700, exist_ok=True)
        return os.environ | {"HERITAGE_MEMORY": str(memory), "HERITAGE_MARKS": str(lasting)}

    def settings(self, *, port: int = 0, sync: int = 1) -> None:
        path = self.home / "heritage.toml"
        kept = path.read_text().partition("\n[node]")[0]
        path.write_text(kept + SETTINGS.format(host=self.host, port=port, sync=sync))

    def start(self, **environment: str) -> None:
        """Start the node; it listens where it did before, so that peers find it again."""
        port = int(self.url.rpartition(":")[2]) if self.url else 0
        if port:
            text = (self.home / "heritage.toml").read_text()
            (self.home / "heritage.toml").write_text(
                re.sub(r'(listen = "[0-9.]+:)\d+', rf"\g<1>{port}", text)
            )
        log = ((self.place or self.home.parent) / f"{self.home.name}.log").open("a")
        with log:
            self.process = subprocess.Popen(
                [*self.within, *self.program, "--home", self.home, "--json", "node", "run"],
                stdout=subprocess.PIPE,
                stderr=log,
                stdin=subprocess.DEVNULL,
                text=True,
                env=self.environment | environment,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, ((self.place or self.home.parent) / f"{self.home.name}.log").read_text()
        self.url = json.loads(line)["url"]

    def stop(self, how: int = signal.SIGTERM) -> int:
        """Stop the node by its process id, and return what it ended with."""
        if self.process is None:
            return 0
        self.process.send_signal(how)
        code = self.process.wait(WAIT)
        assert self.process.stdout is not None
        if code > 0:
            print(self.process.stdout.read())
        self.process.stdout.close()
        self.process = None
        return code

    def run(self, *words: object, ok: tuple[int, ...] = (0,)) -> list[dict]:
        """Run a command on this home and return its JSON lines."""
        done = subprocess.run(
            [*self.within, *self.program, "--home", self.home, "--json", *map(str, words)],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
            timeout=WAIT * 2,
            env=self.environment,
        )
        assert done.returncode in ok, (words, done.returncode, done.stdout[-2000:], done.stderr[-2000:])
        return [json.loads(line) for line in done.stdout.splitlines()]

    def key(self) -> str:
        return self.run("log", "key")[0]["vkey"]

    def trust(self, other: Institution) -> None:
        self.run("peer", "add", other.url, "--yes", "--key", other.key())

    def status(self, *words: str) -> list[dict]:
        return self.run("peer", "status", *words, ok=(0, 3))

    def standing(self) -> dict:
        return next(line for line in self.status() if line["type"] == "standing")

    def mirrored(self, other: Institution) -> int:
        lines = [line for line in self.status() if line["type"] == "peer"]
        return next(line["size"] for line in lines if line["peer"]["origin"] == other.origin)

    def replica(self, other: Institution, cid: str) -> Path:
        return self.home / "replicas" / other.origin / cid


def until(what, wait: float = WAIT):
    """Wait until `what()` is true, and return it."""
    deadline = time.monotonic() + wait
    while True:
        with contextlib.suppress(StopIteration):
            if found := what():
                return found
        assert time.monotonic() < deadline, f"{what} did not come true in {wait} s"
        time.sleep(0.1)


@contextlib.contextmanager
def federation(
    folder: Path,
    *names: str,
    sync: int = 1,
    places: Sequence[tuple[str, tuple[str, ...]]] | None = None,
    homes: Mapping[str, Path] | None = None,
    programs: Mapping[str, tuple[str, ...]] | None = None,
):
    """Institutions that trust each other, their nodes running.

    `places` says each one's host and `within`, `homes` where a home lies that is not in `folder`, `programs`
    who runs another release.
    """
    made = [
        Institution.make(
            folder,
            name,
            sync=sync,
            host=host,
            within=within,
            home=(homes or {}).get(name),
            program=(programs or {}).get(name, (str(HERITAGE),)),
        )
        for name, (host, within) in zip(names, places or [("127.0.0.1", ())] * len(names), strict=True)
    ]
    try:
        for one in made:
            one.start()
        for one in made:
            for other in made:
                if other is not one:
                    one.trust(other)
        yield made
    finally:
        for one in made:
            with contextlib.suppress(AssertionError):
                one.stop(signal.SIGKILL)
