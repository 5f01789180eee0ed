"""The settings file `heritage.toml`: strict, small, no secrets (worked example: `specs/home.md`)."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from heritage_ledger.errors import UsageError
from heritage_ledger.home.durable import writing

if TYPE_CHECKING:
    from pathlib import Path

MAX_INSTITUTION = 200
"""Characters in an institution's name: it stands in every event and bag."""
MAX_ORIGIN = 200
"""Bytes in an origin: C2SP cosignatures allow 255."""
_ORIGIN = re.compile(
    r"(?=.{1,200}\Z)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)+"
    r"/[a-z0-9][a-z0-9._-]*/[1-9][0-9]{0,5}"
)
_KEYS = {"ledger": {"institution", "origin"}}


@dataclass(frozen=True, slots=True)
class Settings:
    """What `heritage.toml` says: the institution's name and its log's origin."""

    institution: str
    origin: str


def check_institution(name: str) -> None:
    """Raise `UsageError` unless `name` is one line of 1 to 200 printable characters."""
    if not 1 <= len(name) <= MAX_INSTITUTION or name != name.strip() or not name.isprintable():
        raise UsageError(
            "institution-invalid",
            "the institution's name cannot be used",
            expected=f"1 to {MAX_INSTITUTION} printable characters, no space at either end",
            found=repr(name[:80]),
        )


def check_origin(origin: str) -> None:
    """Raise `UsageError` unless `origin` is `<domain>/<name>/<epoch>` in lower case (`specs/log.md`)."""
    if not _ORIGIN.fullmatch(origin):
        raise UsageError(
            "origin-invalid",
            "the log's origin cannot be used",
            expected="<domain>/<name>/<epoch> in lower case, as in museum.example/ledger/1",
            found=repr(origin[:80]),
            advice="take a domain that the institution owns; count the epoch from 1",
        )


def format_settings(settings: Settings) -> bytes:
    """Return the text of `heritage.toml`."""

    # a JSON string without escapes beyond \\ and \" is a TOML basic string; control characters are refused
    def quoted(text: str) -> str:
        return json.dumps(text, ensure_ascii=False)

    return (
        "# Settings of this ledger home. Never put secrets here.\n"
        "[ledger]\n"
        f"institution = {quoted(settings.institution)}\n"
        f"origin = {quoted(settings.origin)}\n"
    ).encode()


def parse_settings(data: bytes) -> Settings:
    """Return the checked settings.

    Raises:
        UsageError: it is not TOML, a key is unknown or missing, or a value cannot be used.
    """
    try:
        document = tomllib.loads(data.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(
            "settings-invalid", f"heritage.toml cannot be read: {error}", advice="mend the file by hand"
        ) from error
    unknown = sorted(document.keys() - _KEYS.keys())
    ledger = document.get("ledger")
    if not isinstance(ledger, dict):
        raise _invalid("a table [ledger]", f"none, but {unknown}" if unknown else "none")
    unknown += sorted(ledger.keys() - _KEYS["ledger"])
    if unknown:
        raise _invalid("the keys of specs/home.md", ", ".join(unknown))
    institution, origin = ledger.get("institution"), ledger.get("origin")
    if not isinstance(institution, str) or not isinstance(origin, str):
        raise _invalid("institution and origin as text", str(sorted(ledger)))
    check_institution(institution)
    check_origin(origin)
    return Settings(institution, origin)


def _invalid(expected: str, found: str) -> UsageError:
    return UsageError(
        "settings-invalid",
        "heritage.toml does not say what it must",
        expected=expected,
        found=found,
        advice="mend the file by hand",
    )


def read_settings(path: Path) -> Settings:
    """Read and check `heritage.toml`."""
    with writing(path):
        data = path.read_bytes()
    return parse_settings(data)
