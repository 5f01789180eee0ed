"""Zip: what its directory lists, stored or deflated, under the names that its maker meant."""

from __future__ import annotations

import datetime as dt
import os
import stat
import struct
import zipfile
import zlib
from typing import IO, TYPE_CHECKING, Final

from heritage_ledger.bags.archives.entries import (
    Damage,
    Entry,
    refuse,
    refuse_encrypted,
    refuse_method,
    refuse_volumes,
)
from heritage_ledger.bags.manifests import parse_manifest_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_DIRECTORY: Final = 256 << 20
"""Bytes of a zip's directory, which zipfile keeps in memory whole (some two million names)."""
_ENCRYPTED: Final = 0x1 | 0x40 | 0x2000
_UTF8: Final = 0x800
_UNIX: Final = 3
_CODE_PAGES: Final = ("utf-8", "cp437", "cp850")
"""How a name without a mark may be read; the first that fits is taken where no manifest decides."""
_END: Final = struct.Struct("<4s4H2LH")
_LONG_END: Final = struct.Struct("<4sQ2H2L4Q")
_LONG_POINTER: Final = struct.Struct("<4sLQL")
_TAIL: Final = 65_535 + _END.size + _LONG_POINTER.size + _LONG_END.size
_SAME: Final = frozenset({0, 0xFFFF})
"""Numbers of a disk where there is one: the first, or "see the long record"."""
_TIMES: Final = {"seconds": 0x5455, "old": 0x5855, "fine": 0x000A, "name": 0x7075}
_FROM_1601: Final = 11_644_473_600
_NANOSECONDS: Final = 1_000_000_000


def has_directory(file: IO[bytes]) -> bool:
    """Say whether a zip ends here, whatever it begins with."""
    return _find_end(file) is not None


def zip_entries(file: IO[bytes], expect: Callable[[int], None]) -> Iterator[Entry]:
    """Give the entries that the directory lists: first what may not be there, then the bag's manifests.

    Raises:
        Damage, zipfile.BadZipFile: it is cut or contradicts itself.
        EvidenceInvalid: it is refused.
    """
    count = _check_end(file)
    with zipfile.ZipFile(file) as packed:
        infos = packed.infolist()
        if (len(infos) - count) & 0xFFFF:  # where there is no long record, it has no more bits
            raise Damage(f"its directory lists {len(infos)} entries, its end says {count}")
        for info in infos:
            if (other := _checked(info)) is not None:
                yield Entry(_names(info), other=other)
        expect(sum(info.file_size for info in infos))
        for info in sorted(infos, key=_rank):
            if info.orig_filename.endswith("/"):
                yield Entry(_names(info), mtime=_time(info))
            elif _other(info) is None:
                with packed.open(info) as content:
                    yield Entry(_names(info), content, info.file_size, _time(info))


def _rank(info: zipfile.ZipInfo) -> bool:
    """The declaration and the manifests come first: they say how the other names are spelt."""
    name = info.orig_filename.rpartition("/")[2]
    return name != "bagit.txt" and parse_manifest_name(name) is None


def _checked(info: zipfile.ZipInfo) -> str | None:
    """Refuse what ends the work at once; return what the entry is, if no file or folder."""
    name = info.orig_filename
    if info.flag_bits & _ENCRYPTED:
        refuse_encrypted(name, "an encrypted entry")
    if "\\" in name and info.create_system != _UNIX:
        refuse(
            "archive-refused",
            "the archive is refused: its paths have backslashes in the place of slashes",
            path=name,
            expected="`/` between folders, as the format asks for",
            found="a backslash, as some tools of Windows write it",
            advice="pack the bag again with another tool, or unpack it with the same and adopt the folder",
        )
    other = _other(info)
    if other is None and info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        refuse_method(name, f"method {info.compress_type}")
    return other


def _other(info: zipfile.ZipInfo) -> str | None:
    mode = info.external_attr >> 16
    plain = stat.S_IFDIR if info.orig_filename.endswith("/") else stat.S_IFREG
    if stat.S_IFMT(mode) in {0, plain}:
        return None
    return "a link" if stat.S_ISLNK(mode) else f"an entry of mode {stat.filemode(mode)}"


