"""Tag files: the declaration `bagit.txt`, the labelled values of `bag-info.txt` (RFC 8493 §2.1.1, §2.2.2)."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from heritage_ledger.bags.names import ENCODED_FROM, Version
from heritage_ledger.errors import EvidenceInvalid

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_DECLARATION: Final = 1_024
"""Bytes of a bagit.txt: it has two lines."""
MAX_TAG_FILE: Final = 16 << 20
"""Bytes of a bag-info.txt that is read."""
KNOWN_VERSIONS: Final[frozenset[Version]] = frozenset({(0, 93), (0, 94), (0, 95), (0, 96), (0, 97), (1, 0)})

_STRICT: Final = re.compile(r"BagIt-Version: (\d+)\.(\d+)\nTag-File-Character-Encoding: (\S+)\n?")
_LOOSE: Final = re.compile(
    r"BagIt-Version\s*:\s*(\d+)\.(\d+)[ \t]*\nTag-File-Character-Encoding\s*:\s*(\S+)[ \t]*\n*",
    re.IGNORECASE,
)
_OXUM: Final = re.compile(r"(\d{1,20})\.(\d{1,20})")
_LABEL: Final = re.compile(r"([^:\n]*?)[ \t]*:(.*)", re.DOTALL)
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
    try:
        encoding = codecs.lookup(match[3]).name
        "".encode(encoding)
    except (LookupError, TypeError) as error:
        raise EvidenceInvalid(
            "bagit-encoding",
            "an encoding that is not known",
            path="bagit.txt",
            expected="UTF-8, or another character encoding",
            found=match[3][:40],
            rule="RFC 8493 §2.1.1",
        ) from error
    return Declaration(version, encoding)


def format_declaration() -> bytes:
    """Return the bagit.txt of the bags that are written here."""
    return b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"


def parse_bag_info(data: bytes, declaration: Declaration) -> tuple[tuple[str, str], ...]:
    """Return the labels and values of bag-info.txt in their order, repeated ones included.

    A line that begins with a space or tab continues the value before it.

    Raises:
        EvidenceInvalid: `bag-info-encoding`, or `bag-info-line`, a line without a label.
    """
    text = decode_tag_file(data, declaration, "bag-info.txt")
    elements: list[list[str]] = []
    for number, line in enumerate(_LINE_END.split(text), 1):
        if line[:1] in {" ", "\t"} and elements:
            elements[-1][1] += "\n" + line
            continue
        if not line.strip():
            continue
        match = _LABEL.fullmatch(line)
        is_strict = declaration.version >= ENCODED_FROM
        if (
            match is None
            or not match[1].strip()
            or (is_strict and line[len(match[1]) : len(match[1]) + 1] != ":")
        ):
            raise EvidenceInvalid(
                "bag-info-line",
                "a line that is no label with a value",
                path="bag-info.txt",
                expected="Label: value",
                found=f"line {number}: {line[:80]!r}",
                rule="RFC 8493 §2.2.2",
            )
        elements.append([match[1].strip(), match[2]])
    return tuple((label, re.sub(r"\n[ \t]*", " ", value).strip(" \t")) for label, value in elements)


def format_bag_info(elements: Sequence[tuple[str, str]]) -> bytes:
    """Return a bag-info.txt; every label and value is one line."""
    for label, value in elements:
        assert not _LINE_END.search(label + value)
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
            rule="RFC 8493 §2.2.2",
        )
    return Oxum(int(match[1]), int(match[2]))


def decode_tag_file(data: bytes, declaration: Declaration, path: str) -> str:
    """Return the text of a tag file in the encoding that the bag declares.

    Raises:
        EvidenceInvalid: `tag-file-encoding`.
    """
    try:
        text = data.decode(declaration.encoding)
    except (UnicodeDecodeError, ValueError) as error:
        raise EvidenceInvalid(
            "tag-file-encoding",
            "the tag file is not in the encoding that bagit.txt declares",
            path=path,
            expected=declaration.encoding,
            found=str(error)[:120],
            rule="RFC 8493 §2.1.1",
        ) from error
    return text.removeprefix("\ufeff")


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
