"""Witnesses that we did not write, as daemons on loopback: litewitness and omniwitness."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from heritage_ledger.identity.keys import Ed25519Signer
from heritage_ledger.log.cosignature import Ed25519CosignatureSigner
from heritage_testkit.kubo import programs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NAME = "w.example/one"
EMPTY = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
WAIT = 60


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


@contextlib.contextmanager
def litewitness(folder: Path, logs: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """A running litewitness that knows `logs`, Ed25519 keys by origin; yields its URL and verifier key.

    In a folder that was used before it has the same key.
    """
    tools = programs("witness")
    for program in ("ssh-agent", "ssh-add", "ssh-keygen"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not here: install openssh-client")
    folder.mkdir(exist_ok=True)
    key, database, said = folder / "key", folder / "w.db", folder / "w.log"
    agent = Path(f"/tmp/hl-agent-{os.getpid()}-{time.monotonic_ns()}")
    if not key.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    running = [subprocess.Popen(["ssh-agent", "-D", "-a", agent], stdout=subprocess.DEVNULL)]
    try:
        while not agent.exists():
            time.sleep(0.02)
        subprocess.run(["ssh-add", "-q", key], env=os.environ | {"SSH_AUTH_SOCK": str(agent)}, check=True)
        listed = subprocess.run(["ssh-keygen", "-lf", key], capture_output=True, text=True, check=True).stdout
        with contextlib.closing(sqlite3.connect(database)) as rows, rows:
            rows.execute("CREATE TABLE log (origin TEXT PRIMARY KEY, tree_size INTEGER, tree_hash TEXT)")
            rows.execute("CREATE TABLE key (origin TEXT, key TEXT)")
            for origin, vkey in logs.items():
                rows.execute("INSERT INTO log VALUES (?, 0, ?)", (origin, EMPTY))
                rows.execute("INSERT INTO key VALUES (?, ?)", (origin, vkey))
        port = free_port()
        words = [tools / "litewitness", "-db", database, "-ssh-agent", agent, "-name", NAME]
        words += ["-key", listed.split()[1], "-listen", f"127.0.0.1:{port}"]
        with said.open("wb") as log:
            running.append(subprocess.Popen(words, stdout=log, stderr=log))
        deadline = time.monotonic() + WAIT
        while not (found := re.search(rb"w\.example/one\+[0-9a-f]{8}\+[A-Za-z0-9+/=]+", said.read_bytes())):
            assert time.monotonic() < deadline, said.read_text()
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}", found[0].decode()
    finally:
        for process in reversed(running):
            process.terminate()
            process.wait(WAIT)
        agent.unlink(missing_ok=True)


@contextlib.contextmanager
def omniwitness(folder: Path, logs: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The same for an omniwitness; it asks nobody else, since it is told of no distributor and no bastion."""
    tools = programs("omniwitness")
    folder.mkdir(exist_ok=True)
    kept = folder / "seed"
    if not kept.exists():
        kept.write_bytes(os.urandom(32))
    seed = kept.read_bytes()
    signer = Ed25519CosignatureSigner.of(NAME, Ed25519Signer.from_seed(seed))
    public = signer.verifier.public
    digest = hashlib.sha256(NAME.encode() + b"\n\x01" + public).digest()[:4].hex()
    secret = base64.b64encode(b"\x01" + seed).decode()
    (folder / "key").write_text(f"PRIVATE+KEY+{NAME}+{digest}+{secret}")
    known = [
        {"Origin": origin, "URL": "http://127.0.0.1:9", "PublicKey": vkey} for origin, vkey in logs.items()
    ]
    (folder / "logs.yaml").write_text(json.dumps({"Logs": known}))
    port = free_port()
    words = [tools / "omniwitness", "-listen", f"127.0.0.1:{port}", "-metrics_listen", ""]
    words += ["-db_file", folder / "w.db", "-private_key_path", folder / "key"]
    words += ["-additional_logs", folder / "logs.yaml"]
    with (folder / "w.log").open("wb") as said:
        process = subprocess.Popen(words, stdout=said, stderr=said)
    try:
        deadline = time.monotonic() + WAIT
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert process.poll() is None, (folder / "w.log").read_text()
            assert time.monotonic() < deadline, (folder / "w.log").read_text()
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}", signer.verifier.vkey
    finally:
        process.terminate()
        process.wait(WAIT)


FOREIGN = {"litewitness": litewitness, "omniwitness": omniwitness}
