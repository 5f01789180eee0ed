"""Open a bag: its declaration, information, manifests and fetch list, with what is wrong in them."""

from __future__ import annotations

import errno
import io
import os
import stat
from codecs import BOM_UTF8
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from heritage_ledger.bags.fetch import FetchEntry, parse_fetch
from heritage_ledger.bags.manifests import Manifest, parse_manifest, parse_manifest_name
from heritage_ledger.bags.names import show_path
from heritage_ledger.bags.tags import (
    MAX_DECLARATION,
    BagInfo,
    Declaration,
    parse_bag_info,
    parse_declaration,
)
from heritage_ledger.errors import EvidenceInvalid, Finding, OperationFailed, Severity
from heritage_ledger.home.surroundings import check_encoding

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
"""Without blocking: a named pipe called manifest-md5.txt would hold the check up for ever."""
_ABSENT: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EINVAL, errno.ELOOP})
_NOT_A_FILE: Final = frozenset({errno.EINVAL, errno.ELOOP, errno.EISDIR, errno.ENXIO})
"""What the system says of a folder, a link or a device in a tag file's place: that is about the bag."""
MAX_LINE: Final = 65_536
"""Characters in a line of a manifest or fetch list: longer paths exist on no system."""
MAX_INFO_LINE: Final = 1 << 20
"""Characters in a line of bag-info.txt, which may hold a description."""


@dataclass(frozen=True, slots=True)
class Bag:
    """What a bag says about itself, as far as it could be read; `findings` say what is wrong with that.

    `declaration` is the last known one where bagit.txt is wrong, so that the rest can still be looked at.
    `is_cut` where a payload manifest could not be read to its end, so that it cannot tell what is extra.
    """

    root: Path
    declaration: Declaration
    bag_info: tuple[tuple[str, str], ...]
    manifests: tuple[Manifest, ...]
    fetch: tuple[FetchEntry, ...]
    findings: tuple[Finding, ...]
    is_cut: bool = False

    def info(self, label: str) -> list[str]:
        """Every value of a label, whose case does not matter (RFC 8493 §2.2.2)."""
        wanted = label.casefold()
        return [value for name, value in self.bag_info if name.casefold() == wanted]


def open_bag(root: Path) -> Bag:
    """Read the tag files of the bag in the folder `root`; nothing is written and no link is followed.

    Raises:
        OperationFailed: there is no folder, or it is no bag at all (`not-a-bag`): neither a bagit.txt nor a
            manifest with a data folder; or it cannot be looked at (`bag-unreadable`).
        UsageError: this process does not name files in UTF-8 (`locale-not-utf8`).
    """
    check_encoding()
    names = _names(root)
    if "bagit.txt" not in names and not ("data" in names and any(map(parse_manifest_name, names))):
        raise OperationFailed(
            "not-a-bag",
            "there is no bag at this path",
            path=show_path(str(root)),
            expected="a folder with bagit.txt, a manifest and data/",
            found=show_path(", ".join(names[:8]))[:200] or "nothing",
            advice="name the bag's own folder; a folder of files is taken in by `heritage ingest`",
        )
    findings: list[Finding] = []
    declaration = _declaration(root, findings)
    bag_info = _bag_info(root, declaration, findings) if "bag-info.txt" in names else BagInfo()
    manifests = []
    is_cut = False
    for name in names:
        kind = parse_manifest_name(name)
        if kind is None:
            continue
        try:
            with _lines(root / name, declaration, findings) as lines:
                manifests.append(parse_manifest(_bounded(lines, MAX_LINE), name, declaration.version))
        except (OSError, ValueError) as error:
            findings.append(_unreadable(name, error, declaration))
            is_cut = is_cut or not kind[0]
            continue
        findings += manifests[-1].findings
    fetch = _fetch(root, declaration, findings) if "fetch.txt" in names else ()
    elements = bag_info.elements
    return Bag(root, declaration, elements, tuple(manifests), tuple(fetch), tuple(findings), is_cut)


def _names(root: Path) -> list[str]:
    try:
        return sorted(os.listdir(root))  # noqa: PTH208 - names only
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise OperationFailed(
            "bag-unreadable",
            "the folder cannot be read, so nothing can be said of the bag in it",
            path=show_path(str(root)),
            expected="a folder that this user may read",
            found=error.strerror,
            advice="check owner, permissions and disk",
        ) from error


