"""Signing keys: what is signed checks, and keys that nobody owns do not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from heritage_ledger.errors import EvidenceInvalid, KeyProblem
from heritage_ledger.identity.keys import (
    Ed25519Signer,
    MLDSA44Signer,
    check_ed25519,
    check_ed25519_public,
    check_mldsa44,
)

VECTORS = Path(__file__).resolve().parents[3] / "specs" / "vectors" / "keys.json"
SEED = bytes(range(32))
KINDS = [(Ed25519Signer, check_ed25519, 32, 64), (MLDSA44Signer, check_mldsa44, 1312, 2420)]


def _code(function, *arguments):
    with pytest.raises(EvidenceInvalid) as caught:
        function(*arguments)
    return caught.value.code


@pytest.mark.parametrize(("signer", "check", "public_size", "signature_size"), KINDS)
class TestBothKinds:
    def test_what_is_signed_checks(self, signer, check, public_size, signature_size):
        key = signer.from_seed(SEED)
        signature = key.sign(b"message")
        assert (len(key.public), len(signature)) == (public_size, signature_size)
        check(key.public, b"message", signature)

    def test_a_seed_always_gives_the_same_key(self, signer, check, public_size, signature_size):
        assert signer.from_seed(SEED) == signer.from_seed(SEED)
        assert signer.from_seed(SEED).public != signer.from_seed(bytes(32)).public

    def test_another_message_key_or_signature_fails(self, signer, check, public_size, signature_size):
        key, other = signer.from_seed(SEED), signer.from_seed(bytes(32))
        signature = key.sign(b"message")
        assert _code(check, key.public, b"messagf", signature) == "signature-invalid"
        assert _code(check, other.public, b"message", signature) == "signature-invalid"
        assert _code(check, key.public, b"message", other.sign(b"message")) == "signature-invalid"
        flipped = bytes([signature[0] ^ 1]) + signature[1:]
        assert _code(check, key.public, b"message", flipped) == "signature-invalid"

    @pytest.mark.parametrize("change", [-1, 1])
    def test_sizes_are_exact(self, signer, check, public_size, signature_size, change):
        key = signer.from_seed(SEED)
        signature = key.sign(b"message")
        assert _code(check, key.public, b"message", bytes(signature_size + change)) == "signature-invalid"
        assert _code(check, bytes(public_size + change), b"message", signature) == "public-key-invalid"
        assert _code(check, key.public, b"message", b"") == "signature-invalid"

    def test_a_seed_has_32_bytes(self, signer, check, public_size, signature_size):
        for size in (0, 31, 33, 64):
            with pytest.raises(KeyProblem) as caught:
                signer.from_seed(bytes(size))
            assert caught.value.code == "key-seed-size"

    def test_the_secret_is_never_shown(self, signer, check, public_size, signature_size):
        assert SEED.hex() not in repr(signer.from_seed(SEED))
        assert "_key" not in repr(signer.from_seed(SEED))


def test_our_rule_is_needed():
    """The library alone accepts forgeries that ours refuses; when this fails, it has learned the rule."""
    accepted = []
    for case in json.loads(VECTORS.read_text(encoding="ascii"))["cases"]:
        given = case["given"]
        if given["op"] != "check-ed25519" or case["expect"] == {} or len(given["public"]) != 64:
            continue
        try:
            Ed25519PublicKey.from_public_bytes(bytes.fromhex(given["public"])).verify(
                bytes.fromhex(given["signature"]), bytes.fromhex(given["message"])
            )
        except InvalidSignature:
            continue
        accepted.append(case["id"])
    assert "ed25519-r-small-order" in accepted
    assert "ed25519-key-order-1-sign-0" in accepted


def test_a_key_of_an_honest_owner_is_accepted():
    for number in range(64):
        check_ed25519_public(Ed25519Signer.from_seed(bytes([number]) * 32).public)


def _has_point(y: int) -> bool:
    """By taking the root, as RFC 8032 §5.1.3 does, and not by asking whether there is one."""
    p = 2**255 - 19
    d = -121665 * pow(121666, -1, p) % p
    square = (y * y - 1) * pow(d * y * y + 1, -1, p) % p
    root = pow(square, (p + 3) // 8, p)
    return any(pow(root * turn, 2, p) == square for turn in (1, pow(2, (p - 1) // 4, p)))


@pytest.mark.parametrize("sign", [0, 1])
def test_a_key_is_a_point_of_the_curve(sign):
    refused = []
    for y in range(2, 202):
        try:
            check_ed25519_public((y | sign << 255).to_bytes(32, "little"))
        except EvidenceInvalid as error:
            assert error.code == "public-key-invalid"  # noqa: PT017 - refused or not is compared below
            refused.append(y)
    assert refused == [y for y in range(2, 202) if not _has_point(y)]
    assert len(refused) == 101
