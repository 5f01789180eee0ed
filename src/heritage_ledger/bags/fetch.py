"""fetch.txt: files that a bag promises but does not hold (RFC 8493 §2.2.3). Nothing is ever fetched here."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from heritage_ledger.bags.names import Version, decode_path, is_safe
from heritage_ledger.errors import Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Iterable

_LINE: Final = re.compile(r"(\S+)[ \t]+(\d{1,20}|-)[ \t]+(.+)")
_SCHEMES: Final = frozenset({"http", "https", "ipfs"})
_RULE: Final = "RFC 8493 §2.2.3"
_ADVICE: Final = "ask for a complete bag; nothing is fetched by this software"


@dataclass(frozen=True, slots=True)
class FetchEntry:
    """One promised file: where it is said to be, its advisory length in bytes, its path in the bag."""

    url: str
    length: int | None
    path: str


def parse_fetch(lines: Iterable[str], version: Version) -> tuple[list[FetchEntry], list[Finding]]:
    """Return the entries of fetch.txt, and a finding for every line that cannot be followed."""
    entries: list[FetchEntry] = []
    findings: list[Finding] = []
    for number, line in enumerate(lines, 1):
        text = line.rstrip("\r\n")
        match = _LINE.fullmatch(text)
        if match is None:
            findings.append(
                Finding(
                    "fetch-line",
                    "a line that is not URL, length and path",
                    "fetch.txt",
                    expected="absolute URL, length or -, path below data/",
                    found=f"line {number}: {text[:80]!r}",
                    advice=_ADVICE,
                    rule=_RULE,
                )
            )
            continue
        path, _ = decode_path(match[3].removeprefix("./"), version)
        if not is_safe(path) or not path.startswith("data/"):
            findings.append(
                Finding(
                    "fetch-path",
                    "a path outside of the payload",
                    "fetch.txt",
                    expected="a path below data/",
                    found=f"line {number}: {match[3][:120]!a}",
                    advice=_ADVICE,
                    rule=_RULE,
                )
            )
            continue
        severity = _judge_url(match[1])
        if severity is not None:
            findings.append(
                Finding(
                    "fetch-url",
                    "an address that is never fetched from",
                    "fetch.txt",
                    expected="an http, https or ipfs URL of a public host",
                    found=f"line {number}: {match[1][:120]}",
                    advice=_ADVICE,
                    rule="RFC 8493 §5.1.2",
                    severity=severity,
                )
            )
        length = None if match[2] == "-" else int(match[2])
        entries.append(FetchEntry(match[1], length, path))
    return entries, findings


def _judge_url(url: str) -> Severity | None:
    """Say how bad an address is: an error where following it would read this machine or its neighbours.

    `localhost` is a warning: test bags name it, and a file that is missing is an error of its own.
    """
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").strip(".").lower()
    except ValueError:
        return Severity.ERROR
    if parts.scheme.lower() not in _SCHEMES or not host or _is_private(host):
        return Severity.ERROR
    is_local = host == "localhost" or host.endswith(".localhost")
    return Severity.WARNING if is_local else None


def _is_private(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return not address.is_global
