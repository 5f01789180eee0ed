"""Unpack a bag from tar, tar.gz or zip into an empty folder, without trusting it (`specs/bag-profile.md`).

Only regular files and folders come out: no link, device or sparse file, no path that leaves the folder, none
twice. Sizes are counted while bytes come out, never believed from headers. The libraries read the formats;
every file is written by this module.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Final, NoReturn

from heritage_ledger.bags.names import MAX_NAME_BYTES, check_path, show_path
from heritage_ledger.errors import EvidenceInvalid, OperationFailed
from heritage_ledger.home.durable import write_all, writing
from heritage_ledger.home.room import ROUNDING, Room, check_room, free_room

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_PIECE: Final = 1 << 20
_GZIP: Final = b"\x1f\x8b"
_ZIP: Final = (b"PK\x03\x04", b"PK\x05\x06")
_ENCRYPTED: Final = 0x1
MAX_HEADER: Final = 1 << 20
"""Bytes that a tar may spend between two files' contents: long names and attributes, which tarfile reads
whole into memory."""
MAX_DIRECTORY: Final = 256 << 20
"""Bytes of a zip's directory, which zipfile keeps in memory whole (some two million names)."""
_ZIP_END: Final = struct.Struct("<4s4H2LH")
_ZIP64_END: Final = struct.Struct("<4sQ2H2L4Q")
_ZIP64_POINTER: Final = 20
_ZIP_TAIL: Final = 65_535 + _ZIP_END.size + _ZIP64_POINTER + _ZIP64_END.size
_DAMAGE: Final = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    ValueError,
    OverflowError,
    IndexError,
    KeyError,
    AttributeError,
    OSError,
)
"""What the libraries raise for bytes that are no archive; gzip and tarfile raise a bare OSError too."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much an archive may unpack to.

    `size` is bytes in all, `files` the number of entries, `depth` folders in one path, `path` bytes of one
    path, `ratio` unpacked bytes for one packed byte (checked from `ratio_from` bytes on). Folders that paths
    only imply are counted: there may be `folders` for each entry on average, and `spare_folders` beside.
    """

    size: int = 16 << 40
    files: int = 5_000_000
    depth: int = 64
    path: int = 4_000
    folders: int = 4
    spare_folders: int = 8_192
    ratio: int = 200
    ratio_from: int = 64 << 20


DEFAULT_LIMITS: Final = Limits()


def is_archive(path: Path) -> bool:
    """Say whether `path` is a file that looks like tar, tar.gz or zip.

    Raises:
        OperationFailed: it is a file that cannot be read (`archive-unreadable`).
    """
    if not path.is_file():
        return False
    with _opened(path) as file:
        start = file.read(512)
    return start[:2] == _GZIP or start[:4] in _ZIP or start[257:262] == b"ustar"


def extract(
    archive: Path, target: Path, *, limits: Limits = DEFAULT_LIMITS, room: Room | None = None
) -> Path:
    """Unpack `archive` into the empty folder `target`, and return the folder of the bag in it.

    That is `target` itself or its one folder. After an error `target` holds what came out so far; the
    caller removes it. Nothing is written beyond `room`, which is that of the disk where it is not given.

    Raises:
        EvidenceInvalid: the archive is damaged or holds what no bag may hold (`archive-…`).
        OperationFailed: it cannot be read (`archive-unreadable`), or holds no bag (`not-a-bag`).
        DiskProblem: what comes out cannot be written.
    """
    with _opened(archive) as file:
        try:
            start = file.read(4)
            packed = max(file.seek(0, os.SEEK_END), 1)
            with writing(target):
                unpack = _Unpack(target, limits, packed, room or free_room(target))
            file.seek(0)
            if start in _ZIP:
                unpack.all(_zip_entries(file, unpack.expect))
            elif start[:2] == _GZIP:
                with gzip.GzipFile(fileobj=file) as unzipped:
                    unpack.all(_tar_entries(unzipped, unpack.expect))
            else:
                unpack.all(_tar_entries(file, unpack.expect))
        except _DAMAGE as error:
            raise _damaged(archive, str(error)) from error
        except (NotImplementedError, RuntimeError) as error:
            _refuse("a way of packing that is not read here", str(archive), str(error)[:120])
    return _bag_root(archive, target)


