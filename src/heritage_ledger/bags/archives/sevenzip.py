"""7z by py7zr, which has its one home here.

py7zr parses the headers and unpacks the streams; every file is written by this package. Its own `extract`
gives out as much at once as the machine has memory for, so its streams are read here piece by piece. Only
methods that give no more than is asked for are taken; and not PPMd, whose reader writes outside of its memory
when an archive is made to deceive it.
"""

from __future__ import annotations

import io
import os
import stat
import struct
import zlib
from typing import IO, TYPE_CHECKING, Any, Final

from heritage_ledger.bags.archives.entries import (
    MAX_MEMORY,
    PIECE,
    Damage,
    Entry,
    refuse,
    refuse_encrypted,
    refuse_memory,
    refuse_method,
    refuse_volumes,
)
from heritage_ledger.bags.archives.extra import needs_extra
from heritage_ledger.errors import HeritageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from py7zr.archiveinfo import Folder
    from py7zr.py7zr import ArchiveFile, SevenZipFile

MAX_HEADER: Final = 128 << 20
"""Bytes of the directory, packed or unpacked, which py7zr keeps in memory whole."""
MAX_NAMES: Final = 2_000_000
"""Entries that such a directory may list."""
_START: Final = struct.Struct("<6s2BLQQL")
_HEADER, _STREAMS, _FILES, _PACKED = b"\x01", b"\x04", b"\x05", b"\x17"
_COPY, _DELTA, _LZMA, _LZMA2, _BZIP2 = b"\x00", b"\x03", b"\x03\x01\x01", b"\x21", b"\x04\x02\x02"
_FILTERS: Final = frozenset(map(bytes.fromhex, ("03030103", "03030205", "03030501", "03030701", "03030805")))
"""What makes programs pack better: for x86, PowerPC, ARM, ARM Thumb and SPARC."""
_READ: Final = frozenset({_COPY, _DELTA, _LZMA, _LZMA2, _BZIP2}) | _FILTERS
_ENCRYPTED: Final = b"\x06\xf1"
_FROM_1601: Final = 11_644_473_600
_NANOSECONDS: Final = 1_000_000_000
_IDLE: Final = 8
"""Reads that may give nothing while a filter fills itself, before a stream counts as cut."""


def seven_zip_entries(file: IO[bytes], expect: Callable[[int], None]) -> Iterator[Entry]:
    """Give the entries of a 7z: first what may not be there, then folders and empty files, then the rest.

    Raises:
        Damage: it is cut, or contradicts itself.
        EvidenceInvalid: it is refused.
        OperationFailed: what reads it is not installed (`archive-needs-extra`).
    """
    try:
        import py7zr  # noqa: PLC0415 - an extra
    except ImportError:
        needs_extra("7z")
    try:
        _check_header(file)
        file.seek(0)
        with py7zr.SevenZipFile(file) as packed:
            yield from _entries(packed, file, expect)
    except HeritageError:
        raise
    except (py7zr.PasswordRequired, py7zr.UnsupportedCompressionMethodError) as error:
        refuse_method("", str(error))
    except (Damage, MemoryError):
        raise
    except Exception as error:  # py7zr raises what its parts raise: assertions, types, indices
        raise Damage(f"{type(error).__name__}: {error}") from error


def _entries(packed: SevenZipFile, file: IO[bytes], expect: Callable[[int], None]) -> Iterator[Entry]:
    streams = packed.header.main_streams
    folders: list[Folder] = [] if streams is None else streams.unpackinfo.folders
    for folder in folders:
        _check_methods(folder)
    files: list[ArchiveFile] = list(packed.files)
    for one in files:
        if (other := _other(one)) is not None:
            yield Entry((one.filename,), other=other)
    expect(sum(one.uncompressed for one in files))
    for one in files:
        if one.emptystream and _other(one) is None:
            is_folder = one.is_directory or _format(one) == stat.S_IFDIR
            yield Entry((one.filename,), None if is_folder else io.BytesIO(), 0, _time(one))
    if streams is None:
        return
    start = packed.afterheader + streams.packinfo.packpos
    for folder, size in zip(folders, streams.packinfo.packsizes, strict=True):
        file.seek(start)
        yield from _folder(folder, size, file)
        start += size


def _folder(folder: Folder, size: int, file: IO[bytes]) -> Iterator[Entry]:
    """Give the files of one packed stream, in its order."""
    stream = folder.get_decompressor(size)
    files: list[ArchiveFile] = list(folder.files or ())
    for one in files:
        content = _Content(stream, file, one)
        if _other(one) is None:
            yield Entry((one.filename,), content, one.uncompressed, _time(one))
        while content.read(PIECE):
            pass  # what was not asked for stands before the next
    folder.decompressor = None  # it keeps its dictionary


