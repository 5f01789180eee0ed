"""How much an archive may unpack to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Limits:
    """How much an archive may unpack to.

    `size` is bytes in all, `files` the number of entries, `depth` folders in one path, `path` bytes of one
    path, `ratio` unpacked bytes for one packed byte (checked from `ratio_from` bytes on). Folders that paths
    only imply are counted: there may be `folders` for each entry on average, and `spare_folders` beside.
    """

    size: int = 16 << 40
    files: int = 5_000_000
    depth: int = 64
    path: int = 4_000
    folders: int = 4
    spare_folders: int = 8_192
    ratio: int = 200
    ratio_from: int = 64 << 20


DEFAULT_LIMITS: Final = Limits()
