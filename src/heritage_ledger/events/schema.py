"""The contract of an event: a JSON Schema 2020-12 file (`specs/schemas/event-v1.json`).

Every object in it is closed, every array has a least length, and no number, null or non-ASCII key is
admitted anywhere, so a value that fits lies inside the JSON profile of `heritage_ledger.events.canonical`.

This module is the home of `jsonschema_rs`.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from typing import Any, Final

import jsonschema_rs

from heritage_ledger.errors import EvidenceInvalid

SCHEMA_URL: Final = "https://w3id.org/heritage-ledger/schema/event/v1"

_MAX_SHOWN: Final = 200
"""Characters of a foreign value in an error message."""


def schema_bytes() -> bytes:
    """The schema file as it is published."""
    return files("heritage_ledger.events").joinpath("files", "event-v1.schema.json").read_bytes()


def check_schema(document: dict[str, Any]) -> None:
    """Check that a signed document has the form of an event.

    Raises:
        EvidenceInvalid: `event-schema`; `path` names the place and `expected` what the contract wants there.
    """
    validator = _validator()
    if validator.is_valid(document):
        return
    # The deepest complaint is the one about the form that the event's types chose.
    error = max(validator.iter_errors(document), key=lambda found: len(found.instance_path))
    raise EvidenceInvalid(
        "event-schema",
        "the document does not have the form of an event",
        path="/" + "/".join(map(str, error.instance_path)),
        expected=_expected(error),
        found=_found(error),
        rule=SCHEMA_URL,
    )


def _expected(error: jsonschema_rs.ValidationError) -> str:
    keyword = error.kind.name
    if keyword == "additionalProperties":
        return "no keys but those of the contract"
    if keyword == "required":
        return f"a key {error.kind.as_dict()['property']}"
    value = next(iter(error.kind.as_dict().values()), "")
    return f"{keyword} {ascii(value)[:_MAX_SHOWN]}"


def _found(error: jsonschema_rs.ValidationError) -> str:
    if error.kind.name == "additionalProperties":
        return ascii(error.kind.as_dict()["unexpected"])[:_MAX_SHOWN]
    if isinstance(error.instance, dict):
        return "an object with " + ascii(sorted(error.instance))[:_MAX_SHOWN]
    return ascii(error.instance)[:_MAX_SHOWN]


@lru_cache(maxsize=1)
def _validator() -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for(
        schema_bytes().decode(), pattern_options=jsonschema_rs.RegexOptions(), offline=True
    )
