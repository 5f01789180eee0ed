"""Pages whose commands are run: their fenced blocks, and whether a command printed what the page says."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, what stands behind that, its text."""

    language: str
    more: str
    text: str


@dataclass(frozen=True)
class Step:
    """A command of a `console` block, and the lines that the page says it prints."""

    command: str
    expected: list[str]


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page, in order."""
    found = []
    for info, text in _BLOCK.findall(page.read_text()):
        language, _, more = info.partition(" ")
        found.append(Block(language, more.strip(), text))
    return found


def steps(text: str) -> Iterator[Step]:
    """The commands of a `console` block: each begins with `$ `, and goes on after a backslash."""
    for step in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, expected = step.partition("\n")
        while command.endswith("\\"):
            more, _, expected = expected.partition("\n")
            command = command[:-1] + more.removeprefix("> ")
        yield Step(command, [line.rstrip() for line in expected.splitlines()])


def matches(expected: list[str], printed: list[str]) -> bool:
    """A line that is only `…` stands for any number of lines, elsewhere `…` for any text."""
    if not expected:
        return not printed
    if expected[0].strip() == "…":
        return any(matches(expected[1:], printed[at:]) for at in range(len(printed) + 1))
    return (
        bool(printed)
        and re.fullmatch(_pattern(expected[0]), printed[0]) is not None
        and matches(expected[1:], printed[1:])
    )


def _pattern(line: str) -> str:
    return ".*".join(re.escape(part) for part in line.split("…"))
