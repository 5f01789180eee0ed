"""Data Integrity proofs: one proof, over this document, under this context."""

from __future__ import annotations

import pytest

from heritage_ledger.errors import EvidenceInvalid
from heritage_ledger.events.proof import open_document, parse_proof_value, sign_document

CREATED = "2026-03-02T11:40:52Z"
DOCUMENT = {"@context": ["https://example.org/a"], "id": "urn:uuid:1", "title": "Amphora"}


def _code(function, *arguments, **options):
    with pytest.raises(EvidenceInvalid) as caught:
        function(*arguments, **options)
    return caught.value.code


@pytest.fixture(name="signed")
def fixture_signed(signer):
    return sign_document(DOCUMENT, signer, created=CREATED)


def test_what_is_signed_opens_again(signed, signer):
    opened = open_document(signed)
    assert opened.document == DOCUMENT
    assert (opened.verification_key, opened.created) == (signer.public, CREATED)


def test_nothing_given_is_changed(signer, signed):
    copy = dict(signed)
    open_document(signed)
    assert signed == copy
    assert "proof" not in DOCUMENT


def test_a_document_is_signed_once(signed, signer):
    assert _code(sign_document, signed, signer, created=CREATED) == "proof-count"


def test_a_document_without_context_is_not_signed(signer):
    assert _code(sign_document, {"id": "urn:uuid:1"}, signer, created=CREATED) == "proof-context"


@pytest.mark.parametrize("created", ["2026-03-02", "2026-03-02T11:40:52", "2026-13-02T11:40:52Z", "now"])
def test_a_time_has_one_form(signer, created):
    assert _code(sign_document, DOCUMENT, signer, created=created) == "timestamp-invalid"


def test_no_proof(signed):
    del signed["proof"]
    assert _code(open_document, signed) == "proof-missing"


@pytest.mark.parametrize("proof", ["z", 5, {}, {"type": "DataIntegrityProof"}])
def test_something_else_than_a_proof(signed, proof):
    assert _code(open_document, {**signed, "proof": proof}) == "proof-shape"


def test_a_proof_set_is_named_as_such(signed):
    assert _code(open_document, {**signed, "proof": [signed["proof"]]}) == "proof-count"


def test_contexts_must_be_equal_not_only_begin_alike(signed):
    longer = [*signed["@context"], "https://example.org/b"]
    assert _code(open_document, {**signed, "@context": longer}) == "proof-context"


def test_a_context_taken_away(signed):
    del signed["@context"]
    assert _code(open_document, signed) == "proof-context"


@pytest.mark.parametrize("value", ["", "z", "u" + "A" * 86, "z" + "2" * 40, "z" + "2" * 90])
def test_a_proof_value_has_64_bytes(value):
    assert _code(parse_proof_value, value) == "proof-value"
