"""Hard links are made in one place, which knows what file systems say that have none."""

from __future__ import annotations

import ast

from codes import PROJECT, SOURCES

ALLOWED = {
    "src/heritage_ledger/home/durable.py": 1,
    "src/heritage_ledger/log/disk.py": 1,  # names a file without a name, and writes it anew where that fails
}


def test_only_one_place_makes_hard_links():
    found: dict[str, int] = {}
    for root in SOURCES:
        for path in sorted(root.rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Attribute) and (
                    node.attr == "hardlink_to"
                    or (node.attr == "link" and isinstance(node.value, ast.Name) and node.value.id == "os")
                ):
                    name = str(path.relative_to(PROJECT))
                    found[name] = found.get(name, 0) + 1
    assert found == ALLOWED
