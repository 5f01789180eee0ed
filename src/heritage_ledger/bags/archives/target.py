"""Write what comes out of an archive into an empty folder: within limits, files and folders only."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING, Final, NoReturn

from heritage_ledger.bags.archives.entries import PIECE, PLAIN, Damage, Readable, refuse
from heritage_ledger.bags.names import MAX_NAME_BYTES, check_path, normalise, show_path
from heritage_ledger.bags.read import open_bag
from heritage_ledger.errors import EvidenceInvalid, Finding, HeritageError
from heritage_ledger.home.durable import write_all, writing
from heritage_ledger.home.room import ROUNDING, Room, check_room

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from heritage_ledger.bags.archives.entries import Entry
    from heritage_ledger.bags.archives.limits import Limits

MAX_FINDINGS: Final = 1_000
"""Entries that are named when an archive is refused for what is in it."""
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Target:
    """The folder that an archive comes out into.

    What may not be in a bag is not made, and named at the end, all of it; from the first of these on nothing
    is written, but everything is still read and counted.
    """

    def __init__(self, folder: Path, limits: Limits, packed: int, room: Room) -> None:
        self.folder = folder
        self.limits = limits
        self.packed = packed
        self.room = room
        self.size = 0
        self.count = 0
        self.folders = 0
        self.made = 0
        self._findings: list[Finding] = []
        self._refused = 0
        self._listed: frozenset[str] | None = None

    def expect(self, size: int) -> None:
        """Compare what is said to come with the room, before the first byte of it."""
        self._check_room(self.size + size)

    def passed(self, size: int) -> None:
        """Count bytes that came out and are no file's."""
        self.size += size
        self._check_size()

    def all(self, entries: Iterator[Entry]) -> None:
        """Write them all.

        Raises:
            EvidenceInvalid: there is something in it that no bag may hold, or too much.
            DiskProblem: it does not fit, or cannot be written.
            Damage: a file has not the bytes that it should have.
        """
        for entry in entries:
            self.count += 1
            if self.count > self.limits.files:
                self._too_large(f"more than {self.limits.files} entries")
            name = self._checked_name(self._chosen(entry.names))
            if name is not None:
                with writing(self.folder / name):
                    self._one(name, entry)
        if self._refused:
            self._raise_refused()

    def _one(self, name: str, entry: Entry) -> None:
        if entry.other is not None:
            is_link = entry.other.startswith("a link")
            self._refuse("bag-link" if is_link else "bag-special", name, entry.other)
        elif entry.is_folder:
            self._folder(name)
        elif entry.same_as is not None:
            self._same(name, entry)
        elif entry.file is not None and self._refused:
            while piece := self._read(entry.file):
                self.passed(len(piece))
        elif entry.file is not None:
            self._file(name, entry.file, entry)

    def _chosen(self, names: tuple[str, ...]) -> str:
        """The reading of a name that the bag's manifests list, else the first."""
        if len(names) == 1:
            return names[0]
        if self._listed is None:
            self._listed = _listed(self.folder)
        for name in names:
            if normalise(name.removeprefix("./").rstrip("/")) in self._listed:
                return name
        return names[0]

    def _checked_name(self, name: str) -> str | None:
        plain = name.removeprefix("./").rstrip("/")
        if plain in {"", "."}:
            return None
        encoded = plain.encode("utf-8", "surrogateescape")
        if len(encoded) > self.limits.path or plain.count("/") >= self.limits.depth:
            self._too_large(f"a path of {len(encoded)} bytes, {plain.count('/')} folders deep")
        try:
            check_path(plain)
        except EvidenceInvalid as error:
            _refuse_at(name, "a path that leads out of the bag", error.found or "")
        if any(len(part) > MAX_NAME_BYTES for part in encoded.split(b"/")):
            _refuse_at(name, "a name that no file system takes", f"more than {MAX_NAME_BYTES} bytes")
        return plain

    def _folder(self, name: str) -> None:
        try:
            self._make(self.folder / name)
        except (FileExistsError, NotADirectoryError):
            _refuse_at(name, "one path stands for a file and a folder", "a folder")

    def _make(self, folder: Path) -> None:
        """Make a folder and those above it, each charged before; an entry may imply sixty."""
        missing = []
        while folder != self.folder and not folder.is_dir():
            missing.append(folder)
            folder = folder.parent
        for one in reversed(missing):
            self.folders += 1
            if self.folders > self.limits.folders * self.count + self.limits.spare_folders:
                self._too_large(f"{self.folders} folders in {self.count} entries")
            self._charge()
            one.mkdir()

    def _charge(self) -> None:
        """Compare one more file or folder with the room before it is made."""
        self.made += 1
        self._check_room(self.size)

    def _check_room(self, size: int) -> None:
        needed = Room(size + self.made * ROUNDING, self.made)
        check_room(
            needed,
            self.room,
            what="what is in the archive",
            path=self.folder,
            advice="free space, or use a larger disk: for the home, for TMPDIR; what came out is removed",
        )

    def _same(self, name: str, entry: Entry) -> None:
        """A hard link: the bytes of the file that came out under its other name, as a file of their own."""
        assert entry.same_as is not None
        other = entry.same_as.removeprefix("./").rstrip("/")
        if other == name:
            return
        path = self.folder / other
        try:
            check_path(other)
            status = path.lstat()
            is_file = stat.S_ISREG(status.st_mode)
        except (EvidenceInvalid, OSError, ValueError):
            is_file = False
        if not is_file:
            if not self._refused:  # else nothing is written, so that nothing can be said of it
                self._refuse("archive-link", name, f"the bytes of {other[:80]!a}")
            return
        self.expect(status.st_size)
        with path.open("rb") as file:
            self._file(name, file, entry)

    def _file(self, name: str, content: Readable, entry: Entry) -> None:
        path = self.folder / name
        try:
            self._make(path.parent)
            self._charge()
            descriptor = os.open(path, _NEW, 0o600)
        except (FileExistsError, NotADirectoryError):
            _refuse_at(name, "a path is in it twice", "a second one")
        try:
            offset = 0
            while piece := self._read(content):
                self.passed(len(piece))
                write_all(descriptor, piece, offset)
                offset += len(piece)
            if entry.size is not None and offset != entry.size:
                raise Damage(f"{name[:80]!a} has {offset} bytes, its header says {entry.size}")
            if entry.mtime is not None:
                with contextlib.suppress(OSError, OverflowError):  # a year that this system does not know
                    os.utime(descriptor, ns=(entry.mtime, entry.mtime))
        finally:
            os.close(descriptor)

    def _read(self, content: Readable) -> bytes:
        try:
            return content.read(PIECE)
        except OSError as error:
            raise Damage(str(error)) from error  # of the archive, not of our disk

    def _check_size(self) -> None:
        self._check_room(self.size)
        if self.size > self.limits.size:
            self._too_large(f"more than {self.limits.size} bytes")
        if self.size > self.limits.ratio_from and self.size > self.limits.ratio * self.packed:
            self._too_large(f"{self.size} bytes out of {self.packed}")

    def _too_large(self, found: str) -> NoReturn:
        refuse(
            "archive-too-large",
            "the archive unpacks to more than is taken",
            expected=f"at most {self.limits.size} bytes, {self.limits.files} entries, "
            f"{self.limits.depth} folders deep, {self.limits.ratio} times its own size",
            found=found,
            advice="unpack it yourself and adopt the folder",
        )

    def _refuse(self, code: str, name: str, found: str) -> None:
        self._refused += 1
        if len(self._findings) < MAX_FINDINGS:
            self._findings.append(_finding(code, name, found))

    def _raise_refused(self) -> NoReturn:
        first = self._findings[0]
        raise EvidenceInvalid(
            "archive-refused",
            "the archive is refused: only plain files and folders may be in it",
            path=first.path,
            found=(first.found or "") + (f", and {self._refused - 1} more" if self._refused > 1 else ""),
            advice=PLAIN,
            findings=tuple(self._findings),
        )


