"""Write the table of specs/findings.md anew from the source, after a code was added or worded better."""

from __future__ import annotations

import ast
from dataclasses import dataclass

import codes

PAGE = codes.PROJECT / "specs" / "findings.md"
START, END = "<!-- codes -->\n", "\n<!-- end of codes -->"
TITLES = {
    "bags": "Bags",
    "commands": "Command line",
    "content": "Content addresses",
    "deposit": "Taking in",
    "events": "Events",
    "fixity": "Checks",
    "home": "Home, disk and state",
    "identity": "Keys",
    "index": "Index",
    "ledger.py": "Façade",
    "log": "Log",
    "provenance": "Proofs",
    "federation": "Other institutions",
    "node": "The node",
}
WHOLE = {"heritage_cli": "commands", "heritage_node": "node"}


@dataclass(slots=True)
class Entry:
    area: str
    message: str = ""
    advice: str = ""


def entries() -> dict[str, Entry]:
    """Return each code with the first message and advice that the source gives it."""
    found: dict[str, Entry] = {}
    for root in codes.SOURCES:
        for path in sorted(root.rglob("*.py")):
            area = WHOLE.get(root.name) or path.relative_to(root).parts[0]
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call):
                    for code in codes.codes_of(node):
                        entry = found.setdefault(code, Entry(area))
                        entry.message = entry.message or _text(node.args[1] if len(node.args) > 1 else None)
                        advice = [word.value for word in node.keywords if word.arg == "advice"]
                        entry.advice = entry.advice or _text(advice[0] if advice else None)
    return found


def _text(node: ast.expr | None) -> str:
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in parts)
        case ast.BinOp(left=left, right=right):
            return _text(left) + _text(right)
        case ast.IfExp(body=body):
            return _text(body)
    return ""


def table() -> str:
    found = entries()
    lines: list[str] = []
    for area in sorted({entry.area for entry in found.values()}, key=TITLES.__getitem__):
        lines += [f"\n### {TITLES[area]}\n", "| code | meaning | what to do next |", "|---|---|---|"]
        for code, entry in sorted(found.items()):
            if entry.area == area:
                message = entry.message.replace("|", "/").strip() or code.replace("-", " ")
                lines.append(f"| `{code}` | {message} | {entry.advice.replace('|', '/').strip()} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    before, _, rest = PAGE.read_text().partition(START)
    PAGE.write_text(f"{before}{START}{table()}{END}{rest.partition(END)[2]}")
