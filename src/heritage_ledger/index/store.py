"""The index: what bags and log say, in a form that answers in milliseconds (`specs/index.md`).

Truth is bags and log; every row here can be made again from them (`heritage index rebuild`). The index knows
how much of the log it has absorbed, so that a stale or missing one is noticed before it is believed.

Reads see the last finished transaction, also while another process writes. Those that may be long stream:
take what you need and let go of the iterator, since it holds a connection until then.
"""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING, Any, Final, Self

from sqlalchemy import bindparam, func, literal, select

from heritage_ledger.content.cid import RAW, codec_of, digest_of, make_cid
from heritage_ledger.content.embedded import Copies, Reference
from heritage_ledger.errors import OperationFailed
from heritage_ledger.index.database import Database, damaged, open_database
from heritage_ledger.index.resolve import Resolved, resolve
from heritage_ledger.index.rows import (
    AssetRow,
    EventRow,
    IndexedFile,
    LatestRow,
    PackageRow,
    Place,
)
from heritage_ledger.index.tables import ALL, ASSETS, BLOCKS, EVENTS, FILES, META, NODES, PACKAGES, lookup_key
from heritage_ledger.index.writer import IndexWriter

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from sqlalchemy import BindParameter, ColumnElement

    from heritage_ledger.content.cid import Cid

MAX_CANDIDATES: Final = 8
"""Files offered for sharing: when none of these can be linked, another copy is cheaper than asking on."""
MAX_REFERENCES: Final = 64
"""Copies of one block that are told of; an empty file may occur a million times."""
_COPIES_OF_MANY: Final = 4

