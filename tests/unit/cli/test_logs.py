"""What a node logs: plain or JSON lines; whoever reads them may be slow, stop or go away."""

import json
import logging
import os
import subprocess
import sys

import pytest

from heritage_cli.logs import logging_to_stderr
from heritage_ledger.errors import Finding
from heritage_node.fences import Report

FOUND = Finding("peer-refused", "the peer refuses\x1b[2J", "http://x/\u202e", found="status 401")


def tell():
    report = Report()
    report.line("a.example/l/1: mirrored from 1 to 2")
    report.findings("sync", "b.example/l/1", (FOUND,))
    try:
        int("x" * 9 + "\x1b[2J")
    except ValueError as error:
        report.unexpected("sync", "c.example/l/1", error)


def test_lines_for_people_have_a_time_and_a_reason_and_obey_nobody(capsys):
    with logging_to_stderr(as_json=False, quiet=False):
        tell()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].endswith("Z a.example/l/1: mirrored from 1 to 2")
    assert lines[1].endswith(
        "Z warning: b.example/l/1: sync: peer-refused: the peer refuses\\x1b[2J (http://x/\\u202e) "
        "found status 401"
    )
    assert "error: c.example/l/1: sync: internal-error" in lines[2]
    assert lines[3] == "  Traceback (most recent call last):"
    assert lines[-1].startswith("  ValueError: invalid literal")
    assert "\x1b" not in "".join(lines)
    assert lines[0][:2] == "20"


def test_lines_for_programs_are_objects(capsys):
    with logging_to_stderr(as_json=True, quiet=False):
        tell()
    first, second, third = map(json.loads, capsys.readouterr().err.splitlines())
    assert first | {"type": "log", "level": "info"} == first
    assert (
        second | {"kind": "sync", "who": "b.example/l/1", "code": "peer-refused", "found": "status 401"}
        == second
    )
    assert third["level"] == "error"
    assert "ValueError" in third["traceback"]


def test_quiet_says_what_is_wrong_only(capsys):
    with logging_to_stderr(as_json=False, quiet=True):
        tell()
    assert "mirrored" not in capsys.readouterr().err


@pytest.mark.parametrize("how", ["gone", "full", "not read"])
def test_a_log_that_takes_nothing_stops_nothing(how):
    reading, writing = os.pipe()
    if how == "gone":
        os.close(reading)
    elif how == "full":
        os.close(reading)
        os.close(writing)
        writing = os.open("/dev/full", os.O_WRONLY)
    words = (
        "import logging\n"
        "from heritage_cli.logs import logging_to_stderr\n"
        "with logging_to_stderr(as_json=False, quiet=False):\n"
        "    for _ in range(20_000):\n"
        "        logging.getLogger('heritage_node').info('x' * 100)\n"
        "print('done', flush=True)\n"
        "import os\n"
        "os._exit(0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", words], stdout=subprocess.PIPE, stderr=writing, timeout=120, check=False
    )
    assert (done.stdout, done.returncode) == (b"done\n", 0)


def test_loggers_are_as_they_were():
    before = list(logging.getLogger().handlers)
    with logging_to_stderr(as_json=True, quiet=False):
        pass
    assert logging.getLogger().handlers == before
