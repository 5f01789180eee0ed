"""A real Kubo daemon, closed off: on loopback, on ports that the system picks, with no network."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from heritage_testkit.outside import PROJECT

if TYPE_CHECKING:
    from collections.abc import Iterator

WAIT = 60.0
"""Seconds until a daemon must answer; a cold start on a busy machine takes ten."""


def programs(name: str) -> Path:
    """The folder with the programs of a pinned module; skips where they cannot be had, fails in CI."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "heritage-ledger"
    text = (PROJECT / "tests" / "external" / name / "go.mod").read_text(encoding="ascii")
    version = re.findall(
        r"(?:github\.com/ipfs/kubo|github\.com/ipfs-cluster/ipfs-cluster|filippo\.io/torchwood"
        r"|github\.com/transparency-dev/witness) (v\S+)",
        text,
    )[0]
    folder = cache / f"{name}-{version}"
    if folder.is_dir():
        return folder
    message = f"{name} {version} is not here: run `make {name}`"
    if os.environ.get("CI") == "true":
        pytest.fail(f"required in CI: {message}")
    pytest.skip(message)


def environment(**more: str) -> dict[str, str]:
    """The environment of a daemon: no usage data, nothing inherited that would lead it elsewhere."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("IPFS_", "CLUSTER_"))}
    return kept | {"IPFS_TELEMETRY": "off"} | more


@dataclass
class Kubo:
    """One daemon with a repository of its own in `folder`; `api` is its address while it runs."""

    folder: Path
    process: subprocess.Popen[bytes] | None = None
    words: list[str] = field(default_factory=list)

    @property
    def program(self) -> str:
        return str(programs("kubo") / "ipfs")

    @property
    def api(self) -> str:
        """The API's multiaddr."""
        return (self.folder / "api").read_text(encoding="ascii").strip()

    @property
    def url(self) -> str:
        """The API's address as a URL."""
        _, _, host, _, port = self.api.split("/")
        return f"http://{host}:{port}"

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `ipfs` on this repository."""
        return subprocess.run(
            [self.program, *words],
            env=environment(IPFS_PATH=str(self.folder)),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=check,
            timeout=300,
        )

    def init(self) -> None:
        self.run("init", "--profile=test,unixfs-v1-2025")
        self.run("config", "Routing.Type", "none")
        self.run("config", "--json", "Provide.Enabled", "false")
        self.run("config", "--json", "AutoConf.Enabled", "false")

    def start(self) -> None:
        """Start the daemon, on its old port when it had one, and wait until it answers."""
        (self.folder / "api").unlink(missing_ok=True)
        log = (self.folder / "daemon.log").open("wb")
        self.process = subprocess.Popen(
            [self.program, "daemon", *self.words],
            env=environment(IPFS_PATH=str(self.folder)),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        log.close()
        deadline = time.monotonic() + WAIT
        while time.monotonic() < deadline:
            said = (self.folder / "daemon.log").read_bytes()
            if (self.folder / "api").exists() and b"Daemon is ready" in said:
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise AssertionError(f"Kubo did not start: {said.decode(errors='replace')[-2000:]}")

    def keep_port(self) -> None:
        """Let the daemon listen on the same port when it is started again."""
        self.run("config", "Addresses.API", self.api)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Stop the daemon by its process id and wait until it is gone."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
        self.process = None

    def block_files(self) -> list[Path]:
        """The files in which the repository keeps its blocks."""
        return [path for path in (self.folder / "blocks").rglob("*.data") if path.is_file()]


@contextlib.contextmanager
def kubo(folder: Path, *words: str) -> Iterator[Kubo]:
    """A running daemon with an empty repository in the new folder `folder`."""
    daemon = Kubo(folder, words=list(words))
    daemon.init()
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.stop()
        shutil.rmtree(folder, ignore_errors=True)
