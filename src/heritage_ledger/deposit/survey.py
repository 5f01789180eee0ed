"""Pre-flight: look at the whole source and list everything wrong with it before a byte is copied.

Links, devices, names that are not UTF-8, twins of one name in two Unicode forms, and files that cannot be
opened refuse the deposit; case twins, names that other systems cannot hold, junk and empty folders are
warnings. What was seen is spooled to a file, so that memory does not grow with the number of files, and the
copy that follows takes exactly these files and notices any that changed since.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from heritage_ledger.bags.names import DirectoryNames, is_junk
from heritage_ledger.errors import Finding, ProblemsFound, Severity, UsageError
from heritage_ledger.home.layout import longest_path

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from heritage_ledger.home.layout import Home
    from heritage_ledger.progress import Progress

MAX_FINDINGS = 10_000
"""Findings kept of one survey; what is past them is counted in one last finding."""
_SPOOL_BUFFER = 1 << 20


class SourceFile(NamedTuple):
    """A regular file as the survey saw it: path below the source, bytes, and what tells a change."""

    path: str
    size: int
    modified: int
    inode: int


@dataclass(frozen=True, slots=True)
class Survey:
    """What will be taken: `files` and `size` (bytes) in all, and the warnings met.

    `source` is the folder; or, where `single` is set, the folder that holds the one file to take.
    """

    source: bytes
    files: int
    size: int
    findings: tuple[Finding, ...]
    spool: BinaryIO
    single: bool

    def __iter__(self) -> Iterator[SourceFile]:
        """Yield the files depth first, a folder's files before its folders, each in byte order."""
        self.spool.seek(0)
        rest = b""
        while block := self.spool.read(_SPOOL_BUFFER):
            *records, rest = (rest + block).split(b"\0")
            for record in records:
                size, modified, inode, path = record.split(b" ", 3)
                yield SourceFile(path.decode(), int(size), int(modified), int(inode))


def survey(source: Path, spool: BinaryIO, *, skip_junk: bool, home: Home, progress: Progress) -> Survey:
    """Look at `source`, a folder or a single file, and list what is there.

    `spool` is an empty file open for reading and writing; `home` may not lie within the source or hold it,
    and every path has to fit into it.

    Raises:
        UsageError: the source is absent, or overlaps the home.
        ProblemsFound: the source cannot be taken as it is (`source-refused`); every reason is a finding.
    """
    progress.begin("survey")
    root = _check_place(source, home.root)
    walk = _Walk(spool, progress, skip_junk=skip_junk, longest=longest_path(home) - len("data/"))
    if source.is_dir():
        walk.folder(root)
        top, single = root, False
    else:
        single = True
        top, name = os.path.split(root)
        walk.entries(top + b"/", "", [name], DirectoryNames())
    walk.check_contents(source)
    errors = [finding for finding in walk.findings if finding.severity is Severity.ERROR]
    if errors:
        raise ProblemsFound(
            "source-refused",
            f"the source cannot be taken as it is: {len(errors)} problem{'s' if len(errors) > 1 else ''}",
            path=os.fsdecode(source),
            advice="mend what the findings name and run the same command again; nothing was copied",
            findings=tuple(walk.findings),
        )
    spool.flush()
    return Survey(top, walk.files, walk.size, tuple(walk.findings), spool, single)


def _check_place(source: Path, home: Path) -> bytes:
    try:
        root = source.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise UsageError(
            "source-missing", "there is nothing to take at this path", path=str(source), found=str(error)
        ) from error
    home = home.resolve()
    if root == home or home in root.parents or root in home.parents:
        raise UsageError(
            "source-overlaps-home",
            "the source and the ledger's home lie within each other",
            path=str(source),
            expected="a source outside of the home",
            found=str(home),
        )
    return os.fsencode(root)


def path_too_long(path: str, longest: int) -> Finding:
    """The finding about a path that has no place in a home, or none in a longer one."""
    return Finding(
        "source-path-too-long",
        "the path is too long: where it would lie, most programs could not read the file",
        path,
        expected=f"{longest} bytes at most",
        found=f"{len(path.encode())} bytes",
        advice="shorten the names of its folders, or pack the deepest of them into an archive",
    )


