"""Key files: opened by their passphrase alone, and every change is noticed."""

from __future__ import annotations

import json

import pytest

from heritage_ledger.errors import KeyProblem
from heritage_ledger.identity.keys import Ed25519Signer, MLDSA44Signer
from heritage_ledger.identity.sealed import (
    MAX_FILE_SIZE,
    MAX_ITERATIONS,
    MAX_LANES,
    SealCost,
    open_key,
    parse_key_header,
    seal_key,
)

SEED = bytes(range(32))
SALT, NONCE = bytes(range(16)), bytes(range(12))
WORD = "Passwörter".encode()
CHEAP = SealCost(memory=64, iterations=1, lanes=1)
PUBLIC = Ed25519Signer.from_seed(SEED).public


def _seal(passphrase=WORD, cost=CHEAP, **changes):
    fields = {"role": "event", "kind": "ed25519", "public": PUBLIC, "salt": SALT, "nonce": NONCE, **changes}
    return seal_key(SEED, passphrase=passphrase, cost=cost, **fields)


def _code(function, *arguments, **options):
    with pytest.raises(KeyProblem) as caught:
        function(*arguments, **options)
    return caught.value.code


@pytest.mark.parametrize("signer", [Ed25519Signer, MLDSA44Signer])
@pytest.mark.parametrize("passphrase", [WORD, None])
def test_what_is_sealed_opens_again(signer, passphrase):
    public = signer.from_seed(SEED).public
    data = _seal(passphrase, kind=signer.kind, public=public, role="next-log")
    key = open_key(data, passphrase)
    assert (key.role, key.kind, key.public, key.secret) == ("next-log", signer.kind, public, SEED)
    header = parse_key_header(data)
    assert (header.role, header.kind, header.public) == ("next-log", signer.kind, public)
    assert header.sealed is (passphrase is not None)


def test_the_usual_cost_is_64_mib_three_passes_four_lanes():
    data = seal_key(
        SEED, role="event", kind="ed25519", public=PUBLIC, passphrase=WORD, salt=SALT, nonce=NONCE
    )
    fields = json.loads(data)
    assert (fields["memory"], fields["iterations"], fields["lanes"]) == (65_536, 3, 4)
    assert open_key(data, WORD).secret == SEED


def test_a_sealed_file_does_not_hold_the_secret():
    assert SEED.hex().encode() not in _seal()
    assert SEED.hex().encode() in _seal(None), "unsealed on purpose"


def test_the_secret_is_never_shown():
    key = open_key(_seal(), WORD)
    assert SEED.hex() not in repr(key)
    assert repr(SEED) not in repr(key)


def test_every_flipped_bit_is_damage():
    """The checksum tells damage from a wrong passphrase, for every bit of the file."""
    data = _seal()
    for place in range(len(data)):
        for bit in range(8):
            flipped = data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]
            assert _code(open_key, flipped, WORD) == "key-file-damaged"


def test_every_cut_is_damage():
    data = _seal(None)
    for size in range(len(data)):
        assert _code(open_key, data[:size], None) == "key-file-damaged"


def test_a_wrong_passphrase_is_told_from_damage():
    assert _code(open_key, _seal(), b"other") == "key-passphrase-wrong"
    assert _code(open_key, _seal(), b"") == "key-passphrase-wrong"
    assert _code(open_key, _seal(), None) == "key-passphrase-missing"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"passphrase": b""}, "key-passphrase-empty"),
        ({"public": bytes(32)}, "key-public-mismatch"),
        ({"kind": "rsa"}, "key-kind-unknown"),
        ({"role": ""}, "key-role-invalid"),
        ({"role": "Event"}, "key-role-invalid"),
        ({"role": "a" * 33}, "key-role-invalid"),
        ({"role": "../event"}, "key-role-invalid"),
    ],
)
def test_what_cannot_be_sealed(changes, code):
    assert _code(_seal, **changes) == code


def test_a_role_may_have_32_characters():
    assert open_key(_seal(role="a" * 32), WORD).role == "a" * 32


def test_limits_of_what_opening_costs():
    most = SealCost(memory=8 * MAX_LANES, iterations=MAX_ITERATIONS, lanes=MAX_LANES)
    assert open_key(_seal(cost=most), WORD).secret == SEED


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b"null", b"[" * 10_000, b"\xff", b"x" * (MAX_FILE_SIZE + 1)]
)
def test_what_is_no_key_file(data):
    assert _code(open_key, data, WORD) == "key-file-damaged"
    assert _code(parse_key_header, data) == "key-file-damaged"