_FILE: Final = (FILES.c.package, FILES.c.path, FILES.c.size, FILES.c.cid)
_PLACES: Final = select(*_FILE, PACKAGES).join_from(FILES, PACKAGES, PACKAGES.c.log_index == FILES.c.package)
_OF_CID: Final = (FILES.c.cid_key == bindparam("key")) & (FILES.c.cid == bindparam("cid"))
_CANDIDATES: Final = (
    select(PACKAGES.c.folder, FILES.c.path)
    .join_from(FILES, PACKAGES, PACKAGES.c.log_index == FILES.c.package)
    .where(_OF_CID, FILES.c.size == bindparam("size"), PACKAGES.c.asset == bindparam("asset"))
    .order_by(PACKAGES.c.version.desc(), FILES.c.path)
    .limit(MAX_CANDIDATES)
)
_WHOLE_FILES: Final = (
    select(PACKAGES.c.folder, FILES.c.path, literal(0), FILES.c.size)
    .join_from(FILES, PACKAGES, PACKAGES.c.log_index == FILES.c.package)
    .where(_OF_CID)
    .limit(MAX_REFERENCES)
)
_PIECES: Final = (
    select(PACKAGES.c.folder, BLOCKS.c.path, BLOCKS.c.offset, BLOCKS.c.length)
    .join_from(BLOCKS, PACKAGES, PACKAGES.c.log_index == BLOCKS.c.package)
    .where(BLOCKS.c.digest_key == bindparam("key"), BLOCKS.c.digest == bindparam("digest"))
    .limit(MAX_REFERENCES)
)
_KEYS: Final[BindParameter[Any]] = bindparam("keys", expanding=True)
_MANY_FILES: Final = (
    select(FILES.c.cid, PACKAGES.c.folder, FILES.c.path, literal(0), FILES.c.size)
    .join_from(FILES, PACKAGES, PACKAGES.c.log_index == FILES.c.package)
    .where(FILES.c.cid_key.in_(_KEYS))
    .limit(bindparam("most"))
)
_MANY_PIECES: Final = (
    select(BLOCKS.c.digest, PACKAGES.c.folder, BLOCKS.c.path, BLOCKS.c.offset, BLOCKS.c.length)
    .join_from(BLOCKS, PACKAGES, PACKAGES.c.log_index == BLOCKS.c.package)
    .where(BLOCKS.c.digest_key.in_(_KEYS))
    .limit(bindparam("most"))
)
_MANY_NODES: Final = (
    select(NODES.c.digest, NODES.c.data)
    .where(NODES.c.digest.in_(bindparam("digests", expanding=True)))
    .limit(bindparam("most"))
)
_FIRST: Final = PACKAGES.alias("first")
_LATEST: Final = (  # walks the packages in log order: an asset is met at its first one
    select(
        ASSETS.c.asset,
        ASSETS.c.title,
        ASSETS.c.first_index,
        ASSETS.c.latest_version,
        PACKAGES.c.package_cid,
        PACKAGES.c.log_index,
        func.coalesce(EVENTS.c.created, ""),
        PACKAGES.c.files,
        PACKAGES.c.bytes,
    )
    .select_from(_FIRST)
    .join(ASSETS, (ASSETS.c.asset == _FIRST.c.asset) & (ASSETS.c.first_index == _FIRST.c.log_index))
    .join(PACKAGES, (PACKAGES.c.asset == ASSETS.c.asset) & (PACKAGES.c.version == ASSETS.c.latest_version))
    .outerjoin(EVENTS, EVENTS.c.log_index == PACKAGES.c.log_index)
)
_LOST: Final = (  # assets whose first or latest package is not there
    select(ASSETS.c.asset)
    .outerjoin(_FIRST, (_FIRST.c.asset == ASSETS.c.asset) & (_FIRST.c.log_index == ASSETS.c.first_index))
    .outerjoin(
        PACKAGES, (PACKAGES.c.asset == ASSETS.c.asset) & (PACKAGES.c.version == ASSETS.c.latest_version)
    )
    .where(_FIRST.c.log_index.is_(None) | PACKAGES.c.log_index.is_(None))
    .limit(1)
)
_WITH_FILE: Final = (
    select(PACKAGES)
    .join_from(FILES, PACKAGES, PACKAGES.c.log_index == FILES.c.package)
    .where(_OF_CID)
    .limit(MAX_CANDIDATES)
)
_WITH_PIECE: Final = (
    select(PACKAGES)
    .join_from(BLOCKS, PACKAGES, PACKAGES.c.log_index == BLOCKS.c.package)
    .where(BLOCKS.c.digest_key == bindparam("key"), BLOCKS.c.digest == bindparam("digest"))
    .limit(MAX_CANDIDATES)
)
_NODE: Final = select(NODES.c.data).where(NODES.c.digest == bindparam("digest")).limit(1)


class IndexStale(OperationFailed):
    """The index has not absorbed the log as it is; the caller adds what is missing, or rebuilds."""


