"""Key files: a secret seed sealed under a passphrase, or openly unsealed (`specs/keys.md`, "Key files").

Argon2id (RFC 9106) makes a key of the passphrase, AES-256-GCM seals the seed, and the whole header is
authenticated with it. A SHA-256 checksum over the file tells damage from a wrong passphrase; it protects
nothing else. A file has one spelling, and its parameters are bounded before any memory is taken.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final, NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from heritage_ledger.errors import KeyProblem
from heritage_ledger.identity.keys import SEED_SIZE, Ed25519Signer, MLDSA44Signer

FORMAT: Final = "heritage-ledger/key/v1"
SALT_SIZE: Final = 16
"""Bytes, as RFC 9106 §3.1 recommends."""
NONCE_SIZE: Final = 12
"""Bytes, the size for which AES-GCM is specified without hashing (NIST SP 800-38D)."""
MAX_FILE_SIZE: Final = 16_384
"""Bytes: an ML-DSA-44 key file has under 4,000."""
MAX_MEMORY: Final = 262_144
"""KiB that opening a file may take: 256 MiB, four times what is asked for today."""
MAX_ITERATIONS: Final = 16
MAX_LANES: Final = 16

_KINDS: Final[dict[str, type[Ed25519Signer | MLDSA44Signer]]] = {
    "ed25519": Ed25519Signer,
    "ml-dsa-44": MLDSA44Signer,
}
_ROLE: Final = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
_MAX_ROLE: Final = 32
_HEADER: Final = ("format", "role", "kind", "public", "seal")
_OPEN: Final = "none"
_SEALED: Final = "argon2id+aes-256-gcm"


@dataclass(frozen=True, slots=True)
class SealCost:
    """What one guess at the passphrase costs: memory in KiB, passes over it, lanes."""

    memory: int = 65_536
    iterations: int = 3
    lanes: int = 4


@dataclass(frozen=True, slots=True)
class KeyHeader:
    """What a key file says without its passphrase.

    `role` is what the key is for, `kind` is `ed25519` or `ml-dsa-44`, `public` its raw public key.
    """

    role: str
    kind: str
    public: bytes
    sealed: bool


@dataclass(frozen=True, slots=True)
class SealedKey:
    """A key taken out of its file; `secret` is the 32-byte seed and never shown."""

    role: str
    kind: str
    public: bytes
    secret: bytes = field(repr=False)


def seal_key(
    secret: bytes,
    *,
    role: str,
    kind: str,
    public: bytes,
    passphrase: bytes | None,
    salt: bytes,
    nonce: bytes,
    cost: SealCost | None = None,
) -> bytes:
    """The bytes of a key file.

    Args:
        secret: the 32-byte seed.
        role: what the key is for: lower-case words with hyphens, at most 32 characters.
        kind: `ed25519` or `ml-dsa-44`.
        public: the public key of the seed.
        passphrase: None writes the seed openly, for machines that protect it otherwise.
        salt: 16 random bytes, new for each file; not used without a passphrase.
        nonce: 12 random bytes, new for each file; not used without a passphrase.
        cost: 64 MiB, three passes and four lanes unless said otherwise.

    Raises:
        KeyProblem: `key-passphrase-empty`; `key-public-mismatch`, the public key is another one's;
            `key-seed-size`; `key-kind-unknown`; `key-role-invalid`.
    """
    cost = cost or SealCost()
    _check_identity(role, kind)
    if _public_of(kind, secret) != public:
        _refuse_public()
    header = {"format": FORMAT, "role": role, "kind": kind, "public": public.hex()}
    if passphrase is None:
        return _format({**header, "seal": _OPEN, "secret": secret.hex()})
    if not passphrase:
        raise KeyProblem(
            "key-passphrase-empty",
            "the passphrase is empty",
            advice="give a passphrase, or leave the key unsealed on purpose",
        )
    assert len(salt) == SALT_SIZE
    assert len(nonce) == NONCE_SIZE
    fields: dict[str, Any] = {
        **header,
        "seal": _SEALED,
        "memory": cost.memory,
        "iterations": cost.iterations,
        "lanes": cost.lanes,
        "salt": salt.hex(),
        "nonce": nonce.hex(),
    }
    box = AESGCM(_derive(passphrase, salt, cost)).encrypt(nonce, secret, _authenticated(fields))
    return _format({**fields, "secret": box.hex()})


def open_key(data: bytes, passphrase: bytes | None) -> SealedKey:
    """The key in a key file; a passphrase is not used for a file that is not sealed.

    Raises:
        KeyProblem: `key-file-damaged`, not a key file, or one that changed since it was written;
            `key-passphrase-missing`; `key-passphrase-wrong`; `key-public-mismatch`.
    """
    fields = _parse(data)
    if fields["seal"] == _OPEN:
        secret = _hex(fields, "secret", SEED_SIZE)
    else:
        if passphrase is None:
            raise KeyProblem(
                "key-passphrase-missing",
                "the key is sealed and no passphrase was given",
                path=fields["role"],
                advice="give the passphrase by prompt, file descriptor, file or HERITAGE_PASSPHRASE",
            )
        secret = _open_box(fields, passphrase)
    public = bytes.fromhex(fields["public"])
    if _public_of(fields["kind"], secret) != public:
        _refuse_public()
    return SealedKey(fields["role"], fields["kind"], public, secret)


def parse_key_header(data: bytes) -> KeyHeader:
    """The public part of a key file, without the passphrase.

    A sealed file's header is authentic only after `open_key`: whoever can write the file can rewrite it.

    Raises:
        KeyProblem: `key-file-damaged`.
    """
    fields = _parse(data)
    return KeyHeader(fields["role"], fields["kind"], bytes.fromhex(fields["public"]), fields["seal"] != _OPEN)


def _open_box(fields: dict[str, Any], passphrase: bytes) -> bytes:
    salt, nonce = _hex(fields, "salt", SALT_SIZE), _hex(fields, "nonce", NONCE_SIZE)
    cost = SealCost(fields["memory"], fields["iterations"], fields["lanes"])
    box = _hex(fields, "secret", SEED_SIZE + 16)
    header = {name: value for name, value in fields.items() if name not in {"secret", "checksum"}}
    try:
        return AESGCM(_derive(passphrase, salt, cost)).decrypt(nonce, box, _authenticated(header))
    except InvalidTag as error:
        raise KeyProblem(
            "key-passphrase-wrong",
            "the passphrase does not open the key",
            path=fields["role"],
            advice="try again; a file changed on purpose, with its checksum made anew, looks the same",
        ) from error


def _derive(passphrase: bytes, salt: bytes, cost: SealCost) -> bytes:
    return Argon2id(
        salt=salt, length=32, iterations=cost.iterations, lanes=cost.lanes, memory_cost=cost.memory
    ).derive(passphrase)


def _public_of(kind: str, secret: bytes) -> bytes:
    signer = _KINDS[kind].from_seed(secret)
    return signer.public


def _authenticated(header: dict[str, Any]) -> bytes:
    return json.dumps(header, sort_keys=True, separators=(",", ":")).encode()


def _format(fields: dict[str, Any]) -> bytes:
    checksum = sha256(_authenticated(fields)).hexdigest()
    return json.dumps({**fields, "checksum": checksum}, indent=2).encode() + b"\n"


def _parse(data: bytes) -> dict[str, Any]:
    if len(data) > MAX_FILE_SIZE:
        _refuse(f"{len(data)} bytes")
    try:
        fields = json.loads(data.decode("ascii"))
    except (ValueError, RecursionError) as error:
        raise _damaged("not JSON") from error
    if not isinstance(fields, dict) or fields.get("format") != FORMAT:
        _refuse("another format")
    expected = [*_HEADER, "secret", "checksum"]
    if fields.get("seal") == _SEALED:
        expected[5:5] = ["memory", "iterations", "lanes", "salt", "nonce"]
    elif fields.get("seal") != _OPEN:
        _refuse("another seal")
    if list(fields) != expected:
        _refuse("other fields")
    _check_fields(fields)
    if _format({name: value for name, value in fields.items() if name != "checksum"}) != data:
        _refuse("a checksum or spelling that does not fit")
    return fields


def _check_fields(fields: dict[str, Any]) -> None:
    texts = ("role", "kind", "public", "secret", "checksum")
    if not all(isinstance(fields[name], str) for name in texts):
        _refuse("a field of another type")
    try:
        _check_identity(fields["role"], fields["kind"])
        bytes.fromhex(fields["public"])
    except (KeyProblem, ValueError) as error:
        raise _damaged("another role, kind or public key") from error
    if fields["seal"] == _SEALED:
        bounds = (("lanes", 1, MAX_LANES), ("iterations", 1, MAX_ITERATIONS))
        lanes = fields["lanes"] if type(fields["lanes"]) is int else MAX_LANES
        for name, least, most in (*bounds, ("memory", 8 * lanes, MAX_MEMORY)):
            if type(fields[name]) is not int or not least <= fields[name] <= most:
                _refuse(f"{name} outside {least} to {most}")


def _check_identity(role: str, kind: str) -> None:
    if kind not in _KINDS:
        raise KeyProblem(
            "key-kind-unknown", "unknown kind of key", expected=" or ".join(_KINDS), found=ascii(kind)[:40]
        )
    if len(role) > _MAX_ROLE or not _ROLE.fullmatch(role):
        raise KeyProblem(
            "key-role-invalid",
            "the key's role cannot be used",
            expected=f"lower-case words with hyphens, at most {_MAX_ROLE} characters",
            found=ascii(role)[:40],
        )


def _hex(fields: dict[str, Any], name: str, size: int) -> bytes:
    value = fields[name]
    try:
        data = bytes.fromhex(value) if isinstance(value, str) else b""
    except ValueError:
        data = b""
    if len(data) != size:
        _refuse(f"{name} of another size")
    return data


def _damaged(found: str) -> KeyProblem:
    return KeyProblem(
        "key-file-damaged",
        "not a key file, or one that changed since it was written",
        expected=f"a file of format {FORMAT}",
        found=found,
        advice="restore the key file from a backup",
    )


def _refuse(found: str) -> NoReturn:
    raise _damaged(found)


def _refuse_public() -> NoReturn:
    raise KeyProblem(
        "key-public-mismatch",
        "the public key is not that of the secret",
        advice="restore the key file from a backup",
    )
