"""Locales that are not UTF-8, compiled into a folder of the test; the system's own stay as they are."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOURCES = Path("/usr/share/i18n/locales")


def make_locales(folder: Path, *names: str) -> None:
    """Compile `names`, such as `de_DE.ISO-8859-1`, into `folder`, to be given as LOCPATH."""
    compiler = shutil.which("localedef")
    if compiler is None or not SOURCES.is_dir():
        pytest.skip("there is nothing to compile locales from: install the package `locales`")
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        language, _, charset = name.partition(".")
        subprocess.run(
            [compiler, "-i", language, "-f", charset, str(folder / name)], capture_output=True, check=False
        )
        asked = subprocess.run(
            [sys.executable, "-c", "import sys; print(sys.getfilesystemencoding())"],
            env={"LC_ALL": name, "LOCPATH": str(folder)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert asked.stdout.strip() != "utf-8", f"the locale {name} could not be made"
