"""Read packed streams to their end, and check what each says about itself there.

The standard library's file objects for xz and bzip2 take what follows the last stream for nothing, and set no
bound on memory; gzip's does neither, so it is used as it is.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
from typing import IO, TYPE_CHECKING, Final, Protocol

from heritage_ledger.bags.archives import zstd
from heritage_ledger.bags.archives.entries import MAX_MEMORY, PIECE, Damage, refuse_memory
from heritage_ledger.bags.archives.formats import Format

if TYPE_CHECKING:
    from collections.abc import Callable

    from heritage_ledger.bags.archives.entries import Readable

_BESIDE: Final = 2 << 20
"""Bytes that xz takes beside its dictionary."""


class Decompressor(Protocol):
    """One stream, as bz2, lzma and zstd have it."""

    @property
    def eof(self) -> bool:
        """Whether its end was met, and what stands there was right."""

    @property
    def needs_input(self) -> bool:
        """Whether nothing more comes out without more input."""

    @property
    def unused_data(self) -> bytes:
        """What came after its end."""

    def decompress(self, data: bytes, /, max_length: int = -1) -> bytes:
        """Return at most `max_length` bytes."""


def open_stream(file: IO[bytes], form: Format) -> Readable:
    """Give the bytes that are packed in `file`; its last read says whether the end was right.

    Raises:
        EvidenceInvalid: they cannot be read here (`archive-needs-extra`).
    """
    if form is Format.GZIP:
        return gzip.GzipFile(fileobj=file)
    return Streams(file, {Format.XZ: _xz, Format.BZIP2: bz2.BZ2Decompressor, Format.ZSTD: zstd.begin}[form])


def _xz() -> Decompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_MEMORY + _BESIDE)


class Streams:
    """Streams one after another; between and after them may be zero bytes, and nothing else."""

    def __init__(self, file: IO[bytes], begin: Callable[[], Decompressor]) -> None:
        self._file = file
        self._begin = begin
        self._stream: Decompressor | None = begin()
        self._ahead = b""
        self._wrong: tuple[type[Exception], ...] = (lzma.LZMAError, *zstd.errors())

    def read(self, size: int, /) -> bytes:
        """Return `size` bytes, fewer at the end only.

        Raises:
            Damage: a stream is cut, or wrong, or something else follows.
            EvidenceInvalid: it would take too much memory (`archive-memory`).
        """
        out = bytearray()
        while len(out) < size and self._stream is not None:
            try:
                out += self._piece(self._stream, size - len(out))
            except self._wrong as error:
                if "memory" in str(error).lower():
                    refuse_memory(str(error))
                raise Damage(str(error)) from error
        return bytes(out)

    def _piece(self, stream: Decompressor, size: int) -> bytes:
        if stream.eof:
            self._next(stream.unused_data)
            return b""
        data = b""
        is_last = False
        if stream.needs_input:
            data, self._ahead = self._ahead or self._file.read(PIECE), b""
            is_last = not data
        piece = stream.decompress(data, max_length=size)
        if is_last and not piece and not stream.eof:
            raise Damage("a packed stream is cut off before its end")
        return piece

    def _next(self, rest: bytes) -> None:
        """Begin the next stream, if there is one."""
        while not (rest := rest.lstrip(b"\0")):
            if not (rest := self._file.read(PIECE)):
                self._stream = None
                return
        self._stream, self._ahead = self._begin(), rest
