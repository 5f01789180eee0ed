"""Ed25519 and ML-DSA-44 keys from seeds: sign and check (`specs/keys.md`).

Ed25519 is RFC 8032 §5.1, pure, checked without the cofactor, and narrower than the RFC in one way: a public
key or an R that has small order, or that is not the canonical encoding of its point, is refused. A key of
small order has no owner: signatures for it can be found without any secret. ML-DSA-44 is FIPS 204 with an
empty context string.

This package is the home of `cryptography`; its types and errors stop here.

>>> signer = Ed25519Signer.from_seed(bytes(32))
>>> signer.public.hex()
'3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29'
>>> check_ed25519(signer.public, b"a message", signer.sign(b"a message"))
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import ClassVar, Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA44PublicKey

from heritage_ledger.errors import EvidenceInvalid, KeyProblem, OperationFailed

SEED_SIZE: Final = 32
"""Bytes of a secret seed, the same for both kinds (RFC 8032 §5.1.5, FIPS 204 §3.6.3)."""
ED25519_PUBLIC_SIZE: Final = 32
ED25519_SIGNATURE_SIZE: Final = 64
MLDSA44_PUBLIC_SIZE: Final = 1312
MLDSA44_SIGNATURE_SIZE: Final = 2420

PARSED_KEYS: Final = 256
"""Public keys kept parsed: a log and its witnesses use tens; strangers' keys cannot fill the memory."""

_P: Final = 2**255 - 19
_D: Final = -121665 * pow(121666, -1, _P) % _P
_Y_MASK: Final = 2**255 - 1
_ORDER_8_Y: Final = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
_SMALL_ORDER_Y: Final = frozenset({0, 1, _P - 1, _ORDER_8_Y, _P - _ORDER_8_Y})
"""The y of all points of order 1, 2, 4 and 8; the sign bit changes nothing about their order."""


@dataclass(frozen=True, slots=True)
class Ed25519Signer:
    """A secret Ed25519 key that signs; `public` is its 32-byte public key."""

    kind: ClassVar[str] = "ed25519"
    public: bytes
    _key: Ed25519PrivateKey = field(repr=False, compare=False)

    @classmethod
    def from_seed(cls, seed: bytes) -> Ed25519Signer:
        """The signer of a 32-byte seed.

        Raises:
            KeyProblem: `key-seed-size`, the seed is not 32 bytes.
        """
        _check_seed(seed)
        key = Ed25519PrivateKey.from_private_bytes(seed)
        return cls(key.public_key().public_bytes_raw(), key)

    def sign(self, message: bytes) -> bytes:
        """The 64-byte signature of `message`; the same message always gives the same bytes."""
        return self._key.sign(message)


@dataclass(frozen=True, slots=True)
class MLDSA44Signer:
    """A secret ML-DSA-44 key that signs; `public` is its 1,312-byte public key."""

    kind: ClassVar[str] = "ml-dsa-44"
    public: bytes
    _key: MLDSA44PrivateKey = field(repr=False, compare=False)

    @classmethod
    def from_seed(cls, seed: bytes) -> MLDSA44Signer:
        """The signer of a 32-byte seed (the ξ of FIPS 204 key generation).

        Raises:
            KeyProblem: `key-seed-size`, the seed is not 32 bytes.
            OperationFailed: `mldsa-unavailable`, the cryptography here was built without ML-DSA.
        """
        _check_seed(seed)
        try:
            key = MLDSA44PrivateKey.from_seed_bytes(seed)
        except UnsupportedAlgorithm as error:
            raise _mldsa_unavailable() from error
        return cls(key.public_key().public_bytes_raw(), key)

    def sign(self, message: bytes) -> bytes:
        """A 2,420-byte signature of `message`; hedged, so the bytes differ from call to call."""
        return self._key.sign(message)


def check_ed25519_public(public: bytes) -> None:
    """Refuse 32 bytes that cannot be an institution's Ed25519 key.

    Raises:
        EvidenceInvalid: `public-key-invalid`, wrong size, small order, a non-canonical encoding, or no point
            of the curve.
    """
    _parse_ed25519(public)


