"""The README is true: its walk and its Python run as they stand, and say what they say there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from heritage_testkit.pages import blocks, matches, steps

PROJECT = Path(__file__).resolve().parents[2]
README = PROJECT / "README.md"


def _texts(language: str) -> list[str]:
    return [block.text for block in blocks(README) if block.language == language]


def _environment(home: Path) -> dict[str, str]:
    folder = str(Path(sys.executable).parent)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HERITAGE_")}
    return kept | {"HERITAGE_HOME": str(home), "PATH": f"{folder}:{os.environ['PATH']}", "COLUMNS": "100"}


def test_the_walk_is_what_happens(tmp_path):
    environment = _environment(tmp_path / "home")
    count = 0
    for text in _texts("console"):
        for step in steps(text):
            done = subprocess.run(
                ["bash", "-c", step.command],
                cwd=tmp_path,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
            printed = [line.rstrip() for line in done.stdout.splitlines()]
            assert matches(step.expected, printed), f"$ {step.command}\n{done.stdout}\n{done.stderr}"
            count += 1
    assert count >= 8


def test_the_python_example_runs(tmp_path):
    (code,) = _texts("python")
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "page.txt").write_text("a page")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        env=_environment(tmp_path / "home"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "pass" in done.stdout


def test_the_two_commands_exist():
    makefile = (PROJECT / "Makefile").read_text()
    for target in ("demo", "test"):
        assert f"make {target}" in README.read_text()
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    assert "make check" in (PROJECT / ".ci" / "run").read_text()
