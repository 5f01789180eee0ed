"""Unpack a bag from tar, tar.gz or zip into an empty folder, without trusting it (`specs/bag-profile.md`).

Only regular files and folders come out: no link, device or sparse file, no path that leaves the folder, none
twice. Sizes are counted while bytes come out, never believed from headers. The libraries read the formats;
every file is written by this module.
"""

from __future__ import annotations

import contextlib
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Final, NoReturn

from heritage_ledger.bags.names import is_safe
from heritage_ledger.errors import EvidenceInvalid, OperationFailed
from heritage_ledger.home.durable import write_all, writing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PIECE: Final = 1 << 20
_GZIP: Final = b"\x1f\x8b"
_ZIP: Final = (b"PK\x03\x04", b"PK\x05\x06")
_ENCRYPTED: Final = 0x1


@dataclass(frozen=True, slots=True)
class Limits:
    """How much an archive may unpack to.

    `size` is bytes in all, `files` the number of entries, `depth` folders in one path, `path` bytes of one
    path, `ratio` unpacked bytes for one packed byte (checked from `ratio_from` bytes on).
    """

    size: int = 16 << 40
    files: int = 5_000_000
    depth: int = 64
    path: int = 4_000
    ratio: int = 200
    ratio_from: int = 64 << 20


DEFAULT_LIMITS: Final = Limits()


def is_archive(path: Path) -> bool:
    """Say whether `path` is a file that looks like tar, tar.gz or zip."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        start = file.read(512)
    return start[:2] == _GZIP or start[:4] in _ZIP or start[257:262] == b"ustar"


def extract(archive: Path, target: Path, *, limits: Limits = DEFAULT_LIMITS) -> Path:
    """Unpack `archive` into the empty folder `target`, and return the folder of the bag in it.

    That is `target` itself or its one folder. After an error `target` holds what came out so far; the
    caller removes it.

    Raises:
        EvidenceInvalid: the archive is damaged or holds what no bag may hold (`archive-…`).
        OperationFailed: it cannot be read, or holds no bag.
        DiskProblem: what comes out cannot be written.
    """
    unpack = _Unpack(target, limits, max(archive.stat().st_size, 1))
    try:
        with archive.open("rb") as file:
            start = file.read(4)
            file.seek(0)
            if start in _ZIP:
                unpack.all(_zip_entries(file))
            else:
                unpack.all(_tar_entries(file, compressed=start[:2] == _GZIP))
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError) as error:
        raise _damaged(archive, str(error)) from error
    except (NotImplementedError, RuntimeError) as error:
        _refuse("a way of packing that is not read here", str(archive), str(error)[:120])
    except OSError as error:
        # gzip raises a bare OSError for a wrong checksum
        raise _damaged(archive, str(error)) from error
    return _bag_root(archive, target)


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    is_folder: bool
    file: IO[bytes] | None


def _tar_entries(file: IO[bytes], *, compressed: bool) -> Iterator[_Entry]:
    with tarfile.open(fileobj=file, mode="r|gz" if compressed else "r|") as tar:
        for member in tar:
            if member.isdir():
                yield _Entry(member.name, is_folder=True, file=None)
                continue
            if not member.isreg() or member.issparse():
                _refuse("only plain files and folders may be in it", member.name, _tar_kind(member))
            yield _Entry(member.name, is_folder=False, file=tar.extractfile(member))


def _zip_entries(file: IO[bytes]) -> Iterator[_Entry]:
    with zipfile.ZipFile(file) as packed:
        for info in packed.infolist():
            mode = info.external_attr >> 16
            if info.is_dir():
                yield _Entry(info.filename, is_folder=True, file=None)
                continue
            if mode and stat.S_IFMT(mode) not in {0, stat.S_IFREG}:
                _refuse("only plain files and folders may be in it", info.filename, stat.filemode(mode))
            if info.flag_bits & _ENCRYPTED:
                _refuse("it is encrypted", info.filename, "an encrypted file")
            with packed.open(info) as content:
                yield _Entry(info.filename, is_folder=False, file=content)


def _tar_kind(member: tarfile.TarInfo) -> str:
    if member.issym() or member.islnk():
        return f"a link to {member.linkname[:80]!a}"
    return "a sparse file" if member.issparse() else f"an entry of type {member.type!r}"


class _Unpack:
    def __init__(self, target: Path, limits: Limits, packed: int) -> None:
        self.target = target
        self.limits = limits
        self.packed = packed
        self.size = 0
        self.count = 0

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
        if not is_safe(plain) or "\\" in plain:
            _refuse("a path that leads out of the bag", name, "an unsafe path")
        if len(encoded) > self.limits.path or plain.count("/") >= self.limits.depth:
            self._too_large(f"a path of {len(encoded)} bytes, {plain.count('/')} folders deep")
        return plain

    def _folder(self, path: Path, name: str) -> None:
        path.mkdir(parents=True, exist_ok=True)
        if not path.is_dir():
            _refuse("one path stands for a file and a folder", name, "a folder")

    def _file(self, path: Path, name: str, content: IO[bytes]) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
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
        path=str(archive),
        expected="one folder, or bagit.txt beside data/",
        advice="unpack it and look; a folder of files is taken in by `heritage ingest`",
    )


def _damaged(archive: Path, found: str) -> EvidenceInvalid:
    return EvidenceInvalid(
        "archive-damaged",
        "the archive cannot be read to its end",
        path=str(archive),
        found=found[:160],
        advice="ask for the archive again",
    )


def _refuse(message: str, path: str, found: str) -> NoReturn:
    raise EvidenceInvalid(
        "archive-refused",
        f"the archive is refused: {message}",
        path=path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")[:200],
        found=found,
        advice="ask for the bag in a plain archive, or unpack it yourself and adopt the folder",
    )
