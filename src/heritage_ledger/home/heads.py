"""Where heads are kept: the tables, what the database itself refuses, and how they are made.

See `heritage_ledger.home.state` for what they mean.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Integer,
    MetaData,
    Table,
    func,
    insert,
    inspect,
    select,
    text,
    update,
)
from sqlalchemy.pool import StaticPool

from heritage_ledger.errors import EvidenceInvalid, OperationFailed, TemporaryFailure, UsageError
from heritage_ledger.home.durable import SECRET_FILE, name_new, sync_folder, writing
from heritage_ledger.home.migrate import upgrade
from heritage_ledger.home.pooler import check_sessions
from heritage_ledger.home.seal import Seal
from heritage_ledger.home.sql import (
    Blob,
    OrderedText,
    is_url,
    open_engine,
    open_server,
    server_name,
    sql_errors,
)
from heritage_ledger.home.sqlite import sidecars

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from heritage_ledger.home.state import Head

STATE_VERSION: Final = 1
"""The layout of the heads; an older one is brought up to it, a newer one refused."""
REVISIONS: Final = Path(__file__).with_name("migrations")
"""How each layout is made from the one before."""
_MAKERS: Final = 0x68_6C_73_74
"""The advisory lock of those who change the layout on a server."""
MAX_SIZE: Final = (1 << 63) - 1
"""Entries: the largest log size that SQL's 64-bit integer holds."""
ROOT_BYTES: Final = 32
"""Bytes of a Merkle root: SHA-256 (RFC 6962)."""


METADATA = MetaData()
HEADS = Table(
    "heads",
    METADATA,
    Column("origin", OrderedText, primary_key=True),
    Column("size", BigInteger, CheckConstraint("size >= 0"), nullable=False),
    Column("root", Blob, CheckConstraint(f"length(root) = {ROOT_BYTES}"), nullable=False),
    Column("checkpoint", Blob, nullable=False),
    Column("digest", Blob, nullable=False),
    sqlite_with_rowid=False,
)
SEAL = Table(
    "seal",
    METADATA,
    Column("id", Integer, CheckConstraint("id = 1"), primary_key=True),
    Column("version", Integer, nullable=False),
    Column("heads", Integer, nullable=False),
    Column("mix", Blob, nullable=False),
    Column("digest", Blob, nullable=False),
)
GUARDS: Final = {
    "sqlite": (
        """CREATE TRIGGER heads_never_shrink BEFORE UPDATE ON heads
           WHEN NEW.size < OLD.size OR NEW.origin <> OLD.origin
           BEGIN SELECT RAISE(ABORT, 'a head never shrinks'); END""",
        """CREATE TRIGGER heads_stay BEFORE DELETE ON heads
           BEGIN SELECT RAISE(ABORT, 'a head is never deleted'); END""",
    ),
    "postgresql": (
        """CREATE FUNCTION heads_guard() RETURNS trigger LANGUAGE plpgsql AS $$
           BEGIN RAISE EXCEPTION 'a head never shrinks and is never deleted'; END $$""",
        """CREATE TRIGGER heads_never_shrink BEFORE UPDATE ON heads FOR EACH ROW
           WHEN (NEW.size < OLD.size OR NEW.origin <> OLD.origin) EXECUTE FUNCTION heads_guard()""",
        """CREATE TRIGGER heads_stay BEFORE DELETE ON heads FOR EACH ROW EXECUTE FUNCTION heads_guard()""",
        """CREATE TRIGGER heads_remain BEFORE TRUNCATE ON heads EXECUTE FUNCTION heads_guard()""",
    ),
}
"""What the database itself refuses, by kind of database."""
_GUARD: Final = "heads_guard"
_REVISION: Final = "heads_revision"
_TABLES: Final = (HEADS.name, SEAL.name, _REVISION)
_INDEXES: Final = text(
    "SELECT indexname FROM pg_indexes WHERE schemaname = current_schema() AND tablename = :of"
)
_GUARDED: Final = text(f"SELECT to_regproc('{_GUARD}')::text")
PRAGMAS = (
    "synchronous=FULL",  # an acknowledged swap survives a power cut
    "fullfsync=ON",  # macOS: fsync alone does not reach the disk there
    "cell_size_check=ON",
)


def damaged(path: str, said: str) -> EvidenceInvalid:
    """The error for heads that cannot be trusted."""
    return EvidenceInvalid(
        "state-damaged",
        f"the heads cannot be trusted: {said}",
        path=path,
        advice="stop writing; restore state.db from a backup, then ask the witnesses for the largest size"
        " that they hold before the next append",
    )


def seal_columns(seal: Seal) -> dict[str, object]:
    """The columns of the row that holds `seal`."""
    return {"heads": seal.heads, "mix": seal.mix, "digest": seal.digest()}


def _exists(place: str) -> OperationFailed:
    return OperationFailed(
        "state-exists",
        "a state file, or what is left of one, is already there",
        path=place,
        advice="choose an empty folder for a new home; each home has a database of its own",
    )


