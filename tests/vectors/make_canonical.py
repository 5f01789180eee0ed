"""Writes specs/vectors/canonical.json: canonical bytes by rfc8785, an implementation that is not ours."""

from __future__ import annotations

import json
from pathlib import Path

import rfc8785

OUT = Path(__file__).resolve().parents[2] / "specs" / "vectors" / "canonical.json"

FORMAT = [
    ("empty-object", "the smallest document", {}),
    ("keys-sorted", "keys in order of their bytes", {"b": "1", "a": "2", "A": "3", "10": "4", "1": "5"}),
    ("empty-key", "the empty key comes first", {"a": "x", "": "y"}),
    ("no-escape-beyond-ascii", "other scripts stand as UTF-8", {"title": "Zoë, Αθήνα, 東京, 😂"}),
    ("no-normalisation", "composed and decomposed stay what they are", {"a": "é", "b": "e\u0301"}),
    ("short-escapes", "two-letter escapes where there are any", {"a": '\b\t\n\f\r"\\'}),
    ("long-escapes", "other controls in lower-case hex", {"a": "\u0001\u001b\u001f"}),
    ("no-needless-escapes", "solidus, delete and line separators as they are", {"a": "/\u007f\u2028\u2029"}),
    ("largest-integer", "2^53-1 in both signs", {"a": [2**53 - 1, -(2**53) + 1, 0]}),
    ("booleans", "true and false", {"a": [True, False]}),
    ("nested", "levels within levels", {"b": {"d": {"f": "x", "e": ["y", {}]}, "c": "z"}}),
    ("deepest", "sixteen levels", json.loads('{"a":' * 15 + "{}" + "}" * 15)),
]

DEEP = b'{"a":' * 17 + b"1" + b"}" * 17

REFUSE = [
    ("byte-order-mark", "a mark before the document", b'\xef\xbb\xbf{"a":"x"}', "json-byte-order-mark"),
    ("not-utf8", "Latin-1 bytes", b'{"a":"Zo\xeb"}', "json-not-utf8"),
    ("overlong-utf8", "a slash in two bytes", b'{"a":"\xc0\xaf"}', "json-not-utf8"),
    ("surrogate-in-utf8", "a surrogate spelt in UTF-8", b'{"a":"\xed\xa0\x80"}', "json-not-utf8"),
    ("empty", "no document at all", b"", "json-malformed"),
    ("trailing-bytes", "something after the end", b'{"a":"x"}x', "json-malformed"),
    ("two-documents", "one after another", b"{}{}", "json-malformed"),
    ("cut-off", "the end is missing", b'{"a":"x"', "json-malformed"),
    ("trailing-comma", "not JSON", b'{"a":"x",}', "json-malformed"),
    ("raw-control", "an unescaped line feed", b'{"a":"\n"}', "json-malformed"),
    ("array-document", "not an object", b'["a"]', "json-not-object"),
    ("string-document", "not an object", b'"a"', "json-not-object"),
    ("duplicate-key", "which one counts?", b'{"a":"x","a":"y"}', "json-duplicate-key"),
    ("duplicate-equal", "twice the same", b'{"a":"x","a":"x"}', "json-duplicate-key"),
    ("duplicate-nested", "deeper down", b'{"a":{"b":"x","b":"y"}}', "json-duplicate-key"),
    ("duplicate-escaped", "the second one in disguise", b'{"a":"x","\\u0061":"y"}', "json-duplicate-key"),
    ("unsorted", "keys out of order", b'{"b":"x","a":"y"}', "json-not-canonical"),
    ("space", "a space between", b'{"a": "x"}', "json-not-canonical"),
    ("final-newline", "as editors add it", b'{"a":"x"}\n', "json-not-canonical"),
    ("needless-escape", "a letter escaped", b'{"a":"\\u0078"}', "json-not-canonical"),
    ("upper-case-escape", "hex in upper case", b'{"a":"\\u001B"}', "json-not-canonical"),
    ("escaped-solidus", "a solidus escaped", b'{"a":"\\/"}', "json-not-canonical"),
    ("minus-zero", "zero with a sign", b'{"a":-0}', "json-not-canonical"),
    ("null", "nothing said", b'{"a":null}', "json-null"),
    ("fraction", "a measured number", b'{"a":1.5}', "json-float"),
    ("whole-fraction", "an integer spelt as a fraction", b'{"a":1.0}', "json-float"),
    ("exponent", "an integer spelt with an exponent", b'{"a":1e2}', "json-float"),
    ("infinite", "too large for any number", b'{"a":1e400}', "json-float"),
    ("nan", "not a number, not JSON", b'{"a":NaN}', "json-float"),
    ("minus-infinity", "not JSON", b'{"a":-Infinity}', "json-float"),
    ("unsafe-integer", "2^53", b'{"a":9007199254740992}', "json-integer"),
    ("unsafe-integer-one-more", "2^53+1 reads as 2^53", b'{"a":9007199254740993}', "json-integer"),
    ("unsafe-negative", "-2^53", b'{"a":-9007199254740992}', "json-integer"),
    ("huge-integer", "5,000 digits", b'{"a":' + b"9" * 5000 + b"}", "json-integer"),
    ("empty-array", "no members", b'{"a":[]}', "json-empty-array"),
    ("nul", "U+0000 in a string", b'{"a":"\\u0000"}', "json-string"),
    ("lone-surrogate", "half a character", b'{"a":"\\ud800"}', "json-string"),
    ("lone-low-surrogate", "the other half", b'{"a":"\\udc00"}', "json-string"),
    ("key-not-ascii", "sorting would differ between readers", '{"é":"x"}'.encode(), "json-key"),
    ("key-surrogate", "half a character as key", b'{"\\ud800":"x"}', "json-key"),
    ("key-nul", "U+0000 in a key", b'{"\\u0000":"x"}', "json-key"),
    ("seventeen-levels", "one level too many", DEEP, "json-too-deep"),
    ("depth-bomb", "opened and never closed", b"[" * 60_000, "json-too-deep"),
    ("too-large", "65,536 bytes", b'{"a":"' + b"x" * 65_528 + b'"}', "json-too-large"),
]


def cases() -> list[dict[str, object]]:
    """Every case, with bytes as hex; long runs of one byte are written as a recipe."""
    made: list[dict[str, object]] = []
    for name, why, value in FORMAT:
        data = rfc8785.dumps(value)
        given = {"json": json.dumps(value, indent=1)}
        made.append({"id": name, "why": why, "given": given, "expect": {"canonical": data.hex()}})
    for name, why, data, code in REFUSE:
        given = {"repeat": repeat(data)} if len(data) > 500 else {"hex": data.hex()}
        made.append({"id": name, "why": why, "given": given, "expect": {"error": code}})
    return made


def repeat(data: bytes) -> list[list[object]]:
    """The bytes as runs: [hex of one byte, how often]."""
    runs: list[list[object]] = []
    for byte in data:
        text = f"{byte:02x}"
        if runs and runs[-1][0] == text:
            runs[-1][1] += 1  # type: ignore[operator]
        else:
            runs.append([text, 1])
    return runs


def main() -> None:
    """Write the file."""
    document = {
        "spec": "canonical/v1",
        "about": "given.json is any JSON text to be put into canonical bytes; given.hex (or given.repeat,"
        " runs of one byte) are bytes to parse as a canonical document. Expected bytes made with rfc8785.",
        "cases": cases(),
    }
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(document, indent=1, ensure_ascii=True) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