def _names(info: zipfile.ZipInfo) -> tuple[str, ...]:
    """The readings of a name, best first. zipfile cuts its own at a NUL, and reads all others as cp437."""
    if info.flag_bits & _UTF8 or info.orig_filename.isascii():
        return (info.orig_filename,)
    raw = info.orig_filename.encode("cp437")
    told = _extra(info, "name")
    if told is not None and len(told) < 5:
        raise Damage("a Unicode Path field is cut")
    if told is not None and told[:1] == b"\x01" and told[1:5] == struct.pack("<L", zlib.crc32(raw)):
        return (told[5:].decode(),)
    # no manifest lists the folder that holds the bag, so it has one reading
    top, slash, rest = raw.partition(b"/")
    if not slash:
        return tuple(_readings(top))
    head = _readings(top)[0] + "/"
    return tuple(head + reading for reading in _readings(rest))


def _readings(raw: bytes) -> list[str]:
    readings = []
    for code_page in _CODE_PAGES:
        try:
            readings.append(raw.decode(code_page))
        except UnicodeDecodeError:
            continue
    return list(dict.fromkeys(readings))


def _extra(info: zipfile.ZipInfo, what: str) -> bytes | None:
    """Return the extra field of that kind, whole as it should be or not at all."""
    rest = info.extra
    while len(rest) >= 4:
        kind, size = struct.unpack_from("<HH", rest)
        if kind == _TIMES[what] and len(rest) >= 4 + size:
            return rest[4 : 4 + size]
        rest = rest[4 + size :]
    return None


def _time(info: zipfile.ZipInfo) -> int | None:
    """The time of change: to 100 ns, to a second, or what the clock on the wall said, read as UTC."""
    fine = _extra(info, "fine")
    if fine is not None and len(fine) >= 16 and fine[4:6] == b"\x01\x00":
        ticks = int.from_bytes(fine[8:16], "little")
        return ticks * 100 - _FROM_1601 * _NANOSECONDS
    seconds = _extra(info, "seconds")
    if seconds is not None and len(seconds) >= 5 and seconds[0] & 1:
        return int.from_bytes(seconds[1:5], "little", signed=True) * _NANOSECONDS
    old = _extra(info, "old")
    if old is not None and len(old) >= 8:
        return int.from_bytes(old[4:8], "little", signed=True) * _NANOSECONDS
    try:
        moment = dt.datetime(*info.date_time, tzinfo=dt.UTC)
    except ValueError:
        return None
    return int(moment.timestamp()) * _NANOSECONDS


def _find_end(file: IO[bytes]) -> tuple[bytes, int] | None:
    """Return the last bytes and where the end record stands in them, if the file ends with one."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _TAIL))
    tail = file.read(_TAIL)
    file.seek(0)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) < at + _END.size:
        return None
    if at + _END.size + _END.unpack_from(tail, at)[7] != len(tail):
        return None  # cut in its comment, or something follows
    return tail, at


def _check_end(file: IO[bytes]) -> int:
    """Return the number of entries; refuse a directory that would fill the memory before it is read."""
    found = _find_end(file)
    if found is None:
        raise Damage("it has no directory at its end")
    tail, at = found
    _, disk, first_disk, _, count, length, _, _ = _END.unpack_from(tail, at)
    disks = {disk, first_disk}
    if tail[max(at - _LONG_POINTER.size, 0) :].startswith(b"PK\x06\x07"):
        _, where, _, total = _LONG_POINTER.unpack_from(tail, at - _LONG_POINTER.size)
        start = at - _LONG_POINTER.size - _LONG_END.size
        if start < 0 or not tail.startswith(b"PK\x06\x06", start):
            raise Damage("its long directory is not where it should be")
        _, _, _, _, disk, first_disk, _, count, length, _ = _LONG_END.unpack_from(tail, start)
        disks |= {disk, first_disk, where, max(total - 1, 0)}
    if disks - _SAME:
        refuse_volumes("the last volume of a zip")
    if length > MAX_DIRECTORY:
        refuse(
            "archive-refused",
            "the archive is refused: its directory is too long",
            found=f"{length} bytes, {MAX_DIRECTORY} are read",
        )
    return int(count)
