r"""File names in bags: how manifests spell them, which are dangerous, and which will not travel well.

From version 1.0 on a manifest writes CR, LF and `%` as `%0D`, `%0A` and `%25`, and nothing else in that way
(RFC 8493 §2.1.3); older versions write names as they are.

>>> encode_path("data/100%\n", (1, 0))
'data/100%25%0A'
>>> decode_path("data/100%25%0A", (1, 0))
('data/100%\n', True)
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final, TypeAlias

from heritage_ledger.bags.misread import misread
from heritage_ledger.errors import EvidenceInvalid, Finding, Severity

Version: TypeAlias = tuple[int, int]
"""Major and minor version of BagIt; they compare as such."""

ENCODED_FROM: Final[Version] = (1, 0)
MAX_NAME_BYTES: Final = 255
"""Bytes of one name that common file systems take."""

_ENCODE: Final = {"%": "%25", "\r": "%0D", "\n": "%0A"}
_TO_ENCODE: Final = re.compile(r"[%\r\n]")
_DECODE: Final = {"%25": "%", "%0D": "\r", "%0A": "\n"}
_ESCAPE: Final = re.compile(r"%(?:25|0[AaDd])")
_UNSAFE: Final = re.compile(
    r"^[/\\~]|^[A-Za-z]:|(?:^|[/\\])\.\.(?:[/\\]|\Z)|(?:^|/)\.(?:/|\Z)|//|/\Z|\x00|^\Z"
)
_WINDOWS_NAME: Final = re.compile(
    r"(?:con|prn|aux|nul|com[1-9\u00b9\u00b2\u00b3]|lpt[1-9\u00b9\u00b2\u00b3])(?:\..*)?", re.IGNORECASE
)
_WINDOWS_CHARACTER: Final = re.compile(r'[<>:"|?*\\]')
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_PLAIN: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_. -]{0,200}[A-Za-z0-9_-])?")
_JUNK: Final = frozenset({".ds_store", "thumbs.db", "desktop.ini", ".apdisk", ".localized"})


def encode_path(path: str, version: Version = ENCODED_FROM) -> str:
    """Return `path` as a manifest of that version writes it."""
    if version < ENCODED_FROM:
        return path
    return _TO_ENCODE.sub(lambda match: _ENCODE[match[0]], path)


def decode_path(text: str, version: Version) -> tuple[str, bool]:
    """Return the path that a manifest line names, and whether its spelling was right.

    A `%` that begins none of the three escapes is left as it is, and the spelling is not right.
    """
    if version < ENCODED_FROM or "%" not in text:
        return text, True
    path = _ESCAPE.sub(lambda match: _DECODE[match[0].upper()], text)
    return path, _ESCAPE.sub("", text).count("%") == 0


def check_path(path: str) -> None:
    """Check that `path` stays within the bag on every system: relative, no `..`, `.` or empty part, no NUL.

    A backslash is a letter like others here, as it is on the systems that can hold such a name; it counts as
    a separator only where that would lead out of the bag.

    Raises:
        EvidenceInvalid: `path-unsafe`.
    """
    if _UNSAFE.search(path) is not None:
        raise EvidenceInvalid(
            "path-unsafe",
            "a path that leads out of the bag, or is not plain",
            expected="a path within the bag, without `.`, `..` and empty parts",
            found=show_path(path)[:200],
            advice="do not unpack or copy this bag by its manifest; ask for a right one",
            rule="RFC 8493 §5.1",
        )


def show_path(path: str) -> str:
    r"""Return `path` as findings show it: bytes that are no UTF-8 as `\xNN`, so that it can be printed."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def is_utf8(path: str) -> bool:
    """Say whether the name that the file system gave is UTF-8."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_junk(name: str) -> bool:
    """Say whether a desktop makes files of this name for itself."""
    return name.startswith("._") or name.lower() in _JUNK


def normalise(path: str) -> str:
    """The form in which names are compared: NFC (RFC 8493 §6.1.1.3)."""
    return path if path.isascii() else unicodedata.normalize("NFC", path)


class DirectoryNames:
    """The names of one folder, told one by one; finds twins and names that will not travel.

    `encoded` says that manifests write `%` as `%25`, which some software does not read.
    """

    def __init__(self, *, encoded: bool = True) -> None:
        self._encoded = encoded
        self._folded: dict[str, str] = {}

    def add(self, name: str, *, prefix: str = "") -> list[Finding]:
        """Return what is to be said about `name`; `prefix` is the folder's path with a `/` at its end."""
        normal = normalise(name)
        folded = normal.lower() if normal.isascii() else normal.casefold()
        if folded == name:
            folded = name  # one string in memory in place of two
        other = self._folded.setdefault(folded, name)
        findings = [] if other is name else self._twins(name, normal, other, prefix)
        if _PLAIN.fullmatch(name) is None or name[:3].lower() in _WINDOWS_STARTS:
            findings += _hazards(name, prefix, encoded=self._encoded)
        return findings

    def _twins(self, name: str, normal: str, other: str, prefix: str) -> list[Finding]:
        if normalise(other) == normal:
            return [
                Finding(
                    "name-normalisation-twin",
                    "two names differ only in their Unicode form; one of them gets lost on some systems",
                    prefix + name,
                    found=f"{other!a} beside {name!a}",
                    advice="ask for a bag, or make a source, in which one of the two has another name",
                    rule="RFC 8493 §6.1.1.3",
                )
            ]
        return [
            _warning(
                "name-case-twin",
                "two names differ only in case; one of them gets lost on some systems",
                prefix + name,
                rule="RFC 8493 §6.1.1.3",
                found=other,
            )
        ]


