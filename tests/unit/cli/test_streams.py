"""Streams that are closed or that nobody reads: no traceback, no work that stops, no file in their place."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERITAGE = Path(sys.executable).with_name("heritage")


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "1>&- 2>&-", "0<&- 1>&- 2>&-"])
def test_closed_streams(tmp_path, closed):
    home = tmp_path / "home"
    words = f'"{HERITAGE}" --home "{home}"'
    made = f"{words} init --institution A --origin a.example/l/1 --no-passphrase {closed}"
    done = subprocess.run(["sh", "-c", made], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done
    assert "Traceback" not in done.stderr
    done = subprocess.run(
        ["sh", "-c", f"{words} list {closed}"], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    done = subprocess.run(["sh", "-c", f"{words} log verify"], capture_output=True, check=False, timeout=120)
    assert done.returncode == 0  # nothing was written into a file that took a stream's number


def test_talk_that_nobody_hears_stops_no_work(tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    words = [HERITAGE, "--home", tmp_path / "home", "init", "--institution", "A", "--origin", "a.example/l/1"]
    done = subprocess.run(
        [*words, "--no-passphrase"], stdout=subprocess.PIPE, stderr=writing, check=False, timeout=120
    )
    os.close(writing)
    assert done.returncode == 0
