"""Tell by its bytes what kind of archive a file is: one that is read, one that has a name only, or none."""

from __future__ import annotations

import os
import tarfile
from enum import Enum
from typing import IO, Final

from heritage_ledger.bags.archives.zips import has_directory


class Format(Enum):
    """The kinds; the value is what people call them. Those after ZSTD are told by name and not read."""

    TAR = "tar"
    ZIP = "zip"
    SEVEN_ZIP = "7z"
    GZIP = "gzip"
    XZ = "xz"
    BZIP2 = "bzip2"
    ZSTD = "zstd"
    SPANNED = "zip in several volumes"
    RAR = "rar"
    CPIO = "cpio"
    ISO = "iso"
    COMPRESS = "compress (.Z)"
    LZIP = "lzip"
    LZ4 = "lz4"
    AR = "ar"


STREAMS: Final = frozenset({Format.GZIP, Format.XZ, Format.BZIP2, Format.ZSTD})
"""Formats that pack one stream of bytes, which is a tar or one file."""

_STARTS: Final = (
    (b"PK\x07\x08PK", Format.SPANNED),
    (b"PK00PK\x03\x04", Format.ZIP),
    (b"PK\x03\x04", Format.ZIP),
    (b"PK\x05\x06", Format.ZIP),
    (b"7z\xbc\xaf\x27\x1c", Format.SEVEN_ZIP),
    (b"\x1f\x8b", Format.GZIP),
    (b"\xfd7zXZ\x00", Format.XZ),
    (b"BZh", Format.BZIP2),
    (b"\x28\xb5\x2f\xfd", Format.ZSTD),
    (b"Rar!\x1a\x07", Format.RAR),
    (b"070701", Format.CPIO),
    (b"070702", Format.CPIO),
    (b"070707", Format.CPIO),
    (b"\xc7\x71", Format.CPIO),
    (b"\x71\xc7", Format.CPIO),
    (b"\x1f\x9d", Format.COMPRESS),
    (b"LZIP\x01", Format.LZIP),
    (b"\x04\x22\x4d\x18", Format.LZ4),
    (b"!<arch>\n", Format.AR),
)
_BLOCK: Final = tarfile.BLOCKSIZE
_ISO_MARK: Final = (32_769, b"CD001")


def recognise(file: IO[bytes]) -> Format | None:
    """Say what `file` is, which can be read anywhere; afterwards it is where it begins."""
    start = file.read(_BLOCK)
    found = recognise_start(start)
    if found is None:
        file.seek(_ISO_MARK[0])
        if file.read(len(_ISO_MARK[1])) == _ISO_MARK[1]:
            found = Format.ISO
        elif has_directory(file):  # behind a program that unpacks it, say
            found = Format.ZIP
    file.seek(0, os.SEEK_SET)
    return found


def recognise_start(start: bytes) -> Format | None:
    """Say what a file is by its first 512 bytes, as far as those tell."""
    if is_tar_header(start):
        return Format.TAR
    for mark, form in _STARTS:
        if start.startswith(mark) and (form is not Format.BZIP2 or start[3:4] in b"123456789"):
            return form
    return None


def is_tar_header(block: bytes) -> bool:
    """Say whether a block is a tar header of any kind: by its check sum, since the oldest have no mark.

    A block of zeros is none.
    """
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError, IndexError, OverflowError):
        return False
    return True
