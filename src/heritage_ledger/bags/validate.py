"""Validate a bag with one read of each of its files, and name everything that is wrong (RFC 8493 §3).

Nothing is ever written, and no link is followed. A mismatch of the Payload-Oxum does not stop the check, so
that every missing, extra and damaged file has its name in the report.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from heritage_ledger.bags.names import ENCODED_FROM, DirectoryNames, encode_path, normalise
from heritage_ledger.bags.read import Bag, open_bag
from heritage_ledger.bags.tags import parse_oxum
from heritage_ledger.content.package import walk_package
from heritage_ledger.content.reading import is_large, read_file, spread, supports
from heritage_ledger.errors import EvidenceInvalid, Finding, Severity
from heritage_ledger.progress import SILENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import ThreadPoolExecutor
    from pathlib import Path

    from heritage_ledger.bags.manifests import Manifest
    from heritage_ledger.content.reading import FileDigests
    from heritage_ledger.progress import Progress

DIGEST_CODES: Final = frozenset(
    {"file-missing", "file-damaged", "file-unreadable", "file-extra", "algorithm-not-verified", "no-digest"}
)
"""Codes about the bytes of files, as against the rules for a bag's own form."""
STRONG: Final = frozenset(
    {"sha224", "sha256", "sha384", "sha512", "sha3224", "sha3256", "sha3384", "sha3512", "blake2b", "blake2s"}
)
"""Algorithms for which nobody can make two files of one digest."""
MAX_FINDINGS: Final = 100_000
"""Findings of a report; what is past them is counted in one last finding."""


@dataclass(frozen=True, slots=True)
class BagReport:
    """What validation found.

    `version` and `encoding` are the bag's own; `algorithms` those of the payload manifests that were
    verified; `files` and `size` (bytes) count the payload as it lies there, `tag_files` everything else.
    The bag is valid when no finding is an error.
    """

    findings: tuple[Finding, ...]
    version: str
    encoding: str
    bag_info: tuple[tuple[str, str], ...]
    algorithms: tuple[str, ...]
    files: int
    size: int
    tag_files: int

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
) -> BagReport:
    """Check the bag in `root`, complete and valid, and report everything that is wrong.

    `on_file` gets each file's path and digests, `on_folder` each empty folder, in the order of
    `walk_package`: enough to compute the bag's address in the same read.

    Raises:
        OperationFailed: there is no bag in `root` (`not-a-bag`).
    """
    check = _Check(open_bag(root), progress)
    check.before()
    for path, outcome in _read_all(root, check.algorithms, threads, progress):
        if outcome is None:
            if on_folder is not None:
                on_folder(path)
        elif isinstance(outcome, OSError):
            check.unreadable(path, outcome)
        else:
            check.file(path, outcome)
            if on_file is not None:
                on_file(path, outcome)
            progress.advance(files=1)
    check.after()
    return check.report()


def _read_all(
    root: Path, algorithms: tuple[str, ...], threads: int, progress: Progress
) -> Iterator[tuple[str, FileDigests | OSError | None]]:
    def work(item: tuple[str, str | None], helper: ThreadPoolExecutor | None) -> FileDigests | OSError | None:
        full = item[1]
        if full is None:
            return None
        try:
            if not stat.S_ISREG(os.lstat(full).st_mode):
                return OSError(0, "a link or another special file")
            return read_file(
                full, algorithms, helper=helper, progress=lambda size: progress.advance(size=size)
            )
        except OSError as error:
            return error

    items = spread(walk_package(root), work, is_large=lambda item: is_large(item[1]), threads=threads)
    for (path, _), outcome in items:
        yield path, outcome


