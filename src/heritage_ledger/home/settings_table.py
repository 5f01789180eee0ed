"""Tables of `heritage.toml` as they are read: each value is of its type, and a secret lies elsewhere."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from heritage_ledger.errors import KeyProblem, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_COPIES = 64
"""Copies that may be asked for: a federation, not a swarm."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the file, whose keys are among `known` where that is given."""

    name: str
    values: Mapping[str, object]
    known: set[str] | None

    def __post_init__(self) -> None:
        unknown = sorted(self.values.keys() - self.known) if self.known is not None else []
        if unknown:
            raise invalid("the keys of specs/home.md", f"{', '.join(unknown)} in [{self.name}]")

    def table(self, name: str, known: set[str] | None) -> Table:
        """A table in this one, empty where it is absent."""
        value = self.values.get(name, {})
        if not isinstance(value, dict):
            raise invalid(f"a table [{name}]", type(value).__name__)
        return Table(name, value, known)

    def text(self, name: str) -> str | None:
        """A text of one line, None where it is absent."""
        value = self.values.get(name)
        if value is not None and (not isinstance(value, str) or not value or not value.isprintable()):
            raise invalid(f"{name} as text", repr(value)[:80])
        return value

    def file(self, name: str) -> str | None:
        """The absolute path of a file, None where it is absent; the file is not looked at."""
        value = self.text(name)
        if value is not None and not Path(value).is_absolute():
            raise invalid(f"{name} as an absolute path", repr(value)[:80])
        return value

    def names(self, name: str) -> tuple[str, ...]:
        """A list of texts, empty where it is absent."""
        value = self.values.get(name, [])
        if not isinstance(value, list) or not all(
            isinstance(one, str) and one.isprintable() for one in value
        ):
            raise invalid(f"{name} as a list of names", repr(value)[:80])
        return tuple(value)

    def count(self, name: str, default: int, most: int = MAX_COPIES, *, least: int = 1) -> int:
        """A whole number within bounds."""
        value = self.values.get(name, default)
        if type(value) is not int or not least <= value <= most:
            raise invalid(f"{name} from {least} to {most}", repr(value)[:80])
        return value


def check_secret(text: str | None) -> str | None:
    """Return where a secret is found; the secret itself does not belong into the file."""
    if text is not None and not text.startswith(("env:", "file:")):
        raise invalid("a token as env:NAME or file:PATH, never the token itself", "something else")
    return text


def read_secret(text: str | None) -> str | None:
    """Return the secret that `env:NAME` or `file:PATH` stands for; None for None.

    Raises:
        KeyProblem: it is not there, empty, or not one line (`token-missing`).
    """
    if text is None:
        return None
    kind, _, name = text.partition(":")
    try:
        value = os.environ[name] if kind == "env" else Path(name).expanduser().read_text(encoding="utf-8")
    except (KeyError, OSError, ValueError, RuntimeError) as error:
        raise _no_token(text, type(error).__name__) from error
    value = value.strip()
    if not value or not value.isprintable():
        raise _no_token(text, "nothing, or more than one line")
    return value


def _no_token(text: str, found: str) -> KeyProblem:
    return KeyProblem(
        "token-missing",
        "the token that heritage.toml names cannot be read",
        path=text,
        expected="one line of text",
        found=found,
        advice="set the variable, or write the file for this user alone",
    )


def invalid(expected: str, found: str) -> UsageError:
    """The error for a file that says something else than it must."""
    return UsageError(
        "settings-invalid",
        "heritage.toml does not say what it must",
        expected=expected,
        found=found,
        advice="mend the file by hand",
    )
