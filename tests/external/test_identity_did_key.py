"""did:key against the vectors of its method."""

from __future__ import annotations

import json

import pytest

from heritage_ledger.errors import EvidenceInvalid
from heritage_ledger.identity.didkey import (
    decode_base58btc,
    format_did_key,
    format_verification_method,
    parse_did_key,
    parse_multikey,
)
from heritage_ledger.identity.keys import Ed25519Signer
from heritage_testkit.outside import vectors

pytestmark = pytest.mark.external


def _entries():
    return json.loads((vectors("did-key") / "ed25519-x25519.json").read_text(encoding="utf-8"))


def test_seeds_give_their_dids():
    entries = _entries()
    assert len(entries) == 5
    for did, entry in entries.items():
        public = Ed25519Signer.from_seed(bytes.fromhex(entry["seed"])).public
        assert format_did_key(public) == did
        assert parse_did_key(did) == public
        if "publicKeyBase58" in entry["verificationKeyPair"]:
            assert decode_base58btc(entry["verificationKeyPair"]["publicKeyBase58"]) == public
        assert format_verification_method(public) == entry["didDocument"]["verificationMethod"][0]["id"]


def test_their_encryption_keys_are_not_taken_for_signing_keys():
    for entry in _entries().values():
        with pytest.raises(EvidenceInvalid) as caught:
            parse_multikey(entry["keyAgreementKeyPair"]["id"].partition("#")[2])
        assert caught.value.code == "multikey-invalid"
