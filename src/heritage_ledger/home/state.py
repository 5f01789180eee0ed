"""`state.db`: the head of every log that this home writes, witnesses or mirrors (`specs/index.md`, "State").

A head is the size and root that a log was last seen to have, with the signed checkpoint that says so. It
moves by compare-and-swap (`UPDATE … WHERE size = old`) and never shrinks, which keeps an institution from
forking its own log. The file is made by `init` alone and never rebuilt: opening a path where nothing lies is
refused, so that a mistyped path cannot start a second history.

SQLite's own check misses most flipped bits, so each row carries a SHA-256 of itself, and the `seal` row
counts the heads and holds the exclusive-or of their digests: a changed row is found when it is read, a lost
row when it is looked for, and both when the file is opened.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Integer,
    MetaData,
    Table,
    Text,
    bindparam,
    insert,
    select,
    update,
)
from sqlalchemy.pool import StaticPool

from heritage_ledger.errors import (
    DiskProblem,
    EvidenceInvalid,
    EvidenceMissing,
    OperationFailed,
    TemporaryFailure,
    UsageError,
)
from heritage_ledger.home.durable import SECRET_FILE, sync_folder, writing
from heritage_ledger.home.seal import Seal, row_digest
from heritage_ledger.home.sql import Blob, open_engine, sql_errors
from heritage_ledger.home.sqlite import sidecars

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sqlalchemy import Connection, Engine, Row

STATE_VERSION: Final = 1
"""The layout of `state.db`; a file of another version is refused."""
MAX_SIZE: Final = (1 << 63) - 1
"""Entries: the largest log size that SQL's 64-bit integer holds."""
ROOT_BYTES: Final = 32
"""Bytes of a Merkle root: SHA-256 (RFC 6962)."""


@dataclass(frozen=True, slots=True)
class Head:
    """How far a log has come: `size` in entries, its 32-byte `root`, and the bytes of a signed checkpoint."""

    size: int
    root: bytes
    checkpoint: bytes


_METADATA = MetaData()
_HEADS = Table(
    "heads",
    _METADATA,
    Column("origin", Text, primary_key=True),
    Column("size", BigInteger, CheckConstraint("size >= 0"), nullable=False),
    Column("root", Blob, CheckConstraint(f"length(root) = {ROOT_BYTES}"), nullable=False),
    Column("checkpoint", Blob, nullable=False),
    Column("digest", Blob, nullable=False),
    sqlite_with_rowid=False,
)
_SEAL = Table(
    "seal",
    _METADATA,
    Column("id", Integer, CheckConstraint("id = 1"), primary_key=True),
    Column("version", Integer, nullable=False),
    Column("heads", Integer, nullable=False),
    Column("mix", Blob, nullable=False),
    Column("digest", Blob, nullable=False),
)
_GUARDS = (
    """CREATE TRIGGER heads_never_shrink BEFORE UPDATE ON heads
       WHEN NEW.size < OLD.size OR NEW.origin <> OLD.origin
       BEGIN SELECT RAISE(ABORT, 'a head never shrinks'); END""",
    """CREATE TRIGGER heads_stay BEFORE DELETE ON heads
       BEGIN SELECT RAISE(ABORT, 'a head is never deleted'); END""",
)
_PRAGMAS = (
    "synchronous=FULL",  # an acknowledged swap survives a power cut
    "fullfsync=ON",  # macOS: fsync alone does not reach the disk there
    "cell_size_check=ON",
)
_HEAD_OF = select(_HEADS).where(_HEADS.c.origin == bindparam("at"))
_SWAP = (
    update(_HEADS)
    .where(_HEADS.c.origin == bindparam("at"), _HEADS.c.size == bindparam("old"))
    .values({name: bindparam(name) for name in ("size", "root", "checkpoint", "digest")})
)
_RESEAL = (
    update(_SEAL)
    .where(_SEAL.c.mix == bindparam("old"))
    .values({name: bindparam(name) for name in ("heads", "mix", "digest")})
)


def _damaged(path: str, said: str) -> EvidenceInvalid:
    return EvidenceInvalid(
        "state-damaged",
        f"the heads cannot be trusted: {said}",
        path=path,
        advice="stop writing; restore state.db from a backup, then ask the witnesses for the largest size"
        " that they hold before the next append",
    )


def _check_new(origin: str, head: Head) -> None:
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


