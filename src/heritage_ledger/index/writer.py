"""Rows into the index, in one transaction (`Index.begin`)."""

from __future__ import annotations

from collections import Counter
from dataclasses import astuple
from itertools import groupby, islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import bindparam, delete, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from heritage_ledger.content.cid import DIGEST_LENGTH, digest_of
from heritage_ledger.content.unixfs import CHUNK_SIZE
from heritage_ledger.errors import OperationFailed
from heritage_ledger.index.tables import (
    ASSETS,
    BLOCKS,
    EVENTS,
    FILES,
    META,
    METADATA,
    NODES,
    PACKAGES,
    lookup_key,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sqlalchemy import Connection, Table

    from heritage_ledger.content.cid import Cid
    from heritage_ledger.content.package import FileRow
    from heritage_ledger.index.rows import EventRow, PackageRow

BATCH_ROWS: Final = 10_000
"""Rows handed to the database at once: enough that the call costs nothing beside them."""
NODE_BATCH_ROWS: Final = 1_000
"""Nodes handed over at once: each may be 256 KiB, and each is a parameter of one query."""
_CONTENT: Final = (EVENTS, ASSETS, PACKAGES, FILES, BLOCKS, NODES)
_DOES_NOT_FIT: Final = {"23505", "23514", "23502"}
"""SQLSTATE: unique, check and not-null violations."""
_EVENT: Final = tuple(EVENTS.columns.keys())
_TYPES: Final = "types"
_ABSORB: Final = update(META).values(absorbed=bindparam("size"))
_ASSET: Final = select(ASSETS).where(ASSETS.c.asset == bindparam("at"))
_UPDATE_ASSET: Final = (
    update(ASSETS)
    .where(ASSETS.c.asset == bindparam("at"))
    .values(title=bindparam("title"), latest_version=bindparam("latest_version"))
)
_EVENT_ID: Final = select(EVENTS.c.log_index).where(EVENTS.c.event_id == bindparam("at"))
_VERSION: Final = select(PACKAGES.c.log_index).where(
    PACKAGES.c.asset == bindparam("at"), PACKAGES.c.version == bindparam("version")
)
_KNOWN_NODES: Final = select(NODES.c.digest).where(
    NODES.c.package == bindparam("package"), NODES.c.digest.in_(bindparam("digests", expanding=True))
)


def _conflict(message: str, *, expected: str | None = None, found: str | None = None) -> OperationFailed:
    """The error for rows that cannot belong to one log."""
    return OperationFailed(
        "index-conflict",
        message,
        expected=expected,
        found=found,
        advice="run `heritage index rebuild`",
    )


class IndexWriter:
    """Writes rows that readers see together, when the transaction ends, or not at all.

    The database refuses a second row with the same key: `OperationFailed` (`index-conflict`), at the latest
    when the transaction ends.
    """

    def __init__(self, connection: Connection, origin: str, absorbed: int) -> None:
        """Use `Index.begin`."""
        self._connection = connection
        self._origin = origin
        self._absorbed = absorbed
        self._next = absorbed
        self._events: list[tuple[Any, ...]] = []
        self._written: Counter[str] = Counter()

    def clear(self) -> None:
        """Forget every row, as the first step of a rebuild."""
        self._events.clear()
        for table in _CONTENT:
            self._connection.execute(delete(table))
        self._absorbed = self._next = 0

    def replace(self, absorbed: int, rows: Iterable[tuple[str, tuple[Any, ...]]]) -> None:
        """Put the rows of another index of this log, as `Index.dump` gives them, in place of all others.

        `absorbed` says how many entries of the log they cover.
        """
        self.clear()
        for name, group in groupby(rows, key=itemgetter(0)):
            if name != META.name:
                self._insert_many(METADATA.tables[name], (values for _, values in group))
        self._absorbed = self._next = absorbed

    def add_event(self, row: EventRow) -> None:
        """Add the next entry of the log.

        Raises:
            OperationFailed: it is of another log, or not the next one (`index-conflict`).
        """
        if row.origin != self._origin:
            raise _conflict("an event of another log", expected=self._origin, found=row.origin)
        if row.log_index != self._next:
            raise _conflict(
                "entries are absorbed in log order", expected=str(self._next), found=str(row.log_index)
            )
        if any(term.split() != [term] for term in row.types):
            raise _conflict("a type term is one word", found=repr(row.types))
        self._events.append(tuple(" ".join(row.types) if at == _TYPES else getattr(row, at) for at in _EVENT))
        self._next += 1
        if len(self._events) == BATCH_ROWS:
            self._insert_events()

    def pass_over(self, index: int) -> None:
        """Leave out the entry `index`, the next one: its id is that of an earlier event.

        Raises:
            OperationFailed: it is not the next one (`index-conflict`).
        """
        self._next += 1
        self.set_absorbed(index + 1)

    def has_event(self, event_id: str) -> bool:
        """Say whether an event of this id is there."""
        self._insert_events()
        return self._connection.execute(_EVENT_ID, {"at": event_id}).one_or_none() is not None

    def has_version(self, asset: str | None, version: int) -> bool:
        """Say whether a package is there as this version of the asset."""
        known = self._connection.execute(_VERSION, {"at": asset, "version": version})
        return known.one_or_none() is not None

    def add_package(self, row: PackageRow, *, title: str | None = None) -> None:
        """Add one package, and its asset: with `title`, or the title that the asset had."""
        self._insert(PACKAGES, [astuple(row)])
        known = self._connection.execute(_ASSET, {"at": row.asset}).one_or_none()
        if known is None:
            self._insert(ASSETS, [(row.asset, title, row.log_index, row.version)])
            return
        latest = max(known.latest_version, row.version)
        self._connection.execute(
            _UPDATE_ASSET,
            {"at": row.asset, "title": known.title if title is None else title, "latest_version": latest},
        )

    def add_files(self, package: int, rows: Iterable[FileRow]) -> None:
        """Add the files of the package of log index `package`, a million or more, and their leaf blocks.

        Fastest in byte order of the paths.
        """
        waiting = iter(rows)
        while batch := list(islice(waiting, BATCH_ROWS)):
            self._insert(
                FILES,
                [(package, path.encode(), size, cid, lookup_key(cid)) for path, size, cid, _ in batch],
            )
            self._insert_many(
                BLOCKS, (block for row in batch if row.leaves for block in _blocks(package, row))
            )

    def remove_content(self, package: int) -> None:
        """Forget the files, blocks and nodes of a package whose bag is not held any more; its row stays."""
        for table in (FILES, BLOCKS, NODES):
            self._connection.execute(delete(table).where(table.c.package == package))

    def set_tag_files(self, package: int, count: int) -> None:
        """Say how many files of a bag that came back lie outside of its payload."""
        statement = update(PACKAGES).where(PACKAGES.c.log_index == package).values(tag_files=count)
        self._connection.execute(statement)

    def add_nodes(self, package: int, nodes: Iterable[tuple[Cid, bytes]]) -> None:
        """Add the dag-pb nodes of a package; what occurs in it twice (a copied folder) is kept once."""
        waiting = iter(nodes)
        while batch := {digest_of(cid): data for cid, data in islice(waiting, NODE_BATCH_ROWS)}:
            known = self._connection.execute(_KNOWN_NODES, {"package": package, "digests": list(batch)})
            for digest in known.scalars().all():
                del batch[digest]
            if batch:
                self._insert(NODES, [(digest, package, data) for digest, data in batch.items()])

    def set_absorbed(self, size: int) -> None:
        """Say that the entries below `size` have their rows.

        Raises:
            OperationFailed: the events that were added do not reach just as far (`index-conflict`).
        """
        if size != self._next:
            raise _conflict(
                "the event rows do not reach as far as the log",
                expected=f"{size} entries",
                found=f"{self._next} entries",
            )
        self._absorbed = size

    def finish(self) -> None:
        """Write what was held back; `Index.begin` calls it before the transaction ends.

        Raises:
            OperationFailed: events were added that `set_absorbed` does not cover (`index-conflict`).
        """
        self.set_absorbed(self._absorbed)
        self._insert_events()
        self._connection.execute(_ABSORB, {"size": self._absorbed})
        self._count_anew()

    def _count_anew(self) -> None:
        """Let a server see how many rows there are now: by yesterday's counts it would join the slow way."""
        if self._connection.dialect.name == "postgresql":
            for name in sorted(name for name, rows in self._written.items() if rows >= BATCH_ROWS):
                self._connection.execute(text(f"ANALYZE {name}"))

    def _insert_events(self) -> None:
        if self._events:
            self._insert(EVENTS, self._events)
            self._events.clear()

    def _insert_many(self, table: Table, rows: Iterator[tuple[Any, ...]]) -> None:
        while batch := list(islice(rows, BATCH_ROWS)):
            self._insert(table, batch)

    def _insert(self, table: Table, rows: list[tuple[Any, ...]]) -> None:
        """Hand tuples straight to the driver: Core's own path costs more for each row than SQLite does."""
        self._written[table.name] += len(rows)
        try:
            if self._connection.dialect.name == "postgresql":
                self._copy(table, rows)
            else:
                compiled = insert(table).compile(dialect=self._connection.dialect)
                self._connection.exec_driver_sql(str(compiled), rows)
        except IntegrityError as error:
            raise _conflict(f"a row of {table.name} is there already, or does not fit") from error

    def _copy(self, table: Table, rows: list[tuple[Any, ...]]) -> None:
        """Hand the rows over by COPY, which costs a tenth of as many INSERTs."""
        quote = self._connection.dialect.identifier_preparer.quote
        columns = ", ".join(map(quote, table.columns.keys()))
        driver: Any = self._connection.connection.driver_connection
        try:
            with (
                driver.cursor() as cursor,
                cursor.copy(f"COPY {quote(table.name)} ({columns}) FROM STDIN") as copy,
            ):
                for row in rows:
                    copy.write_row(row)
        except Exception as error:
            if getattr(error, "sqlstate", None) in _DOES_NOT_FIT:
                raise _conflict(f"a row of {table.name} is there already, or does not fit") from error
            raise


def _blocks(package: int, row: FileRow) -> Iterator[tuple[Any, ...]]:
    path = row.path.encode()
    for offset in range(0, row.size, CHUNK_SIZE):
        start = offset // CHUNK_SIZE * DIGEST_LENGTH
        digest = row.leaves[start : start + DIGEST_LENGTH]
        length = min(CHUNK_SIZE, row.size - offset)
        yield package, path, offset, length, digest, lookup_key(digest)