def make_file(path: Path) -> None:
    """Make tables, triggers and the first seal in a new file at `path`, whole or not at all.

    Raises:
        OperationFailed: something lies there (`state-exists`).
        DiskProblem: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    with writing(path):
        for place in (path, *sidecars(path)):
            if place.exists() or place.is_symlink():
                raise _exists(str(place))
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, SECRET_FILE))
        try:
            _fill(temporary)
            try:
                name_new(temporary, path)
            except FileExistsError as error:
                raise _exists(str(path)) from error
        finally:
            for place in (temporary, *sidecars(temporary)):
                place.unlink(missing_ok=True)
    sync_folder(path.parent)


def _fill(path: Path) -> None:
    """Make the tables, triggers and the first seal in the empty file `path`."""
    engine = open_engine(path, (*PRAGMAS, "journal_mode=WAL"), poolclass=StaticPool)
    with sql_errors(path, damaged):
        try:
            with engine.begin() as connection:
                make_tables(connection)
        finally:
            engine.dispose()


def make_on_server(url: str) -> None:
    """Make tables, triggers and the first seal in the database of `url`, all or nothing."""
    engine = open_server(url)
    with sql_errors(server_name(url), damaged):
        try:
            check_sessions(engine, server_name(url))
            with engine.begin() as connection:
                keep_out(connection)
                if inspect(connection).has_table(HEADS.name):
                    raise _exists(server_name(url))
                make_tables(connection)
        finally:
            engine.dispose()


def put_aside(target: Path | str, folder: Path, mark: str) -> str | None:
    """Put heads that cannot be used where nobody takes them for the heads; nothing of them is changed.

    The file moves into `folder`, which is made; tables on a server are renamed to end with `mark`. Returns
    where they are now, for a person; None where there was nothing.

    Raises:
        DiskProblem, TemporaryFailure, KeyProblem: it cannot be done; they are where they were.
    """
    if is_url(target):
        return _rename_on_server(str(target), mark)
    path = Path(target)
    with writing(folder):
        moved = [one for one in (path, *sidecars(path)) if one.exists()]
        if not moved:
            return None
        folder.mkdir(parents=True)
        for one in moved:
            one.rename(folder / one.name)
    return str(folder)


def _rename_on_server(url: str, mark: str) -> str | None:
    engine = open_server(url)
    with sql_errors(server_name(url), damaged):
        try:
            with engine.begin() as connection:
                keep_out(connection)
                tables = [one for one in _TABLES if inspect(connection).has_table(one)]
                for table in tables:
                    for (index,) in connection.execute(_INDEXES, {"of": table}).all():
                        connection.exec_driver_sql(f"ALTER INDEX {index} RENAME TO {index}_{mark}")
                    connection.exec_driver_sql(f"ALTER TABLE {table} RENAME TO {table}_{mark}")
                if connection.execute(_GUARDED).scalar_one() is not None:
                    connection.exec_driver_sql(f"ALTER FUNCTION {_GUARD}() RENAME TO {_GUARD}_{mark}")
        finally:
            engine.dispose()
    return ", ".join(f"{one}_{mark}" for one in tables) or None


def remove_new(target: Path | str) -> None:
    """Remove heads that were made just now by whoever could not go on; for nothing else.

    Raises:
        DiskProblem, TemporaryFailure, KeyProblem: it cannot be done.
    """
    if not is_url(target):
        path = Path(target)
        with writing(path):
            for one in (path, *sidecars(path)):
                one.unlink(missing_ok=True)
        return
    engine = open_server(str(target))
    with sql_errors(server_name(str(target)), damaged):
        try:
            with engine.begin() as connection:
                keep_out(connection)
                for table in _TABLES:
                    connection.exec_driver_sql(f"DROP TABLE IF EXISTS {table}")
                connection.exec_driver_sql(f"DROP FUNCTION IF EXISTS {_GUARD}()")
        finally:
            engine.dispose()


def keep_out(connection: Connection) -> None:
    """Let one transaction at a time change the layout; SQLite's has the write lock from its start."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_MAKERS)))


def bring_up(connection: Connection, seal: Seal) -> None:
    """Bring the layout up to `STATE_VERSION` from that of `seal`, in the caller's transaction."""
    upgrade(connection, REVISIONS, table=_REVISION, found=seal.version, wanted=STATE_VERSION)
    new = replace(seal, version=STATE_VERSION)
    connection.execute(update(SEAL).values(version=STATE_VERSION, **seal_columns(new)))


def make_tables(connection: Connection) -> None:
    """Make the tables, triggers and first seal in an empty database."""
    METADATA.create_all(connection)
    for guard in GUARDS[connection.dialect.name]:
        connection.exec_driver_sql(guard)
    seal = seal_columns(Seal(STATE_VERSION))
    connection.execute(insert(SEAL), {"id": 1, "version": STATE_VERSION, **seal})


def check_new(origin: str, head: Head) -> None:
    """Raise `UsageError` (`state-head`) unless this can be a head."""
    if (
        not origin
        or not origin.isprintable()
        or not 0 <= head.size <= MAX_SIZE
        or len(head.root) != ROOT_BYTES
    ):
        raise UsageError(
            "state-head",
            "this is no head of a log",
            expected=f"an origin, a size from 0 to {MAX_SIZE}, a root of {ROOT_BYTES} bytes",
            found=f"{origin!r}, {head.size}, {len(head.root)} bytes",
        )


def check_growth(origin: str, old: Head, new: Head) -> None:
    """Raise `EvidenceInvalid` (`state-rollback`, `state-fork`) unless a head may move from `old` to `new`."""
    if new.size < old.size:
        raise EvidenceInvalid(
            "state-rollback",
            "a head never shrinks",
            path=origin,
            expected=f"at least {old.size} entries",
            found=f"{new.size}",
            advice="the log was rolled back: compare it with its witnesses and mirrors",
        )
    if new.size == old.size and new.root != old.root:
        raise EvidenceInvalid(
            "state-fork",
            "the log shows two histories of the same size",
            path=origin,
            expected=old.root.hex(),
            found=new.root.hex(),
            advice="keep both checkpoints: together they prove the fork",
        )


def conflict(origin: str, *, expected: str, found: str) -> TemporaryFailure:
    """The error for a head that is not where the caller thinks."""
    return TemporaryFailure(
        "state-conflict",
        "another process moved this head first",
        path=origin,
        expected=expected,
        found=found,
        advice="read the head again and start from it",
    )
