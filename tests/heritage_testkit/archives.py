"""Archives made in memory, in every format that is read, and raw zips as foreign programs write them."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import struct
import sys
import tarfile
import zipfile
import zlib

import py7zr

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

BAGIT = b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"


def bag(payload: dict[str, bytes], top: str = "bag/") -> dict[str, bytes]:
    """The files of a valid bag, under their paths in the archive; names in the manifest are UTF-8."""
    lines = [f"{hashlib.sha512(data).hexdigest()}  data/{name}\n" for name, data in payload.items()]
    return {
        f"{top}bagit.txt": BAGIT,
        f"{top}manifest-sha512.txt": "".join(lines).encode(),
        **{f"{top}data/{name}": data for name, data in payload.items()},
    }


def info(name: str, **attributes) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    for key, value in attributes.items():
        setattr(member, key, value)
    return member


def tar_of(*members, mode="w", form=tarfile.PAX_FORMAT) -> bytes:
    """Members are (name or TarInfo, content)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode, format=form) as tar:
        for name, data in members:
            member = name if isinstance(name, tarfile.TarInfo) else info(name)
            if data is not None:
                member.size = len(data)
            tar.addfile(member, None if data is None else io.BytesIO(data))
    return out.getvalue()


def zip_of(*members, method=zipfile.ZIP_DEFLATED) -> bytes:
    """Members are (name or ZipInfo, content)."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as packed:
        for name, data in members:
            packed.writestr(name, data)
    return out.getvalue()


def zip_info(name: str, mode: int = 0, **attributes) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name)
    member.external_attr = mode << 16
    for key, value in attributes.items():
        setattr(member, key, value)
    return member


def seven_zip_of(*members, encoded=True, **options) -> bytes:
    """Members are (name, content); the directory is packed where it is `encoded`."""
    out = io.BytesIO()
    with py7zr.SevenZipFile(out, "w", **options) as packed:
        packed.set_encoded_header_mode(encoded)
        for name, data in members:
            packed.writestr(data, name)
    return out.getvalue()


def zstd_of(data: bytes) -> bytes:
    """One frame with a check sum at its end, as the command makes it."""
    return zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1})


PACKERS = {"gz": gzip.compress, "xz": lzma.compress, "bz2": bz2.compress, "zst": zstd_of}
FORMATS = {
    "tar": tar_of,
    **{
        f"tar.{name}": lambda *members, pack=pack: pack(tar_of(*members, form=tarfile.GNU_FORMAT))
        for name, pack in PACKERS.items()
    },
    "zip": zip_of,
    "stored.zip": lambda *members: zip_of(*members, method=zipfile.ZIP_STORED),
    "7z": seven_zip_of,
}
"""Every format that is read, as a function of members."""


def raw_zip(entries, *, flags=0, system=0, extra=lambda name: b"", comment=b"", prefix=b"") -> bytes:
    """A zip with names as bytes, as they are; all stored."""
    out, directory = io.BytesIO(), io.BytesIO()
    out.write(prefix)
    for name, data in entries:
        at, more = out.tell(), extra(name)
        head = struct.pack(
            "<5H3L2H", 20, flags, 0, 0, 0x5821, zlib.crc32(data), len(data), len(data), len(name), len(more)
        )
        out.write(b"PK\3\4" + head + name + more + data)
        directory.write(b"PK\1\2" + bytes([20, system]) + head + struct.pack("<3H2L", 0, 0, 0, 0, at))
        directory.write(name + more)
    start, count = out.tell(), len(entries)
    out.write(directory.getvalue())
    out.write(b"PK\5\6" + struct.pack("<4H2LH", 0, 0, count, count, directory.tell(), start, len(comment)))
    return out.getvalue() + comment
