"""What a person means who names something: by URI, CID, event id, log index or path.

In this order: the URI of an asset; the id of an event (`urn:uuid:…`); a log index (digits); a file of an
asset (`ASSET#data/x`, in all its versions); a CID in any spelling, of a package, its payload or a file; the
whole path of a file within its bag (`data/x`, in all packages).
"""

from __future__ import annotations

import contextlib
from itertools import islice
from typing import TYPE_CHECKING, Final, TypeAlias

from heritage_ledger.content.cid import parse_cid_spelling
from heritage_ledger.errors import EvidenceInvalid, EvidenceMissing
from heritage_ledger.index.rows import AssetRow, EventRow, FileFound, PackageRow, Place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heritage_ledger.index.store import Index

Resolved: TypeAlias = AssetRow | PackageRow | EventRow | FileFound

MAX_PLACES: Final = 100
"""Places shown of a file that occurs often, such as an empty one."""
MAX_DIGITS: Final = 19
"""Digits of the largest log index that SQL holds, 2^63 - 1."""


def resolve(index: Index, what: str) -> Resolved:
    """Return what `what` names in `index`.

    Raises:
        EvidenceMissing: nothing here has this name (`not-found`).
    """
    found = (
        index.asset(what)
        or index.event(what)
        or _by_log_index(index, what)
        or _file_of_asset(index, what)
        or _by_cid(index, what)
        or _found(index.find_files_by_path(what))
    )
    if found is None:
        raise EvidenceMissing(
            "not-found",
            "nothing in this home has this name",
            path=what,
            expected="an asset URI, an event id, a log index, a CID, ASSET#data/file or data/file",
            advice="run `heritage list` for the assets; `heritage index rebuild` if the index may be behind",
        )
    return found


def _by_log_index(index: Index, what: str) -> EventRow | None:
    if not (what.isascii() and what.isdigit() and len(what) <= MAX_DIGITS):
        return None
    return index.event(int(what))


def _file_of_asset(index: Index, what: str) -> FileFound | None:
    """A URI may hold a `#` of its own, and so may a path: the first `#` that ends a known asset divides."""
    at = what.find("#")
    while at >= 0:
        asset, path = what[:at], what[at + 1 :]
        if index.asset(asset) is not None:
            return _found(index.find_files_by_path(path, asset=asset))
        at = what.find("#", at + 1)
    return None


def _by_cid(index: Index, what: str) -> PackageRow | FileFound | None:
    try:
        cid = parse_cid_spelling(what)
    except EvidenceInvalid:
        return None
    return index.package_by_cid(cid) or _found(index.find_file(cid))


def _found(places: Iterator[Place]) -> FileFound | None:
    first = tuple(islice(places, MAX_PLACES + 1))
    return FileFound(first[:MAX_PLACES], more=len(first) > MAX_PLACES) if first else None


def package_of(index: Index, what: str, version: int | None = None) -> PackageRow:
    """Return the package of an asset, the latest without `version`, or the package of a CID.

    Raises:
        EvidenceMissing: there is no such package (`not-found`).
    """
    found = index.package(what, version)
    if found is None and version is None:
        with contextlib.suppress(EvidenceInvalid):
            found = index.package_by_cid(parse_cid_spelling(what))
    if found is None:
        raise EvidenceMissing(
            "not-found",
            "no such package",
            path=what if version is None else f"{what} version {version}",
            advice="run `heritage list` for the assets, `heritage show` for their versions",
        )
    return found


def event_of(index: Index, what: str) -> int:
    """Return the log index of the event that `what` names, or that recorded last what it names.

    Raises:
        EvidenceMissing: nothing here has this name (`not-found`).
    """
    found = resolve(index, what)
    match found:
        case AssetRow():
            return package_of(index, found.asset).log_index
        case FileFound():
            return found.places[-1].package.log_index
        case _:
            return found.log_index
