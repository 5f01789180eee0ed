"""What a person means who names something: the one grammar of names (`specs/cli.md`, "Names").

In this order: the URI of an asset; the id of an event (`urn:uuid:…`); a log entry (digits); a version of an
asset (`ASSET v2`); a file of an asset (`ASSET#data/x`, in all its versions); a CID in any spelling, of
packages, their payload or a file; the whole path of a file within its bag (`data/x`, in all packages). A path
is found in whatever Unicode form its parts are stored.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import islice, product
from typing import TYPE_CHECKING, Final, TypeAlias

from heritage_ledger.content.cid import parse_cid_spelling
from heritage_ledger.errors import EvidenceInvalid, EvidenceMissing, Finding, UsageError
from heritage_ledger.index.rows import AssetRow, EventRow, FileFound, PackageRow, PackagesFound, Place
from heritage_ledger.index.selection import not_found

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from heritage_ledger.index.store import Index

Resolved: TypeAlias = AssetRow | PackageRow | PackagesFound | EventRow | FileFound

MAX_PLACES: Final = 100
"""Places shown of a file that occurs often, such as an empty one."""
MAX_DIGITS: Final = 19
"""Digits of the largest log index that SQL holds, 2^63 - 1."""
MAX_SPELLINGS: Final = 64
"""Spellings of a path that are tried: six parts, each in two Unicode forms."""
_VERSION: Final = re.compile(r"(.+) (?:v|version )([1-9][0-9]{0,17})")


def resolve(index: Index, what: str) -> Resolved:
    """Return what `what` names in `index`.

    Raises:
        EvidenceMissing: nothing here has this name (`not-found`).
    """
    found = (
        index.asset(what)
        or index.event(what)
        or _by_log_index(index, what)
        or _version(index, what)
        or _file_of_asset(index, what)
        or _by_cid(index, what)
        or _by_path(index, what)
    )
    if found is None:
        raise EvidenceMissing(
            "not-found",
            "nothing in this home has this name",
            path=what,
            expected="an asset URI, ASSET v2, an event id, a log entry, a CID, ASSET#data/file or data/file",
            advice="run `heritage list` for the assets; `heritage index rebuild` if the index may be behind",
        )
    return found


def _by_log_index(index: Index, what: str) -> EventRow | None:
    if not (what.isascii() and what.isdigit() and len(what) <= MAX_DIGITS):
        return None
    return index.event(int(what))


def _version(index: Index, what: str) -> PackageRow | None:
    named = _VERSION.fullmatch(what)
    return None if named is None else index.package(named[1], int(named[2]))


def _file_of_asset(index: Index, what: str) -> FileFound | None:
    """A URI may hold a `#` of its own, and so may a path: the first `#` divides whose two sides are known."""
    at = what.find("#")
    while at >= 0:
        asset, path = what[:at], what[at + 1 :]
        if index.asset(asset) is not None:
            found = index.find_files_by_path(*spellings(path), asset=asset)
            if (file := _found(found, asset=asset, path=path)) is not None:
                return file
        at = what.find("#", at + 1)
    return None


def _by_cid(index: Index, what: str) -> PackageRow | PackagesFound | FileFound | None:
    try:
        cid = parse_cid_spelling(what)
    except EvidenceInvalid:
        return None
    packages = index.packages_by_cid(cid)
    if len(packages) > 1:
        return PackagesFound(tuple(packages))
    return packages[0] if packages else _found(index.find_file(cid))


def _by_path(index: Index, what: str) -> FileFound | None:
    return _found(index.find_files_by_path(*spellings(what)), path=what)


def _found(places: Iterator[Place], *, asset: str | None = None, path: str | None = None) -> FileFound | None:
    first = tuple(islice(places, MAX_PLACES + 1))
    return FileFound(first[:MAX_PLACES], len(first) > MAX_PLACES, asset, path) if first else None


def spellings(path: str) -> list[str]:
    """The path in every mixture of Unicode forms that its parts may have, as it was typed first.

    What is typed on a keyboard is mostly NFC; what came from a Mac is often NFD.

    >>> spellings("data/a")
    ['data/a']
    """
    if path.isascii():
        return [path]
    forms = [
        dict.fromkeys((part, unicodedata.normalize("NFC", part), unicodedata.normalize("NFD", part)))
        for part in path.split("/")
    ]
    return ["/".join(parts) for parts in islice(product(*forms), MAX_SPELLINGS)]


def ambiguous(what: str, rows: Iterator[PackageRow], *, path: str | None = None) -> UsageError:
    """The error for a name that fits several assets where one is meant; it lists them."""
    names = dict.fromkeys(row.asset if path is None else f"{row.asset}#{path}" for row in rows)
    return UsageError(
        "name-ambiguous",
        f"{len(names)} assets have what this names",
        path=what,
        expected="a name that one of them has",
        advice="say which: name the asset, or ASSET#data/file, as the findings list them",
        findings=tuple(
            Finding("name-ambiguous", "one of those that are meant", name)
            for name in islice(names, MAX_PLACES)
        ),
    )


def packages_of(index: Index, what: str) -> list[PackageRow]:
    """Return the packages that `what` names: all versions of an asset, one, or those that hold a file.

    Raises:
        EvidenceMissing: there is no such package (`not-found`).
    """
    found = resolve(index, what)
    match found:
        case AssetRow():
            return list(index.packages(found.asset))
        case PackageRow():
            return [found]
        case PackagesFound():
            return list(found.packages)
        case FileFound():
            return list({place.package.log_index: place.package for place in found.places}.values())
    package = index.package_at(found.log_index)
    if package is None:
        raise EvidenceMissing(
            "not-found",
            "the event took no package in",
            path=what,
            expected="an asset, a package or a file",
            found=" ".join(found.types),
        )
    return [package]


def packages_named(index: Index, names: Iterable[str]) -> list[PackageRow]:
    """Return the packages of every name, as `packages_of` does for one.

    Raises:
        EvidenceMissing: some name nothing (`not-found`); all of them are told of at once.
    """
    rows: list[PackageRow] = []
    missing: dict[str, EvidenceMissing] = {}
    for name in names:
        try:
            rows += packages_of(index, name)
        except EvidenceMissing as error:
            if error.code != "not-found":
                raise
            missing[name] = error
    if len(missing) == 1:
        raise next(iter(missing.values()))
    if missing:
        raise not_found(*missing)
    return rows


def packages_here(index: Index, what: str | None) -> list[PackageRow]:
    """The same, or all packages: for one log of several, in which the name may well stand for nothing."""
    if what is None:
        return list(index.packages())
    try:
        return packages_of(index, what)
    except EvidenceMissing:
        return []


def package_of(index: Index, what: str, version: int | None = None) -> PackageRow:
    """Return the one package that `what` names: the latest of an asset without `version`.

    Of one bag that was taken in several times, the first is given: the bytes are the same.

    Raises:
        EvidenceMissing: there is no such package (`not-found`).
        UsageError: packages of several assets have what it names (`name-ambiguous`).
    """
    if version is not None:
        found = index.package(what, version)
        if found is None:
            raise EvidenceMissing(
                "not-found",
                "no such package",
                path=f"{what} version {version}",
                advice="run `heritage list` for the assets, `heritage show` for their versions",
            )
        return found
    rows = packages_of(index, what)
    if len({row.asset for row in rows}) == 1:
        return rows[-1]
    if len({row.package_cid for row in rows}) > 1:
        raise ambiguous(what, iter(rows))
    return rows[0]


def recorded_at(index: Index, what: str) -> int:
    """Return the log index of the event that recorded an asset, a version or a CID last.

    Only what the index finds at once: a path would be looked for among all files.

    Raises:
        EvidenceMissing: nothing here has this name (`not-found`).
        UsageError: several assets have what it names (`name-ambiguous`).
    """
    if not (index.asset(what) or _version(index, what) or _by_cid(index, what)):
        raise not_found(what)
    return package_of(index, what).log_index


def event_of(index: Index, what: str) -> int:
    """Return the log index of the event that `what` names, or that recorded last what it names.

    Raises:
        EvidenceMissing: nothing here has this name (`not-found`).
        UsageError: several assets have what it names (`name-ambiguous`).
    """
    found = resolve(index, what)
    if isinstance(found, EventRow):
        return found.log_index
    rows = packages_of(index, what)
    if len({row.asset for row in rows}) > 1:
        path = found.path if isinstance(found, FileFound) else None
        raise ambiguous(what, iter(rows), path=path)
    return rows[-1].log_index
