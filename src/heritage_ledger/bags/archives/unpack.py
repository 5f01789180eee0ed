"""Unpack a bag from an archive into an empty folder, without trusting it (`specs/bag-profile.md`).

Only regular files and folders come out: no link, no device, no path that leaves the folder, none twice. Sizes
are counted while bytes come out, never believed from headers. The libraries read the formats; every file is
written by this package. What an archive says about its own end is checked.
"""

from __future__ import annotations

import contextlib
import io
import os
import struct
import tarfile
import zipfile
import zlib
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Final

from heritage_ledger.bags.archives.entries import Damage, refuse_method, refuse_volumes
from heritage_ledger.bags.archives.formats import STREAMS, Format, recognise, recognise_start
from heritage_ledger.bags.archives.limits import DEFAULT_LIMITS, Limits
from heritage_ledger.bags.archives.sevenzip import seven_zip_entries
from heritage_ledger.bags.archives.streams import open_stream
from heritage_ledger.bags.archives.target import Target
from heritage_ledger.bags.archives.tars import tar_entries
from heritage_ledger.bags.archives.zips import zip_entries
from heritage_ledger.bags.names import is_junk, show_path
from heritage_ledger.errors import EvidenceInvalid, Finding, OperationFailed, Severity
from heritage_ledger.home.durable import writing
from heritage_ledger.home.room import Room, free_room

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from _typeshed import WriteableBuffer

    from heritage_ledger.bags.archives.entries import Readable

