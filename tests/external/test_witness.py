"""Judges of logs and witnesses that we did not write: litewitness, and Go's own sumdb packages."""

import os
import re
import shutil
import socket
import sqlite3
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from heritage_ledger.deposit.books import log_signers, witness_signers
from heritage_ledger.federation.client import Client
from heritage_ledger.federation.witnessing import Witnesses
from heritage_ledger.home.keyring import Keyring, NodeKeyring
from heritage_ledger.home.layout import create_home
from heritage_ledger.home.state import StateStore
from heritage_ledger.identity.keys import Ed25519Signer, MLDSA44Signer
from heritage_ledger.log.append import Appender
from heritage_ledger.log.files import LogFiles
from heritage_ledger.log.policy import Policy, PolicyWitness
from heritage_ledger.log.witness import AddCheckpoint, Witness, WitnessRefusal, format_request
from heritage_testkit.kubo import programs

pytestmark = pytest.mark.external
ORIGIN = "museum.example/ledger/1"
NAME = "w.example/one"
DEVIATIONS = {("unknown origin", (403, None)): (404, None)}
"""Where litewitness v0.8.0 answers otherwise than tlog-witness v1.0.0 says, and what we answer."""
EMPTY = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="


@pytest.fixture(scope="module")
def tools():
    return programs("witness")


@pytest.fixture
def log(tmp_path):
    home = create_home(tmp_path / "home")
    seed = b"s" * 32
    keys = Keyring(
        Ed25519Signer.from_seed(seed), Ed25519Signer.from_seed(seed), MLDSA44Signer.from_seed(seed)
    )
    signers = log_signers(ORIGIN, keys)
    with (
        StateStore.create(home.state) as state,
        Appender(home.log, state, ORIGIN, signers) as appender,
    ):
        appender.create(time=1)
        yield home, state, appender, [signer.verifier for signer in signers]


@pytest.mark.parametrize("sizes", [[1], [3, 7], [255, 256, 257, 600], [70_000]])
def test_go_reads_our_log(tools, log, sizes):
    home, _, appender, verifiers = log
    size = 0
    for wanted in sizes:
        appender.append([b"entry %d" % at for at in range(size, wanted)], time=1)
        size = wanted
        words = [tools / "checklog", home.log, verifiers[0].vkey]
        if size > 1_000:
            continue  # every entry's proof is computed: seconds for the large one below
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, f"{size}\n"), done.stderr
    for bundle in (home.log / "tile" / "entries").rglob("*"):
        if bundle.is_file():
            bundle.chmod(0o600)
            data = bytearray(bundle.read_bytes())
            data[5] ^= 1
            bundle.write_bytes(data)
    if size <= 256:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 1


@pytest.fixture
def litewitness(tools, log, tmp_path):
    """A running litewitness that knows our log; yields its URL and verifier key."""
    for program in ("ssh-agent", "ssh-add", "ssh-keygen"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not here: install openssh-client")
    key, agent, database = (
        tmp_path / "key",
        Path(f"/tmp/hl-agent-{os.getpid()}-{time.monotonic_ns()}"),
        tmp_path / "w.db",
    )
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    running = [subprocess.Popen(["ssh-agent", "-D", "-a", agent], stdout=subprocess.DEVNULL)]
    try:
        while not agent.exists():
            time.sleep(0.02)
        subprocess.run(["ssh-add", "-q", key], env=os.environ | {"SSH_AUTH_SOCK": str(agent)}, check=True)
        listed = subprocess.run(["ssh-keygen", "-lf", key], capture_output=True, text=True, check=True).stdout
        with sqlite3.connect(database) as rows:
            rows.execute("CREATE TABLE log (origin TEXT PRIMARY KEY, tree_size INTEGER, tree_hash TEXT)")
            rows.execute("CREATE TABLE key (origin TEXT, key TEXT)")
            rows.execute("INSERT INTO log VALUES (?, 0, ?)", (ORIGIN, EMPTY))
            rows.execute("INSERT INTO key VALUES (?, ?)", (ORIGIN, log[3][0].vkey))
        rows.close()
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        said = (tmp_path / "w.log").open("wb")
        words = [tools / "litewitness", "-db", database, "-ssh-agent", agent, "-name", NAME]
        words += ["-key", listed.split()[1], "-listen", f"127.0.0.1:{port}"]
        with said:
            running.append(subprocess.Popen(words, stdout=said, stderr=said))
        deadline = time.monotonic() + 30
        while not (
            found := re.search(
                rb"w\.example/one\+[0-9a-f]{8}\+[A-Za-z0-9+/=]+", (tmp_path / "w.log").read_bytes()
            )
        ):
            assert time.monotonic() < deadline, (tmp_path / "w.log").read_text()
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}", found[0].decode()
    finally:
        for process in reversed(running):
            process.terminate()
            process.wait(10)
        agent.unlink(missing_ok=True)


