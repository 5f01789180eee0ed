"""Bags: what is written is read back, what is changed is found, and no bytes make a parser fall over."""

from __future__ import annotations

import contextlib
import hashlib
import io
import shutil
import tarfile
import tempfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heritage_ledger.bags.archives.limits import Limits
from heritage_ledger.bags.archives.unpack import extract
from heritage_ledger.bags.fetch import parse_fetch
from heritage_ledger.bags.manifests import parse_manifest
from heritage_ledger.bags.names import TreeNames, check_path, decode_path, encode_path
from heritage_ledger.bags.tags import (
    format_bag_info,
    parse_bag_info,
    parse_declaration,
    parse_oxum,
)
from heritage_ledger.bags.validate import validate_bag
from heritage_ledger.bags.write import BagWriter, format_manifest_line
from heritage_ledger.content.reading import read_small
from heritage_ledger.errors import EvidenceInvalid, HeritageError, Severity, UsageError
from heritage_testkit.archives import FORMATS, bag, seven_zip_of, tar_of

OLD = (0, 97)
NEW = (1, 0)
versions = st.sampled_from([OLD, NEW])
characters = st.one_of(
    st.sampled_from("a %\r\n\t*~.\\:é\u0301\u2028"),
    st.characters(exclude_categories=["Cs"], exclude_characters="/\0"),
)
names = st.text(characters, min_size=1, max_size=12).filter(
    lambda name: name not in {".", ".."} and not name.startswith("..\\") and "\\.." not in name
)
paths = st.lists(names, min_size=1, max_size=3).map(lambda parts: "data/" + "/".join(parts))
digests = st.binary(min_size=32, max_size=32)


@given(paths, versions)
def test_every_path_comes_back_from_its_spelling(path, version):
    written = encode_path(path, version)
    assert decode_path(written, version) == (path, True)
    if version == NEW:
        assert "\n" not in written
        assert "\r" not in written


@given(st.text(max_size=30))
def test_right_spellings_are_the_only_ones_that_come_back(text):
    path, is_right = decode_path(text, NEW)
    if is_right:
        assert encode_path(path, NEW).lower() == text.lower().replace("\n", "%0a").replace("\r", "%0d")


@given(st.text(st.sampled_from("./\\~abC:\0"), max_size=12))
def test_a_checked_path_stays_where_it_is_put(path):
    try:
        check_path(path)
    except EvidenceInvalid:
        return
    for text in (path, path.replace("\\", "/")):
        below = Path("/bag") / text
        assert below.resolve().is_relative_to("/bag")
    assert path.split("/") == list(Path(path).parts)


@given(st.dictionaries(paths, digests, max_size=8))
def test_a_manifest_comes_back(entries):
    text = b"".join(format_manifest_line(digest, path) for path, digest in entries.items()).decode()
    manifest = parse_manifest(io.StringIO(text, newline=None), "manifest-sha256.txt", NEW)
    assert manifest.findings == []
    assert {path: manifest.find(path) for path in entries} == entries
    assert list(manifest.unmet()) == []
    assert sorted(manifest.paths(), key=str.encode) == list(manifest.paths())


@given(st.lists(st.text(max_size=80), max_size=5), versions)
def test_no_lines_make_a_parser_fall_over(lines, version):
    for name in ("manifest-sha256.txt", "tagmanifest-x.txt"):
        parse_manifest(lines, name, version)
    parse_fetch(lines, version)


@given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=20)), max_size=5))
def test_bag_info_comes_back_or_is_not_written(elements):
    try:
        data = format_bag_info(elements)
    except UsageError:
        return
    assert parse_bag_info(io.StringIO(data.decode(), newline=None), NEW).elements == tuple(elements)


@given(st.binary(max_size=120), st.sampled_from(["utf-8", "utf-16", "iso8859-1", "shift_jis"]), versions)
def test_tag_files_are_read_or_refused(data, encoding, version):
    with contextlib.suppress(EvidenceInvalid, UnicodeError):
        parse_bag_info(io.TextIOWrapper(io.BytesIO(data), encoding, newline=None), version)
    for start in (b"", b"BagIt-Version: 1.0\nTag-File-Character-Encoding: "):
        with contextlib.suppress(EvidenceInvalid):
            parse_declaration(start + data)
    with contextlib.suppress(EvidenceInvalid):
        parse_oxum(data.decode("latin-1"))


@given(
    st.lists(st.text(min_size=1, max_size=6).filter(lambda name: "/" not in name), max_size=6, unique=True)
)
def test_twins_are_found_whatever_the_order(some):
    def twins(order):
        tree = TreeNames()
        found = [finding for name in order for finding in tree.add_file(f"data/{name}")]
        return sum(finding.code in {"name-normalisation-twin", "name-case-twin"} for finding in found)

    assert twins(some) == twins(some[::-1])


