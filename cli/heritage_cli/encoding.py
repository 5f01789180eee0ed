"""The command in a locale that is not UTF-8: it starts itself again in Python's UTF-8 mode.

File names then are their bytes read as UTF-8, in every locale alike; what is printed keeps the terminal's
own encoding. The process stays the same (`execve`), so a supervisor sees nothing of it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def ensure_utf8() -> None:
    """Return in a process that names files in UTF-8; where it cannot be had, the library will refuse."""
    if sys.getfilesystemencoding().lower() == "utf-8" or not sys.executable:
        return
    arguments = [os.fsencode(sys.executable), b"-X", b"utf8", *_arguments()[1:]]
    surroundings = dict(os.environb)
    terminal = getattr(sys.stdout, "encoding", None) or "ascii"
    surroundings.setdefault(b"PYTHONIOENCODING", f"{terminal}:backslashreplace".encode())
    try:
        os.execve(arguments[0], arguments, surroundings)  # noqa: S606 - the same program, no shell
    except OSError:
        return


def _arguments() -> list[bytes]:
    """The arguments as the kernel has them: what the locale made of them may not lead back to their bytes."""
    try:
        given = Path("/proc/self/cmdline").read_bytes().split(b"\0")[:-1]
    except OSError:
        given = []
    return given if len(given) == len(sys.orig_argv) else [os.fsencode(one) for one in sys.orig_argv]