def _declaration(root: Path, findings: list[Finding]) -> Declaration:
    try:
        return parse_declaration(_read(root / "bagit.txt", MAX_DECLARATION))
    except EvidenceInvalid as error:
        findings.append(error.finding)
    except OSError as error:
        if error.errno not in _ABSENT:
            findings.append(_unreadable("bagit.txt", error, Declaration((1, 0), "utf-8")))
            return Declaration((1, 0), "utf-8")
        findings.append(
            Finding(
                "bagit-missing",
                "the bag has no readable bagit.txt",
                "bagit.txt",
                expected="two lines, BagIt-Version and Tag-File-Character-Encoding, in UTF-8",
                found=error.strerror,
                advice="ask whoever made the bag for a whole one",
                rule="RFC 8493 §2.1.1",
            )
        )
    return Declaration((1, 0), "utf-8")


def _bag_info(root: Path, declaration: Declaration, findings: list[Finding]) -> BagInfo:
    name = "bag-info.txt"
    try:
        with _lines(root / name, declaration, findings) as lines:
            info = parse_bag_info(_bounded(lines, MAX_INFO_LINE), declaration.version)
    except EvidenceInvalid as error:
        findings.append(error.finding)
        return BagInfo()
    except (OSError, ValueError) as error:
        findings.append(_unreadable(name, error, declaration))
        return BagInfo()
    if info.is_cut:
        findings.append(
            Finding(
                "bag-info-cut",
                "more elements than are kept in memory; what is past them was read and is not shown",
                name,
                found=f"the first {len(info.elements)} are kept",
                advice="nothing is lost; long descriptions are better kept in files of their own",
                rule="specs/bag-profile.md",
                severity=Severity.WARNING,
            )
        )
    return info


def _fetch(root: Path, declaration: Declaration, findings: list[Finding]) -> list[FetchEntry]:
    try:
        with _lines(root / "fetch.txt", declaration, findings) as lines:
            entries, wrong = parse_fetch(_bounded(lines, MAX_LINE), declaration.version)
    except (OSError, ValueError) as error:
        findings.append(_unreadable("fetch.txt", error, declaration))
        return []
    findings += wrong
    return entries


def _read(path: Path, limit: int) -> bytes:
    """Return at most `limit` bytes and one more, from which the parser sees that there are too many."""
    with _open(path) as file:
        return file.read(limit + 1)


def _open(path: Path) -> io.BufferedReader:
    """Open a regular file, which no link at the end of `path` may stand for."""
    descriptor = os.open(path, _READ)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file")
    return os.fdopen(descriptor, "rb")


def _lines(path: Path, declaration: Declaration, findings: list[Finding]) -> io.TextIOWrapper:
    """Open a tag file as text; LF, CR and CRLF all end a line (RFC 8493 §2.3)."""
    file = _open(path)
    encoding = declaration.encoding
    if encoding == "utf-8" and file.peek(len(BOM_UTF8)).startswith(BOM_UTF8):
        encoding = "utf-8-sig"
        findings.append(
            Finding(
                "tag-file-bom",
                "the tag file begins with a byte order mark, which UTF-8 has no use for",
                path.name,
                expected="no bytes before the first line",
                found="EF BB BF",
                advice="it was skipped; ask for a bag without it, since other readers take it for text",
                rule="RFC 8493 §2.3",
                severity=Severity.WARNING,
            )
        )
    return io.TextIOWrapper(file, encoding=encoding, newline=None)


def _bounded(lines: io.TextIOWrapper, longest: int) -> Iterator[str]:
    """Yield the lines; one of more than `longest` characters is a `ValueError`."""
    while line := lines.readline(longest + 1):
        if len(line) > longest:
            raise ValueError(f"a line of more than {longest} characters")
        yield line


def _unreadable(name: str, error: OSError | ValueError, declaration: Declaration) -> Finding:
    if isinstance(error, UnicodeError):
        return Finding(
            "tag-file-encoding",
            "the tag file is not in the encoding that bagit.txt declares",
            name,
            expected=declaration.encoding,
            found=str(error)[:120],
            advice="ask for the bag with tag files in UTF-8",
            rule="RFC 8493 §2.3",
        )
    if isinstance(error, OSError) and error.errno not in _NOT_A_FILE:
        return Finding(
            "file-unreadable",
            "it cannot be read",
            name,
            expected="a file or folder that this user may read",
            found=error.strerror,
            advice="check owner, permissions and disk",
            rule="RFC 8493 §3",
        )
    return Finding(
        "tag-file-unreadable",
        "the tag file cannot be read",
        name,
        expected="a regular file with lines of no more than the limits",
        found=((error.strerror if isinstance(error, OSError) else None) or str(error))[:160],
        advice="ask whoever made the bag for a whole one",
        rule="specs/bag-profile.md",
    )