class StateStore:
    """The heads, behind one connection that any thread may use; close it, or use it as a context.

    Every method raises what `sql_errors` promises, and `EvidenceInvalid` (`state-damaged`) when a row, or the
    count of rows, is not what was written.
    """

    def __init__(self, path: Path) -> None:
        """Use `open` or `create`."""
        self._path = path
        self._engine = open_engine(path, _PRAGMAS, poolclass=StaticPool)
        self._writer = self._engine.execution_options(begin="BEGIN IMMEDIATE")
        self._turn = threading.Lock()
        self._stopped: str | None = None

    @classmethod
    def create(cls, path: Path) -> Self:
        """Make an empty `state.db` at `path`, on the disk when this returns, and open it.

        Raises:
            OperationFailed: something already lies there (`state-exists`).
            DiskProblem: it cannot be written.
        """
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
        with writing(path):
            for place in (path, *sidecars(path)):
                if place.exists() or place.is_symlink():
                    raise _exists(place)
            os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, SECRET_FILE))
            try:
                _fill(temporary)
                try:
                    os.link(temporary, path)  # refuses an existing file, which a rename would replace
                except FileExistsError as error:
                    raise _exists(path) from error
            finally:
                for place in (temporary, *sidecars(temporary)):
                    place.unlink(missing_ok=True)
        sync_folder(path.parent)
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the `state.db` at `path` and check every row of it.

        Raises:
            EvidenceMissing: no file lies there (`state-missing`); none is made.
            EvidenceInvalid: it is damaged (`state-damaged`).
            OperationFailed: another release made it (`state-version`).
        """
        with writing(path):
            present = path.is_file()
        if not present:
            raise EvidenceMissing(
                "state-missing",
                "the file that says how far the log has come is not there",
                path=str(path),
                advice="check the path of the home; if the file was lost, restore it from a backup",
            )
        store = cls(path)
        try:
            store.heads()
        except BaseException:
            store.close()
            raise
        return store

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; closing twice is nothing."""
        with self._turn, sql_errors(self._path, _damaged):
            self._engine.dispose()

    def head(self, origin: str) -> Head | None:
        """The head of `origin`, or None when this home has never seen that log."""
        with self._connected(self._engine) as connection:
            found = self._read(connection, origin)
            if found is None:
                self._check_all(connection)  # before saying "never seen": no row may have been lost
            return found

    def heads(self) -> dict[str, Head]:
        """Every head by origin, in order of origin; the whole file is checked."""
        with self._connected(self._engine) as connection:
            return self._check_all(connection)

    def create_head(self, origin: str, head: Head) -> None:
        """Begin to keep the head of a log that this home has not seen.

        Raises:
            TemporaryFailure: it has one already (`state-conflict`).
        """
        _check_new(origin, head)
        with self._connected(self._writer) as connection:
            if self._read(connection, origin) is not None:
                raise _conflict(origin, expected="no head yet", found="a head")
            self._check_all(connection)
            digest = _digest(origin, head)
            connection.execute(insert(_HEADS), {"origin": origin, **_columns(head, digest)})
            self._reseal(connection, lambda seal: seal.with_row(digest))

    def swap_head(self, origin: str, old_size: int, new: Head) -> None:
        """Move the head of `origin` from `old_size` to `new`; on the disk when this returns.

        Of two callers who start from the same size one wins. `new` may have the same size (a checkpoint with
        more cosignatures) when it has the same root.

        Raises:
            TemporaryFailure: the head is not at `old_size` (`state-conflict`).
            EvidenceInvalid: `new` is smaller (`state-rollback`), or of the same size with another root
                (`state-fork`).
            EvidenceMissing: there is no head of `origin` (`state-origin`).
        """
        _check_new(origin, new)
        with self._connected(self._writer) as connection:
            old = self._read(connection, origin)
            if old is None:
                self._check_all(connection)
                raise EvidenceMissing("state-origin", f"this home keeps no head of {origin}", path=origin)
            if old.size != old_size:
                raise _conflict(origin, expected=f"size {old_size}", found=f"size {old.size}")
            _check_growth(origin, old, new)
            digest = _digest(origin, new)
            changed = connection.execute(_SWAP, {"at": origin, "old": old_size, **_columns(new, digest)})
            if changed.rowcount != 1:
                raise _conflict(origin, expected=f"size {old_size}", found="another size")
            self._reseal(connection, lambda seal: seal.with_change(_digest(origin, old), digest))

    @contextlib.contextmanager
    def _connected(self, engine: Engine) -> Iterator[Connection]:
        """A transaction, one at a time; after a failed fsync there are no more that write."""
        if engine is self._writer and self._stopped is not None:
            raise DiskProblem(
                "disk-sync-stopped",
                f"an earlier write was not confirmed by the disk, nothing more is written ({self._stopped})",
                path=str(self._path),
                advice="check the disk and its logs, then start again and run `heritage doctor`",
            )
        try:
            with self._turn, sql_errors(self._path, _damaged), engine.begin() as connection:
                yield connection
        except DiskProblem as problem:
            if problem.code == "disk-sync-failed":
                self._stopped = problem.message
            raise

    def _read(self, connection: Connection, origin: str) -> Head | None:
        if not origin.isprintable():  # such a name was never accepted, and the driver may not encode it
            return None
        row = connection.execute(_HEAD_OF, {"at": origin}).one_or_none()
        return None if row is None else self._checked(row)[1]

    def _checked(self, row: Row[Any]) -> tuple[str, Head]:
        origin = row.origin
        head = Head(row.size, row.root, row.checkpoint)
        if (
            isinstance(origin, str)
            and isinstance(head.size, int)
            and head.size >= 0
            and isinstance(head.root, bytes)
            and isinstance(head.checkpoint, bytes)
            and row.digest == _digest(origin, head)
        ):
            return origin, head
        raise _damaged(str(self._path), f"the head of {origin!r} is not what was written")

    def _check_all(self, connection: Connection) -> dict[str, Head]:
        expected = self._seal(connection)
        found = Seal(STATE_VERSION)
        heads = {}
        for row in connection.execute(select(_HEADS).order_by(_HEADS.c.origin)):
            origin, heads[origin] = self._checked(row)
            found = found.with_row(row.digest)
        if found != expected:
            raise _damaged(
                str(self._path), f"{expected.heads} heads were written, {found.heads} others are there"
            )
        return heads

    def _seal(self, connection: Connection) -> Seal:
        row = connection.execute(select(_SEAL)).one_or_none()
        if row is not None and isinstance(row.version, int):
            seal = Seal(row.version, row.heads, row.mix)
            if isinstance(seal.mix, bytes) and row.digest == seal.digest():
                return self._known(seal)
        raise _damaged(str(self._path), "the seal is not what was written")

    def _known(self, seal: Seal) -> Seal:
        if seal.version != STATE_VERSION:
            raise OperationFailed(
                "state-version",
                "this file was made by another release",
                path=str(self._path),
                expected=f"version {STATE_VERSION}",
                found=f"version {seal.version}",
                advice="use the release that made it, or a newer one",
            )
        return seal

    def _reseal(self, connection: Connection, change: Callable[[Seal], Seal]) -> None:
        old = self._seal(connection)
        connection.execute(_RESEAL, {"old": old.mix, **_seal_columns(change(old))})


