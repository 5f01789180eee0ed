"""specs/cli.md lists every exit code, with its number and name."""

from __future__ import annotations

import re
from pathlib import Path

from heritage_ledger.errors import ExitCode

SPEC = (Path(__file__).resolve().parents[2] / "specs" / "cli.md").read_text()


def test_every_exit_code_is_listed():
    table = SPEC.partition("<!-- exit codes -->")[2].partition("<!-- end of exit codes -->")[0]
    listed = re.findall(r"^\| (\d+) \| ([A-Z_]+) \|", table, re.MULTILINE)
    assert [(int(number), name) for number, name in listed] == [(code.value, code.name) for code in ExitCode]