def post(url, body):
    request = urllib.request.Request(f"{url}/add-checkpoint", body)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.headers.get("Content-Type"), answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers.get("Content-Type"), error.read()


def test_litewitness_cosigns_our_log(litewitness, log):
    url, vkey = litewitness
    home, state, appender, verifiers = log
    policy = Policy((), (PolicyWitness("one", vkey, url),), (), "one")
    with Client(allow_private=True) as client:
        witnesses = Witnesses(
            home, LogFiles(home.log), state, ORIGIN, verifiers=verifiers, policy=policy, client=client
        )
        for more in (1, 5, 300):
            appender.append([b"entry"] * more, time=1)
            found = witnesses.collect()
            assert (found.is_met, found.cosigned, found.findings) == (True, ("one",), ())
            assert witnesses.standing().size == found.size


def test_our_witness_answers_as_litewitness_does(litewitness, log, tmp_path):
    """The same requests in the same order, to both: the same statuses, and sizes where they are told."""
    url, _ = litewitness
    home, _, appender, verifiers = log
    files = LogFiles(home.log)
    seed = b"w" * 32
    keys = NodeKeyring(
        Ed25519Signer.from_seed(seed), MLDSA44Signer.from_seed(seed), Ed25519Signer.from_seed(seed)
    )
    appender.append([b"entry %d" % at for at in range(5)], time=1)
    five = files.read_checkpoint()
    appender.append([b"entry %d" % at for at in range(5, 9)], time=1)
    nine = files.read_checkpoint()
    proof = files.prove_consistency(5, 9)
    requests = {
        "no request": b"",
        "no old line": b"\n" + five,
        "a bad size": b"old x\n\n" + five,
        "unknown origin": format_request(AddCheckpoint(0, (), five)).replace(
            ORIGIN.encode(), b"nobody.example/l/1"
        ),
        "bad signature": format_request(AddCheckpoint(0, (), five)).replace(b"\n5\n", b"\n6\n"),
        "old beyond the size": format_request(AddCheckpoint(6, (), five)),
        "not the known size": format_request(AddCheckpoint(3, (), five)),
        "first": format_request(AddCheckpoint(0, (), five)),
        "first again": format_request(AddCheckpoint(0, (), five)),
        "same size": format_request(AddCheckpoint(5, (), five)),
        "no proof": format_request(AddCheckpoint(5, (), nine)),
        "a wrong proof": format_request(AddCheckpoint(5, tuple(reversed(proof)), nine)),
        "grown": format_request(AddCheckpoint(5, proof, nine)),
        "back again": format_request(AddCheckpoint(9, (), five)),
        "behind": format_request(AddCheckpoint(5, proof, nine)),
    }
    with StateStore.create(tmp_path / "witness.db") as state:
        ours = Witness(state, witness_signers(ORIGIN, keys), lambda name: verifiers if name == ORIGIN else [])
        for name, body in requests.items():
            status, kind, said = post(url, body)
            try:
                ours.add_checkpoint(body, time=1)
                found = (200, None)
            except WitnessRefusal as refusal:
                found = (refusal.status, refusal.size)
            expected = (status, int(said) if status == 409 and kind == "text/x.tlog.size" else None)
            assert found == DEVIATIONS.get((name, expected), expected), (name, said)
