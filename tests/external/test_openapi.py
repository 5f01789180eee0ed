"""schemathesis asks a running node whatever its OpenAPI document allows, and what it does not."""

import subprocess
import sys
from pathlib import Path

import pytest

from heritage_testkit.nodes import Institution

pytestmark = pytest.mark.external


def test_the_interface_is_what_its_document_says(tmp_path):
    museum = Institution.make(tmp_path, "museum")
    (tmp_path / "scan.tif").write_bytes(b"scan" * 1000)
    for number in range(3):
        museum.run("ingest", tmp_path / "scan.tif", "--asset", f"urn:example:{number}")
    museum.start()
    try:
        done = subprocess.run(
            [
                Path(sys.executable).with_name("schemathesis"),
                "run",
                f"{museum.url}/api/v1/openapi.json",
                f"--url={museum.url}",
                "--max-examples=40",
                "--seed=1",
                "--no-color",
            ],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            timeout=240,
        )
        assert done.returncode == 0, done.stdout[-6000:]
        print(done.stdout[-600:])
    finally:
        assert museum.stop() == 0
