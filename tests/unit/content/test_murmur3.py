"""The hash by which names are sorted into buckets, against values of its reference implementation."""

from __future__ import annotations

import pytest

from heritage_ledger.content.murmur3 import murmur3_x64_64


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "0000000000000000"),
        (b"hello", "cbd8a7b341bd9b02"),
        (b"The quick brown fox jumps over the lazy dog", "e34bbc7bbc071b6c"),
    ],
)
def test_values_of_the_reference_implementation(data, expected):
    assert murmur3_x64_64(data).hex() == expected


def test_the_bytes_are_used_from_the_first():
    assert murmur3_x64_64(b"hello.txt")[0] == 0xDF
    assert murmur3_x64_64(b"470.txt")[:2] == bytes.fromhex("006e")
    assert murmur3_x64_64(b"742.txt")[:2] == bytes.fromhex("00ff")
