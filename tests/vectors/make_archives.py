"""Writes specs/vectors/archives.json: archives byte by byte, with the files that come out or the refusal.

Headers, check sums and stored gzip blocks are made by a few lines of their own, so that the bytes are the
same whatever packs best on this machine.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
import zlib
from pathlib import Path

OUT = Path(__file__).resolve().parents[2] / "specs" / "vectors" / "archives.json"
BAGIT = b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"
END = bytes(1_024)


def bag(payload: dict[str, bytes], top: str = "bag/") -> dict[str, bytes]:
    lines = [f"{hashlib.sha256(data).hexdigest()}  data/{name}\n" for name, data in payload.items()]
    manifest = "".join(lines).encode()
    tags = {f"{top}bagit.txt": BAGIT, f"{top}manifest-sha256.txt": manifest}
    return tags | {f"{top}data/{name}": data for name, data in payload.items()}


def entry(
    name: str, data: bytes = b"", kind: bytes = b"0", link: str = "", mark: bytes = b"ustar\x0000"
) -> bytes:
    """A tar header, and the content in whole blocks."""
    fields = [
        name.encode().ljust(100, b"\0"),
        b"0000644\0",
        b"0000000\0",
        b"0000000\0",
        b"%011o\0" % len(data),
    ]
    fields += [b"%011o\0" % 946_684_800, b" " * 8, kind, link.encode().ljust(100, b"\0"), mark]
    block = bytearray(b"".join(fields).ljust(512, b"\0"))
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + data + bytes(-len(data) % 512)


def tar(files: dict[str, bytes], *more: bytes) -> bytes:
    return b"".join(entry(name, data) for name, data in files.items()) + b"".join(more)


def pax(name: str, data: bytes, **words: str) -> bytes:
    """A file with extended attributes before it; each line says its own length."""
    lines = []
    for key, value in words.items():
        line = f" {key.replace('__', '.')}={value}\n"
        length = len(line) + 2
        lines.append(f"{length}{line}" if len(str(length)) == 2 else f"{length + 1}{line}")
    return entry("attributes", "".join(lines).encode(), b"x") + entry(name, data)


def gz(data: bytes, *, add: int = 0, length: int | None = None) -> bytes:
    """One member with one stored block."""
    size = len(data)
    block = b"\x01" + struct.pack("<HH", size, size ^ 0xFFFF) + data
    trailer = struct.pack("<LL", (zlib.crc32(data) + add) & 0xFFFFFFFF, size if length is None else length)
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + block + trailer


def zipped(
    entries: list[tuple[bytes, bytes]],
    *,
    flags=0,
    system=3,
    extra=None,
    comment=b"",
    count=None,
    disk=0,
    add=0,
) -> bytes:
    out = directory = b""
    for name, data in entries:
        more = extra(name) if extra else b""
        sizes = (zlib.crc32(data) ^ add, len(data), len(data), len(name), len(more))
        head = struct.pack("<5H3L2H", 20, flags, 0, 0, 0x5821, *sizes)
        directory += (
            b"PK\1\2" + bytes([20, system]) + head + struct.pack("<3H2L", 0, 0, 0, 0, len(out)) + name + more
        )
        out += b"PK\3\4" + head + name + more + data
    total = len(entries) if count is None else count
    end = struct.pack("<4H2LH", disk, disk, len(entries), total, len(directory), len(out), len(comment))
    return out + directory + b"PK\5\6" + end + comment


def named(files: dict[str, bytes], encoding: str = "utf-8") -> list[tuple[bytes, bytes]]:
    return [(name.encode(encoding), data) for name, data in files.items()]


def unicode_path(name: bytes) -> bytes:
    told = name.decode("cp437").encode()
    return struct.pack("<HHBL", 0x7075, 5 + len(told), 1, zlib.crc32(name)) + told


PLAIN = bag({"a.txt": b"one\n"})
BODY = tar(PLAIN)
WHOLE = BODY + END
ACCENT = bag({"é.txt": b"x\n"})
BOX = bag({"├⌐.txt": b"x\n"})
HOLES = {"GNU__sparse__map": "0,3,600,3", "GNU__sparse__size": "1000"}
LINKED = {**PLAIN, "bag/data/b.txt": b"one\n"}

# id, why, bytes, files that come out, warnings
OUT_OF = [
    ("tar", "two blocks of zeros end it", WHOLE, PLAIN, []),
    (
        "tar-old",
        "no mark; told by its check sum",
        tar({}, *(entry(n, d, b"\0", mark=b"") for n, d in PLAIN.items())) + END,
        PLAIN,
        [],
    ),
    (
        "tar-hard-link",
        "the bytes of the earlier file",
        BODY + entry("bag/data/b.txt", b"", b"1", "bag/data/a.txt") + END,
        LINKED,
        [],
    ),
    (
        "tar-link-to-itself",
        "adds nothing",
        BODY + entry("bag/data/a.txt", b"", b"1", "bag/data/a.txt") + END,
        PLAIN,
        [],
    ),
    (
        "tar-holes",
        "are zeros",
        BODY + pax("bag/data/h", b"onetwo", **HOLES) + END,
        {**PLAIN, "bag/data/h": b"one" + bytes(597) + b"two" + bytes(397)},
        [],
    ),
    ("tar-backslash", "is a letter", tar(bag({"a\\b": b"x"})) + END, bag({"a\\b": b"x"}), []),
    (
        "tar-last-record",
        "what is behind the end there is undefined",
        WHOLE + b"old".ljust(512, b"."),
        PLAIN,
        [],
    ),
    ("gzip", "one member", gz(WHOLE), PLAIN, []),
    ("gzip-members", "are one stream", gz(WHOLE[:700]) + gz(b"") + gz(WHOLE[700:]), PLAIN, []),
    ("gzip-padded", "zeros may follow", gz(WHOLE) + bytes(100), PLAIN, []),
    ("zip", "ASCII", zipped(named(PLAIN)), PLAIN, []),
    ("zip-flag", "the flag says UTF-8", zipped(named(ACCENT), flags=0x800), ACCENT, []),
    ("zip-utf8", "no flag, and UTF-8", zipped(named(ACCENT)), ACCENT, []),
    ("zip-cp437", "no flag, and not UTF-8", zipped(named(ACCENT, "cp437")), ACCENT, []),
    (
        "zip-decided",
        "the bytes are UTF-8 too; the manifest lists the other reading",
        zipped(named(BOX, "cp437")),
        BOX,
        [],
    ),
    (
        "zip-unicode-path",
        "the field says how the name is meant",
        zipped(named(BOX, "cp437"), extra=unicode_path),
        BOX,
        [],
    ),
    ("zip-before", "something stands before it", b"#!/bin/sh\n" + zipped(named(PLAIN)), PLAIN, []),
    ("zip-comment", "its length fits", zipped(named(PLAIN), comment=b"deposit"), PLAIN, []),
    (
        "zip-macos",
        "left out and told",
        zipped([(b"__MACOSX/._bag", b"x"), *named(PLAIN)]),
        PLAIN,
        ["archive-left-out"],
    ),
    (
        "zip-backslash",
        "from Unix it is a letter",
        zipped(named(bag({"a\\b": b"x"}))),
        bag({"a\\b": b"x"}),
        [],
    ),
]
# id, why, bytes, code, codes of the entries
REFUSED = [
    ("tar-no-end", "cut before its end mark", BODY, "archive-damaged", []),
    ("tar-half-end", "one block of zeros", BODY + bytes(512), "archive-damaged", []),
    ("tar-part-of-a-block", "no whole number of blocks", WHOLE + bytes(100), "archive-damaged", []),
    ("tar-cut-content", "cut in a file", BODY[:-300], "archive-damaged", []),
    (
        "tar-broken-header",
        "a header that is none is no end",
        BODY.replace(b"bag/data/a", b"bag/data/b", 1) + END,
        "archive-damaged",
        [],
    ),
    (
        "tar-second",
        "another archive behind the end",
        WHOLE + tar({"bag/data/lost": b"x"}) + END,
        "archive-damaged",
        [],
    ),
    (
        "tar-behind",
        "something behind the last record",
        WHOLE + bytes(10_240) + b"x".ljust(512, b"\0"),
        "archive-damaged",
        [],
    ),
    (
        "tar-holes-overlap",
        "the map is not in order",
        BODY + pax("bag/data/h", b"onetwo", **{**HOLES, "GNU__sparse__map": "0,3,2,3"}) + END,
        "archive-damaged",
        [],
    ),
    (
        "tar-holes-absent",
        "bytes that are not there",
        BODY + pax("bag/data/h", b"onetwo", **{**HOLES, "GNU__sparse__map": "0,900"}) + END,
        "archive-damaged",
        [],
    ),
    (
        "tar-symbolic-links",
        "each is named",
        BODY + entry("bag/x", b"", b"2", "/etc") + entry("bag/y", b"", b"2", "a") + END,
        "archive-refused",
        ["bag-link", "bag-link"],
    ),
    ("tar-pipe", "no file", BODY + entry("bag/x", b"", b"6") + END, "archive-refused", ["bag-special"]),
    (
        "tar-link-later",
        "a hard link to a later file",
        entry("bag/data/b", b"", b"1", "bag/bagit.txt") + WHOLE,
        "archive-refused",
        ["archive-link"],
    ),
    (
        "tar-link-outside",
        "a hard link that leads out",
        BODY + entry("bag/data/b", b"", b"1", "../a") + END,
        "archive-refused",
        ["archive-link"],
    ),
    ("tar-path", "leads out", entry("bag/../../x", b"x") + WHOLE, "archive-refused", []),
    (
        "tar-volume",
        "the rest of a file from another volume",
        entry("bag/x", b"", b"M") + WHOLE,
        "archive-volumes",
        [],
    ),
    ("gzip-sum", "another check sum", gz(WHOLE, add=1), "archive-damaged", []),
    ("gzip-length", "another length", gz(WHOLE, length=7), "archive-damaged", []),
    ("gzip-cut", "five bytes of the trailer are missing", gz(WHOLE)[:-5], "archive-damaged", []),
    (
        "gzip-second-cut",
        "the last of two members",
        gz(WHOLE[:700]) + gz(WHOLE[700:])[:-1],
        "archive-damaged",
        [],
    ),
    ("gzip-behind", "something that is no member", gz(WHOLE) + b"rest", "archive-damaged", []),
    ("gzip-file", "a single file", gz(b"II*\0 no tar"), "archive-format", []),
    ("zip-sum", "another check sum", zipped(named(PLAIN), add=1), "archive-damaged", []),
    ("zip-count", "the end counts one more", zipped(named(PLAIN), count=4), "archive-damaged", []),
    ("zip-behind", "something behind the end", zipped(named(PLAIN)) + b"x", "archive-damaged", []),
    (
        "zip-comment-cut",
        "the comment is cut",
        zipped(named(PLAIN), comment=b"deposit")[:-1],
        "archive-damaged",
        [],
    ),
    (
        "zip-separators",
        "backslashes in the place of slashes",
        zipped([(n.replace(b"/", b"\\"), d) for n, d in named(PLAIN)], system=0),
        "archive-refused",
        [],
    ),
    ("zip-encrypted", "needs a password", zipped(named(PLAIN), flags=1), "archive-encrypted", []),
    ("zip-volume", "the last of several", zipped(named(PLAIN), disk=1), "archive-volumes", []),
    ("rar", "told by its name", b"Rar!\x1a\x07\x01\0" + bytes(100), "archive-format", []),
]


def pieces(data: bytes) -> list[str | int]:
    """Bytes as hexadecimal, and runs of 32 or more zeros as their number."""
    runs = filter(None, re.split(rb"(\0{32,})", data))
    return [run.hex() if run.strip(b"\0") or len(run) < 32 else len(run) for run in runs]


def main() -> None:
    about = (
        "given.archive is a file: strings are bytes in hexadecimal, numbers are so many zero bytes. It "
        "unpacks to the folder `bag` with exactly expect.files (contents in hexadecimal), with the codes of "
        "expect.warnings; or it is refused with expect.error, and expect.entries are the codes of the "
        "entries that are named."
    )
    cases = [
        {
            "id": name,
            "why": why,
            "given": {"archive": pieces(data)},
            "expect": {"files": {path: text.hex() for path, text in files.items()}, "warnings": warnings},
        }
        for name, why, data, files, warnings in OUT_OF
    ] + [
        {
            "id": f"refused-{name}",
            "why": why,
            "given": {"archive": pieces(data)},
            "expect": {"error": code, "entries": entries},
        }
        for name, why, data, code, entries in REFUSED
    ]
    document = {"spec": "bags/v1", "about": about, "cases": cases}
    OUT.write_text(json.dumps(document, indent=1) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