def _digest(origin: str, head: Head) -> bytes:
    return row_digest(origin, head.size, head.root, head.checkpoint)


def _columns(head: Head, digest: bytes) -> dict[str, object]:
    return {"size": head.size, "root": head.root, "checkpoint": head.checkpoint, "digest": digest}


def _seal_columns(seal: Seal) -> dict[str, object]:
    return {"heads": seal.heads, "mix": seal.mix, "digest": seal.digest()}


def _check_growth(origin: str, old: Head, new: Head) -> None:
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


def _conflict(origin: str, *, expected: str, found: str) -> TemporaryFailure:
    return TemporaryFailure(
        "state-conflict",
        "another process moved this head first",
        path=origin,
        expected=expected,
        found=found,
        advice="read the head again and start from it",
    )


def _exists(place: Path) -> OperationFailed:
    return OperationFailed(
        "state-exists",
        "a state file, or what is left of one, is already there",
        path=str(place),
        advice="choose an empty folder for a new home",
    )


def _fill(path: Path) -> None:
    """Make the tables, triggers and the first seal in the empty file `path`."""
    engine = open_engine(path, (*_PRAGMAS, "journal_mode=WAL"), poolclass=StaticPool)
    with sql_errors(path, _damaged):
        try:
            with engine.begin() as connection:
                _METADATA.create_all(connection)
                for guard in _GUARDS:
                    connection.exec_driver_sql(guard)
                seal = _seal_columns(Seal(STATE_VERSION))
                connection.execute(insert(_SEAL), {"id": 1, "version": STATE_VERSION, **seal})
        finally:
            engine.dispose()
