"""The shape of the project: what imports what, how long a module may be, what is never committed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
LONGEST = 490
"""Lines of a module; the aim is 400."""
PURE = [
    "heritage_ledger",
    "heritage_ledger.errors",
    "heritage_ledger.log.merkle",
    "heritage_ledger.log.tiles",
    "heritage_ledger.content.cid",
    "heritage_ledger.content.unixfs",
    "heritage_ledger.bags.names",
    "heritage_ledger.bags.manifests",
]
HEAVY = {
    "sqlalchemy",
    "typer",
    "rich",
    "pyld",
    "jsonschema_rs",
    "multiformats",
    "aiohttp",
    "bagit",
    "cryptography",
}


def _tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=PROJECT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [PROJECT / name for name in listed.stdout.decode().split("\0") if name]


@pytest.mark.parametrize("module", PURE)
def test_a_pure_module_loads_nothing_heavy(module):
    script = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert HEAVY & set(loaded.stdout.split()) == set()


def test_no_module_has_grown_out_of_its_room():
    roots = [PROJECT / "src", PROJECT / "node", PROJECT / "cli"]
    lengths = {path: len(path.read_text().splitlines()) for root in roots for path in root.rglob("*.py")}
    assert {path: length for path, length in lengths.items() if length > LONGEST} == {}


def test_top_folders_hold_no_loose_modules():
    assert [path.name for top in ("node", "cli") for path in (PROJECT / top).glob("*.py")] == []


def test_no_registry_or_machine_path_is_committed():
    words = re.compile(
        r"files\.pythonhosted\.org|pypi\.org/simple|registry\.npmjs|proxy\.golang|"
        + re.escape(f"{PROJECT.parent}/")
    )
    found = []
    for path in _tracked():
        if path.suffix in {".md", ".toml", ".txt", ".lock", ".cfg", ".yml", ".yaml", ""} and path.is_file():
            found += [
                path.name for line in path.read_text(errors="replace").splitlines() if words.search(line)
            ]
    assert found == []


def test_contexts_and_schemas_are_those_that_are_shipped():
    shipped = PROJECT / "src" / "heritage_ledger" / "events" / "files"
    assert (PROJECT / "specs/contexts/event-v1.jsonld").read_bytes() == (
        shipped / "event-v1.context.json"
    ).read_bytes()


def test_every_vector_id_is_unique_and_wrong_cases_abound():
    for path in sorted((PROJECT / "specs" / "vectors").glob("*.json")):
        cases = json.loads(path.read_text())["cases"]
        ids = [case["id"] for case in cases]
        assert len(ids) == len(set(ids)), path.name
        wrong = sum(1 for case in cases if isinstance(case["expect"], dict) and "error" in case["expect"])
        assert wrong * 2 >= len(cases), f"{path.name}: {wrong} of {len(cases)} cases are wrong ones"
