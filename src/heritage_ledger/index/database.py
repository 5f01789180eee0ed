"""The index's database: opened by path or URL, its tables made when absent, its errors ours.

What is peculiar to SQLite stands here and in `heritage_ledger.home.sqlite`; the queries speak to any database
of SQLAlchemy.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from sqlalchemy import Integer, LargeBinary, func, insert, inspect, select, text, update
from sqlalchemy.pool import QueuePool

from heritage_ledger.errors import EvidenceMissing, OperationFailed
from heritage_ledger.home.deadline import current_deadline
from heritage_ledger.home.durable import SECRET_FILE, name_new, writing
from heritage_ledger.home.migrate import upgrade
from heritage_ledger.home.sql import is_url, limited, open_engine, open_server, server_name, sql_errors
from heritage_ledger.home.sqlite import sidecars
from heritage_ledger.index.tables import INDEX_VERSION, META, METADATA

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any

    from sqlalchemy import Connection, Engine, Row, Select
    from sqlalchemy.types import TypeEngine

STREAM_ROWS: Final = 1_000
"""Rows fetched at a time by a query that streams."""
_REBUILD: Final = "run `heritage index rebuild`: it is made again from bags and log, and nothing is lost"
_PRAGMAS: Final = (
    "synchronous=NORMAL",  # a power cut may take the last rows back; the index then says so and absorbs again
    "cache_size=-4096",  # KiB, of each connection: a node has one for each thread that reads
    "cell_size_check=ON",
)

_WRITERS_CACHE: Final = "PRAGMA cache_size=-65536"
"""KiB: random keys of a million files stay in memory while they are added."""
_READERS_CACHE: Final = "PRAGMA cache_size=-4096"
_MAKERS: Final = 0x68_6C_69_78
"""The advisory lock of those who make or remove the tables."""

REVISIONS: Final = Path(__file__).with_name("migrations")
"""How each layout is made from the one before."""

Made = TypeVar("Made")


def damaged(path: str, said: str) -> OperationFailed:
    """The error for an index whose rows cannot be trusted."""
    return OperationFailed(
        "index-damaged", f"the index cannot be trusted: {said}", path=path, advice=_REBUILD
    )


def erase(target: Path | str) -> None:
    """Remove the index at a path or URL, as a rebuild of a damaged one begins; a database itself stays.

    Raises:
        DiskProblem: the file system refuses.
        TemporaryFailure: the server does not answer.
    """
    if is_url(target):
        database = Database(open_server(str(target)), server_name(str(target)))
        try:
            with database.writing() as connection:
                connection.execute(select(func.pg_advisory_xact_lock(_MAKERS)))
                METADATA.drop_all(connection)
                connection.execute(text("DROP TABLE IF EXISTS index_revision"))
        finally:
            database.close()
        return
    path = Path(target)
    with writing(path):
        for place in (path, *sidecars(path)):
            place.unlink(missing_ok=True)


class Database:
    """Transactions over one index database. `where` names it in errors, without a password."""

    def __init__(self, engine: Engine, where: str) -> None:
        """Use `open_database`."""
        self._engine = engine
        self._writer = engine.execution_options(begin="BEGIN IMMEDIATE")
        self.where = where

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that sees one state of the index, changes nothing, and ends with the deadline.

        Raises:
            TemporaryFailure: the deadline of this thread is over (`read-too-long`).
        """
        with (
            sql_errors(self.where, damaged),
            self._engine.connect() as connection,
            limited(connection, current_deadline()),
        ):
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that is kept when the block ends, and taken back when it raises."""
        with sql_errors(self.where, damaged), self._writer.begin() as connection, _cached(connection):
            yield connection

    def stream(self, statement: Select[Any], make: Callable[..., Made]) -> Iterator[Made]:
        """Yield `make(*row)` for each row, fetched a few at a time.

        A value that SQL cannot hold (a lone surrogate, an integer of 65 bits) is in no row.

        Raises:
            OperationFailed: a row is not what was written (`index-damaged`).
        """
        check = _check_kinds(statement)
        with self.reading() as connection:
            try:
                rows = connection.execution_options(yield_per=STREAM_ROWS).execute(statement)
            except (UnicodeEncodeError, OverflowError):
                return
            with contextlib.closing(rows):  # whoever stops early leaves no cursor open
                for row in rows:
                    yield self._made(row, make, check)

    def first(self, statement: Select[Any], make: Callable[..., Made]) -> Made | None:
        """The first of `stream`, or None."""
        with self.reading() as connection:
            try:
                row = connection.execute(statement).first()
            except (UnicodeEncodeError, OverflowError):
                return None
            return None if row is None else self._made(row, make, _check_kinds(statement))

    def rows(
        self, statement: Select[Any], values: Mapping[str, Any], make: Callable[..., Made]
    ) -> list[Made]:
        """All of a short answer, at once."""
        with self.reading() as connection:
            try:
                rows = connection.execute(statement, values).all()
            except (UnicodeEncodeError, OverflowError):
                return []
            check = _check_kinds(statement)
            return [self._made(row, make, check) for row in rows]

    def _made(self, row: Row[Any], make: Callable[..., Made], check: Callable[[Row[Any]], None]) -> Made:
        try:
            check(row)
            return make(*row)
        except (TypeError, ValueError) as error:
            raise damaged(self.where, f"a row is not what was written ({error})") from error

    def check_intact(self) -> None:
        """Let the database check its own pages and trees, where it can.

        It misses most flipped bits within rows: compare `Index.rows_digest` with that of a rebuilt index.

        Raises:
            OperationFailed: it found damage (`index-damaged`).
        """
        if self._engine.dialect.name != "sqlite":
            return
        with self.reading() as connection:
            said = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar_one()
        if said != "ok":
            raise damaged(self.where, str(said))

    def close(self) -> None:
        """Let go of every connection."""
        with sql_errors(self.where, damaged):
            self._engine.dispose()


@contextlib.contextmanager
def _cached(connection: Connection) -> Iterator[None]:
    """Give a writer the memory that it needs, and take it back."""
    if connection.dialect.name != "sqlite":
        yield
        return
    connection.exec_driver_sql(_WRITERS_CACHE)
    try:
        yield
    finally:
        connection.exec_driver_sql(_READERS_CACHE)


def _check_kinds(statement: Select[Any]) -> Callable[[Row[Any]], None]:
    """A check that each value is of its column's kind, which SQLite itself does not promise."""
    allowed = [
        (_kind(column.type), type(None)) if getattr(column, "nullable", False) else (_kind(column.type),)
        for column in statement.selected_columns
    ]
    seen: set[tuple[type, ...]] = set()

    def check(row: Row[Any]) -> None:
        kinds = tuple(map(type, row))
        if kinds not in seen:
            for kind, among in zip(kinds, allowed, strict=True):
                if kind not in among:
                    raise TypeError(f"{kind.__name__} for {among[0].__name__}")
            seen.add(kinds)

    return check


