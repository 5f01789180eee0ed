"""Known attacks on signed JSON-LD, each of which some verifier accepts."""

from __future__ import annotations

import json

import pytest
import rfc8785

from heritage_ledger.errors import EvidenceInvalid
from heritage_ledger.events.context import context_bytes, event_nquads, expand_event
from heritage_ledger.events.event import open_event, sign_event
from heritage_ledger.events.vocabulary import CONTEXT_URL, IRI_SCHEMES

CREATED = "2026-03-02T11:40:52Z"
TERMS = json.loads(context_bytes())["@context"]


@pytest.fixture(name="signed")
def fixture_signed(body, signer):
    return json.loads(sign_event(body, signer, created=CREATED))


def _code(document):
    with pytest.raises(EvidenceInvalid) as caught:
        open_event(rfc8785.dumps(document))
    return caught.value.code


def test_attack_a_a_context_appended_after_signing(signed):
    """The suite accepts a longer @context than the proof's; then `title` means what the attacker likes."""
    signed["@context"].append({"title": "https://evil.example/title"})
    assert _code(signed) == "proof-context"


def test_attack_a_in_both_places(signed):
    signed["@context"].append({"title": "https://evil.example/title"})
    signed["proof"]["@context"] = signed["@context"]
    assert _code(signed) == "event-schema"


def test_attack_b_a_renamed_key(signed):
    """Under RDF canonicalisation a key may be renamed if a context gives the new name the old meaning."""
    asset = signed["generated"]["asset"]
    asset["label"] = asset.pop("title")
    assert _code(signed) == "event-schema"


def test_attack_b_a_context_inside(signed):
    signed["generated"]["@context"] = {"title": "https://evil.example/title"}
    assert _code(signed) == "event-schema"


def test_attack_c_no_term_can_be_read_as_the_scheme_of_a_name():
    """A term called `urn` would turn urn:uuid:1 into another name, even after a protected context."""
    assert not set(IRI_SCHEMES) & set(TERMS)
    iris = [
        value if isinstance(value, str) else value.get("@id", "")
        for value in TERMS.values()
        if value not in (1.1, True)
    ]
    assert not [iri for iri in iris if iri.endswith(("#", "/", ":", "?"))], "no term is a prefix"


def test_attack_c_a_scheme_redefined(signed):
    signed["@context"].append({"urn": "https://evil.example/"})
    signed["proof"]["@context"] = signed["@context"]
    assert _code(signed) == "event-schema"
    with pytest.raises(EvidenceInvalid):
        expand_event({**signed, "@context": ["https://evil.example/context"]})


def test_attack_d_a_key_that_no_triple_carries(signed):
    signed["unknown"] = "read by people, signed by nobody"
    assert _code(signed) == "event-schema"


def test_a_relative_name_does_not_become_an_example_domain(body):
    """PyLD invents http://example.org/base/ where no base is given, and drops the node where it is null."""
    body["id"] = "event-1"
    with pytest.raises(EvidenceInvalid) as caught:
        event_nquads(body)
    assert caught.value.code == "event-not-linked-data"


def test_nothing_is_fetched(body):
    with pytest.raises(EvidenceInvalid) as caught:
        expand_event({**body, "@context": [CONTEXT_URL, "https://example.org/other"]})
    assert caught.value.code == "context-unknown"
