"""Tag files: the declaration `bagit.txt`, the labelled values of `bag-info.txt` (RFC 8493 §2.1.1, §2.2.2)."""

from __future__ import annotations

import codecs
import contextlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from heritage_ledger.bags.names import ENCODED_FROM, Version
from heritage_ledger.errors import EvidenceInvalid, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAX_DECLARATION: Final = 1_024
"""Bytes of a bagit.txt: it has two lines."""
MAX_INFO: Final = 32 << 20
"""Characters of a bag-info.txt that are kept in memory, with what each of its lines costs beside them."""
_ELEMENT: Final = 200
KNOWN_VERSIONS: Final[frozenset[Version]] = frozenset({(0, 93), (0, 94), (0, 95), (0, 96), (0, 97), (1, 0)})
NOT_REPEATED: Final = ("Bagging-Date", "Bag-Size", "Bag-Group-Identifier", "Bag-Count")
"""Labels that should stand once (RFC 8493 §2.2.2); Payload-Oxum must."""
USED: Final = (*NOT_REPEATED, "Payload-Oxum", "Payload-CID", "External-Identifier", "External-Description")
"""Labels whose values are looked at here."""

_NUMBER: Final = r"(0|[1-9][0-9]{0,5})"
_STRICT: Final = re.compile(
    rf"BagIt-Version: {_NUMBER}\.{_NUMBER}\nTag-File-Character-Encoding: (\S+)\n?", re.ASCII
)
_LOOSE: Final = re.compile(
    rf"BagIt-Version\s*:\s*{_NUMBER}\.{_NUMBER}[ \t]*\n"
    r"Tag-File-Character-Encoding\s*:\s*(\S+)[ \t]*\n*",
    re.IGNORECASE | re.ASCII,
)
_ENCODING: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:()+-]{0,39}")
_NO_CHARSETS: Final = frozenset(
    {"idna", "mbcs", "oem", "punycode", "raw-unicode-escape", "undefined", "unicode-escape", "utf-7"}
)
"""Names that the codec registry knows and that are no character sets of files."""
_OXUM: Final = re.compile(r"([0-9]{1,20})\.([0-9]{1,20})")
_LINE_END: Final = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class Declaration:
    """What bagit.txt says: the version and the encoding of the other tag files."""

    version: Version
    encoding: str

    @property
    def text(self) -> str:
        """The version as the bag writes it."""
        return f"{self.version[0]}.{self.version[1]}"


@dataclass(frozen=True, slots=True)
class Oxum:
    """The payload in bytes and files, as Payload-Oxum claims it."""

    size: int
    files: int


@dataclass(frozen=True, slots=True)
class BagInfo:
    """The elements of bag-info.txt, as (label, value); `is_cut` where there are more than are kept."""

    elements: tuple[tuple[str, str], ...] = ()
    is_cut: bool = False


def parse_declaration(data: bytes) -> Declaration:
    """Return the declaration in the bytes of bagit.txt.

    Raises:
        EvidenceInvalid: `bagit-declaration`, not two lines in their order and form; `bagit-version`, a
            version that is not known; `bagit-encoding`, an encoding that is not.
    """
    if len(data) > MAX_DECLARATION:
        raise _malformed(f"{len(data)} bytes")
    if data.startswith(codecs.BOM_UTF8):
        raise _malformed("a byte order mark")
    try:
        text = _LINE_END.sub("\n", data.decode())
    except UnicodeDecodeError as error:
        raise _malformed("bytes that are not UTF-8") from error
    match = _STRICT.fullmatch(text) or _LOOSE.fullmatch(text)
    if match is None or (_STRICT.fullmatch(text) is None and (int(match[1]), int(match[2])) >= ENCODED_FROM):
        raise _malformed(repr(text[:120]))
    version = (int(match[1]), int(match[2]))
    if version not in KNOWN_VERSIONS:
        raise EvidenceInvalid(
            "bagit-version",
            "a version of BagIt that is not known",
            path="bagit.txt",
            expected="0.93 to 0.97 or 1.0",
            found=f"{match[1]}.{match[2]}",
            advice="ask for the bag in version 1.0",
            rule="RFC 8493 §2.1.1",
        )
    return Declaration(version, _parse_encoding(match[3]))


def _parse_encoding(text: str) -> str:
    """Return the one name that the codec registry has for the encoding."""
    name = None
    if _ENCODING.fullmatch(text):
        with contextlib.suppress(LookupError, ValueError):
            "".encode(text)  # refuses codecs that make no text
            name = codecs.lookup(text).name
    if name is None or name.replace("_", "-") in _NO_CHARSETS:
        raise EvidenceInvalid(
            "bagit-encoding",
            "an encoding that is not known",
            path="bagit.txt",
            expected="UTF-8, or another character encoding",
            found=repr(text[:40]),
            advice="ask for the bag with tag files in UTF-8",
            rule="RFC 8493 §2.1.1",
        )
    return name


