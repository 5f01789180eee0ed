"""The context: every key has a meaning, nothing is lost, and its bytes cannot be swapped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from heritage_ledger.errors import EvidenceInvalid, OperationFailed
from heritage_ledger.events import vocabulary
from heritage_ledger.events.context import check_context_bytes, context_bytes, event_nquads, expand_event
from heritage_ledger.events.schema import schema_bytes

TERMS = json.loads(context_bytes())["@context"]
SCHEMA = json.loads(schema_bytes())
VECTORS = Path(__file__).resolve().parents[3] / "specs" / "vectors" / "event.json"
EVENTS = {
    case["id"]: json.loads(case["expect"]["data"])
    for case in json.loads(VECTORS.read_text(encoding="ascii"))["cases"]
    if case["given"]["op"] == "sign"
}


def _objects(schema):
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            yield schema
        for value in schema.values():
            yield from _objects(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _objects(value)


def _strings(value):
    if isinstance(value, str):
        yield value
    for item in value if isinstance(value, list) else value.values() if isinstance(value, dict) else ():
        yield from _strings(item)


def _iri(term):
    return TERMS[term] if isinstance(TERMS[term], str) else TERMS[term]["@id"]


def test_every_key_of_the_contract_is_a_term():
    keys = {key for found in _objects(SCHEMA["$defs"]) for key in found["properties"]}
    assert keys - {"@context"} <= set(TERMS)


def test_every_word_that_the_contract_admits_is_a_term():
    words = set(_strings(SCHEMA["properties"]["type"]))
    for found in _objects(SCHEMA["$defs"]):
        for key in ("type", "outcome", "proofPurpose"):
            rule = found["properties"].get(key)
            if isinstance(rule, dict):
                words |= set(_strings(rule.get("enum", rule.get("const", []))))
    assert words - {None} <= set(TERMS)


def test_the_context_is_protected_and_open_to_nothing():
    assert TERMS["@version"] == 1.1
    assert TERMS["@protected"] is True
    assert not {"@vocab", "@base", "@import", "@language", "@propagate"} & set(TERMS)
    for term, definition in TERMS.items():
        assert not isinstance(definition, dict) or "@context" not in definition, term


def test_terms_and_vocabulary_agree():
    for term in (*vocabulary.EVENT_TYPE_CODES, *vocabulary.CRMDIG_TYPES):
        assert vocabulary.type_iri(term) == _iri(term)
    for term in vocabulary.OUTCOME_CODES:
        assert vocabulary.outcome_iri(term) == _iri(term)
    for term, code in vocabulary.ROLE_CODES.items():
        assert vocabulary.AGENT_ROLE + code == _iri(term)
    assert _iri("PreservationEvent") == vocabulary.PREMIS + "Event"
    assert _iri("Activity") == vocabulary.PROV + "Activity"
    assert _iri("proof") == vocabulary.SECURITY + "proof"
    assert _iri("Genesis") == vocabulary.HERITAGE + "Genesis"
    assert vocabulary.type_iri("Activity") is None
    assert len(vocabulary.EVENT_TYPE_CODES) == 50


def test_the_kinds_of_event_are_those_of_the_contract():
    kinds = [
        vocabulary.GENESIS,
        vocabulary.INGESTION,
        vocabulary.ADOPTION,
        vocabulary.FIXITY_CHECK,
        vocabulary.PLEDGE,
        vocabulary.REPLICATION,
        vocabulary.RECOVERY,
        vocabulary.DISSEMINATION,
    ]
    assert [list(kind) for kind in kinds] == SCHEMA["properties"]["type"]["enum"]


@pytest.mark.parametrize("name", EVENTS)
def test_expansion_loses_nothing(name):
    """As many values come out as went in: no key, type or name is dropped."""
    document = EVENTS[name]

    def leaves(value):
        if isinstance(value, dict):
            return sum(leaves(item) for key, item in value.items() if key != "@context")
        return sum(map(leaves, value)) if isinstance(value, list) else 1

    def expanded_leaves(value):
        if isinstance(value, dict):
            if "@value" in value:
                return 1
            return sum(map(expanded_leaves, value.values()))
        return sum(map(expanded_leaves, value)) if isinstance(value, list) else 1

    assert expanded_leaves(expand_event(document)) == leaves(document)


@pytest.mark.parametrize("name", EVENTS)
def test_no_blank_node_outside_the_proof(name):
    lines = event_nquads(EVENTS[name]).splitlines()
    assert lines == sorted(lines)
    outside = [line for line in lines if not line.endswith("_:b0 .")]
    assert [line for line in outside if "_:" in line] == [
        line for line in outside if "<https://w3id.org/security#proof>" in line
    ]


def test_a_key_without_a_meaning_is_refused():
    with pytest.raises(EvidenceInvalid) as caught:
        expand_event({**EVENTS["ingestion"], "colour": "red"})
    assert caught.value.code == "event-not-linked-data"
    assert "colour" in caught.value.found


@pytest.mark.parametrize(
    "document", [{"@context": 5}, {"@context": {"@version": 2}}, {"@id": 5}, {"@type": {}}]
)
def test_what_is_not_json_ld_is_refused_in_our_own_words(document):
    with pytest.raises(EvidenceInvalid):
        expand_event(document)


def test_a_changed_context_file_is_noticed():
    check_context_bytes(context_bytes())
    with pytest.raises(OperationFailed) as caught:
        check_context_bytes(context_bytes() + b" ")
    assert caught.value.code == "context-damaged"
