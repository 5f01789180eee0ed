"""Which key counts at which place in the log."""

from __future__ import annotations

from hashlib import sha256

import pytest

from heritage_ledger.errors import EvidenceInvalid
from heritage_ledger.identity.didkey import format_multikey, format_verification_method
from heritage_ledger.identity.digests import format_sha256
from heritage_ledger.identity.history import KeyEpoch, KeyHistory, key_digest
from heritage_ledger.identity.keys import Ed25519Signer

FIRST, SECOND = (Ed25519Signer.from_seed(bytes([number]) * 32).public for number in (1, 2))
PROMISED = key_digest(format_multikey(SECOND))
GENESIS = {
    "type": ["PreservationEvent", "Genesis", "Activity"],
    "log": "museum.example/ledger/1",
    "eventKey": format_verification_method(FIRST),
    "logKeys": ["museum.example/ledger/1+00000000+AQ=="],
    "nextKeyDigests": [format_sha256(PROMISED)],
    "nodeKey": format_verification_method(SECOND),
    "witnessKeys": ["museum.example/ledger/1/witness+00000000+AQ=="],
}


def _code(function, *arguments, **options):
    with pytest.raises(EvidenceInvalid) as caught:
        function(*arguments, **options)
    return caught.value.code


def test_a_history_begins_with_entry_0():
    history = KeyHistory.from_genesis(GENESIS, verification_key=FIRST)
    witness = ("museum.example/ledger/1/witness+00000000+AQ==",)
    epoch = KeyEpoch(0, FIRST, ("museum.example/ledger/1+00000000+AQ==",), (PROMISED,), witness, SECOND)
    assert history == KeyHistory("museum.example/ledger/1", (epoch,))
    history.check_event_key(0, FIRST)
    history.check_event_key(10**9, FIRST)
    assert _code(history.check_event_key, 0, SECOND) == "event-key-not-in-force"


def test_a_genesis_vouches_for_its_own_key_alone():
    assert _code(KeyHistory.from_genesis, GENESIS, verification_key=SECOND) == "genesis-key"


def test_another_event_is_no_beginning():
    other = {**GENESIS, "type": ["PreservationEvent", "Ingestion", "Activity"]}
    assert _code(KeyHistory.from_genesis, other, verification_key=FIRST) == "genesis-missing"


def test_keys_change_at_a_place_in_the_log():
    epochs = (KeyEpoch(0, FIRST, (), (PROMISED,), (), FIRST), KeyEpoch(7, SECOND, (), (), (), FIRST))
    history = KeyHistory("museum.example/ledger/1", epochs)
    history.check_event_key(6, FIRST)
    history.check_event_key(7, SECOND)
    assert _code(history.check_event_key, 6, SECOND) == "event-key-not-in-force"
    assert _code(history.check_event_key, 7, FIRST) == "event-key-not-in-force"


def test_a_key_is_promised_by_its_text():
    assert sha256(format_multikey(SECOND).encode()).digest() == PROMISED
