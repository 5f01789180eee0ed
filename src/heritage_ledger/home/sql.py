"""SQLAlchemy as this project opens it: engines whose transactions begin as told, errors that are ours.

The state of a home and its index are both kept through it, in SQLite files or in a PostgreSQL database. A
database is named by a path or by a URL; a URL holds no password, which the server's own ways carry
(PGPASSFILE, PGPASSWORD, a certificate).
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import LargeBinary, Text, create_engine, event, make_url
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from heritage_ledger.errors import UsageError
from heritage_ledger.home.server import server_error
from heritage_ledger.home.sqlite import connect, sqlite_error

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from sqlalchemy import Connection, Engine
    from sqlalchemy.engine.interfaces import Dialect
    from sqlalchemy.pool import Pool

    from heritage_ledger.home.deadline import Deadline
    from heritage_ledger.home.sqlite import Damaged


STEPS: Final = 2_000
"""Steps of SQLite's machine between two looks at the deadline: a fraction of a millisecond."""
CONNECT_SECONDS: Final = 10
"""How long a server may take to accept a connection."""
OrderedText: Final = Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
"""Text that every database sorts by its bytes."""


class Blob(LargeBinary):
    """Bytes handed through untouched: no conversion, so that a damaged row shows its damage."""

    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> None:
        """Give the driver the bytes as they are."""

    def result_processor(self, dialect: Dialect, coltype: object) -> None:
        """Give the caller what the driver read."""


def open_engine(path: Path, pragmas: Sequence[str], *, poolclass: type[Pool]) -> Engine:
    """Return an engine over the existing SQLite file `path`; each connection first runs `pragmas`.

    Transactions start with BEGIN, or with what the execution option `begin` says (`BEGIN IMMEDIATE` takes the
    write lock at once). Nothing is opened before the first connection.
    """
    engine = create_engine("sqlite://", creator=lambda: connect(path, pragmas), poolclass=poolclass)

    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))

    event.listen(engine, "begin", begin)
    return engine


def is_url(target: Path | str) -> bool:
    """Say whether `target` names a database server and not a file."""
    return isinstance(target, str) and "://" in target


def open_server(url: str) -> Engine:
    """Return an engine over the PostgreSQL database `url`; nothing is asked of it yet.

    Commits wait for the disk whatever the server's default is, and a broken connection is noticed before it
    is used.

    Raises:
        UsageError: it is no URL of PostgreSQL, or psycopg is not installed (`database-url`).
    """
    try:
        parsed = make_url(url)
        if parsed.drivername != "postgresql+psycopg":
            raise _bad_url(parsed.drivername)
        words = {"connect_timeout": CONNECT_SECONDS, "application_name": "heritage-ledger"}
        engine = create_engine(parsed, pool_pre_ping=True, connect_args=words)
    except (ArgumentError, NoSuchModuleError, ImportError, ValueError) as error:
        raise _bad_url(type(error).__name__) from error
    event.listen(engine, "connect", _begin_session)
    return engine


def _begin_session(driver: Any, _: object) -> None:
    # not as options of the connection: poolers do not take those, or leave them out without a word
    driver.execute("SET synchronous_commit TO on")
    driver.execute("SET lock_timeout TO '30s'")
    driver.commit()


def server_name(url: str) -> str:
    """The URL as errors show it, without a password."""
    return make_url(url).render_as_string(hide_password=True)


def _bad_url(found: str) -> UsageError:
    return UsageError(
        "database-url",
        "this database URL cannot be used",
        expected="postgresql+psycopg://USER@HOST/NAME, with heritage-ledger[postgresql] installed",
        found=found,  # never the text itself, which may hold a password
        advice="mend `database` in heritage.toml",
    )


@contextlib.contextmanager
def limited(connection: Connection, deadline: Deadline | None) -> Iterator[None]:
    """Let no statement on `connection` outlive `deadline`: SQLite asks it while it works, a server is told.

    Raises:
        TemporaryFailure: it is over (`read-too-long`).
    """
    if deadline is None:
        yield
        return
    deadline.check()
    driver: Any = connection.connection.driver_connection
    try:
        if connection.dialect.name == "sqlite":
            driver.set_progress_handler(deadline.is_over, STEPS)
            try:
                yield
            finally:
                driver.set_progress_handler(None, 0)
        else:
            milliseconds = max(1, int(deadline.left * 1_000))
            connection.exec_driver_sql(f"SET LOCAL statement_timeout = {milliseconds}")
            with deadline.breaking_off(driver.cancel):
                yield
    except (SQLAlchemyError, sqlite3.Error):
        deadline.check()
        raise


@contextlib.contextmanager
def sql_errors(path: str | os.PathLike[str], damaged: Damaged) -> Iterator[None]:
    """Turn an error of SQLAlchemy or its driver, raised inside, into one of ours.

    `damaged(path, what the database said)` makes the error for content that cannot be trusted.

    Raises:
        HeritageError: as `sqlite_error` or `server_error` says.
    """
    try:
        yield
    except UnicodeDecodeError as error:  # the driver cannot even read what SQLite says about a damaged file
        raise damaged(os.fspath(path), str(error)) from error
    except (SQLAlchemyError, sqlite3.Error) as error:
        driver = error.orig if isinstance(error, DBAPIError) else error
        where = os.fspath(path)
        if isinstance(driver, sqlite3.Error):
            raise sqlite_error(driver, where, damaged) from error
        raise server_error(driver or error, where, damaged) from error
    except Exception as error:
        if type(error).__module__.partition(".")[0] != "psycopg":
            raise
        raise server_error(error, os.fspath(path), damaged) from error
