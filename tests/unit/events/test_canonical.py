"""Canonical bytes: one spelling, and no input that breaks the parser."""

from __future__ import annotations

import pytest

from heritage_ledger.errors import EvidenceInvalid
from heritage_ledger.events.canonical import (
    MAX_DEPTH,
    MAX_INTEGER,
    MAX_SIZE,
    check_profile,
    format_canonical,
    parse_canonical,
    parse_exact,
)


def _code(function, value):
    with pytest.raises(EvidenceInvalid) as caught:
        function(value)
    return caught.value.code


def _nested(levels):
    value = {}
    for _ in range(levels - 1):
        value = {"a": value}
    return value


def test_size_limit():
    frame = len(b'{"a":""}')
    assert len(format_canonical({"a": "x" * (MAX_SIZE - frame)})) == MAX_SIZE
    assert _code(format_canonical, {"a": "x" * (MAX_SIZE - frame + 1)}) == "json-too-large"


def test_depth_limit():
    parse_canonical(format_canonical(_nested(MAX_DEPTH)))
    assert _code(format_canonical, _nested(MAX_DEPTH + 1)) == "json-too-deep"
    assert _code(check_profile, _nested(100_000)) == "json-too-deep"


def test_integer_limit():
    parse_canonical(format_canonical({"a": [MAX_INTEGER, -MAX_INTEGER]}))
    assert _code(format_canonical, {"a": MAX_INTEGER + 1}) == "json-integer"
    assert _code(format_canonical, {"a": -MAX_INTEGER - 1}) == "json-integer"


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ([], "json-not-object"),
        ({"a": object()}, "json-type"),
        ({"a": b"x"}, "json-type"),
        ({"a": ("x",)}, "json-type"),
        ({"a": float("nan")}, "json-float"),
        ({1: "x"}, "json-key"),
        ({"é": "x"}, "json-key"),
        ({"a": "\0"}, "json-string"),
        ({"a": "\udfff"}, "json-string"),
    ],
)
def test_values_outside_the_profile(value, code):
    assert _code(format_canonical, value) == code


def test_a_fault_is_named_by_its_place():
    with pytest.raises(EvidenceInvalid) as caught:
        check_profile({"a": [{"b": None}]})
    assert caught.value.path == "/a/0/b"


@pytest.mark.parametrize(
    "data",
    [
        b'"' + b'\\"' * 32_000,
        b'{"a":"' + b"\\" * 60_000,
        b"[" * 65_535,
        b"[}" * 30_000,
        b'{"":' * 16_000,
        b"{" * 65_535,
        b"9" * 65_535,
        b"-" * 65_535,
        b'"' * 65_535,
        bytes(65_535),
        b"\xff" * 65_535,
    ],
    ids=lambda data: data[:4].hex(),
)
@pytest.mark.timeout(20)
def test_hostile_bytes_are_refused_at_once(data):
    """No recursion, no quadratic scan: each is refused in milliseconds."""
    assert _code(parse_canonical, data).startswith("json-")


def test_parse_exact_leaves_the_profile_to_its_caller():
    """What the closed schema of events takes over."""
    data = b'{"a":[null,1.5]}'
    assert parse_exact(data) == {"a": [None, 1.5]}
    assert _code(parse_canonical, data) in {"json-null", "json-float"}
    assert _code(parse_exact, b'{"a":"x","a":"x"}') == "json-duplicate-key"