_DAMAGE: Final = (
    Damage,
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
_COMPANION: Final = "__MACOSX"


@dataclass(frozen=True, slots=True)
class Unpacked:
    """The folder of the bag that came out, and what is to be said of what lay beside it (warnings)."""

    root: Path
    findings: tuple[Finding, ...] = ()


def is_archive(path: Path) -> bool:
    """Say whether `path` is a file that is an archive by its bytes, of a kind that is read or not.

    Raises:
        OperationFailed: it is a file that cannot be read (`archive-unreadable`).
    """
    try:
        if not path.is_file():
            return False
    except OSError:
        return False  # nothing is said of it; whoever opens it tells
    with _opened(path) as file, _reading(path):
        return recognise(file) is not None


def extract(
    archive: Path, target: Path, *, limits: Limits = DEFAULT_LIMITS, room: Room | None = None
) -> Unpacked:
    """Unpack `archive` into the empty folder `target`, and return the folder of the bag in it.

    That is `target` itself or its one folder, beside which there may be what desktops leave for themselves.
    After an error `target` holds what came out so far; the caller removes it. Nothing is written beyond
    `room`, which is that of the disk where it is not given.

    Raises:
        EvidenceInvalid: the archive is damaged or holds what no bag may hold (`archive-…`).
        OperationFailed: it cannot be read (`archive-unreadable`, `archive-format`, `archive-needs-extra`), or
            holds no bag (`not-a-bag`).
        DiskProblem: what comes out cannot be written.
    """
    with _opened(archive) as file, _reading(archive):
        form = recognise(file)
        packed = max(file.seek(0, os.SEEK_END), 1)
        file.seek(0)
        with writing(target):
            unpack = Target(target, limits, packed, room or free_room(target))
        if form is Format.ZIP:
            unpack.all(zip_entries(file, unpack.expect))
        elif form is Format.SEVEN_ZIP:
            unpack.all(seven_zip_entries(file, unpack.expect))
        elif form is Format.SPANNED:
            refuse_volumes("the first volume of a zip")
        elif form is Format.TAR or form is None:
            unpack.all(tar_entries(file, unpack.expect, unpack.passed))
        elif form in STREAMS:
            inner = _Peeked(open_stream(file, form), tarfile.BLOCKSIZE)
            _check_inner(form, inner.start)
            unpack.all(tar_entries(inner, unpack.expect, unpack.passed))
        else:
            _unread(f"{form.value} archives are not read here", form.value)
    return _bag_root(archive, target)


@contextlib.contextmanager
def _opened(archive: Path) -> Iterator[IO[bytes]]:
    try:
        raw = archive.open("rb", buffering=0)
    except OSError as error:
        raise _unreadable(archive, error) from error
    with io.BufferedReader(_Disk(raw, str(archive))) as file:
        yield file


class _Disk(io.RawIOBase):
    """The archive's own bytes: an error of the disk says nothing about them, and must not pass for damage."""

    def __init__(self, file: io.FileIO, name: str) -> None:
        self.name = name
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        return self._file.seek(offset, whence)

    def readinto(self, buffer: WriteableBuffer, /) -> int | None:
        try:
            return self._file.readinto(buffer)
        except OSError as error:
            raise _unreadable(self.name, error) from error

    def close(self) -> None:
        self._file.close()
        super().close()


def _unreadable(archive: Path | str, error: OSError) -> OperationFailed:
    return OperationFailed(
        "archive-unreadable",
        "the archive cannot be read; nothing is said of what is in it",
        path=show_path(str(archive)),
        found=error.strerror,
        advice="check owner, permissions and disk",
    )


@contextlib.contextmanager
def _reading(archive: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise EvidenceInvalid(
            "archive-damaged",
            "the archive cannot be read to its end",
            path=show_path(str(archive)),
            found=show_path(str(error))[:160],
            advice="ask for the archive again",
        ) from error
    except (NotImplementedError, RuntimeError) as error:
        refuse_method(str(archive), str(error))


class _Peeked:
    """A stream whose first bytes were looked at."""

    def __init__(self, file: Readable, size: int) -> None:
        self._file = file
        self.start = self._rest = file.read(size)

    def read(self, size: int, /) -> bytes:
        head, self._rest = self._rest[:size], self._rest[size:]
        return head + self._file.read(size - len(head)) if len(head) < size else head


def _check_inner(form: Format, start: bytes) -> None:
    """Refuse a packed stream that is no tar, by name; one of zeros is an empty tar."""
    inner = recognise_start(start)
    if inner is not Format.TAR and start.strip(b"\0"):
        what = "a single file" if inner is None else f"a file of another kind ({inner.value})"
        _unread(f"it is {what}, packed with {form.value}, and no archive of a bag", form.value)


def _unread(message: str, found: str) -> None:
    raise OperationFailed(
        "archive-format",
        message,
        expected="a bag as tar (also .gz, .xz, .bz2, .zst), zip or 7z",
        found=found,
        advice="unpack it yourself and adopt the folder; any file is taken in by `heritage ingest`",
    )


def _bag_root(archive: Path, target: Path) -> Unpacked:
    """Find the bag: beside its folder may lie what desktops leave, which is told and left out."""
    with contextlib.suppress(OSError):
        if (target / "bagit.txt").is_file():
            return Unpacked(target)
        entries = sorted(target.iterdir())
        beside = [path for path in entries if path.name == _COMPANION or is_junk(path.name)]
        rest = [path for path in entries if path not in beside]
        if len(rest) == 1 and rest[0].is_dir():
            return Unpacked(rest[0], _left_out(beside))
    raise OperationFailed(
        "not-a-bag",
        "there is no bag in the archive",
        path=show_path(str(archive)),
        expected="one folder, or bagit.txt beside data/",
        found="neither",
        advice="unpack it and look; a folder of files is taken in by `heritage ingest`",
    )


def _left_out(beside: list[Path]) -> tuple[Finding, ...]:
    findings = []
    for path in beside:
        count = sum(len(files) for _, _, files in os.walk(path)) if path.is_dir() else 1
        findings.append(
            Finding(
                "archive-left-out",
                "a desktop's own files beside the bag are left out",
                show_path(path.name),
                expected="the bag alone",
                found=f"{count} file{'' if count == 1 else 's'}",
                advice="nothing, unless something of yours is among them",
                severity=Severity.WARNING,
            )
        )
    return tuple(findings)
