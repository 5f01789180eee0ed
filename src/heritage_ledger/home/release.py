"""Released bags: those given up to the engine, which then alone holds their bytes.

    packages/<asset>/<version>.released     one line of JSON:
    {"package_cid": "bafy…", "tag_files": 5, "version": 1}

The note stands in the place of the bag's folder. It says that the folder is gone on purpose, and how many of
the package's files were tag files; everything else is in the event.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from heritage_ledger.errors import EvidenceInvalid
from heritage_ledger.home.durable import SEALED_FILE, write_file, writing

if TYPE_CHECKING:
    from pathlib import Path

SUFFIX: Final = ".released"
MAX_NOTE: Final = 4096
"""Bytes of a note that are read."""
VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Released:
    """A bag that the engine alone holds: its address as text, and the number of its tag files."""

    package_cid: str
    tag_files: int


def note_path(folder: Path) -> Path:
    """Where the note about the bag that lay in `folder` stands."""
    return folder.with_name(folder.name + SUFFIX)


def format_released(released: Released) -> bytes:
    """Return the text of a note."""
    document = {
        "package_cid": released.package_cid,
        "tag_files": released.tag_files,
        "version": VERSION,
    }
    return (json.dumps(document, sort_keys=True) + "\n").encode()


def parse_released(data: bytes) -> Released:
    """Return what a note says.

    Raises:
        EvidenceInvalid: it is not one, or spelled otherwise (`release-note`).
    """
    try:
        document = json.loads(data)
        released = Released(document["package_cid"], document["tag_files"])
        is_same = type(released.tag_files) is int and format_released(released) == data
    except (ValueError, KeyError, TypeError, RecursionError):
        is_same = False
    if not is_same:
        raise EvidenceInvalid(
            "release-note",
            "the note about a released bag cannot be read",
            expected="the line that the release of the bag wrote",
            found=repr(data[:80]),
            advice="bring the bag back: `heritage export` writes it from the engine",
        )
    return released


def is_released(folder: Path) -> bool:
    """Say whether the bag of `folder` was released: its note is there, and the folder is not."""
    return note_path(folder).exists() and not folder.exists()


def read_released(folder: Path) -> Released | None:
    """Return the note about the bag of `folder`; None where the bag was not released.

    Raises:
        EvidenceInvalid: `release-note`.
        DiskProblem: it cannot be read.
    """
    path = note_path(folder)
    with writing(path):
        try:
            with path.open("rb") as file:
                data = file.read(MAX_NOTE)
        except FileNotFoundError:
            return None
    return parse_released(data)


def write_released(folder: Path, released: Released) -> None:
    """Write the note about the bag of `folder`, on the disk when this returns."""
    write_file(note_path(folder), format_released(released), mode=SEALED_FILE, replace=True)
