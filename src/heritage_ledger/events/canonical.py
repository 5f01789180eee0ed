r"""Canonical JSON: RFC 8785 under a profile that makes it simple (`specs/event.md`, "Canonical bytes").

A value has one spelling. `parse_canonical` accepts bytes only if formatting what they say gives the same
bytes, which refuses duplicate keys, byte order marks, other spacing, other key order and other escapes at
once. The profile: an object; ASCII keys; strings without U+0000 and without lone surrogates; integers within
±(2⁵³-1); true and false; no null, no fraction or exponent, no empty array; 16 levels; 65,535 bytes.

This module is the home of `orjson`, whose sorted output equals RFC 8785 under the profile.

>>> format_canonical({"b": "é", "a": [1, True]})
b'{"a":[1,true],"b":"\xc3\xa9"}'
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, NoReturn

import orjson

from heritage_ledger.errors import EvidenceInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_SIZE: Final = 65_535
"""Bytes of one document: a C2SP entry bundle gives the size of an entry in 16 bits."""
MAX_DEPTH: Final = 16
"""Levels of objects and arrays: an event needs six; no reader should have to recurse deeper."""
MAX_INTEGER: Final = 2**53 - 1
"""RFC 8785 §3.2.2.3 writes numbers as IEEE doubles, which are exact up to here."""

_OPTIONS: Final = orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_STRING_OR_BRACKET: Final = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)


def format_canonical(value: Mapping[str, Any]) -> bytes:
    """The canonical bytes of a JSON object.

    Raises:
        EvidenceInvalid: one of the `json-…` codes, the value is outside the profile.
    """
    check_profile(value)
    data = orjson.dumps(value, option=_OPTIONS)
    _check_size(data)
    return data


def format_profiled(value: Mapping[str, Any]) -> bytes:
    """`format_canonical` for a value that is known to be inside the profile, and part of a document."""
    return orjson.dumps(value, option=_OPTIONS)


def parse_canonical(data: bytes) -> dict[str, Any]:
    """The object whose canonical bytes are `data`.

    Raises:
        EvidenceInvalid: one of the `json-…` codes; with several faults, the code of one of them.
    """
    value = parse_exact(data)
    check_profile(value)
    return value


def parse_exact(data: bytes) -> dict[str, Any]:
    """The object that `data` spells, if sorting it again gives the same bytes.

    Half of `parse_canonical`, for callers who check the value against a closed schema that admits nothing
    outside the profile: it does not look for non-ASCII keys, null, fractions, empty arrays, NUL and depth.

    Raises:
        EvidenceInvalid: one of the `json-…` codes.
    """
    _check_size(data)
    try:
        value = orjson.loads(data)
        exact = type(value) is dict and orjson.dumps(value, option=_OPTIONS) == data
    except (orjson.JSONDecodeError, orjson.JSONEncodeError) as error:
        _explain(data, error)
    if not exact or not isinstance(value, dict):
        _explain(data, None)
    return value


def check_profile(value: object) -> None:
    """Refuse a value that the profile does not allow, naming the place.

    Raises:
        EvidenceInvalid: `json-not-object`, `json-too-deep`, `json-key`, `json-string`, `json-integer`,
            `json-float`, `json-null`, `json-empty-array`, `json-type`.
    """
    if not isinstance(value, dict):
        raise EvidenceInvalid(
            "json-not-object", "the document is not a JSON object", found=type(value).__name__
        )
    pending: list[tuple[str, int, object]] = [("", 1, value)]
    while pending:
        path, depth, item = pending.pop()
        kind = type(item)
        if kind is str:
            _check_string(path, item)  # type: ignore[arg-type]
        elif kind is dict or kind is list:
            if depth > MAX_DEPTH:
                raise EvidenceInvalid(
                    "json-too-deep", "too many levels", path=path[:200], expected=f"at most {MAX_DEPTH}"
                )
            pending.extend(_children(path, depth, item))
        elif kind is not bool:
            _check_scalar(path, item)


def _children(path: str, depth: int, item: Any) -> list[tuple[str, int, object]]:
    if type(item) is list:
        if not item:
            raise EvidenceInvalid(
                "json-empty-array",
                "an empty array says nothing",
                path=path or "/",
                advice="leave the key out",
            )
        return [(f"{path}/{index}", depth + 1, child) for index, child in enumerate(item)]
    for key in item:
        if type(key) is not str or not key.isascii() or "\0" in key:
            raise EvidenceInvalid(
                "json-key", "a key is not ASCII text", path=path or "/", found=ascii(key)[:80]
            )
    return [(f"{path}/{key}", depth + 1, child) for key, child in item.items()]


def _check_string(path: str, text: str) -> None:
    if "\0" in text:
        raise EvidenceInvalid("json-string", "a string holds U+0000", path=path, found=ascii(text)[:80])
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise EvidenceInvalid(
            "json-string", "a string holds a lone surrogate", path=path, found=ascii(text)[:80]
        ) from error


def _check_scalar(path: str, item: object) -> None:
    if item is None:
        raise EvidenceInvalid("json-null", "null says nothing", path=path, advice="leave the key out")
    if type(item) is float:
        raise EvidenceInvalid(
            "json-float",
            "a number with a fraction or exponent",
            path=path,
            found=repr(item),
            advice="write measured values as decimal strings",
        )
    if type(item) is not int:
        raise EvidenceInvalid("json-type", "not a JSON value", path=path, found=type(item).__name__)
    if abs(item) > MAX_INTEGER:
        raise EvidenceInvalid(
            "json-integer",
            "an integer that not every reader keeps exact",
            path=path,
            expected=f"between -{MAX_INTEGER} and {MAX_INTEGER}",
            advice="write large counts as decimal strings",
        )


def _check_size(data: bytes) -> None:
    if len(data) > MAX_SIZE:
        raise EvidenceInvalid(
            "json-too-large",
            "the document is too large for a log entry",
            expected=f"at most {MAX_SIZE} bytes",
            found=f"{len(data)} bytes",
            advice="put larger evidence into a package and name it by its digest",
        )


def _explain(data: bytes, cause: Exception | None) -> NoReturn:
    """Say what is wrong with bytes that are known to be wrong; slow, and never deep."""
    if data.startswith(_BYTE_ORDER_MARK):
        raise EvidenceInvalid("json-byte-order-mark", "the document starts with a byte order mark") from cause
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise EvidenceInvalid(
            "json-not-utf8", "the document is not UTF-8", found=f"byte {error.start}"
        ) from cause
    _check_nesting(text)
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object_without_duplicates,
            parse_constant=_refuse_number,
            parse_float=_refuse_number,
            parse_int=_parse_integer,
        )
    except json.JSONDecodeError as error:
        raise EvidenceInvalid(
            "json-malformed", f"the document is not JSON: {error.msg}", found=f"at character {error.pos}"
        ) from cause
    check_profile(value)
    raise EvidenceInvalid(
        "json-not-canonical",
        "the bytes are not the canonical spelling of what they say",
        expected="keys sorted, no spaces, shortest escapes (RFC 8785)",
        rule="RFC 8785, specs/event.md",
    ) from cause


def _check_nesting(text: str) -> None:
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(text):
        found = match.group()
        if found in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise EvidenceInvalid("json-too-deep", "too many levels", expected=f"at most {MAX_DEPTH}")
        elif found in "]}":
            depth -= 1


def _object_without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        repeated = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise EvidenceInvalid(
            "json-duplicate-key", "a key stands twice in one object", found=ascii(repeated)[:80]
        )
    return value


def _refuse_number(text: str) -> NoReturn:
    raise EvidenceInvalid(
        "json-float",
        "a number with a fraction or exponent, or none at all",
        found=text[:40],
        advice="write measured values as decimal strings",
    )


def _parse_integer(text: str) -> int:
    # Longer numbers are out of range anyway, and Python refuses to read thousands of digits.
    return int(text[:20])
