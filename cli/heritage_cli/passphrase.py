"""Where the passphrase comes from: a file descriptor, a file, HERITAGE_PASSPHRASE, or a prompt on a terminal.

Never from the command line itself: other users can read it in the list of processes.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from heritage_ledger.errors import KeyProblem, UsageError

if TYPE_CHECKING:
    from pathlib import Path

VARIABLE: Final = "HERITAGE_PASSPHRASE"
MAX_PASSPHRASE: Final = 4096
"""Bytes of a passphrase: more is a wrong file."""
_SOURCES: Final = f"--passphrase-fd, --passphrase-file, {VARIABLE} or a terminal"


@dataclass(slots=True)
class PassphraseSource:
    """What the command line and the environment say about the passphrase."""

    descriptor: int | None = None
    file: Path | None = None

    @property
    def is_named(self) -> bool:
        """Whether the command line itself names a source."""
        return self.descriptor is not None or self.file is not None

    def read(self) -> bytes:
        """Return the passphrase for keys that exist.

        Raises:
            UsageError: two sources are named at once.
            KeyProblem: nothing gives one, or what should give one cannot be read.
        """
        given = self._given()
        return given if given is not None else _prompt("Passphrase: ")

    def read_new(self) -> bytes:
        """Return the passphrase for new keys; a prompt asks twice.

        Raises:
            UsageError: two sources are named at once.
            KeyProblem: nothing gives one, it cannot be read, is empty, or was typed in two ways.
        """
        given = self._given()
        if given is not None:
            return given
        first = _prompt("New passphrase: ")
        if first != _prompt("The same again: "):
            raise KeyProblem(
                "passphrase-mismatch", "the two passphrases differ", advice="run the command again"
            )
        return first

    def _given(self) -> bytes | None:
        if self.descriptor is not None and self.file is not None:
            raise UsageError(
                "passphrase-sources",
                "two sources of the passphrase are named",
                expected="--passphrase-fd or --passphrase-file",
            )
        if self.descriptor is not None:
            return _checked(self._from_descriptor(self.descriptor))
        if self.file is not None:
            return _checked(self._from_file(self.file))
        word = os.environb.get(VARIABLE.encode())
        return None if word is None else _checked(word)

    @staticmethod
    def _from_descriptor(descriptor: int) -> bytes:
        data = b""
        try:
            while len(data) <= MAX_PASSPHRASE and (part := os.read(descriptor, MAX_PASSPHRASE + 2)):
                data += part
        except OSError as error:
            raise _unreadable(f"file descriptor {descriptor}", error) from error
        return _without_line_end(data)

    @staticmethod
    def _from_file(path: Path) -> bytes:
        try:
            with path.open("rb") as file:
                return _without_line_end(file.read(MAX_PASSPHRASE + 2))
        except OSError as error:
            raise _unreadable(str(path), error) from error


def _without_line_end(data: bytes) -> bytes:
    return data.removesuffix(b"\n").removesuffix(b"\r") if data.endswith(b"\n") else data


def _unreadable(path: str, error: OSError) -> KeyProblem:
    return KeyProblem(
        "passphrase-unreadable", "the passphrase cannot be read", path=path, found=error.strerror
    )


def _checked(word: bytes) -> bytes:
    if not word:
        raise KeyProblem(
            "key-passphrase-empty",
            "the passphrase is empty",
            advice="give one, or make a home with keys that are not sealed: --no-passphrase",
        )
    if len(word) > MAX_PASSPHRASE:
        raise KeyProblem(
            "passphrase-too-long",
            "this is not a passphrase",
            expected=f"at most {MAX_PASSPHRASE} bytes",
            advice="check that the right file was named",
        )
    return word


def _prompt(text: str) -> bytes:
    if not sys.stdin.isatty():
        raise KeyProblem(
            "key-passphrase-missing",
            "a passphrase is needed and there is no terminal to ask for it",
            expected=_SOURCES,
            advice=f"set {VARIABLE}, or name a file with --passphrase-file",
        )
    import getpass  # noqa: PLC0415 - only where a person is asked

    try:
        return _checked(os.fsencode(getpass.getpass(text)))
    except EOFError:
        raise KeyProblem("key-passphrase-missing", "no passphrase was given", expected=_SOURCES) from None
