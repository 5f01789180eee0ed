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
_ABSOLUTE: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S+")
"""A scheme and something after it: an absolute URI (RFC 3986 §4.3), whoever may know how to fetch it."""
_NO_URI: Final = re.compile(r"[^!#$%&'()*+,./0-9:;=?@A-Z\[\]_a-z~-]|%(?![0-9A-Fa-f]{2})")
"""What RFC 3986 wants written as an escape."""
_WITH_HOST: Final = frozenset({"ftp", "ftps", "http", "https", "sftp"})
"""Schemes that always name a host."""
_NUMERIC_HOST: Final = re.compile(r"(?:0[xX][0-9A-Fa-f]*|[0-9]+)(?:\.(?:0[xX][0-9A-Fa-f]*|[0-9]+)){0,3}")
"""Hosts that old address parsers read as numbers, such as 2130706433 or 0x7f.1."""
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
        what = (
            "folders divided by backslashes" if path.startswith("data\\") else "a path outside of the payload"
        )
        return None, [_finding("fetch-path", what, number, shown)]
    findings = []
    if not is_right:
        message = "a `%` that is not written as `%25`; the name is taken as it stands"
        findings.append(_finding("percent-literal", message, number, shown, Severity.WARNING))
    findings += _judge_url(url, number)
    return FetchEntry(url, None if length == "-" else int(length), path), findings


_EXPECTED: Final = {
    "fetch-line": "absolute URI, length or -, path below data/",
    "fetch-path": "a path below data/",
    "fetch-url": "an absolute URI, such as https://museum.example/a, s3://store/a or ark:/12345/a",
    "fetch-url-form": "the characters of RFC 3986, any other as `%` and two digits",
    "fetch-url-local": "an address that others can reach",
    "percent-literal": "a path with `%` written as `%25`",
}
_RULES: Final = {
    "fetch-line": "RFC 8493 §2.2.3",
    "fetch-path": "RFC 8493 §2.2.3",
    "fetch-url": "RFC 8493 §2.2.3",
    "fetch-url-form": "RFC 8493 §2.2.3",
    "fetch-url-local": "RFC 8493 §5.2",
    "percent-literal": "RFC 8493 §2.1.3",
}


def _finding(
    code: str, message: str, number: int, found: str, severity: Severity = Severity.ERROR
) -> Finding:
    return Finding(
        code,
        message,
        "fetch.txt",
        expected=_EXPECTED[code],
        found=f"line {number}: {found}",
        advice=_ADVICE,
        rule=_RULES[code],
        severity=severity,
    )


def _judge_url(url: str, number: int) -> list[Finding]:
    """Say what is wrong with an address.

    Which scheme it has is its maker's business, since nothing is fetched here; that following it would read
    this machine or its neighbours is worth a warning.
    """
    shown = f"{url[:120]!a}"
    if _ABSOLUTE.fullmatch(url) is None:
        return [_finding("fetch-url", "an address that is no absolute URI", number, shown)]
    found = []
    if _NO_URI.search(url):
        found.append(
            _finding("fetch-url-form", "characters that a URI cannot have", number, shown, Severity.WARNING)
        )
    if _is_local(url):
        found.append(
            _finding(
                "fetch-url-local", "an address of one machine or network", number, shown, Severity.WARNING
            )
        )
    return found


def _is_local(url: str) -> bool:
    """Say whether an address leads to this machine or a private network, or names no host where it must."""
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").strip(".").lower()
    except ValueError:
        return True
    scheme = parts.scheme.lower()
    if not host:
        return scheme == "file" or scheme in _WITH_HOST
    return scheme == "file" or host == "localhost" or host.endswith(".localhost") or _is_private(host)


def _is_private(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        # no address as it is written today, though some programs would read it as one
        return _NUMERIC_HOST.fullmatch(host) is not None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return not address.is_global
