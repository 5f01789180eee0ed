"""Digests by which events name keys, contexts and files: `digestMultibase` (`specs/keys.md`).

The text is `z` and base58btc of a multihash (W3C Data Integrity 1.0, "Resource Integrity").

>>> format_sha256(bytes(32))
'zQmNLei78zWmzUdbeRB3CiUfAizWUrbeeZh5K1rhAQKCh51'
"""

from __future__ import annotations

from typing import Final

from heritage_ledger.errors import EvidenceInvalid
from heritage_ledger.identity.didkey import decode_base58btc, encode_base58btc, is_base58btc

_SHA256: Final = b"\x12\x20"
_SHA512: Final = b"\x13\x40"
_LEAST: Final = "z" + encode_base58btc(_SHA512 + bytes(64))
_GREATEST: Final = "z" + encode_base58btc(_SHA512 + b"\xff" * 64)


def format_sha256(digest: bytes) -> str:
    """`zQm…` for the 32 bytes of a SHA-256 digest."""
    assert len(digest) == _SHA256[1]
    return "z" + encode_base58btc(_SHA256 + digest)


def format_sha512(digest: bytes) -> str:
    """`z8V…` for the 64 bytes of a SHA-512 digest."""
    assert len(digest) == _SHA512[1]
    return "z" + encode_base58btc(_SHA512 + digest)


def parse_sha256(text: str) -> bytes:
    """The 32 bytes of a SHA-256 `digestMultibase`.

    Raises:
        EvidenceInvalid: `digest-invalid`, another base, function or size; `base58-invalid`.
    """
    return _parse(text, _SHA256, "SHA-256")


def parse_sha512(text: str) -> bytes:
    """The 64 bytes of a SHA-512 `digestMultibase`.

    Raises:
        EvidenceInvalid: `digest-invalid`, another base, function or size; `base58-invalid`.
    """
    return _parse(text, _SHA512, "SHA-512")


def check_sha512(text: str) -> None:
    """Check that `parse_sha512` would read `text`, six times as fast.

    Raises:
        EvidenceInvalid: `digest-invalid`.
    """
    # Texts of one length sort as their numbers do, for the alphabet is in ASCII order.
    if len(text) != len(_LEAST) or not _LEAST <= text <= _GREATEST or not is_base58btc(text[1:]):
        raise _digest_invalid(text, _SHA512, "SHA-512")


def _parse(text: str, prefix: bytes, name: str) -> bytes:
    if text.startswith("z"):
        data = decode_base58btc(text[1:])
        if data[:2] == prefix and len(data) == 2 + prefix[1]:
            return data[2:]
    raise _digest_invalid(text, prefix, name)


def _digest_invalid(text: str, prefix: bytes, name: str) -> EvidenceInvalid:
    return EvidenceInvalid(
        "digest-invalid",
        f"not a {name} digest",
        expected=f"z and base58btc of {prefix.hex()} and {prefix[1]} bytes",
        found=ascii(text)[:120],
    )