def _kind(of: TypeEngine[Any]) -> type:
    if isinstance(of, LargeBinary):
        return bytes
    return int if isinstance(of, Integer) else str


def open_database(target: Path | str, origin: str, *, make: bool = True) -> Database:
    """Open the database at a path or URL, and make the tables of the log `origin` when they are absent.

    Raises:
        EvidenceMissing: there are none, and `make` is not set (`index-missing`).
        UsageError: the URL cannot be used (`database-url`).
        OperationFailed: the index of another log (`index-origin`) or release (`index-version`), or damaged
            (`index-damaged`).
        DiskProblem: it cannot be opened or made.
    """
    if is_url(target):
        database = Database(open_server(str(target)), server_name(str(target)))
    else:
        database = _open_file(Path(target), origin, make=make)
    try:
        _prepare(database, origin, make=make)
    except BaseException:
        database.close()
        raise
    return database


def _open_file(path: Path, origin: str, *, make: bool) -> Database:
    with writing(path):
        if not path.exists():
            if not make:
                raise _missing(str(path))
            _make_file(path, origin)
    return _over_file(path, _PRAGMAS)


def _over_file(path: Path, pragmas: Sequence[str]) -> Database:
    return Database(open_engine(path, pragmas, poolclass=QueuePool), str(path))


def _make_file(path: Path, origin: str) -> None:
    """Make the tables aside and link the file into place: of several processes at once one is the maker."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, SECRET_FILE))
        # the mode stays in the file; switching it while others open the file would be refused
        database = _over_file(temporary, (*_PRAGMAS, "journal_mode=WAL"))
        try:
            _make_tables(database, origin)
        finally:
            database.close()
        with contextlib.suppress(FileExistsError):
            name_new(temporary, path)
    finally:
        for place in (temporary, *sidecars(temporary)):
            place.unlink(missing_ok=True)


def _make_tables(database: Database, origin: str) -> None:
    with database.writing() as connection:
        if connection.dialect.name == "postgresql":  # of several processes at once one is the maker
            connection.execute(select(func.pg_advisory_xact_lock(_MAKERS)))
        METADATA.create_all(connection)
        if connection.execute(select(META.c.id)).one_or_none() is None:
            connection.execute(
                insert(META), {"id": 1, "version": INDEX_VERSION, "origin": origin, "absorbed": 0}
            )


def _bring_up(database: Database) -> None:
    with database.writing() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(_MAKERS)))
        found = connection.execute(select(META.c.version)).scalar_one()
        if found < INDEX_VERSION:  # else another process did it meanwhile
            upgrade(connection, REVISIONS, table="index_revision", found=found, wanted=INDEX_VERSION)
            connection.execute(update(META).values(version=INDEX_VERSION))


def _missing(where: str) -> EvidenceMissing:
    return EvidenceMissing(
        "index-missing",
        "there is no index",
        path=where,
        advice="run `heritage index rebuild`; nothing is lost",
    )


def _prepare(database: Database, origin: str, *, make: bool) -> None:
    with database.reading() as connection:
        present = inspect(connection).has_table(META.name)
    if not present:
        if not make:
            raise _missing(database.where)
        _make_tables(database, origin)
    with database.reading() as connection:
        row = connection.execute(select(META)).one_or_none()
    if row is None:
        raise damaged(database.where, "it does not say which log it is of")
    if row.version < INDEX_VERSION and make:
        _bring_up(database)
    elif row.version != INDEX_VERSION:
        raise OperationFailed(
            "index-version",
            "the index has the layout of another release",
            path=database.where,
            expected=f"version {INDEX_VERSION}",
            found=f"version {row.version}",
            advice=_REBUILD,
        )
    if row.origin != origin:
        raise OperationFailed(
            "index-origin",
            "this is the index of another log",
            path=database.where,
            expected=origin,
            found=str(row.origin),
            advice="check the setting that names the index; each log has its own",
        )
