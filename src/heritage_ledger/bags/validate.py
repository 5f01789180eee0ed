"""Validate a bag with one read of each of its files, and name everything that is wrong (RFC 8493 §3).

Nothing is ever written, and no link is followed. A mismatch of the Payload-Oxum does not stop the check, so
that every missing, extra and damaged file has its name in the report.
"""

from __future__ import annotations

import errno
import re
import unicodedata
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from heritage_ledger.bags.names import ENCODED_FROM, TreeNames, decode_path, is_utf8, normalise, show_path
from heritage_ledger.bags.read import Bag, open_bag
from heritage_ledger.bags.rules import check_rules
from heritage_ledger.bags.tags import parse_oxum
from heritage_ledger.bags.walk import EmptyFolder, SpecialFile, UnreadFile, UnreadFolder, read_bag
from heritage_ledger.content.algorithms import supports
from heritage_ledger.content.reading import FileDigests
from heritage_ledger.errors import EvidenceInvalid, Finding, Severity
from heritage_ledger.home.deep import lstat_below
from heritage_ledger.progress import SILENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from heritage_ledger.bags.manifests import Manifest
    from heritage_ledger.bags.walk import Outcome
    from heritage_ledger.progress import Progress

DIGEST_CODES: Final = frozenset(
    {"algorithm-not-verified", "file-damaged", "file-extra", "file-missing", "file-unreadable"}
)
"""Codes about the bytes of files, as against the rules for a bag's own form."""
MAX_FINDINGS: Final = 100_000
"""Findings of a report; what is past them is counted in one last finding."""

_RESPELLED: Final = re.compile(r"[%\r\n]")


@dataclass(frozen=True, slots=True)
class BagReport:
    """What validation found.

    `version` and `encoding` are the bag's own; `algorithms` those of the payload manifests that were
    verified; `files` and `size` (bytes) count the payload as it lies there, `tag_files` everything else.
    `skipped` counts what `on_file` was not told of, since it could not be read or has no name in UTF-8: then
    what the caller made of the others is not the whole bag. The bag is valid when no finding is an error.
    """

    findings: tuple[Finding, ...]
    version: str
    encoding: str
    bag_info: tuple[tuple[str, str], ...]
    algorithms: tuple[str, ...]
    files: int
    size: int
    tag_files: int
    skipped: int = 0

    @property
    def is_valid(self) -> bool:
        """Whether no finding is an error."""
        return all(finding.severity is not Severity.ERROR for finding in self.findings)


def validate_bag(
    root: Path,
    *,
    threads: int = 2,
    progress: Progress = SILENT,
    on_file: Callable[[str, FileDigests], object] | None = None,
    on_folder: Callable[[str], object] | None = None,
    files: Callable[[tuple[str, ...]], Iterator[tuple[str, Outcome]]] | None = None,
) -> BagReport:
    """Check the bag in `root`, complete and valid, and report everything that is wrong.

    Where the payload lies elsewhere, `files` yields all files of the bag with the digests of the algorithms
    that it is given; `root` then need hold no more than the tag files and a folder `data`.

    `on_file` gets each file's path and digests, `on_folder` each empty folder, depth first, a folder's files
    before its folders: enough to compute the bag's address in the same read.

    Raises:
        OperationFailed: there is no bag in `root` (`not-a-bag`).
    """
    check = _Check(open_bag(root))
    met = files(check.algorithms) if files else read_bag(root, check.algorithms, threads, progress)
    for path, outcome in met:
        if isinstance(outcome, FileDigests):
            check.file(path, outcome)
            if on_file is not None and is_utf8(path):
                on_file(path, outcome)
            progress.advance(files=1)
        elif isinstance(outcome, EmptyFolder):
            check.folder(path)
            if on_folder is not None and is_utf8(path):
                on_folder(path)
        else:
            check.trouble(path, outcome)
    check.finish()
    return check.report()


