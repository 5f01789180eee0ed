"""The one rule about names: who names something gets it, or is told that there is no such thing.

A name that matches nothing is never passed over, for a check of nothing passes. Every command that takes the
names of packages chooses by `select`; what else is looked up by a name raises `not_found` too.
"""

from __future__ import annotations

import contextlib
import unicodedata
from typing import TYPE_CHECKING, TypeVar

from heritage_ledger.content.cid import format_cid, parse_cid_spelling
from heritage_ledger.errors import EvidenceInvalid, EvidenceMissing, Finding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


_Item = TypeVar("_Item")
_NOTHING = "nothing of this name is kept here"


def select(
    items: Iterable[_Item], names: Sequence[str], names_of: Callable[[_Item], Iterable[str]]
) -> list[_Item]:
    """Return the items that are named, in their own order; all of them where nothing is named.

    Args:
        items: to choose from.
        names: what was asked for: asset URIs in any Unicode form, package CIDs in any spelling.
        names_of: the names that an item answers to.

    Raises:
        EvidenceMissing: a name matches nothing (`not-found`), whatever the others match.
    """
    if not names:
        return list(items)
    wanted = {_spelled(name): name for name in names}
    met: set[str] = set()
    chosen = []
    for item in items:
        hits = wanted.keys() & set(map(_spelled, names_of(item)))
        if hits:
            met |= hits
            chosen.append(item)
    missing = [name for spelled, name in wanted.items() if spelled not in met]
    if missing:
        raise not_found(*missing)
    return chosen


def not_found(*names: str) -> EvidenceMissing:
    """Return the error about names that match nothing."""
    return EvidenceMissing(
        "not-found",
        _NOTHING if len(names) == 1 else f"{len(names)} names match nothing that is kept here",
        path=names[0],
        expected="the URI of an asset, or the CID of a package",
        advice="run `heritage list` for the assets, `heritage show` for their packages",
        findings=() if len(names) == 1 else tuple(Finding("not-found", _NOTHING, name) for name in names),
    )


def _spelled(name: str) -> str:
    """Return the one spelling that names are compared in."""
    with contextlib.suppress(EvidenceInvalid):
        return format_cid(parse_cid_spelling(name))
    return unicodedata.normalize("NFC", name)