def check_ed25519(public: bytes, message: bytes, signature: bytes) -> None:
    """Check that the owner of `public` signed `message`.

    Args:
        public: 32 bytes.
        message: what was signed, any length.
        signature: R and S, 64 bytes.

    Raises:
        EvidenceInvalid: `signature-invalid`, the signature is not one of this message by this key;
            `public-key-invalid`, no signature by such a key can be trusted.
    """
    key = _parse_ed25519(public)
    if len(signature) != ED25519_SIGNATURE_SIZE:
        raise EvidenceInvalid(
            "signature-invalid",
            "an Ed25519 signature has another size",
            expected=f"{ED25519_SIGNATURE_SIZE} bytes",
            found=f"{len(signature)} bytes",
        )
    if (fault := _point_fault(signature[:32])) is not None:
        raise EvidenceInvalid(
            "signature-invalid",
            f"the signature's R {fault}",
            found=signature[:32].hex(),
            rule="RFC 8032 §5.1.7, specs/keys.md",
        )
    try:
        key.verify(signature, message)
    except InvalidSignature as error:
        raise EvidenceInvalid(
            "signature-invalid", "the Ed25519 signature does not fit the message and the key"
        ) from error


def check_mldsa44(public: bytes, message: bytes, signature: bytes) -> None:
    """Check that the owner of `public` signed `message`.

    Args:
        public: 1,312 bytes.
        message: what was signed, any length.
        signature: 2,420 bytes.

    Raises:
        EvidenceInvalid: `signature-invalid` or `public-key-invalid`, as for Ed25519.
        OperationFailed: `mldsa-unavailable`, nothing was checked.
    """
    key = _parse_mldsa44(public)
    if len(signature) != MLDSA44_SIGNATURE_SIZE:
        raise EvidenceInvalid(
            "signature-invalid",
            "an ML-DSA-44 signature has another size",
            expected=f"{MLDSA44_SIGNATURE_SIZE} bytes",
            found=f"{len(signature)} bytes",
        )
    try:
        key.verify(signature, message)
    except InvalidSignature as error:
        raise EvidenceInvalid(
            "signature-invalid", "the ML-DSA-44 signature does not fit the message and the key"
        ) from error


@lru_cache(maxsize=PARSED_KEYS)
def _parse_ed25519(public: bytes) -> Ed25519PublicKey:
    if len(public) != ED25519_PUBLIC_SIZE:
        raise EvidenceInvalid(
            "public-key-invalid",
            "an Ed25519 public key has another size",
            expected=f"{ED25519_PUBLIC_SIZE} bytes",
            found=f"{len(public)} bytes",
        )
    if (fault := _point_fault(public) or _curve_fault(public)) is not None:
        raise EvidenceInvalid(
            "public-key-invalid",
            f"the Ed25519 public key {fault}",
            found=public.hex(),
            rule="RFC 8032 §5.1.3, specs/keys.md",
            advice="trust nothing that this key is said to have signed",
        )
    return Ed25519PublicKey.from_public_bytes(public)


@lru_cache(maxsize=PARSED_KEYS)
def _parse_mldsa44(public: bytes) -> MLDSA44PublicKey:
    if len(public) != MLDSA44_PUBLIC_SIZE:
        raise EvidenceInvalid(
            "public-key-invalid",
            "an ML-DSA-44 public key has another size",
            expected=f"{MLDSA44_PUBLIC_SIZE} bytes",
            found=f"{len(public)} bytes",
        )
    try:
        return MLDSA44PublicKey.from_public_bytes(public)
    except UnsupportedAlgorithm as error:
        raise _mldsa_unavailable() from error


def _point_fault(encoded: bytes) -> str | None:
    y = int.from_bytes(encoded, "little") & _Y_MASK
    if y >= _P:
        return "is not the canonical encoding of a point"
    if y in _SMALL_ORDER_Y:
        return "has small order"
    return None


def _curve_fault(encoded: bytes) -> str | None:
    """Say whether no x belongs to this y: x² = (y² - 1) / (d y² + 1) must be a square (RFC 8032 §5.1.3).

    Asked once for a public key; an R that is no point fails the equation by itself.
    """
    square = pow(int.from_bytes(encoded, "little") & _Y_MASK, 2, _P)
    product = (square - 1) * (_D * square + 1) % _P  # a square if and only if the quotient is one
    return None if pow(product, (_P - 1) // 2, _P) == 1 else "is no point of the curve"


def _check_seed(seed: bytes) -> None:
    if len(seed) != SEED_SIZE:
        raise KeyProblem(
            "key-seed-size",
            "a secret key's seed has another size",
            expected=f"{SEED_SIZE} bytes",
            found=f"{len(seed)} bytes",
        )


def _mldsa_unavailable() -> OperationFailed:
    return OperationFailed(
        "mldsa-unavailable",
        "the installed cryptography package cannot do ML-DSA-44",
        advice="install cryptography 48 or newer from its published wheels",
    )
