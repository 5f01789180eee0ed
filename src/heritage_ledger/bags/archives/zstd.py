"""Zstandard, which Python has from 3.14 on and the extra `archives` brings before; its one home."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from heritage_ledger.bags.archives.entries import MAX_MEMORY
from heritage_ledger.bags.archives.extra import needs_extra

if TYPE_CHECKING:
    from types import ModuleType

    from heritage_ledger.bags.archives.streams import Decompressor


def begin() -> Decompressor:
    """Begin a stream.

    Raises:
        EvidenceInvalid: what reads it is not installed (`archive-needs-extra`).
    """
    library = _library()
    if library is None:
        needs_extra("zstd")
    limit = {library.DecompressionParameter.window_log_max: MAX_MEMORY.bit_length() - 1}
    stream: Decompressor = library.ZstdDecompressor(options=limit)
    return stream


def errors() -> tuple[type[Exception], ...]:
    """What it raises for bytes that are wrong."""
    library = _library()
    return () if library is None else (library.ZstdError,)


def _library() -> ModuleType | None:
    try:
        if sys.version_info >= (3, 14):
            from compression import zstd  # noqa: PLC0415 - not in every Python
        else:
            from backports import zstd  # noqa: PLC0415 - an extra
    except ImportError:
        return None
    return zstd
