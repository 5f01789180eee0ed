"""The append lock where a database server keeps the heads: a lock of one session there, for every machine.

Source: the manual of PostgreSQL, 13.3.5 (advisory locks).
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final

from sqlalchemy import func, select

from heritage_ledger.errors import HomeLocked, OperationFailed, TemporaryFailure
from heritage_ledger.home import lock
from heritage_ledger.home.sql import open_server, server_name, sql_errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Connection, Engine

APPEND_LOCK: Final = 0x68_6C_61_70
"""The advisory lock of whoever appends; a database belongs to one home."""
_POLL_SECONDS: Final = 0.005
AGAIN_SECONDS: Final = 10.0
"""How long a lost server is asked for what became of a change."""
_TRY: Final = select(func.pg_try_advisory_lock(APPEND_LOCK))
_FREE: Final = select(func.pg_advisory_unlock(APPEND_LOCK))
_SESSION: Final = select(func.pg_backend_pid())


class ServerLock:
    """The append lock in a database: an advisory lock of one session, whose connection does the work.

    When the connection is lost, the server ends the session and with it the lock; a connection that was made
    again is not the one that holds it, and is refused.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.connection: Connection | None = None
        self._session = 0

    @contextlib.contextmanager
    def hold(self, wait: float, where: str) -> Iterator[None]:
        """Hold the lock for the length of a block.

        Raises:
            HomeLocked: another session held it for `wait` seconds (`home-locked`).
            SQLAlchemyError: the server does not answer.
        """
        self._take(wait, where)
        try:
            yield
        except BaseException:
            self._end_session()
            raise
        self._give_back()

    def take_again(self) -> None:
        """Take the lock anew after the connection was lost, when it was held; wait for the server to be back.

        Raises:
            SQLAlchemyError, HomeLocked: it did not come back within `AGAIN_SECONDS`.
        """
        was_held = self.connection is not None
        self._end_session()
        deadline = time.monotonic() + AGAIN_SECONDS
        while True:
            try:
                self._take(max(0.0, deadline - time.monotonic()), "")
            except HomeLocked:
                raise
            except Exception:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(_POLL_SECONDS * 20)
            else:
                break
        if not was_held:
            self._give_back()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction of the session that holds the lock.

        Raises:
            SQLAlchemyError: the connection was lost, and the lock with it.
        """
        connection = self.connection
        assert connection is not None
        with connection.begin():
            self._check_session(connection)
            yield connection

    def _check_session(self, connection: Connection) -> None:
        if connection.execute(_SESSION).scalar_one() != self._session:
            raise TemporaryFailure(
                "database-unavailable", "the database did not answer: the session ended, and its lock"
            )

    def _take(self, wait: float, where: str) -> None:
        connection = self._engine.connect()
        try:
            deadline = time.monotonic() + wait
            while not self._try(connection):
                if time.monotonic() >= deadline:
                    raise _locked(where)  # noqa: TRY301 - the connection goes the same way as after an error
                time.sleep(_POLL_SECONDS)
            with connection.begin():
                self._session = connection.execute(_SESSION).scalar_one()
        except BaseException:
            connection.invalidate()
            connection.close()
            raise
        self.connection = connection

    @staticmethod
    def _try(connection: Connection) -> bool:
        with connection.begin():
            return bool(connection.execute(_TRY).scalar_one())

    def _give_back(self) -> None:
        """Unlock and keep the session for the next time; end it when that cannot be done."""
        connection = self.connection
        if connection is None:
            return
        try:
            with connection.begin():
                connection.execute(_FREE)
            connection.close()
        except Exception:  # noqa: BLE001 - the server ends the session, and the lock with it
            self._end_session()
        self.connection = None

    def _end_session(self) -> None:
        """Close the connection itself, so that nothing of the session, and no lock, is left to a pool."""
        connection, self.connection = self.connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.invalidate()
            with contextlib.suppress(Exception):
                connection.close()


def _locked(where: str) -> HomeLocked:
    return HomeLocked(
        "home-locked",
        "another process is writing to this home",
        path=where,
        advice="wait for it to finish, then run the same command again",
    )


@contextlib.contextmanager
def hold_append(file: Path, database: str | None) -> Iterator[None]:
    """Hold a home's append lock: its lock file, and the lock in the database `database` where it has one.

    Raises:
        HomeLocked: another process kept one of them (`home-locked`).
        TemporaryFailure, KeyProblem, UsageError: the server does not answer, or not us.
    """
    with lock.hold(file):
        if database is None:
            yield
            return
        engine = open_server(database)
        where = server_name(database)
        try:
            with contextlib.ExitStack() as held:
                with sql_errors(where, _failed):
                    held.enter_context(ServerLock(engine).hold(lock.LOCK_WAIT_SECONDS, where))
                yield
        finally:
            engine.dispose()


def _failed(where: str, said: str) -> OperationFailed:
    """The error for a server that cannot even lock."""
    return OperationFailed("database-failed", f"the database refused: {said}", path=where)