class _Walk:
    """Goes through the source depth first, a folder's files before its folders."""

    def __init__(self, spool: BinaryIO, progress: Progress, *, skip_junk: bool, longest: int) -> None:
        self.spool = spool
        self.longest = longest
        self.progress = progress
        self.skip_junk = skip_junk
        self.files = 0
        self.size = 0
        self.findings: list[Finding] = []
        self._cut = 0

    def folder(self, root: bytes) -> None:
        """Visit `root` and all below it; a stack of our own, so depth is bounded by the disk alone."""
        pending = [(root + b"/", "")]
        while pending:
            folder, prefix = pending.pop()
            try:
                names = os.listdir(folder)  # noqa: PTH208 - names as bytes
            except OSError as error:
                self._unreadable(prefix or ".", "a folder that this user may read", error)
                continue
            if not names and prefix:
                self._add(
                    Finding(
                        "source-empty-folder",
                        "an empty folder is not kept: bags hold files only",
                        prefix,
                        advice="put a file in it, such as .keep, where the folder itself matters",
                        rule="RFC 8493 §2.1.3",
                        severity=Severity.WARNING,
                    )
                )
            below = self.entries(folder, prefix, names, DirectoryNames())
            pending.extend(reversed(below))

    def entries(
        self, folder: bytes, prefix: str, names: list[bytes], seen: DirectoryNames
    ) -> list[tuple[bytes, str]]:
        """Record the files among `names` and return the folders, both in order."""
        below: list[tuple[bytes, str]] = []
        for name in sorted(names):
            shown = prefix + name.decode("utf-8", "backslashreplace")
            try:
                status = os.lstat(folder + name)
            except OSError as error:
                self._unreadable(shown, "a file or folder", error)
                continue
            text = self._name(name, shown)
            if text is None:
                continue
            if is_junk(text) and not stat.S_ISDIR(status.st_mode):
                self._junk(shown)
                if self.skip_junk:
                    continue
            for finding in seen.add(text, prefix=prefix):
                self._add(finding)
            if stat.S_ISDIR(status.st_mode):
                below.append((folder + name + b"/", prefix + text + "/"))
            elif stat.S_ISREG(status.st_mode):
                self._file(folder + name, prefix + text, status)
            else:
                self._special(shown, status.st_mode)
        return below

    def _name(self, name: bytes, shown: str) -> str | None:
        try:
            return name.decode()
        except UnicodeDecodeError:
            self._add(
                Finding(
                    "source-name-not-utf8",
                    "the name is not UTF-8, so no manifest can hold it",
                    shown,
                    expected="UTF-8",
                    found=name.hex(" "),
                    advice="rename the file and keep the old name in the metadata",
                    rule="RFC 8493 §2.3",
                )
            )
            return None

    def _file(self, full: bytes, path: str, status: os.stat_result) -> None:
        if len(path.encode()) > self.longest:
            self._add(path_too_long(path, self.longest))
            return
        try:
            os.close(os.open(full, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK))
        except OSError as error:
            self._unreadable(path, "a file that this user may read", error)
            return
        self.files += 1
        self.size += status.st_size
        self.spool.write(
            b"%d %d %d %s\0" % (status.st_size, status.st_mtime_ns, status.st_ino, path.encode())
        )
        self.progress.advance(files=1, size=status.st_size)

    def _special(self, shown: str, mode: int) -> None:
        if stat.S_ISLNK(mode):
            self._add(
                Finding(
                    "source-link",
                    "a symbolic link: what it points at may lie outside and change",
                    shown,
                    expected="a regular file",
                    found="a symbolic link",
                    advice="replace it by the file itself, or leave it out",
                )
            )
            return
        kinds = {stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket", stat.S_IFBLK: "a block device"}
        self._add(
            Finding(
                "source-special",
                "not a regular file, so there are no bytes to keep",
                shown,
                expected="a regular file",
                found=kinds.get(stat.S_IFMT(mode), "a device"),
                advice="leave it out",
            )
        )

    def _junk(self, shown: str) -> None:
        self._add(
            Finding(
                "source-junk",
                "a file that a desktop made for itself" + (", left out" if self.skip_junk else ", kept"),
                shown,
                advice=None if self.skip_junk else "leave such files out with --skip-junk",
                severity=Severity.WARNING,
            )
        )

    def check_contents(self, source: Path) -> None:
        """Refuse a source with no file in it; warn when it is a bag already."""
        if not self.files and not self.findings:
            self._add(Finding("source-empty", "there is no file to take", expected="at least one file"))
        elif not self.files and all(finding.severity is Severity.WARNING for finding in self.findings):
            self._add(Finding("source-empty", "nothing is left to take", expected="at least one file"))
        if source.is_dir() and (source / "bagit.txt").is_file() and (source / "data").is_dir():
            self._add(
                Finding(
                    "source-is-bag",
                    "the source is a bag; it will lie whole inside the new one",
                    "bagit.txt",
                    advice="use `heritage adopt` to take the bag in as it is",
                    severity=Severity.WARNING,
                )
            )
        if self._cut:
            self.findings.append(
                Finding(
                    "findings-cut",
                    "more problems than are listed",
                    found=f"{self._cut} more",
                    severity=Severity.WARNING,  # an error among them took the place of a listed warning
                )
            )

    def _unreadable(self, shown: str, expected: str, error: OSError) -> None:
        self._add(
            Finding(
                "source-unreadable",
                "it cannot be opened",
                shown,
                expected=expected,
                found=error.strerror,
                advice="check owner and permissions, or leave it out",
            )
        )

    def _add(self, finding: Finding) -> None:
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(finding)
        else:
            self._cut += 1
            if finding.severity is Severity.ERROR:
                self.findings[-1] = finding