class TreeNames:
    """The names of a whole bag, told path by path, depth first, a folder's files before its folders."""

    def __init__(self, *, encoded: bool = True) -> None:
        self._encoded = encoded
        self._parts: list[str] = []
        self._stack = [DirectoryNames(encoded=self._encoded)]

    def add_file(self, path: str) -> list[Finding]:
        """Return what is to be said about the file's name, and about the folders met for the first time."""
        folder, _, name = path.rpartition("/")
        findings = self.add_folder(folder)
        return findings + _judge_name(self._stack[-1], name, f"{folder}/" if folder else "")

    def add_folder(self, folder: str) -> list[Finding]:
        """Go to `folder` and return what is to be said about the folders met for the first time."""
        parts = folder.split("/") if folder else []
        if parts == self._parts:
            return []
        same = 0
        while same < len(parts) and parts[: same + 1] == self._parts[: same + 1]:
            same += 1
        del self._stack[same + 1 :]
        findings = []
        for depth in range(same, len(parts)):
            prefix = "".join(f"{part}/" for part in parts[:depth])
            findings += _judge_name(self._stack[-1], parts[depth], prefix)
            self._stack.append(DirectoryNames(encoded=self._encoded))
        self._parts = parts
        return findings


def _judge_name(names: DirectoryNames, name: str, prefix: str) -> list[Finding]:
    if is_utf8(name):
        return names.add(name, prefix=prefix)
    return [
        Finding(
            "name-not-utf8",
            "a name that is not UTF-8, so no manifest can list it",
            show_path(prefix + name),
            expected="UTF-8",
            found=name.encode("utf-8", "surrogateescape").hex(" "),
            advice="ask for a bag in which the name is UTF-8",
            rule="RFC 8493 §2.3",
        )
    ]


_WINDOWS: Final = "RFC 8493 §6.1.2"
_WINDOWS_STARTS: Final = frozenset({"con", "prn", "aux", "nul", "com", "lpt"})


def _hazards(name: str, prefix: str, *, encoded: bool) -> list[Finding]:
    path = prefix + name
    found = []
    if _WINDOWS_NAME.fullmatch(name):
        found.append(
            _warning("name-windows-reserved", "a name that Windows keeps for a device", path, rule=_WINDOWS)
        )
    if _WINDOWS_CHARACTER.search(name):
        found.append(
            _warning(
                "name-windows-character", "a character that Windows names cannot have", path, rule=_WINDOWS
            )
        )
    if name[-1:] in {".", " ", "\u00a0"} or name[:1] == " ":
        found.append(_warning("name-trailing", "a space or dot at an end, which some systems drop", path))
    if _CONTROL.search(name):
        found.append(_warning("name-control", "a control character in the name", path))
    others = misread(name, encoded=encoded)
    if others:
        message = "a name that other software reads as another one, or not at all"
        found.append(_warning("name-misread", message, path, found="; ".join(others)))
    if len(name.encode("utf-8", "surrogateescape")) > MAX_NAME_BYTES:
        found.append(
            _warning("name-too-long", f"a name of more than {MAX_NAME_BYTES} bytes", path, rule=_WINDOWS)
        )
    return found


def _warning(
    code: str, message: str, path: str, *, rule: str = "specs/bag-profile.md", found: str | None = None
) -> Finding:
    advice = "rename it if the package is to live on other systems too"
    return Finding(code, message, path, None, found, advice, rule, Severity.WARNING)
