"""Introduction files, by which a peer is added without asking its node (`specs/federation.md`).

A card is what `discover` reads at a URL: the checkpoint, entry 0 and the proof that it is in the tree.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Final

from heritage_ledger.errors import EvidenceInvalid, UsageError
from heritage_ledger.federation.client import check_url
from heritage_ledger.federation.peers import Peer, open_peer
from heritage_ledger.federation.reverse import reverse_url
from heritage_ledger.log.checkpoint import open_checkpoint, read_unverified
from heritage_ledger.log.merkle import check_inclusion, leaf_hash

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heritage_ledger.home.settings import Settings
    from heritage_ledger.log.files import LogFiles
    from heritage_ledger.log.note import NoteVerifier

TYPE: Final = "heritage-ledger-card"
VERSION: Final = 1
MAX_CARD: Final = 1 << 20
"""Bytes of an introduction file."""
_NAMES: Final = {"checkpoint", "entry", "hashes", "type", "url", "version"}


def format_card(checkpoint: bytes, entry: bytes, hashes: Sequence[bytes], url: str | None) -> bytes:
    """Return the introduction file of a log.

    Args:
        checkpoint: the published one.
        entry: entry 0, the genesis event.
        hashes: the proof that it is in the tree of the checkpoint.
        url: where the node is reached; None for one that calls in.
    """
    document = {
        "checkpoint": checkpoint.decode(),
        "entry": base64.b64encode(entry).decode(),
        "hashes": [base64.b64encode(one).decode() for one in hashes],
        "type": TYPE,
        "url": url,
        "version": VERSION,
    }
    return (json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def make_card(log: LogFiles, verifiers: Sequence[NoteVerifier], settings: Settings) -> bytes:
    """Return the introduction file of a home's own log.

    Raises:
        UsageError: the settings do not say how its node is reached (`card-no-url`).
        EvidenceMissing, EvidenceInvalid: its log cannot be shown.
    """
    node = settings.node
    if node.url is None and not node.call_in:
        raise UsageError(
            "card-no-url",
            "the settings do not say how others reach this node",
            expected='url = "https://…" under [node] in heritage.toml, or call_in = true',
            advice="set url, or call_in where nobody can reach the node and it calls its peers",
        )
    data = log.read_checkpoint()
    checkpoint = open_checkpoint(data, verifiers, settings.origin)[0]
    hashes = log.prove_inclusion(0, checkpoint.size, checkpoint.root)
    return format_card(data, log.read_entry(0, checkpoint.size), hashes, node.url)


def open_card(data: bytes) -> Peer:
    """Return the institution that an introduction file speaks of, each part checked against the others.

    Whether it is the one that it names is for a person to compare, as with a URL.

    Raises:
        EvidenceInvalid: it is no such file (`card-malformed`), or says what its own log does not: as
            `peers.discover` says.
        UsageError: `card-version`, it is of a later kind.
    """
    try:
        document = json.loads(data if len(data) <= MAX_CARD else b"")
        if document.get("type") != TYPE:
            raise _malformed(f'"type": "{TYPE}"')
        if document.get("version") != VERSION:
            raise UsageError(
                "card-version",
                "the introduction file is of another version than this software reads",
                expected=str(VERSION),
                found=repr(document.get("version"))[:40],
                advice="update heritage-ledger, or add the institution by its URL",
            )
        if document.keys() != _NAMES or not isinstance(document["checkpoint"], str):
            raise _malformed(", ".join(sorted(_NAMES)))
        checkpoint = document["checkpoint"].encode()
        entry = base64.b64decode(document["entry"], validate=True)
        hashes = [base64.b64decode(one, validate=True) for one in document["hashes"]]
        url = document["url"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _malformed("JSON as `heritage peer card` writes it") from error
    if url is not None:
        if not isinstance(url, str):
            raise _malformed("a URL, or null")
        check_url(url)
    claim = read_unverified(checkpoint)

    def prove(size: int, root: bytes) -> None:
        check_inclusion(leaf_hash(entry), 0, size, hashes, root)

    place = reverse_url(claim.origin) if url is None else url.rstrip("/")
    return open_peer(checkpoint, entry, place, prove, witness=url is not None)


def _malformed(expected: str) -> EvidenceInvalid:
    return EvidenceInvalid(
        "card-malformed",
        "this is no introduction file",
        expected=expected,
        advice="ask the institution for the file that `heritage peer card -o FILE` writes",
    )
