"""Names of Ed25519 keys: base58btc, multikey, `did:key`, verification method (`specs/keys.md`).

A multikey is `z` and base58btc of 0xed01 and the 32-byte public key (W3C Controlled Identifiers 1.0 §2.2.2);
a verification method is `did:key:<multikey>#<multikey>`. Nothing has to be fetched to know the key, ever.

>>> public = bytes.fromhex("3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29")
>>> format_did_key(public)
'did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp'
>>> parse_verification_method(format_verification_method(public)) == public
True
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from heritage_ledger.errors import EvidenceInvalid
from heritage_ledger.identity.keys import ED25519_PUBLIC_SIZE, PARSED_KEYS, check_ed25519_public

MAX_BASE58: Final = 128
"""Characters: a signature has 88, a SHA-512 multihash 91; the decoder below works on a fixed width."""

_ALPHABET: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_NOT_A_DIGIT: Final = 0xFF
_ED25519_PREFIX: Final = b"\xed\x01"
_DID_KEY: Final = "did:key:"


def _digit_table() -> bytes:
    table = bytearray([_NOT_A_DIGIT] * 256)
    for value, letter in enumerate(_ALPHABET.encode()):
        table[letter] = value
    return bytes(table)


def _fold_steps() -> tuple[tuple[int, int, int], ...]:
    steps = []
    lane, base = 1, 58
    while lane < MAX_BASE58:
        mask = int.from_bytes((bytes(lane) + b"\xff" * lane) * (MAX_BASE58 // (2 * lane)), "big")
        steps.append((8 * lane, mask, base))
        lane, base = 2 * lane, base * base
    return tuple(steps)


_DIGITS: Final = _digit_table()
_FOLDS: Final = _fold_steps()


def encode_base58btc(data: bytes) -> str:
    """Base58btc text of `data`, without a multibase prefix; each leading zero byte becomes a `1`."""
    number = int.from_bytes(data, "big")
    letters = []
    while number:
        number, digit = divmod(number, 58)
        letters.append(_ALPHABET[digit])
    zeros = len(data) - len(data.lstrip(b"\0"))
    return "1" * zeros + "".join(reversed(letters))


def decode_base58btc(text: str) -> bytes:
    """The bytes of base58btc text without its multibase prefix, at most 128 characters.

    Raises:
        EvidenceInvalid: `base58-invalid`, a letter outside the alphabet or too many of them.
    """
    if len(text) > MAX_BASE58 or not text.isascii():
        raise _base58_invalid(text)
    digits = text.encode().translate(_DIGITS)
    if _NOT_A_DIGIT in digits:
        raise _base58_invalid(text)
    # All digits lie side by side in one number, a byte each. Every step joins neighbours into one lane of
    # twice the width, high · base + low, in all lanes at once: 7 steps instead of 88 multiplications.
    number = int.from_bytes(digits, "big")
    for width, mask, base in _FOLDS:
        number = ((number >> width) & mask) * base + (number & mask)
    zeros = len(digits) - len(digits.lstrip(b"\0"))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")


def is_base58btc(text: str) -> bool:
    """Whether every character of `text` is a letter of the base58btc alphabet."""
    return text.isascii() and not text.encode().translate(None, _ALPHABET.encode())


def format_multikey(public: bytes) -> str:
    """`z6Mk…` for a 32-byte Ed25519 public key."""
    assert len(public) == ED25519_PUBLIC_SIZE
    return "z" + encode_base58btc(_ED25519_PREFIX + public)


@lru_cache(maxsize=PARSED_KEYS)
def parse_multikey(text: str) -> bytes:
    """The 32-byte Ed25519 public key of a multikey.

    Raises:
        EvidenceInvalid: `multikey-invalid`, not `z`, not prefix 0xed01, or another size;
            `base58-invalid`; `public-key-invalid`, a key that nobody can own.
    """
    if not text.startswith("z"):
        raise EvidenceInvalid(
            "multikey-invalid",
            "a multikey is base58btc and starts with z",
            expected="z6Mk…",
            found=repr(text[:80]),
        )
    data = decode_base58btc(text[1:])
    if data[:2] != _ED25519_PREFIX or len(data) != len(_ED25519_PREFIX) + ED25519_PUBLIC_SIZE:
        raise EvidenceInvalid(
            "multikey-invalid",
            "the multikey is not an Ed25519 public key",
            expected="prefix ed01 and 32 bytes",
            found=f"prefix {data[:2].hex()} and {max(len(data) - 2, 0)} bytes",
            rule="W3C EdDSA Cryptosuites 1.0, Multikey",
        )
    check_ed25519_public(data[2:])
    return data[2:]


def format_did_key(public: bytes) -> str:
    """`did:key:z6Mk…` for a 32-byte Ed25519 public key."""
    return _DID_KEY + format_multikey(public)


def parse_did_key(text: str) -> bytes:
    """The 32-byte public key of a `did:key`.

    Raises:
        EvidenceInvalid: `did-key-invalid`, or as `parse_multikey`.
    """
    if not text.startswith(_DID_KEY):
        raise EvidenceInvalid(
            "did-key-invalid",
            "the key is not named by did:key",
            expected="did:key:z6Mk…",
            found=repr(text[:80]),
        )
    return parse_multikey(text[len(_DID_KEY) :])


def format_verification_method(public: bytes) -> str:
    """`did:key:z6Mk…#z6Mk…` for a 32-byte Ed25519 public key."""
    multikey = format_multikey(public)
    return f"{_DID_KEY}{multikey}#{multikey}"


@lru_cache(maxsize=PARSED_KEYS)
def parse_verification_method(text: str) -> bytes:
    """The 32-byte public key of a verification method; the fragment must repeat the key.

    Raises:
        EvidenceInvalid: `did-key-invalid`, or as `parse_multikey`.
    """
    did, separator, fragment = text.partition("#")
    if not separator or did != _DID_KEY + fragment:
        raise EvidenceInvalid(
            "did-key-invalid",
            "the verification method is not a did:key with its own key as fragment",
            expected="did:key:z6Mk…#z6Mk…, twice the same key",
            found=repr(text[:160]),
        )
    return parse_did_key(did)


def _base58_invalid(text: str) -> EvidenceInvalid:
    return EvidenceInvalid(
        "base58-invalid",
        "not base58btc text",
        expected=f"at most {MAX_BASE58} letters of the base58btc alphabet",
        found=f"{len(text)} characters, {text[:40]!a}",
    )
