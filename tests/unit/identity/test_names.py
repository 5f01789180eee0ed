"""Names of keys and digests beyond the vectors."""

from __future__ import annotations

import pytest

from heritage_ledger.errors import EvidenceInvalid
from heritage_ledger.identity.didkey import MAX_BASE58, decode_base58btc, encode_base58btc, is_base58btc
from heritage_ledger.identity.digests import (
    check_sha512,
    format_sha256,
    format_sha512,
    parse_sha256,
    parse_sha512,
)


def _code(function, text):
    with pytest.raises(EvidenceInvalid) as caught:
        function(text)
    return caught.value.code


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", ""),
        (b"\0", "1"),
        (b"\0\0\1", "112"),
        (b"Hello World!", "2NEpo7TZRRrLZSi2U"),
        (b"\xff" * 4, "7YXq9G"),
    ],
)
def test_base58(data, text):
    assert encode_base58btc(data) == text
    assert decode_base58btc(text) == data


def test_base58_limit():
    assert decode_base58btc("1" * MAX_BASE58) == bytes(MAX_BASE58)
    assert decode_base58btc("z" * MAX_BASE58) == (58**MAX_BASE58 - 1).to_bytes(94, "big")
    assert _code(decode_base58btc, "1" * (MAX_BASE58 + 1)) == "base58-invalid"


@pytest.mark.parametrize("letter", ["0", "O", "I", "l", " ", "\n", "+", "é", "\udc80", "\0", "\uff11"])
def test_letters_outside_the_alphabet(letter):
    assert _code(decode_base58btc, "2" + letter) == "base58-invalid"
    assert not is_base58btc("2" + letter)


@pytest.mark.parametrize("digest", [bytes(64), b"\xff" * 64, bytes(range(64))])
def test_sha512_names(digest):
    text = format_sha512(digest)
    assert parse_sha512(text) == digest
    check_sha512(text)


@pytest.mark.parametrize("digest", [bytes(32), b"\xff" * 32, bytes(range(32))])
def test_sha256_names(digest):
    assert parse_sha256(format_sha256(digest)) == digest


def test_the_quick_check_draws_the_same_line_as_the_parser():
    """One below the least and one above the greatest, and letters that base58 leaves out."""
    for digest, step in ((bytes(64), -1), (b"\xff" * 64, 1)):
        number = int.from_bytes(b"\x13\x40" + digest, "big") + step
        text = "z" + encode_base58btc(number.to_bytes(66, "big"))
        assert _code(parse_sha512, text) == "digest-invalid"
        assert _code(check_sha512, text) == "digest-invalid"
    good = format_sha512(bytes(range(64)))
    for wrong in (good[1:], good + "2", good[:-1], good[:50] + "0" + good[51:], "u" + good[1:], ""):
        assert _code(check_sha512, wrong) == "digest-invalid"
        assert _code(parse_sha512, wrong) in {"digest-invalid", "base58-invalid"}


def test_one_function_is_not_taken_for_another():
    assert _code(parse_sha512, format_sha256(bytes(32))) == "digest-invalid"
    assert _code(parse_sha256, format_sha512(bytes(64))) == "digest-invalid"