class _Content:
    """The bytes of one file; its check sum is compared at its end."""

    def __init__(self, stream: Any, file: IO[bytes], one: ArchiveFile) -> None:
        self._stream = stream
        self._file = file
        self._one = one
        self._left: int = one.uncompressed
        self._sum = 0

    def read(self, size: int, /) -> bytes:
        idle = 0
        while self._left:
            before = self._stream.consumed
            try:
                piece = bytes(self._stream.decompress(self._file, min(size, self._left, PIECE)))
            except HeritageError:
                raise
            except Exception as error:  # each method raises its own
                raise Damage(f"{type(error).__name__}: {error}") from error
            if piece:
                self._left -= len(piece)
                self._sum = zlib.crc32(piece, self._sum)
                self._check()
                return piece
            idle = 0 if self._stream.consumed > before else idle + 1
            if idle > _IDLE:
                raise Damage(f"{self._one.filename[:80]!a} is cut off")
        return b""

    def _check(self) -> None:
        if not self._left and self._one.crc32 not in {None, self._sum}:
            raise Damage(f"{self._one.filename[:80]!a} has another check sum than is written down")


def _check_header(file: IO[bytes]) -> None:
    """Check where the archive ends and how much its directory takes, before py7zr reads it."""
    from py7zr.archiveinfo import StreamsInfo, read_uint64  # noqa: PLC0415 - an extra

    header = _header(file)
    rest = io.BytesIO(_unpacked(header, file) if header[:1] == _PACKED else header)
    if rest.read(1) != _HEADER:
        return  # empty, or nonsense, which py7zr tells
    kind = rest.read(1)
    if kind == _STREAMS:
        StreamsInfo.retrieve(rest)
        kind = rest.read(1)
    if kind == _FILES and (count := read_uint64(rest)) > MAX_NAMES:
        refuse(
            "archive-refused",
            "the archive is refused: its directory is too long",
            found=f"{count} entries, {MAX_NAMES} are read",
        )


def _header(file: IO[bytes]) -> bytes:
    """Read the directory, with which the file ends."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    start = file.read(_START.size)
    if len(start) != _START.size:
        raise Damage("it is cut off in its first bytes")
    _, _, _, check, offset, length, header_check = _START.unpack(start)
    if zlib.crc32(start[12:]) != check:
        raise Damage("its first bytes are damaged")
    end = _START.size + offset + length
    if end > size and str(getattr(file, "name", "")).endswith(".001"):
        refuse_volumes("the first volume of a 7z")
    if end > size:
        raise Damage(f"it is cut off: {size} bytes of {end}")
    if end < size:
        raise Damage(f"{size - end} bytes follow its end")
    _check_length(length)
    file.seek(_START.size + offset)
    header = file.read(length)
    if zlib.crc32(header) != header_check:
        raise Damage("its directory is damaged")
    return header


def _unpacked(header: bytes, file: IO[bytes]) -> bytes:
    """Unpack a directory that is packed itself."""
    from py7zr.archiveinfo import HeaderStreamsInfo  # noqa: PLC0415 - an extra

    streams = HeaderStreamsInfo.retrieve(io.BytesIO(header[1:]))
    (folder,) = streams.unpackinfo.folders
    _check_methods(folder)
    _check_length(folder.unpacksizes[-1])
    file.seek(_START.size + streams.packinfo.packpos)
    stream = folder.get_decompressor(streams.packinfo.packsizes[0])
    out = bytearray()
    while len(out) < folder.unpacksizes[-1]:
        before = stream.consumed
        piece = stream.decompress(file, min(PIECE, folder.unpacksizes[-1] - len(out)))
        if not piece and stream.consumed == before:
            raise Damage("its directory is damaged")
        out += piece
    return bytes(out)


def _check_length(length: int) -> None:
    if length > MAX_HEADER:
        refuse(
            "archive-refused",
            "the archive is refused: its directory is too long",
            found=f"{length} bytes, {MAX_HEADER} are read",
        )


def _check_methods(folder: Folder) -> None:
    """Refuse a stream that is encrypted, packed in another way, or would fill the memory."""
    for coder in folder.coders:
        method = coder["method"]
        if method.startswith(_ENCRYPTED):
            refuse_encrypted("", "an encrypted 7z")
    for coder in folder.coders:
        method, properties = coder["method"], coder["properties"] or b""
        if method not in _READ or (coder["numinstreams"], coder["numoutstreams"]) != (1, 1):
            refuse_method("", f"7z method {method.hex()}")
        needed = _memory(method, properties)
        if needed > MAX_MEMORY:
            refuse_memory(f"{needed >> 20} MiB")


def _memory(method: bytes, properties: bytes) -> int:
    if method == _LZMA:
        return int.from_bytes(properties[1:5], "little")
    if method == _LZMA2 and properties:
        return 0xFFFFFFFF if properties[0] >= 40 else (2 | properties[0] & 1) << (properties[0] // 2 + 11)
    return 0


def _format(one: ArchiveFile) -> int:
    return one.st_fmt or 0


def _other(one: ArchiveFile) -> str | None:
    if one.is_symlink or one.is_junction:
        return "a link"
    if _format(one) not in {0, stat.S_IFREG, stat.S_IFDIR}:
        return f"an entry of mode {_format(one):o}"
    if one.is_directory and not one.emptystream:
        return "a folder with bytes"
    return None


def _time(one: ArchiveFile) -> int | None:
    return None if one.lastwritetime is None else int(one.lastwritetime) * 100 - _FROM_1601 * _NANOSECONDS
