"""fetch.txt: files that a bag promises but does not hold (RFC 8493 §2.2.3). Nothing is ever fetched here."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from heritage_ledger.bags.names import Version, check_path, decode_path
from heritage_ledger.errors import EvidenceInvalid, Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Iterable

_LINE: Final = re.compile(r"(\S+)[ \t]+([0-9]{1,20}|-)[ \t]+(.+)", re.DOTALL)
_SCHEMES: Final = frozenset({"http", "https", "ipfs"})
_NUMERIC_HOST: Final = re.compile(r"(?:0[xX][0-9A-Fa-f]*|[0-9]+)(?:\.(?:0[xX][0-9A-Fa-f]*|[0-9]+)){0,3}")
"""Hosts that old address parsers read as numbers, such as 2130706433 or 0x7f.1."""
_RULE: Final = "RFC 8493 §2.2.3"
_ADVICE: Final = "ask for a complete bag; nothing is fetched by this software"
MAX_FINDINGS: Final = 1_000
"""Findings kept of one fetch list."""
MAX_ENTRIES: Final = 1_000_000
"""Lines of a fetch list that are read (about 400 bytes of memory each)."""


@dataclass(frozen=True, slots=True)
class FetchEntry:
    """One promised file: where it is said to be, its advisory length in bytes, its path in the bag."""

    url: str
    length: int | None
    path: str


def parse_fetch(lines: Iterable[str], version: Version) -> tuple[list[FetchEntry], list[Finding]]:
    """Return the entries of fetch.txt, and a finding for every line that cannot be followed.

    At most `MAX_FINDINGS` are kept; where there are more, the last one is an error if any was.
    """
    entries: list[FetchEntry] = []
    findings: list[Finding] = []
    for number, line in enumerate(lines, 1):
        if number > MAX_ENTRIES:
            found = _finding("fetch-line", "more lines than are read", number, "the rest was not checked")
            _note(findings, [found])
            break
        entry, wrong = _parse_line(line.rstrip("\r\n"), number, version)
        _note(findings, wrong)
        if entry is not None:
            entries.append(entry)
    return entries, findings


def _note(findings: list[Finding], new: list[Finding]) -> None:
    for finding in new:
        if len(findings) < MAX_FINDINGS:
            findings.append(finding)
        elif finding.severity is Severity.ERROR:
            findings[-1] = finding


def _parse_line(text: str, number: int, version: Version) -> tuple[FetchEntry | None, list[Finding]]:
    match = _LINE.fullmatch(text)
    if match is None:
        return None, [
            _finding("fetch-line", "a line that is not URL, length and path", number, f"{text[:80]!a}")
        ]
    url, length, written = match.groups()
    path, is_right = decode_path(written.removeprefix("./"), version)
    shown = f"{written[:120]!a}"
    try:
        check_path(path)
    except EvidenceInvalid:
        return None, [_finding("fetch-path", "a path outside of the payload", number, shown)]
    if not path.startswith("data/"):
        return None, [_finding("fetch-path", "a path outside of the payload", number, shown)]
    findings = []
    if not is_right:
        message = "a `%` that is not written as `%25`; the name is taken as it stands"
        findings.append(_finding("percent-literal", message, number, shown, Severity.WARNING))
    severity = _judge_url(url)
    if severity is not None:
        message = "an address that is never fetched from"
        findings.append(_finding("fetch-url", message, number, f"{url[:120]!a}", severity))
    return FetchEntry(url, None if length == "-" else int(length), path), findings


_EXPECTED: Final = {
    "fetch-line": "absolute URL, length or -, path below data/",
    "fetch-path": "a path below data/",
    "fetch-url": "an http, https or ipfs URL of a public host",
    "percent-literal": "a path with `%` written as `%25`",
}


def _finding(
    code: str, message: str, number: int, found: str, severity: Severity = Severity.ERROR
) -> Finding:
    rule = "RFC 8493 §5.1.2" if code == "fetch-url" else _RULE
    return Finding(
        code,
        message,
        "fetch.txt",
        expected=_EXPECTED[code],
        found=f"line {number}: {found}",
        advice=_ADVICE,
        rule=rule,
        severity=severity,
    )


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
        # no address as it is written today, though some programs would read it as one
        return _NUMERIC_HOST.fullmatch(host) is not None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return not address.is_global