class Index:
    """Rows about one institution's log and packages. Close it, or use it as a context.

    Every method may raise what `heritage_ledger.home.sql.sql_errors` says, and `OperationFailed`
    (`index-damaged`) when what it reads is not what was written.
    """

    def __init__(self, database: Database, origin: str) -> None:
        """Use `open`."""
        self._database = database
        self.origin = origin

    @classmethod
    def open(cls, target: Path | str, *, origin: str, make: bool = True) -> Self:
        """Open the index of the log `origin` at a path (SQLite) or URL; an absent one is made, empty.

        Raises:
            EvidenceMissing: there is none, and `make` is not set (`index-missing`).
            UsageError: the URL cannot be used (`database-url`).
            OperationFailed: it is of another log (`index-origin`) or release (`index-version`), or damaged
                (`index-damaged`).
            DiskProblem: it cannot be opened or made.
        """
        return cls(open_database(target, origin, make=make), origin)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the database."""
        self._database.close()

    # writing

    @contextlib.contextmanager
    def begin(self) -> Iterator[IndexWriter]:
        """A transaction for rows that belong together: kept when the block ends, taken back when it raises.

        Raises:
            HomeLocked: another process kept writing (`database-locked`).
            OperationFailed: rows that cannot belong to this log (`index-conflict`).
        """
        with self._database.writing() as connection:
            # other databases have no write lock to begin with: their writers queue for this row
            absorbed = connection.execute(select(META.c.absorbed).with_for_update()).scalar_one()
            writer = IndexWriter(connection, self.origin, absorbed)
            yield writer
            writer.finish()

    def absorbed(self) -> int:
        """Entries of the log that have their rows."""
        return self._database.first(select(META.c.absorbed), int) or 0

    def check_absorbed(self, log_size: int) -> None:
        """Check that the index has absorbed the log of `log_size` entries.

        Raises:
            IndexStale: it has absorbed less, or more than there is (`index-stale`).
        """
        absorbed = self.absorbed()
        if absorbed != log_size:
            raise IndexStale(
                "index-stale",
                "the index has not absorbed the log as it is",
                path=self._database.where,
                expected=f"{log_size} entries",
                found=f"{absorbed} entries",
                advice="run `heritage index rebuild`",
            )

    # assets and packages

    def assets(self, after: int = -1, *, limit: int | None = None) -> Iterator[LatestRow]:
        """Assets with their latest versions, in the order in which they came in; one query.

        `after` is the `first_index` of the last asset that was seen: a page costs its own rows, wherever it
        begins. Without `limit` an asset that has no package, which no page would show, is told of.

        Raises:
            OperationFailed: rows are missing (`index-damaged`).
        """
        statement = _LATEST.where(_FIRST.c.log_index > after).order_by(_FIRST.c.log_index)
        if limit is not None:
            statement = statement.limit(limit)
        yield from self._database.stream(statement, LatestRow)
        if limit is None and (lost := self._database.first(_LOST, str)) is not None:
            raise damaged(lost, "it has the asset, and no package of it")

    def asset(self, asset: str) -> AssetRow | None:
        """The asset of this URI."""
        return self._database.first(select(ASSETS).where(ASSETS.c.asset == asset), AssetRow)

    def packages(self, asset: str | None = None) -> Iterator[PackageRow]:
        """The packages of `asset`, or all, in log order."""
        statement = select(PACKAGES).order_by(PACKAGES.c.log_index)
        if asset is not None:
            statement = statement.where(PACKAGES.c.asset == asset)
        return self._database.stream(statement, PackageRow)

    def unread_packages(self) -> Iterator[PackageRow]:
        """The packages of whose files there are no rows, in log order."""
        read = select(FILES.c.package).where(FILES.c.package == PACKAGES.c.log_index).exists()
        return self._database.stream(select(PACKAGES).where(~read).order_by(PACKAGES.c.log_index), PackageRow)

    def package(self, asset: str, version: int | None = None) -> PackageRow | None:
        """One version of `asset`; without `version` the latest."""
        statement = select(PACKAGES).where(PACKAGES.c.asset == asset).order_by(PACKAGES.c.version.desc())
        if version is not None:
            statement = statement.where(PACKAGES.c.version == version)
        return self._database.first(statement.limit(1), PackageRow)

    def packages_by_cid(self, cid: Cid) -> list[PackageRow]:
        """Every package whose bag directory, or else whose payload directory, has the address `cid`."""
        for column in (PACKAGES.c.package_cid, PACKAGES.c.payload_cid):
            statement = select(PACKAGES).where(column == cid).order_by(PACKAGES.c.log_index)
            if found := list(self._database.stream(statement, PackageRow)):
                return found
        return []

    def package_at(self, log_index: int) -> PackageRow | None:
        """The package that the event of this log index took in."""
        return self._database.first(select(PACKAGES).where(PACKAGES.c.log_index == log_index), PackageRow)

    def package_by_cid(self, cid: Cid) -> PackageRow | None:
        """The first package whose bag directory, or whose payload directory, has the address `cid`."""
        for column in (PACKAGES.c.package_cid, PACKAGES.c.payload_cid):
            statement = select(PACKAGES).where(column == cid).order_by(PACKAGES.c.log_index).limit(1)
            found = self._database.first(statement, PackageRow)
            if found is not None:
                return found
        return None

    # events

    def events(
        self,
        asset: str | None = None,
        *,
        version: int | None = None,
        types: Sequence[str] | None = None,
        after: int = -1,
        limit: int | None = None,
    ) -> Iterator[EventRow]:
        """Events in log order, all or those of exactly these `types`, from the first above `after`."""
        statement = select(EVENTS).where(EVENTS.c.log_index > after).order_by(EVENTS.c.log_index)
        if asset is not None:
            statement = statement.where(EVENTS.c.asset == asset)
        if version is not None:
            statement = statement.where(EVENTS.c.version == version)
        if types is not None:
            statement = statement.where(EVENTS.c.types == " ".join(types))
        if limit is not None:
            statement = statement.limit(limit)
        return self._database.stream(statement, _event)

    def count_packages(self) -> int:
        """How many packages of the log the index has."""
        counted = select(func.count().label("packages")).select_from(PACKAGES)
        return self._database.first(counted, int) or 0

    def count_events(self, size: int) -> int:
        """How many of the first `size` entries have a row."""
        counted = select(func.count().label("events")).select_from(EVENTS).where(EVENTS.c.log_index < size)
        return self._database.first(counted, int) or 0

    def event(self, which: int | str) -> EventRow | None:
        """The event of this log index, or of this id."""
        column = EVENTS.c.log_index if isinstance(which, int) else EVENTS.c.event_id
        return self._database.first(select(EVENTS).where(column == which), _event)

    # files

    def files(self, package: int, prefix: str | None = None) -> Iterator[IndexedFile]:
        """The files of the package of log index `package`, in byte order of their paths.

        With `prefix` only those whose path starts with it; end it with `/` to name a folder.
        """
        statement = select(*_FILE).where(FILES.c.package == package).order_by(FILES.c.path)
        if prefix:
            first = prefix.encode("utf-8", "surrogatepass")
            # no UTF-8 has a byte FF: this is above every path that starts with `first`
            statement = statement.where(FILES.c.path >= first, FILES.c.path < first + b"\xff")
        return self._database.stream(statement, _file)

    def file(self, package: int, path: str) -> IndexedFile | None:
        """One file of the package of log index `package`."""
        at = path.encode("utf-8", "surrogatepass")
        return self._database.first(
            select(*_FILE).where(FILES.c.package == package, FILES.c.path == at), _file
        )

    def find_file(self, cid: Cid, *, asset: str | None = None) -> Iterator[Place]:
        """Every place of the file with the address `cid`, in all packages or those of `asset`."""
        return self._places((FILES.c.cid_key == lookup_key(cid)) & (FILES.c.cid == cid), asset)

    def find_files_by_path(self, *paths: str, asset: str | None = None) -> Iterator[Place]:
        """Every file with one of these whole paths within its bag, in all packages or those of `asset`."""
        wanted = [path.encode("utf-8", "surrogatepass") for path in paths]
        return self._places(FILES.c.path.in_(wanted), asset)

    def candidates(self, asset: str, cid: Cid, size: int) -> list[str]:
        """Files on the disk with the same bytes, of earlier versions of `asset`, relative to the home.

        At most `MAX_CANDIDATES`, the latest version first. The caller checks what it links.
        """
        values = {"asset": asset, "key": lookup_key(cid), "cid": cid, "size": size}
        return self._database.rows(_CANDIDATES, values, _path_on_disk)

    # blocks

    def lookup(self, digest: bytes) -> Copies:
        """What is known of the block with this SHA-256 (`heritage_ledger.content.embedded.BlockRows`).

        At most `MAX_REFERENCES` whole files, and as many pieces of larger ones.
        """
        values = {"key": lookup_key(digest), "cid": make_cid(RAW, digest), "digest": digest}
        node = self._database.rows(_NODE, values, _bytes)
        whole = self._database.rows(_WHOLE_FILES, values, _reference)
        pieces = self._database.rows(_PIECES, values, _reference)
        return Copies(node[0] if node else None, [*whole, *pieces])

    def lookup_many(self, digests: Sequence[bytes]) -> dict[bytes, Copies]:
        """The same for several digests by three queries; not all copies of each, and of some perhaps none."""
        most = len(digests) * _COPIES_OF_MANY
        values = {"keys": [lookup_key(digest) for digest in digests], "most": most}
        nodes = dict(self._database.rows(_MANY_NODES, {"digests": digests, "most": most}, _values))
        places: dict[bytes, list[Reference]] = {}
        for cid, *place in self._database.rows(_MANY_FILES, values, _values):
            if codec_of(cid) == RAW:  # of other files the CID is that of a node
                places.setdefault(digest_of(cid), []).append(_reference(*place))
        for digest, *place in self._database.rows(_MANY_PIECES, values, _values):
            places.setdefault(digest, []).append(_reference(*place))
        return {digest: Copies(nodes.get(digest), places.get(digest, ())) for digest in digests}

    def packages_with(self, digest: bytes) -> list[PackageRow]:
        """Packages in whose files the raw block of this SHA-256 lies; at most twice `MAX_CANDIDATES`."""
        values = {"key": lookup_key(digest), "cid": make_cid(RAW, digest), "digest": digest}
        rows = [*self._database.rows(_WITH_FILE, values, PackageRow)]
        rows += self._database.rows(_WITH_PIECE, values, PackageRow)
        return list({row.log_index: row for row in rows}.values())

    # as a whole

    def resolve(self, what: str) -> Resolved:
        """What a person means: an asset, package, event or file (`heritage_ledger.index.resolve`).

        Raises:
            EvidenceMissing: nothing here has this name (`not-found`).
        """
        return resolve(self, what)

    def check_intact(self) -> None:
        """Let the database check its own pages and trees (`Database.check_intact`)."""
        self._database.check_intact()

    def dump(self) -> Iterator[tuple[str, tuple[Any, ...]]]:
        """Every row of every table as (table, values), ordered by key: the same for the same bags and log."""
        for table in ALL:
            ordered = select(table).order_by(*table.primary_key.columns)
            for row in self._database.stream(ordered, _values):
                yield table.name, row

    def rows_digest(self) -> bytes:
        """SHA-256 over all rows of `dump`; a rebuilt index has the same."""
        state = hashlib.sha256()
        for name, row in self.dump():
            state.update(b"".join(_encoded(value) for value in (name, *row)))
        return state.digest()

    def _places(self, where: ColumnElement[bool], asset: str | None) -> Iterator[Place]:
        statement = _PLACES.where(where).order_by(PACKAGES.c.log_index, FILES.c.path)
        if asset is not None:
            statement = statement.where(PACKAGES.c.asset == asset)
        return self._database.stream(statement, _place)


def _event(*values: Any) -> EventRow:
    log_index, origin, event_id, types, *rest = values
    return EventRow(log_index, origin, event_id, tuple(types.split()), *rest)


def _file(package: int, path: bytes, size: int, cid: Cid) -> IndexedFile:
    return IndexedFile(package, path.decode(), size, cid)


def _place(package: int, path: bytes, size: int, cid: Cid, *values: Any) -> Place:
    return Place(_file(package, path, size, cid), PackageRow(*values))


def _path_on_disk(folder: str, path: bytes) -> str:
    return f"{folder}/{path.decode()}"


def _reference(folder: str, path: bytes, offset: int, length: int) -> Reference:
    return Reference(f"{folder}/{path.decode()}", offset, length)


def _bytes(data: bytes) -> bytes:
    return data


def _values(*values: Any) -> tuple[Any, ...]:
    return values


def _encoded(value: str | int | bytes | None) -> bytes:
    """One value, so that no two rows have the same bytes: its kind, its length in 8 bytes, itself."""
    match value:
        case None:
            kind, data = b"n", b""
        case int():
            kind, data = b"i", b"%d" % value
        case str():
            kind, data = b"t", value.encode()
        case _:
            kind, data = b"b", value
    return kind + len(data).to_bytes(8, "big") + data