@contextlib.contextmanager
def _opened(archive: Path) -> Iterator[IO[bytes]]:
    try:
        file = archive.open("rb")
    except OSError as error:
        raise OperationFailed(
            "archive-unreadable",
            "the archive cannot be opened",
            path=show_path(str(archive)),
            found=error.strerror,
            advice="check owner and permissions",
        ) from error
    with file:
        yield file


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    is_folder: bool
    file: IO[bytes] | None


class _Headers:
    """The bytes of a tar as tarfile sees them, with an allowance for what it reads between contents."""

    def __init__(self, file: IO[bytes] | gzip.GzipFile) -> None:
        self._file = file
        self._left: int | None = None

    def read(self, size: int) -> bytes:
        piece = self._file.read(size)
        if self._left is not None:
            self._left -= len(piece)
            if self._left < 0:
                _refuse("the header of a file is too long", "", f"more than {MAX_HEADER} bytes")
        return piece

    @contextlib.contextmanager
    def limited(self) -> Iterator[None]:
        self._left = MAX_HEADER
        yield
        self._left = None


def _tar_entries(file: IO[bytes] | gzip.GzipFile, expect: Callable[[int], None]) -> Iterator[_Entry]:
    headers = _Headers(file)
    with headers.limited():
        tar = tarfile.open(fileobj=headers, mode="r|")  # type: ignore[call-overload]  # noqa: SIM115 - below
    with tar:
        while True:
            with headers.limited():
                member = tar.next()
            if member is None:
                return
            tar.members = []  # it would keep every header in memory
            if member.isdir():
                yield _Entry(member.name, is_folder=True, file=None)
                continue
            if not member.isreg() or member.issparse():
                _refuse("only plain files and folders may be in it", member.name, _tar_kind(member))
            expect(member.size)
            yield _Entry(member.name, is_folder=False, file=tar.extractfile(member))


def _zip_entries(file: IO[bytes], expect: Callable[[int], None]) -> Iterator[_Entry]:
    _check_directory(file)
    with zipfile.ZipFile(file) as packed:
        expect(sum(info.file_size for info in packed.infolist()))
        for info in packed.infolist():
            # the name as it stands there: zipfile cuts its own at a NUL
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in {0, stat.S_IFDIR if info.is_dir() else stat.S_IFREG}:
                _refuse("only plain files and folders may be in it", info.orig_filename, _zip_kind(info))
            if info.is_dir():
                yield _Entry(info.orig_filename, is_folder=True, file=None)
                continue
            if info.flag_bits & _ENCRYPTED:
                _refuse("it is encrypted", info.orig_filename, "an encrypted file")
            if info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
                _refuse(
                    "a way of packing that is not read here",
                    info.orig_filename,
                    f"method {info.compress_type}",
                )
            with packed.open(info) as content:
                yield _Entry(info.orig_filename, is_folder=False, file=content)


