"""SQLAlchemy as this project opens it: engines whose transactions begin as told, errors that are ours.

The state of a home and its index are both kept through it.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from typing import TYPE_CHECKING

from sqlalchemy import LargeBinary, create_engine, event
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError

from heritage_ledger.errors import OperationFailed, TemporaryFailure
from heritage_ledger.home.sqlite import connect, sqlite_error

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from sqlalchemy import Connection, Engine
    from sqlalchemy.engine.interfaces import Dialect
    from sqlalchemy.pool import Pool

    from heritage_ledger.home.sqlite import Damaged


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


@contextlib.contextmanager
def sql_errors(path: str | os.PathLike[str], damaged: Damaged) -> Iterator[None]:
    """Turn an error of SQLAlchemy or its driver, raised inside, into one of ours.

    `damaged(path, what the database said)` makes the error for content that cannot be trusted.

    Raises:
        HeritageError: as `sqlite_error` says; of another database, `TemporaryFailure`
            (`database-unavailable`) when it does not answer and `OperationFailed` (`database-failed`) else.
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
        if isinstance(error, OperationalError):
            raise TemporaryFailure(
                "database-unavailable", f"the database did not answer: {driver}", path=where
            ) from error
        raise OperationFailed("database-failed", f"the database refused: {driver}", path=where) from error
