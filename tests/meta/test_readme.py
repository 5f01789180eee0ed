"""The README is true: its walk and its Python run as they stand, and say what they say there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
README = (PROJECT / "README.md").read_text()


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def _environment(home: Path) -> dict[str, str]:
    folder = str(Path(sys.executable).parent)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HERITAGE_")}
    return kept | {"HERITAGE_HOME": str(home), "PATH": f"{folder}:{os.environ['PATH']}", "COLUMNS": "100"}


def _pattern(line: str) -> str:
    return ".*".join(re.escape(part) for part in line.split("…"))


def _matches(expected: list[str], printed: list[str]) -> bool:
    """A line that is only `…` stands for any number of lines, elsewhere `…` for any text."""
    if not expected:
        return not printed
    if expected[0].strip() == "…":
        return any(_matches(expected[1:], printed[at:]) for at in range(len(printed) + 1))
    return (
        bool(printed)
        and re.fullmatch(_pattern(expected[0]), printed[0]) is not None
        and _matches(expected[1:], printed[1:])
    )


def test_the_walk_is_what_happens(tmp_path):
    environment = _environment(tmp_path / "home")
    steps = 0
    for block in _blocks("console"):
        for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, expected = step.partition("\n")
            while command.endswith("\\"):
                more, _, expected = expected.partition("\n")
                command = command[:-1] + more.removeprefix("> ")
            done = subprocess.run(
                ["bash", "-c", command],
                cwd=tmp_path,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
            printed = [line.rstrip() for line in done.stdout.splitlines()]
            wanted = [line.rstrip() for line in expected.splitlines()]
            assert _matches(wanted, printed), f"$ {command}\n{done.stdout}\n{done.stderr}"
            steps += 1
    assert steps >= 8


def test_the_python_example_runs(tmp_path):
    (code,) = _blocks("python")
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
        assert f"make {target}" in README
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    assert "make check" in (PROJECT / ".ci" / "run").read_text()