file_names = st.text(st.sampled_from("ab%\n\r *é."), min_size=1, max_size=6).filter(
    lambda name: set(name) != {"."}
)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(file_names, st.binary(max_size=40), min_size=1, max_size=5), st.data())
def test_a_bag_that_was_written_is_valid_until_one_byte_of_it_changes(files, data):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "bag"
        (root / "data").mkdir(parents=True)
        writer = BagWriter(root)
        for name, content in files.items():
            (root / "data" / name).write_bytes(content)
            writer.add_payload(f"data/{name}", read_small(content, ["sha512"]))
        tags = writer.seal([("Payload-Oxum", f"{sum(map(len, files.values()))}.{len(files)}")])
        assert validate_bag(root).is_valid
        victim = root / data.draw(st.sampled_from([*(f"data/{name}" for name in files), *tags]))
        content = victim.read_bytes()
        at = data.draw(st.integers(0, len(content)))
        flipped = bytes([content[at] ^ 1]) if at < len(content) else b"x"
        victim.write_bytes(content[:at] + flipped + content[at + 1 :])
        changed = validate_bag(root)
        if victim.name == "tagmanifest-sha512.txt" and content.lower() == victim.read_bytes().lower():
            return
        assert not changed.is_valid


def unpacked_or_refused(data: bytes) -> bool:
    """Say whether it comes out; everything else must be said in our words."""
    folder = Path(tempfile.mkdtemp())
    try:
        (folder / "archive").write_bytes(data)
        (folder / "target").mkdir()
        with contextlib.suppress(HeritageError):
            extract(folder / "archive", folder / "target", limits=SMALL)
            return True
        return False
    finally:
        shutil.rmtree(folder)


SMALL = Limits(size=1 << 20, files=100)
STARTS = [
    b"",
    b"PK\x03\x04",
    b"\x1f\x8b\x08\0",
    b"7z\xbc\xaf\x27\x1c",
    b"\xfd7zXZ\0",
    b"BZh9",
    b"\x28\xb5\x2f\xfd",
]


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=600), st.sampled_from(STARTS))
def test_archives_of_any_bytes_are_refused_in_our_words(data, start):
    unpacked_or_refused(start + data)


WHOLE = {form: make(*bag({"a": b"one", "b/é": bytes(range(256))}).items()) for form, make in FORMATS.items()}


@pytest.mark.parametrize("form", FORMATS)
@given(st.data())
def test_an_archive_with_changes_is_refused_in_our_words_or_comes_out(form, data):
    wrong = bytearray(WHOLE[form])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(wrong) - 1))
        wrong[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.one_of(st.just(len(wrong)), st.integers(0, len(wrong))))
    unpacked_or_refused(bytes(wrong[:cut]))


@given(st.data())
def test_a_changed_7z_whose_sums_are_right_again_is_refused_in_our_words(data):
    """What an attacker would send: the directory is changed, and its check sums are made to fit."""
    wrong = bytearray(seven_zip_of(("bag/bagit.txt", b"x" * 300), ("bag/data/a", b"y"), encoded=False))
    start = 32 + int.from_bytes(wrong[12:20], "little")
    for _ in range(data.draw(st.integers(1, 4))):
        wrong[data.draw(st.integers(start, len(wrong) - 1))] = data.draw(st.integers(0, 255))
    wrong[28:32] = zlib.crc32(wrong[start:]).to_bytes(4, "little")
    wrong[8:12] = zlib.crc32(wrong[12:32]).to_bytes(4, "little")
    unpacked_or_refused(bytes(wrong))


@given(st.data())
def test_a_changed_tar_whose_sums_are_right_again_is_refused_in_our_words(data):
    wrong = bytearray(tar_of(("bag/bagit.txt", b"x" * 300), ("bag/data/a", b"y"), form=tarfile.GNU_FORMAT))
    for _ in range(data.draw(st.integers(1, 4))):
        wrong[data.draw(st.integers(0, 511))] = data.draw(st.integers(0, 255))
    wrong[148:156] = b" " * 8
    wrong[148:156] = b"%06o\0 " % sum(wrong[:512])
    unpacked_or_refused(bytes(wrong))


@given(st.binary(max_size=20))
def test_findings_about_damage_say_both_digests(content):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "data").mkdir()
        (root / "data" / "x").write_bytes(content)
        (root / "bagit.txt").write_text("BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n")
        wrong = hashlib.sha256(content + b"x").hexdigest()
        (root / "manifest-sha256.txt").write_text(f"{wrong}  data/x\n")
        (finding,) = validate_bag(root).findings
        assert finding.severity is Severity.ERROR
        assert wrong in finding.expected
        assert hashlib.sha256(content).hexdigest() in finding.found
