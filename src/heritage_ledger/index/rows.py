"""What the index says: one value for each kind of row (`specs/index.md`).

CIDs are in their binary form, times are the RFC 3339 text of the event, paths are whole paths within a bag
(`data/a.tif`, `bag-info.txt`) as they are on disk, not as a manifest escapes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from heritage_ledger.content.cid import Cid


@dataclass(frozen=True, slots=True)
class EventRow:
    """One entry of the log; `types` are the event's type terms in their order, each without white space."""

    log_index: int
    origin: str
    event_id: str
    types: tuple[str, ...]
    created: str
    agent: str
    key: str
    started: str | None = None
    ended: str | None = None
    outcome: str | None = None
    asset: str | None = None
    version: int | None = None
    package_cid: Cid | None = None


@dataclass(frozen=True, slots=True)
class AssetRow:
    """One asset: the title that was given last, the log index of its first package, its latest version."""

    asset: str
    title: str | None
    first_index: int
    latest_version: int


@dataclass(frozen=True, slots=True)
class LatestRow:
    """An asset with its latest version: that one's address and event, its payload's `files` and `bytes`."""

    asset: str
    title: str | None
    first_index: int
    latest_version: int
    package_cid: Cid
    log_index: int
    created: str
    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class PackageRow:
    """One sealed version of an asset.

    `log_index` is that of the event which took it in, and stands for the package in the other tables;
    `folder` is relative to the home, with `/`; `files` and `bytes` count the payload; `kind` is `ingest` or
    `adopt`.
    """

    log_index: int
    asset: str
    version: int
    package_cid: Cid
    payload_cid: Cid
    folder: str
    bagit_version: str
    files: int
    bytes: int
    tag_files: int
    kind: str


@dataclass(frozen=True, slots=True)
class IndexedFile:
    """One file of a package; `package` is the log index of the package, `size` is in bytes."""

    package: int
    path: str
    size: int
    cid: Cid


@dataclass(frozen=True, slots=True)
class Place:
    """A file and the package that holds it."""

    file: IndexedFile
    package: PackageRow


@dataclass(frozen=True, slots=True)
class PackagesFound:
    """Several packages of one address, in log order: the same bag taken in more than once."""

    packages: tuple[PackageRow, ...]


@dataclass(frozen=True, slots=True)
class FileFound:
    """A file that was asked for, and the first places where it occurs, in log order.

    `asset` and `path` are what it was asked by: both for `ASSET#path`, `path` alone for a path in all
    packages, neither for a CID. `more` says that there are other places; `Index.find_file` and
    `Index.find_files_by_path` list all.
    """

    places: tuple[Place, ...]
    more: bool
    asset: str | None = None
    path: str | None = None

    @property
    def holders(self) -> tuple[str, ...]:
        """The assets that have it, as far as the places go."""
        return tuple(dict.fromkeys(place.package.asset for place in self.places))