class _Check:
    """One validation: knows the manifests, is told the files, keeps the findings."""

    def __init__(self, bag: Bag, progress: Progress) -> None:
        self.bag = bag
        self.progress = progress
        self.findings: list[Finding] = list(bag.findings)
        self.version = bag.declaration.version
        known = [manifest for manifest in bag.manifests if supports(manifest.algorithm)]
        self.payload = [manifest for manifest in known if not manifest.is_tag]
        self.tags = [manifest for manifest in known if manifest.is_tag]
        self.algorithms = tuple(sorted({manifest.algorithm for manifest in known}))
        self.files = self.size = self.tag_files = 0
        self._folder: str | None = None
        self._names = DirectoryNames()
        self._cut = 0
        self._promised = {entry.path for entry in bag.fetch}

    def before(self) -> None:
        """Check what the tag files say on their own."""
        bag = self.bag
        payload = [manifest for manifest in bag.manifests if not manifest.is_tag]
        if not payload:
            self._rule(
                "manifest-missing", "the bag has no payload manifest", None, "manifest-sha512.txt", "§2.1.3"
            )
        if not (bag.root / "data").is_dir():
            self._rule("payload-missing", "the bag has no payload folder", "data", "a folder data/", "§2.1.2")
        for manifest in bag.manifests:
            if not supports(manifest.algorithm):
                self._add(
                    Finding(
                        "algorithm-not-verified",
                        "a manifest of an algorithm that cannot be computed here, so it was not verified",
                        manifest.name,
                        expected="sha512, sha256 or another that is known",
                        found=manifest.algorithm,
                        advice="verify it with a tool that knows the algorithm",
                        rule="RFC 8493 §2.4",
                    )
                )
        verified = {manifest.algorithm for manifest in self.payload}
        if verified and not verified & STRONG:
            self._add(
                Finding(
                    "algorithm-weak",
                    "only digests that can be forged; the bytes may be others made to fit",
                    ", ".join(manifest.name for manifest in self.payload),
                    expected="sha512 or sha256 beside them",
                    found=", ".join(sorted(verified)),
                    rule="RFC 8493 §2.4",
                    severity=Severity.WARNING,
                )
            )
        self._check_tag_manifests()
        self._check_fetch()

    def _check_tag_manifests(self) -> None:
        names = [manifest.name for manifest in self.bag.manifests if not manifest.is_tag]
        if self.version < ENCODED_FROM:
            return
        for manifest in self.bag.manifests:
            if manifest.is_tag:
                for name in names:
                    if not manifest.lists(name):
                        self._rule(
                            "tag-manifest-incomplete",
                            "a tag manifest leaves out a payload manifest",
                            manifest.name,
                            name,
                            "§2.2.1",
                        )

    def _check_fetch(self) -> None:
        for entry in self.bag.fetch:
            if not all(manifest.lists(entry.path) for manifest in self.payload):
                self._rule(
                    "fetch-unlisted",
                    "fetch.txt promises a file that not every manifest lists",
                    entry.path,
                    "an entry in every payload manifest",
                    "§2.2.3",
                )

    def file(self, path: str, digests: FileDigests) -> None:
        """Compare one file with the manifests."""
        self._check_name(path)
        if path.startswith("data/"):
            self.files += 1
            self.size += digests.size
            self._payload(path, digests)
            return
        self.tag_files += 1
        for manifest in self.tags:
            expected = manifest.find(path)
            if expected is not None:
                self._compare(path, manifest, expected, digests)

    def _payload(self, path: str, digests: FileDigests) -> None:
        listed = 0
        for manifest in self.payload:
            expected = self._find(manifest, path)
            if expected is None:
                continue
            listed += 1
            self._compare(path, manifest, expected, digests)
        if listed == 0:
            self._add(
                Finding(
                    "file-extra",
                    "a payload file that no manifest lists",
                    path,
                    expected="an entry in the manifest",
                    advice="whoever made the bag has to say whether the file belongs to it",
                    rule="RFC 8493 §3",
                )
            )
        elif listed < len(self.payload) and self.version >= ENCODED_FROM:
            missing = [manifest.name for manifest in self.payload if not manifest.lists(path)]
            self._rule(
                "manifest-incomplete",
                "a payload file that not every manifest lists",
                path,
                ", ".join(missing),
                "§3",
            )

    def _find(self, manifest: Manifest, path: str) -> bytes | None:
        expected = manifest.find(path)
        if expected is None and self.version >= ENCODED_FROM and "%" in path:
            # a manifest that leaves a `%` as it is: the decoded reading found no file, the literal one does
            expected = manifest.find(encode_path(path))
        return expected

    def _compare(self, path: str, manifest: Manifest, expected: bytes, digests: FileDigests) -> None:
        found = digests.digests[manifest.algorithm]
        if found != expected:
            self._add(
                Finding(
                    "file-damaged",
                    f"the file is not the one that {manifest.name} lists",
                    path,
                    expected=f"{manifest.algorithm} {expected.hex()}",
                    found=f"{manifest.algorithm} {found.hex()}, {digests.size} bytes",
                    advice="bring the file back from another copy",
                    rule="RFC 8493 §3",
                )
            )

    def unreadable(self, path: str, error: OSError) -> None:
        """Note a file that could not be read, or is none."""
        for manifest in (*self.payload, *self.tags):
            manifest.find(path)
        if path.startswith("data/"):
            self.files += 1
        self._add(
            Finding(
                "file-unreadable",
                "not a regular file that can be read",
                path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"),
                expected="a regular file",
                found=error.strerror,
                advice="links have no place in a bag; otherwise check owner, permissions and disk",
                rule="RFC 8493 §5.1.4",
            )
        )

    def _check_name(self, path: str) -> None:
        folder, _, name = path.rpartition("/")
        if folder != self._folder:
            self._folder, self._names = folder, DirectoryNames()
        try:
            path.encode()
        except UnicodeEncodeError:
            self._add(
                Finding(
                    "name-not-utf8",
                    "a name that is not UTF-8",
                    path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"),
                    expected="UTF-8",
                    rule="RFC 8493 §2.1.3",
                )
            )
            return
        for finding in self._names.add(name, prefix=folder + "/" if folder else ""):
            self._add(finding)

    def after(self) -> None:
        """Say what was listed and never met, and compare the totals."""
        for manifest in (*self.payload, *self.tags):
            for path in manifest.unmet():
                self._missing(manifest, path)
        oxums = self.bag.info("Payload-Oxum")
        if len(oxums) > 1:
            severity = Severity.ERROR if self.version >= ENCODED_FROM else Severity.WARNING
            self._add(
                Finding(
                    "oxum-repeated",
                    "Payload-Oxum stands more than once",
                    "bag-info.txt",
                    expected="once at most",
                    found=str(len(oxums)),
                    rule="RFC 8493 §2.2.2",
                    severity=severity,
                )
            )
        for text in oxums:
            self._check_oxum(text)

    def _missing(self, manifest: Manifest, path: str) -> None:
        twin = normalise(path)
        promised = path in self._promised
        self._add(
            Finding(
                "file-missing",
                f"{manifest.name} lists a file that is not there"
                + (", and fetch.txt promises it: the bag is not complete" if promised else ""),
                path,
                expected="a file",
                found=f"perhaps under the name {twin!a}" if twin != path else None,
                advice="ask for the file, or bring it back from another copy",
                rule="RFC 8493 §3",
            )
        )

    def _check_oxum(self, text: str) -> None:
        try:
            oxum = parse_oxum(text)
        except EvidenceInvalid as error:
            self._add(error.finding)
            return
        if (oxum.size, oxum.files) != (self.size, self.files):
            self._rule(
                "oxum-mismatch",
                "the payload is not as large as Payload-Oxum says",
                "bag-info.txt",
                f"{oxum.size} bytes in {oxum.files} files",
                "§2.2.2",
                found=f"{self.size} bytes in {self.files} files",
            )

    def report(self) -> BagReport:
        """The report of everything so far."""
        if self._cut:
            self.findings.append(
                Finding("findings-cut", "more problems than are listed", found=f"{self._cut} more")
            )
        verified = tuple(sorted({manifest.algorithm for manifest in self.payload}))
        return BagReport(
            findings=tuple(self.findings),
            version=self.bag.declaration.text,
            encoding=self.bag.declaration.encoding,
            bag_info=self.bag.bag_info,
            algorithms=verified,
            files=self.files,
            size=self.size,
            tag_files=self.tag_files,
        )

    def _rule(
        self,
        code: str,
        message: str,
        path: str | None,
        expected: str,
        section: str,
        *,
        found: str | None = None,
    ) -> None:
        advice = "ask whoever made the bag for a right one"
        self._add(Finding(code, message, path, expected, found, advice, f"RFC 8493 {section}"))

    def _add(self, finding: Finding) -> None:
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(finding)
        else:
            self._cut += 1
            if finding.severity is Severity.ERROR:
                self.findings[-1] = finding
