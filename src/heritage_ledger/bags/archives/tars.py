"""Tar: POSIX (ustar, pax), GNU and V7, read forward once, to its very end.

tarfile ends quietly at any header that it cannot read; here only the end mark is an end
(`specs/bag-profile.md`).
"""

from __future__ import annotations

import contextlib
import decimal
import tarfile
from typing import TYPE_CHECKING, Final

from heritage_ledger.bags.archives.entries import PIECE, Damage, Entry, refuse, refuse_volumes
from heritage_ledger.bags.archives.formats import is_tar_header

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from heritage_ledger.bags.archives.entries import Readable

MAX_HEADER: Final = 1 << 20
"""Bytes that a tar may spend between two files' contents: long names and attributes, which tarfile reads
whole into memory."""
_BLOCK: Final = tarfile.BLOCKSIZE
_VOLUME_LABEL: Final = b"V"
_MULTI_VOLUME: Final = b"M"
_NANOSECONDS: Final = 1_000_000_000


class _Forward:
    """The bytes of a tar as tarfile sees them: forward only, with an allowance for headers.

    What tarfile passes over is told to `passed`, as bytes that came out.
    """

    def __init__(self, file: Readable, passed: Callable[[int], None]) -> None:
        self._file = file
        self._passed = passed
        self._at = 0
        self._left: int | None = None
        self.last = b""

    def read(self, size: int = -1) -> bytes:
        if self._left is not None:
            self._left -= size
            if self._left < 0 or size < 0:
                refuse(
                    "archive-refused",
                    "the archive is refused: the header of a file is too long",
                    found=f"more than {MAX_HEADER} bytes",
                )
        self.last = self._file.read(size)
        self._at += len(self.last)
        return self.last

    def tell(self) -> int:
        return self._at

    def seek(self, position: int) -> None:
        if position < self._at:
            raise Damage(f"a header at byte {self._at} points back to byte {position}")
        is_padding = position - self._at < _BLOCK
        while self._at < position:
            piece = self._file.read(min(PIECE, position - self._at))
            if not piece:
                raise Damage(f"it ends at byte {self._at}, within an entry")
            self._at += len(piece)
            if not is_padding:
                self._passed(len(piece))

    @contextlib.contextmanager
    def headers(self) -> Iterator[None]:
        """Within this, what is read counts against the allowance."""
        self._left = MAX_HEADER
        yield
        self._left = None


def tar_entries(
    file: Readable, expect: Callable[[int], None], passed: Callable[[int], None]
) -> Iterator[Entry]:
    """Give the entries of a tar; after the last, its end has been checked.

    `expect` is told each file's size before its first byte.

    Raises:
        Damage: it is cut, a header is wrong, or something follows its end.
        EvidenceInvalid: it is refused (`archive-refused`, `archive-volumes`).
    """
    forward = _Forward(file, passed)
    with forward.headers():
        tar = tarfile.TarFile(
            fileobj=forward,  # type: ignore[arg-type]
            mode="r",
            encoding="utf-8",
            errors="surrogateescape",
        )
    member = tar.next()
    while member is not None:
        tar.members = []  # type: ignore[attr-defined]  # it would keep every header in memory
        if member.type != _VOLUME_LABEL:
            yield _entry(tar, member, expect)
        with forward.headers():
            member = tar.next()
    _check_end(forward, file, passed)


def _entry(tar: tarfile.TarFile, member: tarfile.TarInfo, expect: Callable[[int], None]) -> Entry:
    names = (member.name,)
    mtime = _time(member)
    if member.isdir():
        return Entry(names, mtime=mtime)
    if member.islnk():
        return Entry(names, same_as=member.linkname, mtime=mtime)
    if member.type == _MULTI_VOLUME:
        refuse_volumes(f"the rest of {member.name[:80]}")
    if not member.isreg():
        return Entry(names, other=_kind(member))
    if member.sparse is not None:
        _check_holes(tar, member)
    expect(member.size)
    return Entry(names, tar.extractfile(member), member.size, mtime)


def _check_holes(tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
    """Check that a map of holes is in order, and asks for no more bytes than are there."""
    holes: list[tuple[int, int]] = member.sparse  # type: ignore[assignment]
    at = held = 0
    for offset, size in holes:
        if size == 0:
            continue  # the old form has four places, and fills those that it does not need with zeros
        if offset < at or size < 0 or offset + size > member.size:
            raise Damage(f"the map of holes of {member.name[:80]!a} is not in order")
        at = offset + size
        held += size
    if held > tar.offset - member.offset_data:  # where the next header is
        raise Damage(f"the map of holes of {member.name[:80]!a} asks for bytes that are not there")


def _check_end(forward: _Forward, file: Readable, passed: Callable[[int], None]) -> None:
    """Check that two blocks of zeros end the tar, and that nothing is lost behind them.

    POSIX leaves undefined what follows in the last record, of 20 blocks; past it there is nothing but zeros.
    """
    if len(forward.last) != _BLOCK:
        raise Damage(f"it is cut off at byte {forward.tell()}, before its end mark")
    if forward.last.strip(b"\0"):
        raise Damage(f"what should be a header is none, before byte {forward.tell()}")
    if forward.read(_BLOCK) != bytes(_BLOCK):
        raise Damage(f"it is cut off at byte {forward.tell()}, within its end mark")
    while forward.tell() % tarfile.RECORDSIZE and (block := forward.read(_BLOCK)):
        if is_tar_header(block):
            raise Damage(f"another archive follows its end, at byte {forward.tell() - _BLOCK}")
    length = forward.tell()
    while piece := file.read(PIECE):
        passed(len(piece))
        length += len(piece)
        if piece.strip(b"\0"):
            raise Damage("something follows its end")
    if length % _BLOCK:
        raise Damage("it is cut off: its length is no whole number of blocks")


def _time(member: tarfile.TarInfo) -> int | None:
    """The time of change; pax has more digits than a float holds."""
    try:
        exact = decimal.Decimal(member.pax_headers.get("mtime", member.mtime))
        return int(exact * _NANOSECONDS)
    except (decimal.DecimalException, ValueError, OverflowError):
        return None


def _kind(member: tarfile.TarInfo) -> str:
    if member.issym():
        return f"a link to {member.linkname[:80]!a}"
    return f"an entry of type {member.type!r}"
