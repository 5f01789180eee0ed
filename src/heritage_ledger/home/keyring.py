"""The key files of a home: who signs events, who signs checkpoints, and the keys that come after them.

    keys/event.json             Ed25519, signs events
    keys/log-ed25519.json       Ed25519, signs checkpoints (C2SP type 0x01)
    keys/log-mldsa44.json       ML-DSA-44, signs checkpoints too (C2SP type 0x06)
    keys/next-….json            their successors, whose digests entry 0 of the log names
    keys/witness-ed25519.json   Ed25519, cosigns the checkpoints of others (C2SP type 0x04)
    keys/witness-mldsa44.json   ML-DSA-44, cosigns them too (C2SP type 0x06)
    keys/node.json              Ed25519, signs requests to other nodes

The successors are not needed until keys change; they are best kept away from the machine.
"""

from __future__ import annotations

import secrets
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from heritage_ledger.errors import KeyProblem
from heritage_ledger.home.durable import SECRET_FILE, write_file
from heritage_ledger.identity.keys import SEED_SIZE, Ed25519Signer, MLDSA44Signer
from heritage_ledger.identity.sealed import (
    NONCE_SIZE,
    SALT_SIZE,
    KeyHeader,
    SealedKey,
    open_key,
    parse_key_header,
    seal_key,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from heritage_ledger.home.layout import Home

EVENT: Final = "event.json"
LOG_ED25519: Final = "log-ed25519.json"
LOG_MLDSA44: Final = "log-mldsa44.json"
WITNESS_ED25519: Final = "witness-ed25519.json"
WITNESS_MLDSA44: Final = "witness-mldsa44.json"
NODE: Final = "node.json"
LEDGER: Final = (EVENT, LOG_ED25519, LOG_MLDSA44)
"""What a deposit needs; sealed keys take a quarter of a second each to open."""
FEDERATION: Final = (WITNESS_ED25519, WITNESS_MLDSA44, NODE)
"""What a node needs beside them. They have no successors: a witness that lost its key or state retires it."""
CURRENT: Final = LEDGER + FEDERATION
NEXT: Final = tuple(f"next-{name}" for name in LEDGER)

_SIGNERS: Final[dict[str, type[Ed25519Signer | MLDSA44Signer]]] = {
    EVENT: Ed25519Signer,
    LOG_ED25519: Ed25519Signer,
    LOG_MLDSA44: MLDSA44Signer,
    WITNESS_ED25519: Ed25519Signer,
    WITNESS_MLDSA44: MLDSA44Signer,
    NODE: Ed25519Signer,
}
_MAX_KEY_FILE: Final = 16_384
_DERIVING: Final = threading.Lock()
"""Two Argon2id derivations at once can wait for each other for ever in OpenSSL's thread pool (measured)."""


@dataclass(frozen=True, slots=True)
class Keyring:
    """The keys of a deposit, opened."""

    event: Ed25519Signer
    log: Ed25519Signer
    log_mldsa44: MLDSA44Signer


@dataclass(frozen=True, slots=True)
class NodeKeyring:
    """The keys of a node, opened."""

    witness: Ed25519Signer
    witness_mldsa44: MLDSA44Signer
    node: Ed25519Signer


@dataclass(frozen=True, slots=True)
class PublicKeys:
    """The public keys of one generation of a ledger: 32, 32 and 1,312 bytes."""

    event: bytes
    log: bytes
    log_mldsa44: bytes


def create_keys(home: Home, passphrase: bytes | None) -> tuple[Keyring, NodeKeyring, PublicKeys]:
    """Make the keys in use and their successors; return the first and the public keys of the second.

    Raises:
        KeyProblem: the passphrase is empty.
        DiskProblem: a file cannot be written.
    """
    seeds = {name: secrets.token_bytes(SEED_SIZE) for name in (*CURRENT, *NEXT)}
    publics = {}
    for name, seed in seeds.items():
        signer = _SIGNERS[name.removeprefix("next-")].from_seed(seed)
        data = seal_key(
            seed,
            role=_role(name),
            kind=signer.kind,
            public=signer.public,
            passphrase=passphrase,
            salt=secrets.token_bytes(SALT_SIZE),
            nonce=secrets.token_bytes(NONCE_SIZE),
        )
        write_file(home.keys / name, data, mode=SECRET_FILE)
        publics[name] = signer.public
    return (
        _keyring([seeds[name] for name in LEDGER]),
        _node_keyring([seeds[name] for name in FEDERATION]),
        PublicKeys(*(publics[name] for name in NEXT)),
    )


def open_keys(home: Home, passphrase: Callable[[], bytes] | bytes | None) -> Keyring:
    """Open the keys of a deposit; the passphrase is asked for only if a file is sealed.

    Raises:
        KeyProblem: a file is missing or damaged, or the passphrase is missing or wrong.
    """
    return _keyring(_open(home, LEDGER, passphrase))


def open_node_keys(home: Home, passphrase: Callable[[], bytes] | bytes | None) -> NodeKeyring:
    """Open the keys of a node, as `open_keys` does.

    Raises:
        KeyProblem: a file is missing or damaged, or the passphrase is missing or wrong.
    """
    return _node_keyring(_open(home, FEDERATION, passphrase))


def _open(home: Home, names: Sequence[str], passphrase: Callable[[], bytes] | bytes | None) -> list[bytes]:
    files = [_read(home, name) for name in names]
    sealed = any(parse_key_header(data).sealed for data in files)
    word = passphrase() if sealed and callable(passphrase) else passphrase
    word = None if callable(word) else word
    with _DERIVING:
        opened = [open_key(data, word) for data in files]
    for name, key in zip(names, opened, strict=True):
        _check_identity(name, key)
    return [key.secret for key in opened]


def read_public_keys(home: Home) -> PublicKeys:
    """Read a ledger's public keys in use from the headers of their files; no passphrase is needed.

    Raises:
        KeyProblem: a file is missing or damaged.
    """
    headers = [parse_key_header(_read(home, name)) for name in LEDGER]
    for name, header in zip(LEDGER, headers, strict=True):
        _check_identity(name, header)
    return PublicKeys(*(header.public for header in headers))


def present_keys(home: Home) -> tuple[str, ...]:
    """The names of the key files to look at: all in use, and the successors that are not kept elsewhere."""
    return (*CURRENT, *(name for name in NEXT if not _is_away(home.keys / name)))


def _is_away(path: Path) -> bool:
    try:
        path.lstat()
    except FileNotFoundError:
        return True
    except OSError:
        return False  # what cannot be looked at is told when it is read
    return False


def read_header(path: Path) -> KeyHeader:
    """Read and check one key file as far as that goes without its passphrase.

    Raises:
        KeyProblem: it is missing or damaged, or is the file of another key.
    """
    header = parse_key_header(_read_file(path))
    _check_identity(path.name, header)
    return header


def _role(name: str) -> str:
    role = name.removesuffix(".json").removeprefix("next-").partition("-")[0]
    return f"next-{role}" if name.startswith("next-") else role


def _check_identity(name: str, key: SealedKey | KeyHeader) -> None:
    expected = (_role(name), _SIGNERS[name.removeprefix("next-")].kind)
    if (key.role, key.kind) != expected:
        raise KeyProblem(
            "key-file-other",
            "the file holds another key than its name says",
            path=name,
            expected=" ".join(expected),
            found=f"{key.role} {key.kind}",
            advice="restore the key file from a backup",
        )


def _keyring(seeds: list[bytes]) -> Keyring:
    event, log, log_mldsa44 = seeds
    return Keyring(
        Ed25519Signer.from_seed(event),
        Ed25519Signer.from_seed(log),
        MLDSA44Signer.from_seed(log_mldsa44),
    )


def _node_keyring(seeds: list[bytes]) -> NodeKeyring:
    witness, witness_mldsa44, node = seeds
    return NodeKeyring(
        Ed25519Signer.from_seed(witness),
        MLDSA44Signer.from_seed(witness_mldsa44),
        Ed25519Signer.from_seed(node),
    )


def _read(home: Home, name: str) -> bytes:
    return _read_file(home.keys / name)


def _read_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_KEY_FILE + 1)
    except OSError as error:
        raise KeyProblem(
            "key-file-missing",
            "a key file cannot be read",
            path=str(path),
            found=error.strerror,
            advice="restore the key file from a backup; without it nothing new can be signed",
        ) from error
