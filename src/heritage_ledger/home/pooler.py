"""Is a pooler between us and a PostgreSQL server, and does it leave a session its server process?

The append lock is one of a session. A pooler that gives each transaction to whatever server process is free
(PgBouncer's `transaction` mode) lets two of us hold it at once. A server says at the start of a session which
process serves it; where that is not the one that answers, somebody is between, and is tried.

Source: the manuals of PostgreSQL (55.2.1, BackendKeyData) and PgBouncer ("pooling modes").
"""

from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLate
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import bindparam, func, select

from heritage_ledger.home.server import pooled

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

_NAME: Final = "heritage.session"
_PROCESS: Final = select(func.pg_backend_pid())
_SAY: Final = select(func.set_config(_NAME, bindparam("word"), False))
_SAID: Final = select(func.current_setting(_NAME, True), func.pg_backend_pid())
_ROUNDS: Final = 3
WAIT: Final = 10.0
"""Seconds that a second session may wait for a server process beside the first."""


def check_sessions(engine: Engine, where: str) -> None:
    """Check that each connection of `engine` has a server process of its own; `where` names it in errors.

    Raises:
        OperationFailed: a pooler gives them away between transactions, or has one only (`database-pooled`).
        SQLAlchemyError: the server does not answer.
    """
    with engine.connect() as connection:
        with connection.begin():
            serving = connection.execute(_PROCESS).scalar_one()
        driver: Any = connection.connection.driver_connection
        if driver.info.backend_pid == serving:
            return
        first = _Session(connection)
        with ThreadPoolExecutor(1, "pooler") as pool:
            trying = pool.submit(_try, engine, first)
            try:
                found = trying.result(WAIT)
            except TooLate:
                driver.cancel()
                raise pooled(where, "one server process for all sessions") from None
        if found is not None:
            raise pooled(where, found)


def _try(engine: Engine, first: _Session) -> str | None:
    """Say what shows that two sessions share server processes; None where nothing does."""
    with ExitStack() as held:
        second = _Session(held.enter_context(engine.connect()))
        for _ in range(_ROUNDS):
            first.say()
            second.say()
            if not (first.is_kept() and second.is_kept()):
                return "a session whose transactions go to several server processes"
            with first.connection.begin():  # what was busy is given to the next who asks
                first.connection.execute(_PROCESS)
                second.say()
            if not (second.is_kept() and first.is_kept()):
                return "a session whose transactions go to several server processes"
    return None


class _Session:
    """One connection, and what was left in its session."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._word = secrets.token_hex(8)
        self._process = 0

    def say(self) -> None:
        with self.connection.begin():
            self.connection.execute(_SAY, {"word": self._word})
            if not self._process:
                self._process = self.connection.execute(_PROCESS).scalar_one()

    def is_kept(self) -> bool:
        with self.connection.begin():
            word, process = self.connection.execute(_SAID).one()
        return (word, process) == (self._word, self._process)