class _Check:
    """One validation: knows the manifests, is told the files, keeps the findings."""

    def __init__(self, bag: Bag) -> None:
        self.bag = bag
        self.version = bag.declaration.version
        self.known = {name for name in {manifest.algorithm for manifest in bag.manifests} if supports(name)}
        self.algorithms = tuple(sorted(self.known))
        self.payload = [manifest for manifest in bag.manifests if not manifest.is_tag]
        self.tags = [manifest for manifest in bag.manifests if manifest.is_tag]
        self.findings = [*bag.findings, *check_rules(bag, self.known)]
        self.files = self.size = self.tag_files = self.skipped = 0
        is_literal = any(manifest.is_literal for manifest in self.payload)
        self._names = TreeNames(encoded=self.version >= ENCODED_FROM and not is_literal)
        self._cut = 0
        self._unread: list[str] = []
        self._is_seen_whole = True
        self._extras: dict[str, int] = {}
        self._promised = {entry.path for entry in bag.fetch}

    def file(self, path: str, digests: FileDigests) -> None:
        """Compare one file with the manifests."""
        named = self._names.add_file(path)
        self.skipped += not is_utf8(path)
        if path.startswith("data/"):
            self.files += 1
            self.size += digests.size
        else:
            self.tag_files += 1
        missing_in = []
        listed = 0
        entries, is_respelled = self._entries(path)
        # software that does not know the right spelling finds the file by the wrong one
        self._add(*(one for one in named if not (is_respelled and one.code == "name-misread")))
        for manifest, expected in entries:
            if expected is not None:
                listed += 1
                self._compare(path, manifest, expected, digests)
            elif manifest.is_tag != path.startswith("data/"):
                missing_in.append(manifest.name)
        self._check_listed(path, listed, missing_in)

    def _entries(self, path: str) -> tuple[list[tuple[Manifest, bytes | None]], bool]:
        """Look the file up in every manifest, if need be by the other names that may stand for it there.

        The second value says whether it was one of those.
        """
        entries = [(manifest, manifest.find(path)) for manifest in self.bag.manifests]
        if any(expected is not None for _, expected in entries):
            return entries, False
        if path.isascii() and _RESPELLED.search(path) is None:
            return entries, False
        for name in self._other_names(path):
            is_listed = any(manifest.lists(name) for manifest in self.bag.manifests)
            if is_listed and not _is_there(self.bag.root, name):
                self._add(_listed_as(path, name))
                return [(manifest, manifest.find(name)) for manifest in self.bag.manifests], True
        return entries, False

    def _other_names(self, path: str) -> list[str]:
        if self.version >= ENCODED_FROM:
            other = decode_path(path, self.version)[0]
        else:
            other = path.replace("\r", "%0D").replace("\n", "%0A")
        forms = [other, unicodedata.normalize("NFC", path), unicodedata.normalize("NFD", path)]
        return [form for form in forms if form != path]

    def _compare(self, path: str, manifest: Manifest, expected: bytes, digests: FileDigests) -> None:
        if manifest.algorithm not in self.known:
            return
        found = digests.digests[manifest.algorithm]
        if found != expected:
            self._add(
                Finding(
                    "file-damaged",
                    f"the file is not the one that {manifest.name} lists",
                    show_path(path),
                    expected=f"{manifest.algorithm} {expected.hex()}",
                    found=f"{manifest.algorithm} {found.hex()}, {digests.size} bytes",
                    advice="bring the file back from another copy",
                    rule="RFC 8493 §3",
                )
            )

    def _check_listed(self, path: str, listed: int, missing_in: list[str]) -> None:
        if not path.startswith("data/"):
            self._check_tag_listed(path, listed, missing_in)
        elif listed == 0 and not self.bag.is_cut:
            if len(self.findings) < MAX_FINDINGS:
                self._extras[_folded(path)] = len(self.findings)  # perhaps a listed one in another case
            self._add(
                Finding(
                    "file-extra",
                    "a payload file that no manifest lists",
                    show_path(path),
                    expected="an entry in every payload manifest",
                    found="none",
                    advice="whoever made the bag has to say whether the file belongs to it",
                    rule="RFC 8493 §3",
                )
            )
        elif listed and missing_in and self.version >= ENCODED_FROM:
            self._add(
                Finding(
                    "manifest-incomplete",
                    "a payload file that not every manifest lists",
                    show_path(path),
                    expected="an entry in every payload manifest",
                    found=f"none in {', '.join(missing_in)}",
                    advice="ask whoever made the bag for a right one",
                    rule="RFC 8493 §3",
                )
            )

    def _check_tag_listed(self, path: str, listed: int, missing_in: list[str]) -> None:
        is_manifest = "/" not in path and path.startswith(("manifest-", "tagmanifest-"))
        if listed or not missing_in or is_manifest or self.version < ENCODED_FROM:
            return
        self._add(
            Finding(
                "tag-file-unlisted",
                "a tag file that no tag manifest lists, so nothing shows a change of it",
                show_path(path),
                expected=f"an entry in {missing_in[0]}",
                found="none",
                advice="ask for a bag whose tag manifests list every tag file",
                rule="RFC 8493 §2.2.1",
                severity=Severity.WARNING,
            )
        )

    def folder(self, path: str) -> None:
        """Take note of an empty folder."""
        self._add(*self._names.add_folder(path))
        self.skipped += not is_utf8(path)

    def trouble(self, path: str, outcome: OSError | SpecialFile | UnreadFile | UnreadFolder) -> None:
        """Note what could not be read, or is no file."""
        self.skipped += 1
        if isinstance(outcome, UnreadFolder):
            self._is_seen_whole = False
            self._unread.append("" if path == "." else f"{path}/")
            self._add(*self._names.add_folder("" if path == "." else path))
            self._add(_unreadable(path, outcome.reason))
            return
        self._add(*self._names.add_file(path))
        self._entries(path)
        self.files += path.startswith("data/")
        if not isinstance(outcome, SpecialFile):
            self._is_seen_whole = False
            self._add(_unreadable(path, outcome.strerror if isinstance(outcome, OSError) else outcome.reason))
            return
        self._add(
            Finding(
                "bag-link" if outcome.is_link else "bag-special",
                "a bag holds regular files only",
                show_path(path),
                expected="a regular file",
                found=outcome.kind,
                advice="ask for a bag with the file itself in its place, or without it",
                rule="specs/bag-profile.md",
            )
        )

    def finish(self) -> None:
        """Say what was listed and never met, and compare the totals."""
        for group in (self.payload, self.tags):
            for number, manifest in enumerate(group):
                for path in manifest.unmet():
                    if not any(earlier.lists(path) for earlier in group[:number]):
                        self._missing([other.name for other in group if other.lists(path)], path)
        for text in self.bag.info("Payload-Oxum"):
            self._check_oxum(text)  # of what could not be read, nobody knows how large it is

    def _missing(self, manifests: list[str], path: str) -> None:
        if any(path.startswith(folder) for folder in self._unread):
            self._add(_unreadable(path, "its folder cannot be read"))
            return
        promised = path in self._promised
        near = self._named_otherwise(path)
        self._add(
            Finding(
                "file-missing",
                "a file that is listed is not there"
                + (", and fetch.txt promises it: the bag is not complete" if promised else ""),
                show_path(path),
                expected=f"a file, listed in {', '.join(manifests)}",
                found=near or "none",
                advice="ask for the file, or bring it back from another copy"
                if near is None
                else "give the file the name that is listed, then check again",
                rule="RFC 8493 §3",
            )
        )

    def _named_otherwise(self, path: str) -> str | None:
        """Say which file may be the missing one under another name; the extra one then says so too."""
        at = self._extras.get(_folded(path))
        if at is not None and at < len(self.findings) and self.findings[at].code == "file-extra":
            extra = self.findings[at]
            if _folded(extra.path or "") == _folded(show_path(path)):
                found = f"an entry for {show_path(path)}, which differs in case only"
                self.findings[at] = replace(extra, found=found)
                return f"{extra.path}, which differs in case only"
        other = path.replace("\\", "/")
        if other != path and _is_there(self.bag.root, other):
            return f"{show_path(other)}: the manifest divides folders by backslashes, not by `/`"
        return None

    def _check_oxum(self, text: str) -> None:
        try:
            oxum = parse_oxum(text)
        except EvidenceInvalid as error:
            self._add(error.finding)
            return
        if self._is_seen_whole and (oxum.size, oxum.files) != (self.size, self.files):
            self._add(
                Finding(
                    "oxum-mismatch",
                    "the payload is not as large as Payload-Oxum says",
                    "bag-info.txt",
                    expected=f"{oxum.size} bytes in {oxum.files} files",
                    found=f"{self.size} bytes in {self.files} files",
                    advice="the other findings name missing, extra and damaged files; without one, "
                    "ask whoever made the bag for a right bag-info.txt",
                    rule="RFC 8493 §2.2.2",
                )
            )

    def report(self) -> BagReport:
        """The report of everything so far."""
        if self._cut:
            self.findings.append(
                Finding(
                    "findings-cut",
                    "more problems than are listed",
                    found=f"{self._cut} more",
                    advice="mend what is listed and check again",
                    severity=Severity.WARNING,
                )
            )
        verified = tuple(sorted(self.known & {manifest.algorithm for manifest in self.payload}))
        return BagReport(
            findings=tuple(self.findings),
            version=self.bag.declaration.text,
            encoding=self.bag.declaration.encoding,
            bag_info=self.bag.bag_info,
            algorithms=verified,
            files=self.files,
            size=self.size,
            tag_files=self.tag_files,
            skipped=self.skipped,
        )

    def _add(self, *findings: Finding) -> None:
        for finding in findings:
            if len(self.findings) < MAX_FINDINGS:
                self.findings.append(finding)
                continue
            self._cut += 1
            if finding.severity is Severity.ERROR:
                self.findings[-1] = finding