def format_declaration() -> bytes:
    """Return the bagit.txt of the bags that are written here."""
    return b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"


def parse_bag_info(lines: Iterable[str], version: Version) -> BagInfo:
    """Return the labels and values of bag-info.txt in their order, repeated ones included.

    A line that begins with a space or tab continues the value before it. All lines are checked; what is kept
    of them has a bound (`MAX_INFO`), behind which only the first two of each label in `USED` are.

    Raises:
        EvidenceInvalid: `bag-info-line`, a line without a label.
    """
    kept = _Kept()
    for number, line in enumerate(lines, 1):
        text = line.rstrip("\r\n")
        if text[:1] in {" ", "\t"} and kept.has_any:
            kept.fold(text)
            continue
        if not text.strip():
            continue
        written, colon, value = text.partition(":")
        label = written.strip()
        if not colon or not label or (version >= ENCODED_FROM and label != written):
            raise EvidenceInvalid(
                "bag-info-line",
                "a line that is no label with a value",
                path="bag-info.txt",
                expected="Label: value",
                found=f"line {number}: {text[:80]!r}",
                advice="ask whoever made the bag for a right one",
                rule="RFC 8493 §2.2.2",
            )
        kept.add(label, value)
    return kept.info()


class _Kept:
    """The elements of a bag-info.txt, as many as there is room for."""

    def __init__(self) -> None:
        self.has_any = False
        self._elements: list[tuple[str, list[str]]] = []
        self._used = dict.fromkeys(map(str.casefold, USED), 0)
        self._room = MAX_INFO
        self._is_cut = False
        self._is_last_kept = False

    def add(self, label: str, value: str) -> None:
        self.has_any = True
        folded = label.casefold()
        count = self._used.get(folded, 2)
        if count < 2:
            self._used[folded] += 1
        self._is_last_kept = self._take(value) or count < 2
        if self._is_last_kept:
            self._elements.append((label, [value]))

    def fold(self, text: str) -> None:
        if self._is_last_kept and self._take(text):
            self._elements[-1][1].append(text)

    def _take(self, text: str) -> bool:
        self._room -= len(text) + _ELEMENT
        self._is_cut = self._is_cut or self._room < 0
        return not self._is_cut

    def info(self) -> BagInfo:
        elements = (
            (label, " ".join(filter(None, (part.strip(" \t") for part in parts))))
            for label, parts in self._elements
        )
        return BagInfo(tuple(elements), self._is_cut)


def format_bag_info(elements: Sequence[tuple[str, str]]) -> bytes:
    """Return a bag-info.txt; every label and value is one line.

    Raises:
        UsageError: a label or value cannot stand in one line and be read back (`bag-info-value`).
    """
    for label, value in elements:
        is_label = label and label == label.strip() and ":" not in label
        if not is_label or value != value.strip(" \t") or len(f"{label}{value}.".splitlines()) > 1:
            raise UsageError(
                "bag-info-value",
                "bag-info.txt cannot hold this label or value",
                path="bag-info.txt",
                expected="one line, without spaces around it",
                found=f"{label!a}: {value!a}"[:200],
                advice="leave out line breaks, and spaces at both ends",
            )
    return "".join(f"{label}: {value}\n" for label, value in elements).encode()


def parse_oxum(text: str) -> Oxum:
    """Return the Payload-Oxum in a value.

    Raises:
        EvidenceInvalid: `oxum-malformed`.
    """
    match = _OXUM.fullmatch(text.strip())
    if match is None:
        raise EvidenceInvalid(
            "oxum-malformed",
            "the Payload-Oxum is not two numbers",
            path="bag-info.txt",
            expected="bytes.files",
            found=repr(text[:80]),
            advice="ask whoever made the bag for a right one",
            rule="RFC 8493 §2.2.2",
        )
    return Oxum(int(match[1]), int(match[2]))


def _malformed(found: str) -> EvidenceInvalid:
    return EvidenceInvalid(
        "bagit-declaration",
        "bagit.txt is not the declaration of a bag",
        path="bagit.txt",
        expected="two lines, BagIt-Version and Tag-File-Character-Encoding, in UTF-8",
        found=found,
        advice="ask whoever made the bag for a whole one",
        rule="RFC 8493 §2.1.1",
    )
