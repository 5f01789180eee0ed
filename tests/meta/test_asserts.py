"""`assert` states what cannot be; what comes from outside is checked by code that `python -O` keeps."""

from __future__ import annotations

import ast
import os
import subprocess
import sys

import codes
import pytest

FOLDERS = ("src", "node", "cli")
TAKES_BYTES = ("parse_", "open_", "check_", "read_", "decode_")
"""Functions of these names turn untrusted bytes into values (CONTRIBUTING.md)."""
FOREIGN = "kubo_rpc.py"
"""Catches what a library asserts about a daemon's answers."""
MODULES = [path for folder in FOLDERS for path in sorted((codes.PROJECT / folder).rglob("*.py"))]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(codes.PROJECT)))
def test_no_input_is_checked_by_assert(path):
    tree = ast.parse(path.read_text())
    caught = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler)
        and node.type is not None
        and "AssertionError" in ast.unparse(node.type)
    ]
    stated = [
        node.lineno
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef) and function.name.lstrip("_").startswith(TAKES_BYTES)
        for node in ast.walk(function)
        if isinstance(node, ast.Assert)
    ]
    if path.name == FOREIGN:
        caught = []
    assert (caught, stated) == ([], [])


PARSERS = [
    "vectors/test_event.py",
    "vectors/test_keys.py",
    "vectors/test_federation.py",
    "vectors/test_log.py",
    "unit/federation/test_peers.py",
]


def test_what_is_refused_is_refused_without_asserts_too():
    """The wrong vectors and the bad peer files under `python -O`: `pytest.raises` needs no assert."""
    words = ["-O", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", "-W", "ignore"]
    done = subprocess.run(
        [sys.executable, *words, *(f"tests/{name}" for name in PARSERS), "-k", "test_case or bad_file"],
        cwd=codes.PROJECT,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert "passed" in done.stdout