def _folded(path: str) -> str:
    """The form in which names are compared that a system without cases may have changed."""
    return normalise(path).casefold()


def _is_there(root: Path, path: str) -> bool:
    """Say whether something lies there; what the system does not tell counts as there."""
    try:
        lstat_below(root, path)
    except OSError as error:
        return error.errno not in {errno.ENOENT, errno.ENOTDIR}
    return True


def _unreadable(path: str, reason: str | None) -> Finding:
    return Finding(
        "file-unreadable",
        "it cannot be read",
        show_path(path),
        expected="a file or folder that this user may read",
        found=reason,
        advice="check owner, permissions and disk",
        rule="RFC 8493 §3",
    )


def _listed_as(path: str, name: str) -> Finding:
    if unicodedata.normalize("NFC", path) == unicodedata.normalize("NFC", name):
        return Finding(
            "name-normalisation",
            "the manifest lists the name in another Unicode form than the file has",
            show_path(path),
            expected=ascii(name),
            found=ascii(path),
            advice="nothing is lost; systems that change names, such as older Macs, do this",
            rule="RFC 8493 §6.1.1.3",
            severity=Severity.WARNING,
        )
    return Finding(
        "percent-literal",
        "the manifest spells `%`, CR or LF in the name by the rules of another version",
        show_path(path),
        expected=ascii(name),
        found=ascii(path),
        advice="ask for a manifest that writes `%` as `%25`; other readers may look for another name",
        rule="RFC 8493 §2.1.3",
        severity=Severity.WARNING,
    )
