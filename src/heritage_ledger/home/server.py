"""What a PostgreSQL server says when something is wrong, as errors of ours.

Source: its manual, appendix A (error codes).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from heritage_ledger.errors import (
    DiskProblem,
    HeritageError,
    HomeLocked,
    KeyProblem,
    OperationFailed,
    TemporaryFailure,
    UsageError,
)

if TYPE_CHECKING:
    from heritage_ledger.home.sqlite import Damaged

_SAID: Final = 300
_UNDEFINED: Final = ("42P01", "42703", "XX001", "XX002")
"""A table or column is not as it was made, or the server found its own files damaged."""
_PASSING: Final = ("08", "40", "53", "55", "57", "58")
"""Classes of causes that may be gone later: connection, rollback, resources, state, operator, system."""

_POOLER_WORDS: Final = ("transaction blocks not allowed", "unsupported startup parameter")
"""What only a pooler says, by the code of a lost connection, and will say again."""


def server_error(error: BaseException, where: str, damaged: Damaged) -> HeritageError:
    """Return the error of ours for what psycopg or SQLAlchemy raised.

    `database-unavailable`: the server is not there, or a passing cause; `database-locked`: another process
    kept a lock; `database-password`, `database-missing`: it refuses to let us in; `database-pooled`: a pooler
    stands between; `disk-full`, `disk-read-only`; `database-failed`: anything else; and what `damaged` makes.
    """
    state = getattr(error, "sqlstate", None) or ""
    said = " ".join(str(error).split()).partition(" Is the server running")[0][:_SAID]
    if state in _UNDEFINED:
        return damaged(where, said)
    if state == "55P03":
        return HomeLocked(
            "database-locked",
            "another process is writing to the database",
            path=where,
            advice="wait for it to finish, then run the same command again",
        )
    if state == "53100":
        return DiskProblem(
            "disk-full",
            "the database server has no room left to write",
            path=where,
            advice="free space there",
        )
    if state == "25006":
        return DiskProblem(
            "disk-read-only",
            "the database cannot be written",
            path=where,
            advice="name the primary server, not a standby",
        )
    if any(words in said for words in _POOLER_WORDS):
        return pooled(where, said)
    return _no_entry(state, said, where) or _other(error, state, said, where)


def _no_entry(state: str, said: str, where: str) -> HeritageError | None:
    if state.startswith("28") or "authentication failed" in said or "no password supplied" in said:
        return KeyProblem(
            "database-password",
            "the database server does not let this user in",
            path=where,
            found=said,
            advice="set PGPASSFILE or PGPASSWORD, and check the user in `database` of heritage.toml",
        )
    if state == "3D000" or ("database " in said and "does not exist" in said):
        return UsageError(
            "database-missing",
            "the server has no such database",
            path=where,
            found=said,
            advice="create it (`createdb`), or mend `database` in heritage.toml",
        )
    return None


def pooled(where: str, found: str) -> OperationFailed:
    """The error for a pooler behind which no lock of a session holds."""
    return OperationFailed(
        "database-pooled",
        "a pooler stands before the database, and the append lock does not hold behind it",
        path=where,
        expected="a server process for each session: pool_mode = session, with room for some connections",
        found=found,
        advice="name the server itself in `database` of heritage.toml, or a pooler in session mode",
    )


def _other(error: BaseException, state: str, said: str, where: str) -> HeritageError:
    kind = type(error).__name__
    if state[:2] in _PASSING or kind in {"OperationalError", "InterfaceError", "TimeoutError"}:
        return TemporaryFailure(
            "database-unavailable",
            "the database did not answer",
            path=where,
            found=said,
            advice="see whether the server runs; then run the same command again",
        )
    return OperationFailed("database-failed", "the database refused", path=where, found=said)
