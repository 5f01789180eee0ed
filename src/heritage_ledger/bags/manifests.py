"""Manifests: which files a bag lists, with their digests (RFC 8493 §2.1.3, §2.2.1).

A manifest of a million lines is kept as sorted byte strings, one for each line, so that looking up and
counting off costs little memory (measured: 200,000 lines of SHA-512 in 33 MiB and under a second).
"""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from heritage_ledger.bags.names import ENCODED_FROM, Version, check_path, decode_path, show_path
from heritage_ledger.content.algorithms import ALGORITHMS, plain_name
from heritage_ledger.errors import EvidenceInvalid, Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_NAME: Final = re.compile(r"(tag)?manifest-([A-Za-z0-9_-]+)\.txt")
_LINE: Final = re.compile(r"([0-9A-Fa-f]+)[ \t]+(.+)", re.DOTALL)
_ESCAPED: Final = re.compile(r"\\[0-9A-Fa-f]+ [ *]")
_PLAIN: Final = re.compile(r"(?!\.)[^%*~\\/:\0]+(?:/(?!\.)[^%\\/\0]+)*")
"""Paths that need no second look: no escape, no `*`, no part that begins with a dot."""
_RULE: Final = "RFC 8493 §2.1.3"
MAX_FINDINGS: Final = 1_000
"""Findings kept of one manifest; a file that is no manifest would give one for each line."""
MAX_ENTRIES: Final = 10_000_000
"""Entries of one manifest: what is kept in memory of it (about 130 bytes each)."""


