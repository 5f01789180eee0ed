"""The one table of digest algorithms: its names, and what hashlib says of them."""

from __future__ import annotations

import hashlib

import pytest

from heritage_ledger.content.algorithms import ALGORITHMS, STRONG, plain_name, supports


@pytest.mark.parametrize("name", list(filter(supports, ALGORITHMS)))
def test_a_name_is_plain_and_a_digest_has_its_length(name):
    assert plain_name(name) == name
    hasher = ALGORITHMS[name].new()
    hasher.update(b"page ")
    hasher.update(b"12\n")
    assert len(hasher.digest()) == ALGORITHMS[name].size


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("sha256", hashlib.sha256(b"x").digest()),
        ("sha256128", hashlib.sha256(b"x").digest()[:16]),
        ("sha25632", hashlib.sha256(b"x").digest()[:4]),
        ("sha3512", hashlib.sha3_512(b"x").digest()),
        ("blake2b", hashlib.blake2b(b"x").digest()),
        ("blake2b512", hashlib.blake2b(b"x").digest()),
        ("blake2b256", hashlib.blake2b(b"x", digest_size=32).digest()),
        ("blake2s256", hashlib.blake2s(b"x").digest()),
        ("sha512256", hashlib.new("sha512_256", b"x").digest()),
    ],
)
def test_a_name_means_the_registered_algorithm(name, digest):
    hasher = ALGORITHMS[name].new()
    hasher.update(b"x")
    assert hasher.digest() == digest


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("SHA-256", "sha256"),
        ("sha3_256", "sha3256"),
        ("SHA-512/256", "sha512256"),
        ("blake2b-512", "blake2b512"),
        ("sha-256-128", "sha256128"),
        ("\u00df-sha1 ", "sha1"),
    ],
)
def test_every_spelling_has_one_plain_name(text, name):
    assert plain_name(text) == name


@pytest.mark.parametrize(
    "name", ["shake128", "shake256", "k12256", "md2", "blake3", "md5sha1", "", "SHA256", "sha-256"]
)
def test_what_is_not_in_the_table_is_not_known(name):
    assert not supports(name)


def test_no_short_or_broken_digest_is_strong():
    assert all(ALGORITHMS[name].size >= 28 and not ALGORITHMS[name].cut for name in STRONG)
    assert not STRONG & {"md5", "sha1", "ripemd160", "sm3"}