def _check_directory(file: IO[bytes]) -> None:
    """Refuse a zip whose directory would fill the memory, before zipfile reads it."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _ZIP_TAIL))
    tail = file.read()
    file.seek(0)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) < at + _ZIP_END.size:
        raise zipfile.BadZipFile("it has no directory at its end")
    length = _ZIP_END.unpack_from(tail, at)[5]
    if tail[max(at - _ZIP64_POINTER, 0) :].startswith(b"PK\x06\x07"):
        start = at - _ZIP64_POINTER - _ZIP64_END.size
        if start < 0 or not tail.startswith(b"PK\x06\x06", start):
            raise zipfile.BadZipFile("its long directory is not where it should be")
        length = _ZIP64_END.unpack_from(tail, start)[8]
    if length > MAX_DIRECTORY:
        _refuse("its directory is too long", "", f"{length} bytes, {MAX_DIRECTORY} are read")


def _zip_kind(info: zipfile.ZipInfo) -> str:
    return f"an entry of mode {stat.filemode(info.external_attr >> 16)}"


def _tar_kind(member: tarfile.TarInfo) -> str:
    if member.issym() or member.islnk():
        return f"a link to {member.linkname[:80]!a}"
    return "a sparse file" if member.issparse() else f"an entry of type {member.type!r}"


class _Unpack:
    def __init__(self, target: Path, limits: Limits, packed: int, room: Room) -> None:
        self.target = target
        self.limits = limits
        self.packed = packed
        self.room = room
        self.size = 0
        self.count = 0
        self.folders = 0
        self.made = 0

    def expect(self, size: int) -> None:
        """Compare what is said to come with the room, before the first byte of it."""
        self._check_room(self.size + size)

    def all(self, entries: Iterator[_Entry]) -> None:
        for entry in entries:
            self.count += 1
            if self.count > self.limits.files:
                self._too_large(f"more than {self.limits.files} entries")
            name = self._checked_name(entry.name)
            if name is None:
                continue
            path = self.target / name
            with writing(path):
                if entry.is_folder:
                    self._folder(path, name)
                else:
                    assert entry.file is not None
                    self._file(path, name, entry.file)

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
            _refuse("a path that leads out of the bag", name, error.found or "")
        if "\\" in plain:
            _refuse("a path with a backslash, which some systems take as a separator", name, "a backslash")
        if any(len(part) > MAX_NAME_BYTES for part in encoded.split(b"/")):
            _refuse("a name that no file system takes", name, f"more than {MAX_NAME_BYTES} bytes")
        return plain

    def _folder(self, path: Path, name: str) -> None:
        try:
            self._make(path)
        except (FileExistsError, NotADirectoryError):
            _refuse("one path stands for a file and a folder", name, "a folder")

    def _make(self, folder: Path) -> None:
        """Make a folder and those above it, each charged before; an entry may imply sixty."""
        missing = []
        while folder != self.target and not folder.is_dir():
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
            path=self.target,
            advice="free space, or put the home on a larger disk; what came out is removed",
        )

    def _file(self, path: Path, name: str, content: IO[bytes]) -> None:
        try:
            self._make(path.parent)
            self._charge()
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        except (FileExistsError, NotADirectoryError):
            _refuse("a path is in it twice", name, "a second one")
        try:
            offset = 0
            while piece := self._read(content):
                self.size += len(piece)
                self._check_size()
                write_all(descriptor, piece, offset)
                offset += len(piece)
        finally:
            os.close(descriptor)

    def _read(self, content: IO[bytes]) -> bytes:
        try:
            return content.read(_PIECE)
        except OSError as error:
            raise EOFError(str(error)) from error  # damage of the archive, not of our disk

    def _check_size(self) -> None:
        self._check_room(self.size)
        if self.size > self.limits.size:
            self._too_large(f"more than {self.limits.size} bytes")
        if self.size > self.limits.ratio_from and self.size > self.limits.ratio * self.packed:
            self._too_large(f"{self.size} bytes out of {self.packed}")

    def _too_large(self, found: str) -> NoReturn:
        raise EvidenceInvalid(
            "archive-too-large",
            "the archive unpacks to more than is taken",
            expected=f"at most {self.limits.size} bytes, {self.limits.files} entries, "
            f"{self.limits.depth} folders deep, {self.limits.ratio} times its own size",
            found=found,
            advice="unpack it yourself and adopt the folder",
        )


def _bag_root(archive: Path, target: Path) -> Path:
    with contextlib.suppress(OSError):
        entries = list(target.iterdir())
        if (target / "bagit.txt").is_file():
            return target
        if len(entries) == 1 and entries[0].is_dir():
            return entries[0]
    raise OperationFailed(
        "not-a-bag",
        "there is no bag in the archive",
        path=show_path(str(archive)),
        expected="one folder, or bagit.txt beside data/",
        found="neither",
        advice="unpack it and look; a folder of files is taken in by `heritage ingest`",
    )


def _damaged(archive: Path, found: str) -> EvidenceInvalid:
    return EvidenceInvalid(
        "archive-damaged",
        "the archive cannot be read to its end",
        path=show_path(str(archive)),
        found=show_path(found)[:160],
        advice="ask for the archive again",
    )


def _refuse(message: str, path: str, found: str) -> NoReturn:
    raise EvidenceInvalid(
        "archive-refused",
        f"the archive is refused: {message}",
        path=show_path(path)[:200] or None,
        found=found,
        advice="ask for the bag in a plain archive, or unpack it yourself and adopt the folder",
    )
