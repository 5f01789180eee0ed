"""Which keys an institution had at which place in its log (`specs/keys.md`, "History").

A history is fed with documents that `heritage_ledger.events` has opened; it judges authority, not
signatures. Keys are ordered by the log, never by what a clock says. It begins with entry 0, which names its
own key and the digests of the keys to come, so that whoever steals a key in use cannot choose the next.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from heritage_ledger.errors import EvidenceInvalid
from heritage_ledger.identity.didkey import format_multikey, parse_verification_method
from heritage_ledger.identity.digests import parse_sha256

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class KeyEpoch:
    """The keys in force from entry `first_index` on.

    `event_key` and `node_key` have 32 bytes; `log_keys` and `witness_keys` are C2SP verifier keys;
    `next_key_digests` have 32 bytes each.
    """

    first_index: int
    event_key: bytes
    log_keys: tuple[str, ...]
    next_key_digests: tuple[bytes, ...]
    witness_keys: tuple[str, ...]
    node_key: bytes


@dataclass(frozen=True, slots=True)
class KeyHistory:
    """The epochs of one log in their order, the first beginning at entry 0."""

    origin: str
    epochs: tuple[KeyEpoch, ...]

    @classmethod
    def from_genesis(cls, document: Mapping[str, Any], *, verification_key: bytes) -> KeyHistory:
        """The history that a genesis event begins.

        Args:
            document: the document of an opened event.
            verification_key: the key that signed it.

        Raises:
            EvidenceInvalid: `genesis-missing`, entry 0 is another kind of event; `genesis-key`, it was not
                signed by the key that it names; or a code of the keys and digests in it.
        """
        if "Genesis" not in document["type"]:
            raise EvidenceInvalid(
                "genesis-missing",
                "the log does not begin with a genesis event",
                path="/type",
                expected="Genesis",
                found=ascii(document["type"])[:200],
            )
        event_key = parse_verification_method(document["eventKey"])
        if event_key != verification_key:
            raise EvidenceInvalid(
                "genesis-key",
                "the genesis event is not signed by the key that it names",
                path="/eventKey",
                expected=format_multikey(event_key),
                found=format_multikey(verification_key),
            )
        digests = tuple(parse_sha256(digest) for digest in document["nextKeyDigests"])
        epoch = KeyEpoch(
            0,
            event_key,
            tuple(document["logKeys"]),
            digests,
            tuple(document["witnessKeys"]),
            parse_verification_method(document["nodeKey"]),
        )
        return cls(document["log"], (epoch,))

    def key_at(self, index: int) -> KeyEpoch:
        """The keys in force for the entry at `index`, counted from 0."""
        assert index >= 0
        return self.epochs[bisect_right(self.epochs, index, key=lambda epoch: epoch.first_index) - 1]

    def check_event_key(self, index: int, public: bytes) -> None:
        """Check that `public` was the institution's event key for the entry at `index`.

        Raises:
            EvidenceInvalid: `event-key-not-in-force`.
        """
        event_key = self.key_at(index).event_key
        if public != event_key:
            raise EvidenceInvalid(
                "event-key-not-in-force",
                f"entry {index} is not signed by the institution's key at that place in the log",
                expected=format_multikey(event_key),
                found=format_multikey(public),
                advice="treat the entry as not the institution's word",
            )


def key_digest(text: str) -> bytes:
    """The 32-byte digest by which a key is promised before it is used: SHA-256 of its text form.

    The text form of an event key is its multikey, that of a log key its C2SP verifier key.
    """
    return sha256(text.encode()).digest()
