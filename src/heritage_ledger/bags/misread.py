r"""Names that are right in a bag (RFC 8493 §2.1.3), and that other software takes for other names.

>>> misread("100%.txt")
['bagit-python and bagit-java look for `100%25.txt`']
>>> misread("scan.tif")
[]
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Misreading:
    """A kind of name, who misreads it, and how; `{name}` stands for what they look for instead."""

    kind: str
    pattern: re.Pattern[str]
    words: str


MISREADINGS: Final = (
    Misreading("percent", re.compile("%"), "bagit-python and bagit-java look for `{name}`"),
    Misreading(
        "line separator",
        re.compile("[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]"),
        "bagit-python takes a character in it for the end of the line",
    ),
    Misreading("space at the end", re.compile(r"[^\S\r\n]\Z"), "bagit-python drops the space at its end"),
    Misreading(
        "three line ends",
        re.compile(r"(?:\r[^\r]*){3}|(?:\n[^\n]*){3}"),
        "bagit-python reads only two line ends of a kind",
    ),
    Misreading("line end", re.compile(r"[\r\n]"), "what reads lists of names line by line takes it for two"),
    Misreading("dash", re.compile(r"\A-"), "commands that are given `*` take it for an option"),
    Misreading("backslash", re.compile(r"\\"), "bagit-java refuses the bag"),
)
"""What was seen of bagit-python 1.9, of bagit-java 5.2 (its sources), and of shells."""


def misread(name: str, *, encoded: bool = True) -> list[str]:
    """Return who misreads `name`, the name of a file or folder, and how.

    `encoded` says that manifests write `%` as `%25`, as they do from version 1.0 on.
    """
    shown = name.replace("%", "%25")
    return [
        one.words.format(name=shown)
        for one in MISREADINGS
        if one.pattern.search(name) and (encoded or one.kind != "percent")
    ]
