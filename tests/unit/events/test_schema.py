"""The contract: closed everywhere, and never wider than the JSON profile."""

from __future__ import annotations

import json
import re

import pytest

from heritage_ledger.errors import EvidenceInvalid
from heritage_ledger.events.canonical import MAX_DEPTH
from heritage_ledger.events.schema import SCHEMA_URL, check_schema, schema_bytes
from heritage_ledger.events.vocabulary import CONTEXT_URL, IRI_SCHEMES

SCHEMA = json.loads(schema_bytes())
FORMS = [branch["then"]["$ref"] for branch in SCHEMA["allOf"]]


def _resolve(rule):
    return SCHEMA["$defs"][rule["$ref"].removeprefix("#/$defs/")] if "$ref" in rule else rule


def _walk(rule, path="", depth=1):
    rule = _resolve(rule) if isinstance(rule, dict) else rule
    yield path, rule, depth
    if isinstance(rule, dict):
        for key, child in rule.get("properties", {}).items():
            yield from _walk(child, f"{path}/{key}", depth + 1)
        if "items" in rule:
            yield from _walk(rule["items"], f"{path}/*", depth + 1)


RULES = [(form, *found) for form in FORMS for found in _walk({"$ref": form})]


def test_every_type_has_exactly_one_form():
    kinds = [branch["if"]["properties"]["type"]["const"] for branch in SCHEMA["allOf"]]
    assert kinds == SCHEMA["properties"]["type"]["enum"]
    assert SCHEMA["required"] == ["type"]
    assert SCHEMA["$id"] == SCHEMA_URL


@pytest.mark.parametrize(
    ("form", "path", "rule", "depth"),
    RULES,
    ids=lambda value: None if isinstance(value, (dict, int)) else value,
)
def test_no_rule_admits_more_than_the_profile(form, path, rule, depth):
    """`parse_exact` leaves to the contract: ASCII keys, no null, no numbers, no empty arrays, NUL, depth."""
    assert depth <= MAX_DEPTH
    if rule is True:
        assert path == "/type", "only the type, which the form was chosen by, is left open"
        return
    kind = rule.get("type")
    if kind == "object":
        assert rule["additionalProperties"] is False
        assert all(key.isascii() for key in rule["properties"])
        assert set(rule["required"]) <= set(rule["properties"])
    elif kind == "array":
        assert rule["minItems"] >= 1
        assert "maxItems" in rule
        assert "items" in rule
    elif kind == "string":
        pattern = rule["pattern"]
        assert pattern.startswith("^")
        assert pattern.endswith("$")
        assert not re.search(pattern, "\0")
        assert not re.search(pattern, "a\0b")
    else:
        words = rule.get("enum", [rule.get("const")])
        assert words
        assert all(isinstance(word, str) or (isinstance(word, list) and word) for word in words)


def test_the_schemes_are_those_of_the_vocabulary():
    pattern = SCHEMA["$defs"]["iri"]["pattern"]
    for scheme in IRI_SCHEMES:
        start = f"{scheme}:" + (
            "//" if scheme in {"http", "https", "ipfs"} else "///" if scheme == "ni" else ""
        )
        assert re.search(pattern, f"{start}x"), scheme
    for other in ("foaf:me", "javascript:x", "file:///x", "data:,x", "x", "/x", "//x/y", "_:b0", "#x"):
        assert not re.search(pattern, other), other


def test_the_context_is_the_one():
    assert SCHEMA["$defs"]["context"] == {"const": [CONTEXT_URL]}


@pytest.mark.parametrize(
    "document", [{}, {"type": "Event"}, {"type": ["PreservationEvent", "Activity"]}, {"type": []}]
)
def test_what_is_no_event_is_refused(document):
    with pytest.raises(EvidenceInvalid) as caught:
        check_schema(document)
    assert caught.value.code == "event-schema"
