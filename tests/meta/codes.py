"""Every stable code in the source, found by reading its syntax: who raises it and who only reports it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
SOURCES = [
    PROJECT / "src" / "heritage_ledger",
    PROJECT / "node" / "heritage_node",
    PROJECT / "cli" / "heritage_cli",
]
CODE = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)+")
NOT_CODES = frozenset({"utf-8", "utf-8-sig", "ml-dsa-44", "aes-256-gcm"})
"""Words of this shape that are passed first to functions which make errors, and are no codes."""
MAKERS = re.compile(
    r"(?:Finding|HeritageError|Unfinished|[A-Z]\w*(?:Error|Failed|Found|Invalid|Missing|Failure|Home|Locked|"
    r"Problem|Stale)|_?\w*(?:warning|refuse|malformed|damaged|rule|invalid|error|finding|"
    r"unreadable|too_large|raise|fail)\w*)"
)


def codes() -> dict[str, set[str]]:
    """Return each code with the modules (relative paths) that use it."""
    found: dict[str, set[str]] = {}
    for root in SOURCES:
        for path in sorted(root.rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call):
                    for code in codes_of(node):
                        found.setdefault(code, set()).add(str(path.relative_to(PROJECT)))
    return found


def codes_of(node: ast.Call) -> list[str]:
    name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
    if not MAKERS.fullmatch(name) or not node.args:
        return []
    first = node.args[0]
    values = [first.body, first.orelse] if isinstance(first, ast.IfExp) else [first]
    texts = [value.value for value in values if isinstance(value, ast.Constant)]
    return [
        text for text in texts if isinstance(text, str) and CODE.fullmatch(text) and text not in NOT_CODES
    ]


if __name__ == "__main__":
    for code, places in sorted(codes().items()):
        print(code, *sorted(places))
