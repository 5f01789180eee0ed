"""Proof files, introduction files and verifier keys on their way in and out."""

from __future__ import annotations

import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from heritage_cli import text
from heritage_ledger.errors import OperationFailed, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heritage_cli.output import Output

MAX_KEY_FILE: Final = 1 << 20
"""Bytes of a file with verifier keys; one ML-DSA-44 key has 1.8 KB."""
MAX_READ: Final = (16 << 20) + 1
"""Bytes read of a proof file: one more than may be in it, so that a longer one is refused."""
_MODE: Final = 0o644


def deliver(output: Output, kind: str, data: bytes, target: Path, *, force: bool) -> dict[str, object]:
    """Write what was asked for to a file, or to stdout where `target` is `-`; return the fields of the end.

    `kind` is what it is called in lines and JSON. Whether `force` suits is for `check_target` to say, before
    anything is made.

    Raises:
        OperationFailed, DiskProblem: as `write` says.
    """
    facts: dict[str, object] = {"path": str(target), "size": len(data)}
    if str(target) == "-":
        give(output, kind, data)
        return facts
    write(target, data, force=force)
    output.result(kind, facts, text.facts([(kind, str(target)), ("size", f"{len(data)} bytes")]))
    return facts


def check_target(target: Path, *, force: bool) -> None:
    """Raise `UsageError` (`usage-error`) where stdout is to be replaced."""
    if force and str(target) == "-":
        raise UsageError("usage-error", "--force replaces a file, and stdout is none")


def write(target: Path, data: bytes, *, force: bool) -> None:
    """Write a file, whole or not at all.

    Raises:
        OperationFailed: something is at `target` (`output-exists`); with `force`, something that is no file.
        DiskProblem: the disk is full, read-only or failing.
    """
    from heritage_ledger.home.durable import write_file, writing  # noqa: PLC0415 - only where needed

    with writing(target):
        try:
            mode = target.lstat().st_mode
        except FileNotFoundError:
            mode = None
    if mode is not None and not (force and stat.S_ISREG(mode)):
        raise OperationFailed(
            "output-exists",
            "something is there already; it is left as it is",
            path=str(target),
            advice="name another file" + (", or replace it with --force" if stat.S_ISREG(mode) else ""),
        )
    write_file(target, data, mode=_MODE, replace=force)


def give(output: Output, kind: str, data: bytes) -> None:
    """Put a file on stdout: as it is, or as the text of one JSON line."""
    if output.as_json:
        output.line(kind, {"path": "-", "size": len(data), kind: data})
    else:
        output.raw(data)


def read(path: Path) -> bytes:
    """Read a proof file, or stdin for `-`.

    Raises:
        UsageError: it cannot be read (`input-unreadable`).
    """
    return _read(path, MAX_READ)


def read_keys(words: Sequence[str]) -> tuple[str, ...]:
    """Return the keys that are named: each word is one, or `@FILE` with one on each line.

    Raises:
        UsageError: a file cannot be read or is not text (`input-unreadable`), or there is no key in it; a
            word is the name of a file, without its @ (`log-key-invalid`).
    """
    keys: list[str] = []
    for word in words:
        if "+" not in word and not word.startswith("@") and Path(word).is_file():
            raise UsageError(
                "log-key-invalid",
                "this is the name of a file, not a key",
                expected="a key, or @ and the name of a file that holds keys",
                found=word,
                advice=f"write --log-key @{word}",
            )
        keys += _keys_of_file(Path(word[1:])) if word.startswith("@") else [word]
    return tuple(dict.fromkeys(keys))


def _keys_of_file(path: Path) -> list[str]:
    data = _read(path, MAX_KEY_FILE)
    try:
        keys = [line.strip() for line in data.decode().splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise _unreadable(path, "bytes that are not UTF-8") from error
    if not keys:
        raise _unreadable(path, "no key")
    return keys


def _read(path: Path, limit: int) -> bytes:
    try:
        if str(path) == "-":
            return sys.stdin.buffer.read(limit)
        with path.open("rb") as file:
            return file.read(limit)
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from error


def _unreadable(path: Path, found: str) -> UsageError:
    return UsageError("input-unreadable", "a file that was named cannot be read", path=str(path), found=found)
