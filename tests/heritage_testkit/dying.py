"""Processes that die: at a random moment, or exactly at the Nth call that touches the disk."""

from __future__ import annotations

import os
import signal
import time
import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

CALLS = (
    "fsync",
    "rename",
    "replace",
    "link",
    "unlink",
    "mkdir",
    "chmod",
    "fchmod",
    "rmdir",
    "pwrite",
    "open",
)
"""Calls of `os` before which a process may be told to die; pathlib goes through them too."""


class Child:
    """A forked process that runs `work(acknowledge)`; what it acknowledges reaches the parent at once."""

    def __init__(self, work: Callable[[Callable[[str], None]], None]) -> None:
        self._reader, writer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._reader)
            _run(work, writer)
        os.close(writer)

    def kill_after(self, seconds: float) -> None:
        """Kill the process `seconds` from now, wherever it is."""
        time.sleep(seconds)
        os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> tuple[int, list[str]]:
        """Wait for the end; return the wait status (signal or code) and the lines acknowledged."""
        parts = []
        while block := os.read(self._reader, 65536):
            parts.append(block)
        os.close(self._reader)
        _, status = os.waitpid(self.pid, 0)
        lines = b"".join(parts).decode().split("\n")
        # a line without its end was being written when the process died: nobody was told
        return os.waitstatus_to_exitcode(status), lines[:-1]


def _run(work: Callable[[Callable[[str], None]], None], writer: int) -> None:
    code = 1
    try:
        work(lambda line: os.write(writer, line.encode() + b"\n"))
        code = 0
    except BaseException:  # noqa: BLE001 - a forked child must never return into the test runner
        traceback.print_exc()
    finally:
        os._exit(code)


def die_at(call: int) -> list[int]:
    """Make this process kill itself just before its `call`-th disk call; return the counter."""
    count = [0]

    def wrap(function: Callable[..., object]) -> Callable[..., object]:
        def wrapped(*args: object, **kwargs: object) -> object:
            count[0] += 1
            if count[0] == call:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        return wrapped

    for name in CALLS:
        setattr(os, name, wrap(getattr(os, name)))
    return count
