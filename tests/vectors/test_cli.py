"""Every case of specs/vectors/cli.json, each run by a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from heritage_ledger import Ledger

VECTORS = Path(__file__).resolve().parents[2] / "specs" / "vectors" / "cli.json"
CASES = json.loads(VECTORS.read_text(encoding="ascii"))["cases"]
HERITAGE = str(Path(sys.executable).parent / "heritage")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The folder that the vectors describe."""
    root = tmp_path_factory.mktemp("cli-vectors")
    (root / "scans").mkdir()
    (root / "empty").mkdir()
    (root / "scans" / "page.txt").write_text("page\n")
    with Ledger.init(
        root / "home", institution="Museum", origin="museum.example/ledger/1", passphrase=None
    ) as ledger:
        ledger.ingest(root / "scans", asset="urn:example:one", title="Scans")
        (root / "proof").write_bytes(ledger.prove("urn:example:one"))
        (root / "key").write_text(ledger.log_keys()[0].vkey)
    (root / "lies").write_bytes((root / "proof").read_bytes().replace(b"Scans", b"Scams"))
    return root


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_case(case, place):
    """The exit code and the last line."""
    key = (place / "key").read_text()
    done = subprocess.run(
        [HERITAGE, "--json", *(word.replace("@key", key) for word in case["given"]["words"])],
        cwd=place,
        env={name: value for name, value in os.environ.items() if not name.startswith("HERITAGE_")}
        | {"HERITAGE_HOME": str(place / "home")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    verdict = json.loads(done.stdout.splitlines()[-1])
    assert verdict["type"] == "verdict"
    assert (done.returncode, verdict["exit_code"]) == (case["expect"]["exit_code"],) * 2
    assert verdict.get("code") == case["expect"].get("error")
    assert "Traceback" not in done.stderr
