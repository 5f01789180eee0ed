"""schemathesis asks a running node whatever its OpenAPI document allows, and what it does not.

Requests for peers are signed, so that blocks and notices are judged on their answers too.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from heritage_testkit.nodes import Institution, until

pytestmark = pytest.mark.external
HOOKS = Path(__file__).with_name("signing_hooks.py")
TOKEN = "a token for the tests"
# that a proof shows a fork, or that help was given, is no matter of form
SETTINGS = """
[[operations]]
include-name = "POST /api/v1/notices"
checks.positive_data_acceptance.enabled = false
"""
STATEFUL_SECONDS = int(os.environ.get("HERITAGE_STATEFUL_SECONDS", "180"))


@pytest.fixture
def museum(tmp_path):
    """A node with packages of several versions, a peer of its own, and a token for its administrator."""
    one, archive = (Institution.make(tmp_path, name) for name in ("museum", "archive"))
    (tmp_path / "token").write_text(TOKEN)
    with (one.home / "heritage.toml").open("a") as file:
        file.write(f'admin_token = "file:{tmp_path}/token"\n')
    (tmp_path / "scan.tif").write_bytes(b"scan" * 1000)
    for number in (0, 1, 2, 0):
        one.run("ingest", tmp_path / "scan.tif", "--asset", f"urn:example:{number}")
    archive.start()
    one.start()
    try:
        one.trust(archive)
        archive.trust(one)
        until(lambda: one.mirrored(archive) > 0)
        yield one, archive
    finally:
        assert archive.stop() == 0
        assert one.stop() == 0


def judge(one, archive, folder, *words, wait):
    (folder / "schemathesis.toml").write_text(SETTINGS)
    done = subprocess.run(
        [
            Path(sys.executable).with_name("schemathesis"),
            "run",
            f"{one.url}/api/v1/openapi.json",
            f"--url={one.url}",
            "--seed=1",
            "--no-color",
            *words,
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        timeout=wait,
        env=os.environ
        | {
            "SCHEMATHESIS_HOOKS": str(HOOKS),
            "SIGNED_BY": str(archive.home),
            "SIGNED_FOR": one.origin,
            "ADMIN": TOKEN,
        },
    )
    (folder / "said.txt").write_text(done.stdout)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    print(done.stdout[-900:])
    return done.stdout


def test_the_interface_is_what_its_document_says(museum, tmp_path):
    said = judge(*museum, tmp_path, "--max-examples=25", wait=280)
    assert "Stateful" in said


@pytest.mark.slow
@pytest.mark.timeout(STATEFUL_SECONDS + 600)
def test_long_conversations_with_the_interface(museum, tmp_path):
    """Minutes of sequences: what one answer names is asked for in the next request."""
    words = ("--phases=stateful,fuzzing", f"--max-time={STATEFUL_SECONDS}", "--max-examples=100000")
    judge(*museum, tmp_path, *words, "--continue-on-failure", wait=STATEFUL_SECONDS + 500)
