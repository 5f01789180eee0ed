"""Tag files: bagit.txt and bag-info.txt, read by version, written so that they read back."""

from __future__ import annotations

import io

import pytest

from heritage_ledger.bags.tags import (
    MAX_DECLARATION,
    Declaration,
    Oxum,
    format_bag_info,
    format_declaration,
    parse_bag_info,
    parse_declaration,
    parse_oxum,
)
from heritage_ledger.errors import EvidenceInvalid, UsageError

NEW = Declaration((1, 0), "utf-8")
OLD = Declaration((0, 97), "utf-8")


def refused(call, *arguments) -> str:
    with pytest.raises(EvidenceInvalid) as caught:
        call(*arguments)
    assert caught.value.advice
    return caught.value.code


def test_what_is_written_is_read():
    assert parse_declaration(format_declaration()) == NEW


@pytest.mark.parametrize("version", ["0.93", "0.94", "0.95", "0.96", "0.97", "1.0"])
@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_every_version_and_line_end(version, end):
    data = f"BagIt-Version: {version}{end}Tag-File-Character-Encoding: UTF-8{end}".encode()
    assert parse_declaration(data).text == version
    assert parse_declaration(data.removesuffix(end.encode())).text == version


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"BagIt-Version: 1.0\n",
        b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\nThird: line\n",
        b"Tag-File-Character-Encoding: UTF-8\nBagIt-Version: 1.0\n",
        b"BagIt-Version : 1.0\nTag-File-Character-Encoding: UTF-8\n",
        b"BagIt-Version:  1.0\nTag-File-Character-Encoding: UTF-8\n",
        b"BagIt-Version:1.0\nTag-File-Character-Encoding: UTF-8\n",
        b"bagit-version: 1.0\nTag-File-Character-Encoding: UTF-8\n",
        b"BagIt-Version: 1.0 \nTag-File-Character-Encoding: UTF-8\n",
        b"BagIt-Version: 1.0\n\nTag-File-Character-Encoding: UTF-8\n",
        b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n\n",
        b"BagIt-Version: 01.0\nTag-File-Character-Encoding: UTF-8\n",
        "BagIt-Version: 1.\u0660\nTag-File-Character-Encoding: UTF-8\n".encode(),
        b"\xef\xbb\xbfBagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n",
        b"BagIt-Version: 1.0\nTag-File-Character-Encoding: \xff\n",
        b"BagIt-Version: 0.97\nTag-File-Character-Encoding: \n",
        b"BagIt-Version: 0.97\n",
        b"BagIt-Version: " + b"9" * 400 + b".0\nTag-File-Character-Encoding: UTF-8\n",
    ],
)
def test_anything_but_two_lines_in_their_order_and_form_is_refused(data):
    assert refused(parse_declaration, data) == "bagit-declaration"


def test_old_versions_may_have_spaces_before_the_colon():
    data = b"BagIt-Version : 0.97\nTag-File-Character-Encoding : UTF-8\n\n"
    assert parse_declaration(data) == OLD


@pytest.mark.parametrize("version", ["1.7", "2.0", "0.92", "0.98", "1.1", "0.0", "97.0"])
def test_unknown_versions(version):
    data = f"BagIt-Version: {version}\nTag-File-Character-Encoding: UTF-8\n".encode()
    assert refused(parse_declaration, data) == "bagit-version"


@pytest.mark.parametrize(
    "name",
    [
        "UTF-9",
        "rot13",
        "hex",
        "zlib",
        "undefined",
        "unicode_escape",
        "punycode",
        "idna",
        "a\0b",
        "../x",
        "x" * 60,
    ],
)
def test_encodings_that_are_none(name):
    data = f"BagIt-Version: 1.0\nTag-File-Character-Encoding: {name}\n".encode()
    assert refused(parse_declaration, data) == "bagit-encoding"


@pytest.mark.parametrize(
    ("name", "known"),
    [("utf8", "utf-8"), ("ISO-8859-1", "iso8859-1"), ("UTF-16", "utf-16"), ("Shift_JIS", "shift_jis")],
)
def test_encodings_that_are(name, known):
    data = f"BagIt-Version: 0.97\nTag-File-Character-Encoding: {name}\n".encode()
    assert parse_declaration(data).encoding == known


def test_the_declaration_has_a_limit():
    start = b"BagIt-Version: 0.97\nTag-File-Character-Encoding: UTF-8\n"
    assert parse_declaration(start.ljust(MAX_DECLARATION, b"\n")) == OLD
    assert refused(parse_declaration, start.ljust(MAX_DECLARATION + 1, b"\n")) == "bagit-declaration"


def parse(data: bytes, declaration: Declaration = NEW) -> tuple[tuple[str, str], ...]:
    info = parse_bag_info(io.StringIO(data.decode(), newline=None), declaration.version)
    assert not info.is_cut
    return info.elements


def test_bag_info_keeps_order_and_repeats_and_joins_folded_lines():
    data = (
        b"Contact-Name: A\r\nContact-Name: B\r\nExternal-Description: one\r\n  two\r\n\tthree\r\nEmpty:\r\n"
    )
    assert parse(data, NEW) == (
        ("Contact-Name", "A"),
        ("Contact-Name", "B"),
        ("External-Description", "one two three"),
        ("Empty", ""),
    )


def test_bag_info_values_may_hold_colons():
    assert parse(b"Url: https://a.example:8080/x\n", NEW) == (("Url", "https://a.example:8080/x"),)


@pytest.mark.parametrize(
    "data", [b"no label\n", b": value\n", b"Label : value\n", b"a: b\nnothing\n", b" a: b\n"]
)
def test_lines_that_are_no_element(data):
    assert refused(parse, data, NEW) == "bag-info-line"


def test_old_bag_info_may_have_spaces_before_the_colon():
    assert parse(b"Label  :value\n", OLD) == (("Label", "value"),)


def test_bag_info_is_written_one_line_each_and_read_back():
    elements = (
        ("Source-Organization", "Müseum: of “Examples”"),
        ("Empty", ""),
        ("Bagging-Date", "2026-01-02"),
    )
    assert parse(format_bag_info(elements), NEW) == elements


@pytest.mark.parametrize(
    "element",
    [
        ("A", "b\nc"),
        ("A", "b\rc"),
        ("A", "b\u2028c"),
        ("A", "b\x85c"),
        ("A\n", "b"),
        ("A:B", "c"),
        ("", "c"),
        (" A", "c"),
        ("A", " c"),
        ("A", "c\t"),
        ("A", "c\n"),
    ],
)
def test_values_that_would_not_read_back_are_not_written(element):
    with pytest.raises(UsageError) as caught:
        format_bag_info([element])
    assert caught.value.code == "bag-info-value"


def test_oxum():
    assert parse_oxum(" 1024.3 ") == Oxum(1024, 3)


@pytest.mark.parametrize(
    "text", ["", "1024", "1024.", ".3", "-1.3", "1.2.3", "1,024.3", "x.y", "\u0661.1", "9" * 21 + ".1"]
)
def test_what_is_no_oxum(text):
    assert refused(parse_oxum, text) == "oxum-malformed"
