"""What an archive gives: entries, untrusted, in the order they can be read in; and the words of refusal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NoReturn, Protocol

from heritage_ledger.bags.names import show_path
from heritage_ledger.errors import EvidenceInvalid

PIECE: Final = 1 << 20
MAX_MEMORY: Final = 64 << 20
"""Bytes of dictionary or window that a packed stream may ask for; what asks for more is not begun."""
PLAIN: Final = "ask for the bag in a plain archive, or unpack it yourself and adopt the folder"


class Damage(Exception):
    """The archive is not what it says; becomes `archive-damaged` where its path is known."""


class Readable(Protocol):
    """The bytes of one file, as they come out."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes; none at the end."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry: a folder, a file, a second name of an earlier file, or what a bag may not hold.

    `names` are the readings of its name, best first. `file` gives a file's bytes, `size` how many there
    should be; `same_as` the name of the earlier file whose bytes these are; `other` says what it is that may
    not be there. `mtime` is its time of change, nanoseconds since 1970, where it has one.
    """

    names: tuple[str, ...]
    file: Readable | None = None
    size: int | None = None
    mtime: int | None = None
    same_as: str | None = None
    other: str | None = None

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return self.file is None and self.same_as is None and self.other is None


def refuse(
    code: str, message: str, *, path: str = "", found: str, expected: str | None = None, advice: str = PLAIN
) -> NoReturn:
    """Raise the refusal of an archive, in words that a person can act upon."""
    raise EvidenceInvalid(
        code,
        message,
        path=show_path(path)[:200] or None,
        expected=expected,
        found=show_path(found)[:200],
        advice=advice,
    )


def refuse_memory(found: str) -> NoReturn:
    """Refuse a stream whose dictionary or window would fill the memory, before it does."""
    refuse(
        "archive-memory",
        "the archive is packed in a way that takes too much memory to unpack",
        expected=f"a dictionary or window of at most {MAX_MEMORY >> 20} MiB",
        found=found,
        advice="ask for it packed with a smaller dictionary, or unpack it yourself and adopt the folder",
    )


def refuse_method(path: str, found: str) -> NoReturn:
    """Refuse a method of packing that is not read."""
    refuse(
        "archive-refused",
        "the archive is refused: a way of packing that is not read here",
        path=path,
        found=found,
    )


def refuse_encrypted(path: str, found: str) -> NoReturn:
    """Refuse what needs a password."""
    refuse(
        "archive-encrypted",
        "the archive is encrypted",
        path=path,
        found=found,
        advice="ask for the bag without a password, or unpack it yourself and adopt the folder",
    )


def refuse_volumes(found: str) -> NoReturn:
    """Refuse one part of an archive in several."""
    refuse(
        "archive-volumes",
        "the archive is one volume of several, and they are not read here",
        found=found,
        advice="join the volumes, or unpack them all yourself and adopt the folder",
    )