def _finding(code: str, name: str, found: str) -> Finding:
    path = show_path(name)[:200]
    if code == "archive-link":
        return Finding(
            "archive-link",
            "a second name of a file that did not come before it in the archive",
            path,
            expected="an earlier file of the archive",
            found=found,
            advice="pack the bag again, whole",
        )
    return Finding(
        "bag-link" if code == "bag-link" else "bag-special",
        "a bag holds regular files only",
        path,
        expected="a regular file",
        found=found,
        advice="ask for a bag without it",
    )


def _refuse_at(name: str, what: str, found: str) -> NoReturn:
    refuse("archive-refused", f"the archive is refused: {what}", path=name, found=found)


def _listed(folder: Path) -> frozenset[str]:
    """The paths below `folder`, and the folders above them, that the manifests which came out list."""
    paths: set[str] = set()
    with contextlib.suppress(OSError, HeritageError):
        roots = [folder, *(path for path in folder.iterdir() if path.is_dir())]
        for root in roots:
            if not (root / "bagit.txt").is_file():
                continue
            prefix = "" if root == folder else f"{root.name}/"
            for manifest in open_bag(root).manifests:
                for path in manifest.paths():
                    name = normalise(prefix + path)
                    while name and name not in paths:
                        paths.add(name)
                        name = name.rpartition("/")[0]
    return frozenset(paths)
