"""Outside data: other projects' vectors and real archival transfers, never copied into this project."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
SHARED = PROJECT.parent / "shared"


def _required_in_ci(folder: Path, variable: str) -> Path:
    if folder.is_dir():
        return folder
    message = f"outside data is absent: {folder} (set {variable} to where it lies)"
    if os.environ.get("CI") == "true":
        pytest.fail(f"required in CI: {message}")
    pytest.skip(message)


def vectors(name: str) -> Path:
    """The folder `name` of the outside vectors; skips where it is absent, fails in CI."""
    root = Path(os.environ.get("HERITAGE_VECTORS", SHARED / "vectors"))
    return _required_in_ci(root / name, "HERITAGE_VECTORS")


def samples(name: str = "") -> Path:
    """The folder `name` of the sample transfers; skips where it is absent, fails in CI."""
    root = Path(os.environ.get("HERITAGE_SAMPLES", SHARED / "samples"))
    return _required_in_ci(root / name if name else root, "HERITAGE_SAMPLES")


def has_cases(kind: str) -> Path:
    """The folder of the cases of a kind, which may be absent: for the names of tests."""
    return Path(os.environ.get("HERITAGE_CASES", SHARED / "cases")) / kind


def cases(kind: str) -> Path:
    """The folder of the cases of a kind, `bags` or `world`; skips where it is absent, fails in CI."""
    return _required_in_ci(has_cases(kind), "HERITAGE_CASES")