def parse_manifest_name(name: str) -> tuple[bool, str] | None:
    """Return (is a tag manifest, algorithm) for the name of a manifest, None for any other name."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    return match[1] is not None, plain_name(match[2])


@dataclass(slots=True)
class Manifest:
    """The entries of one manifest, and which of them were met.

    `findings` say what is wrong with its lines; `is_literal` that one leaves a `%` bare, as software does
    that knows no `%25`.
    """

    name: str
    algorithm: str
    is_tag: bool
    findings: list[Finding] = field(default_factory=list)
    is_literal: bool = False
    _rows: list[bytes] = field(default_factory=list)
    _met: bytearray = field(default_factory=bytearray)
    _cut: int = 0

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, path: str, digest: bytes) -> None:
        """List `path`; the entries can be asked for after `seal`."""
        self._rows.append(_key(path) + digest)

    def find(self, path: str) -> bytes | None:
        """Return the digest that is listed for `path`, and count the entry as met."""
        key = _key(path)
        at = bisect_left(self._rows, key)
        if at == len(self._rows) or not self._rows[at].startswith(key):
            return None
        self._met[at] = 1
        return self._rows[at][len(key) :]

    def lists(self, path: str) -> bool:
        """Say whether `path` is listed, without counting it as met."""
        key = _key(path)
        at = bisect_left(self._rows, key)
        return at < len(self._rows) and self._rows[at].startswith(key)

    def paths(self) -> Iterator[str]:
        """Yield every listed path, sorted by its bytes."""
        for row in self._rows:
            yield row[: row.index(b"\0")].decode("utf-8", "surrogateescape")

    def unmet(self) -> Iterator[str]:
        """Yield every listed path that was never met."""
        at = self._met.find(0)
        while at >= 0:
            row = self._rows[at]
            yield row[: row.index(b"\0")].decode("utf-8", "surrogateescape")
            at = self._met.find(0, at + 1)

    def seal(self, version: Version) -> None:
        """Sort the rows, and drop repeated paths with a finding."""
        self._rows.sort()
        kept: list[bytes] = []
        previous = b""
        for row in self._rows:
            key = row[: row.index(b"\0") + 1]
            if key == previous:
                self.note(_repeated(self.name, key[:-1], version, same=kept[-1] == row))
            else:
                kept.append(row)
            previous = key
        self._rows = kept
        self._met = bytearray(len(kept))
        if self._cut:
            self.findings.append(
                Finding(
                    "findings-cut",
                    "more problems than are listed",
                    self.name,
                    found=f"{self._cut} more",
                    advice="mend what is listed and check again",
                    severity=Severity.WARNING,
                )
            )

    def note(self, finding: Finding) -> None:
        """Keep a finding about the manifest, up to `MAX_FINDINGS`; an error is never lost to warnings."""
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(finding)
            return
        self._cut += 1
        if finding.severity is Severity.ERROR:
            self.findings[-1] = finding


def _key(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape") + b"\0"


def parse_manifest(lines: Iterable[str], name: str, version: Version) -> Manifest:
    """Return the manifest `name` from its lines (without or with their ends).

    Nothing is raised for a line that is wrong: it becomes a finding, and the others still count. A `name`
    that is no manifest's is a `ValueError`.
    """
    kind = parse_manifest_name(name)
    if kind is None:
        raise ValueError(name)  # the caller's mistake: it asked for the lines of another file
    manifest = Manifest(name, kind[1], kind[0])
    if not name.endswith(f"manifest-{manifest.algorithm}.txt"):
        manifest.note(_odd_name(name, manifest.algorithm))
    known = ALGORITHMS.get(manifest.algorithm)
    length = None if known is None else known.size
    for number, line in enumerate(lines, 1):
        if number > MAX_ENTRIES:
            manifest.note(_too_long(name))
            break
        text = line.rstrip("\r\n")
        match = _LINE.fullmatch(text)
        if match is None:
            if text.strip() or version >= ENCODED_FROM:
                manifest.note(_malformed(name, number, text))
            continue
        digest_text, written = match[1], match[2]
        if len(digest_text) % 2 or (length is not None and len(digest_text) != 2 * length):
            manifest.note(_digest_length(name, number, digest_text, length))
            continue
        path = written if _PLAIN.fullmatch(written) else _unusual(manifest, written, version)
        if path is not None and _is_in_place(manifest, path, version):
            manifest.add(path, bytes.fromhex(digest_text))
    manifest.seal(version)
    return manifest


def _unusual(manifest: Manifest, written: str, version: Version) -> str | None:
    """Return the path of a line that is not plainly written, or None when it may not be followed."""
    path = written
    if path.startswith("*"):
        manifest.note(
            Finding(
                "manifest-star",
                "a `*` before the path, as md5sum writes it",
                manifest.name,
                found=ascii(written)[:200],
                advice="ask for a manifest without it; strict readers refuse this one",
                rule="RFC 8493 §6.1.3",
                severity=Severity.WARNING,
            )
        )
        path = path[1:]
    if path.startswith("./"):
        severity = Severity.ERROR if version >= ENCODED_FROM else Severity.WARNING
        manifest.note(
            Finding(
                "manifest-dot-slash",
                "the path begins with `./`",
                manifest.name,
                expected="a path relative to the bag, as in data/file",
                found=ascii(written)[:200],
                advice="ask for a manifest without it",
                rule=_RULE,
                severity=severity,
            )
        )
        path = path.removeprefix("./")
    path, is_right = decode_path(path, version)
    if not is_right:
        manifest.is_literal = True
        manifest.note(
            Finding(
                "percent-literal",
                "a `%` that is not written as `%25`; the name is taken as it stands",
                manifest.name,
                found=ascii(written)[:200],
                advice="ask for a manifest that writes `%` as `%25`; other readers may look for another name",
                rule=_RULE,
                severity=Severity.WARNING,
            )
        )
    try:
        check_path(path)
    except EvidenceInvalid as error:
        manifest.note(replace(error.finding, path=manifest.name))
        return None
    return path


def _is_in_place(manifest: Manifest, path: str, version: Version) -> bool:
    if not manifest.is_tag and path.startswith("data\\"):
        manifest.note(_separator(manifest.name, path))
        return False
    is_payload = path.startswith("data/")
    is_nested = manifest.is_tag and path.startswith("tagmanifest-")
    if is_payload != manifest.is_tag and not is_nested:
        return True
    if not manifest.is_tag:
        message, expected = "a payload manifest lists a tag file", "paths below data/ only"
    elif is_nested:
        message, expected = "a tag manifest lists a tag manifest", "the other tag files"
    else:
        message, expected = "a tag manifest lists a payload file", "no path below data/"
    manifest.note(
        Finding(
            "manifest-place",
            message,
            manifest.name,
            expected=expected,
            found=show_path(path)[:200],
            advice="ask whoever made the bag for a right one",
            rule="RFC 8493 §2.2.1" if manifest.is_tag else _RULE,
            severity=Severity.ERROR if version >= ENCODED_FROM else Severity.WARNING,
        )
    )
    # old bags that list bagit.txt among the payload are common; the digest is still worth checking
    return version < ENCODED_FROM


def _repeated(name: str, path: bytes, version: Version, *, same: bool) -> Finding:
    is_error = version >= ENCODED_FROM or not same
    return Finding(
        "manifest-repeated",
        "a path is listed twice" + ("" if same else " with different digests"),
        name,
        expected="each path once",
        found=path.decode("utf-8", "backslashreplace")[:200],
        advice="ask whoever made the bag for a right one",
        rule=_RULE,
        severity=Severity.ERROR if is_error else Severity.WARNING,
    )


def _separator(name: str, path: str) -> Finding:
    return Finding(
        "manifest-separator",
        "a path whose parts are divided by backslashes",
        name,
        expected="`/` between folders and names, as in data/folder/file",
        found=show_path(path)[:200],
        advice="ask for a manifest with `/`; some programs for Windows write such ones",
        rule=_RULE,
    )


def _malformed(name: str, number: int, text: str) -> Finding:
    if _ESCAPED.match(text):
        return Finding(
            "manifest-escape",
            "a line that begins with a backslash, as md5sum writes it for some names",
            name,
            expected="the digest first, and the name as it is but for %0A, %0D and %25",
            found=f"line {number}: {text[:80]!a}",
            advice="ask for a manifest in the form of a bag; strict readers refuse this line",
            rule="RFC 8493 §6.1.3",
        )
    return Finding(
        "manifest-line",
        "a line that is no digest with a path",
        name,
        expected="hexadecimal digest, spaces, path",
        found=f"line {number}: {text[:80]!a}",
        advice="ask whoever made the bag for a right one",
        rule=_RULE,
    )


def _digest_length(name: str, number: int, digest: str, length: int | None) -> Finding:
    return Finding(
        "manifest-digest-length",
        "a digest of another length than its algorithm has",
        name,
        expected="an even number of digits" if length is None else f"{2 * length} hexadecimal digits",
        found=f"line {number}: {len(digest)} digits",
        advice="ask whoever made the bag for a right one",
        rule=_RULE,
    )


def _odd_name(name: str, algorithm: str) -> Finding:
    return Finding(
        "manifest-name",
        "the manifest's name does not spell its algorithm with small letters and digits alone",
        name,
        expected=f"…manifest-{algorithm}.txt",
        advice="ask for a bag with the right name; other readers may not take it for a manifest",
        rule="RFC 8493 §2.4",
        severity=Severity.WARNING,
    )


def _too_long(name: str) -> Finding:
    return Finding(
        "manifest-too-long",
        "more lines than are read; the rest was not checked",
        name,
        expected=f"at most {MAX_ENTRIES} lines",
        advice="ask for the bag in several smaller ones",
        rule="specs/bag-profile.md",
    )
