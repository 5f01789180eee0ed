"""One number, one encoding."""

from __future__ import annotations

import pytest

from heritage_ledger.content.varint import MAX_VARINT, MAX_VARINT_LENGTH, encode_varint, parse_varint
from heritage_ledger.errors import EvidenceInvalid


@pytest.mark.parametrize(
    ("value", "encoded"),
    [(0, "00"), (127, "7f"), (128, "8001"), (300, "ac02"), (16384, "808001"), (MAX_VARINT, "ff" * 9 + "01")],
)
def test_a_number_has_its_shortest_encoding(value, encoded):
    assert encode_varint(value).hex() == encoded
    assert parse_varint(bytes.fromhex(encoded)) == (value, len(encoded) // 2)


@pytest.mark.parametrize(
    "data",
    ["", "80", "8000", "808000", "ff" * 9 + "02", "80" * MAX_VARINT_LENGTH, "80" * MAX_VARINT_LENGTH + "01"],
)
def test_cut_off_longer_or_larger_numbers_are_refused(data):
    with pytest.raises(EvidenceInvalid) as caught:
        parse_varint(bytes.fromhex(data))
    assert caught.value.code == "varint-malformed"


@pytest.mark.parametrize("value", [-1, MAX_VARINT + 1])
def test_numbers_without_an_encoding_are_refused(value):
    with pytest.raises(EvidenceInvalid) as caught:
        encode_varint(value)
    assert caught.value.code == "varint-malformed"
