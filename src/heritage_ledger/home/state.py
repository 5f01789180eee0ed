"""The heads: how far each log has come that this home keeps (`specs/index.md`, "State").

They lie in the file `state.db`, or in the tables `heads` and `seal` of a PostgreSQL database.

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
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from sqlalchemy import bindparam, func, insert, inspect, select, update
from sqlalchemy.pool import StaticPool

from heritage_ledger.errors import (
    DiskProblem,
    EvidenceMissing,
    HeritageError,
    OperationFailed,
    TemporaryFailure,
)
from heritage_ledger.home.append_lock import ServerLock
from heritage_ledger.home.durable import writing
from heritage_ledger.home.heads import (
    HEADS,
    PRAGMAS,
    ROOT_BYTES,
    SEAL,
    STATE_VERSION,
    bring_up,
    check_growth,
    check_new,
    conflict,
    damaged,
    keep_out,
    make_file,
    make_on_server,
    seal_columns,
)
from heritage_ledger.home.lock import LOCK_WAIT_SECONDS
from heritage_ledger.home.marks import Doubt, Reach
from heritage_ledger.home.pooler import check_sessions
from heritage_ledger.home.seal import Seal, row_digest
from heritage_ledger.home.sql import is_url, open_engine, open_server, server_name, sql_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection, Engine, Row

    from heritage_ledger.home.marks import Marks, Unsure


MARKED: Final = "marks"
"""The name of the row that says that these heads were marked; no origin has no `/`."""


@dataclass(frozen=True, slots=True)
class Head:
    """How far a log has come: `size` in entries, its 32-byte `root`, and the bytes of a signed checkpoint."""

    size: int
    root: bytes
    checkpoint: bytes


_RELEASE = select(func.current_setting("server_version"))
_SIZES = select(HEADS.c.size)
_HEAD_OF = select(HEADS).where(HEADS.c.origin == bindparam("at"))
_SWAP = (
    update(HEADS)
    .where(HEADS.c.origin == bindparam("at"), HEADS.c.size == bindparam("old"))
    .values({name: bindparam(name) for name in ("size", "root", "checkpoint", "digest")})
)
_RESEAL = (
    update(SEAL)
    .where(SEAL.c.mix == bindparam("old"))
    .values({name: bindparam(name) for name in ("heads", "mix", "digest")})
)


class StateStore:
    """The heads, behind one connection that any thread may use; close it, or use it as a context.

    Every method raises what `sql_errors` promises, and `EvidenceInvalid` (`state-damaged`) when a row, or the
    count of rows, is not what was written.
    """

    def __init__(self, target: Path | str) -> None:
        """Use `open` or `create`."""
        self._path = server_name(str(target)) if is_url(target) else str(target)
        if is_url(target):
            self._engine = open_server(str(target))
        else:
            self._engine = open_engine(Path(target), PRAGMAS, poolclass=StaticPool)
        self._writer = self._engine.execution_options(begin="BEGIN IMMEDIATE")
        # heads and seal are read by two statements, which must see one moment; SQLite's always do
        self._reader = (
            self._engine.execution_options(isolation_level="REPEATABLE READ")
            if is_url(target)
            else self._engine
        )
        self._server = ServerLock(self._engine) if is_url(target) else None
        self._turn = threading.Lock()
        self._stopped: str | None = None
        self._marks: Marks | None = None
        self._own = ""
        self._furthest = 0

    @classmethod
    def create(cls, target: Path | str, *, own: str = "") -> Self:
        """Make an empty store at a path, or empty tables in the database of a URL, and open it.

        `own` names the own log; nothing is compared with marks, for there are none yet.

        Raises:
            OperationFailed: something already lies there (`state-exists`).
            DiskProblem: it cannot be written.
            TemporaryFailure, KeyProblem, UsageError: the server does not answer, or not us.
        """
        if is_url(target):
            make_on_server(str(target))
        else:
            make_file(Path(target))
        return cls.open(target, own=own)

    @classmethod
    def open(
        cls, target: Path | str, *, upgrade: bool = True, marks: Marks | None = None, own: str = ""
    ) -> Self:
        """Open the heads at a path or URL and check every row; an older layout is brought up to ours.

        Without `upgrade` nothing is written, and an older layout is refused like a newer one. With `marks`
        heads are compared with them before they move, and marked afterwards; `own` names the own log.

        Raises:
            EvidenceMissing: there are none (`state-missing`); none are made.
            EvidenceInvalid: they are damaged (`state-damaged`).
            OperationFailed: another release made them (`state-version`).
            TemporaryFailure, KeyProblem, UsageError: the server does not answer, or not us.
        """
        store = cls(target)
        try:
            store._check_present(target)
            if upgrade:
                store._bring_up()
            store.heads()
        except BaseException:
            store.close()
            raise
        store._marks, store._own = marks, own
        return store

    def _check_present(self, target: Path | str) -> None:
        if is_url(target):
            with sql_errors(self._path, damaged):
                check_sessions(self._engine, self._path)
            with self._connected(self._reader) as connection:
                present = inspect(connection).has_table(HEADS.name)
        else:
            with writing(target):
                present = Path(target).is_file()
        if not present:
            raise EvidenceMissing(
                "state-missing",
                "what says how far the log has come is not there",
                path=self._path,
                advice="check the path of the home and its settings; restore it from a backup if it was lost",
            )

    def _bring_up(self) -> None:
        with self._connected(self._reader) as connection:
            if self._seal(connection, any_version=True).version >= STATE_VERSION:
                return
        with self._connected(self._writer) as connection:
            keep_out(connection)
            seal = self._seal(connection, lock=True, any_version=True)
            if seal.version < STATE_VERSION:  # else another process did it meanwhile
                bring_up(connection, seal)

    @contextlib.contextmanager
    def hold(self, wait: float = LOCK_WAIT_SECONDS) -> Iterator[None]:
        """Hold the append's critical section in the database, where there is a server; else do nothing.

        A file's section is held by the home's lock file. Heads that move inside go through the connection
        that holds the lock: when that is lost, so is the lock, and nothing more can move.

        Raises:
            HomeLocked: another process held it for `wait` seconds (`home-locked`).
            TemporaryFailure: the server does not answer.
        """
        if self._server is None:
            yield
            return
        with contextlib.ExitStack() as held:
            with sql_errors(self._path, damaged):
                held.enter_context(self._server.hold(wait, self._path))
            yield

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def describe(self) -> str:
        """Name the database and its release, for a person."""
        with self._connected(self._reader) as connection:
            if self._server is None:
                return f"SQLite {'.'.join(map(str, connection.dialect.server_version_info or ()))}"
            return f"PostgreSQL {connection.execute(_RELEASE).scalar_one()}"

    def close(self) -> None:
        """Let go of the database; closing twice is nothing."""
        with self._turn, sql_errors(self._path, damaged):
            self._engine.dispose()

    def head(self, origin: str) -> Head | None:
        """The head of `origin`, or None when this home has never seen that log."""
        with self._connected(self._reader) as connection:
            found = self._read(connection, origin)
            if found is None:
                self._check_all(connection)  # before saying "never seen": no row may have been lost
            return found

    def heads(self) -> dict[str, Head]:
        """Every head by origin, in order of origin; the whole file is checked."""
        with self._connected(self._reader) as connection:
            return self._check_all(connection)

    def reach(self) -> Reach:
        """How far all heads have come together, and the own log's."""
        with self._connected(self._reader) as connection:
            return self._reach(connection)

    def _reach(self, connection: Connection) -> Reach:
        sizes = connection.execute(_SIZES).scalars().all()  # added up here: a sum in SQL may overflow
        own = self._read(connection, self._own) if self._own else None
        return Reach(
            len(sizes) + sum(sizes), 0 if own is None else own.size, b"" if own is None else own.root
        )

    def compare_marks(self) -> Doubt | None:
        """Compare the heads with the marks of the home; None where nothing speaks against them."""
        if self._marks is None:
            return None
        found = self._marks.read()  # before the heads: another process may move both meanwhile
        reach = self.reach()
        furthest, self._furthest = self._furthest, max(self._furthest, reach.total)
        doubt = Doubt.ROLLED_BACK if reach.total < furthest else found.judge(reach)
        # heads of a release that left no marks have none; those of this one had
        return Doubt.COPIED if doubt is Doubt.UNMARKED and self.head(MARKED) is not None else doubt

    def look(self) -> Unsure | None:
        """Compare heads and marks; what is doubtful is written down first, and the marks made anew.

        Returns what is open since a restore, or a sign of one.

        Raises:
            DiskProblem: a doubt cannot be written down.
        """
        if self._marks is None:
            return None
        doubt = self.compare_marks()
        unsure = self._marks.unsure()
        if doubt is None or (unsure is not None and unsure.own and self._marks.read().is_in_place):
            return unsure  # it is written down already; the marks outside stay until it is settled
        reach = self.reach()
        self._furthest = reach.total
        return self._marks.doubt(doubt, reach)

    def is_proven(self) -> bool:
        """Say whether a mark that no restore touches shows the heads to be the newest; see `Found.proves`."""
        if self._marks is None:
            return False
        found = self._marks.read()
        return found.proves(self.reach())

    def mark(self, *, establish: bool = True) -> None:
        """Leave marks of the heads as they are: somebody has said that they are the newest."""
        if self._marks is not None:
            if establish and self.head(MARKED) is None:
                self._begin_marks()
            reach = self.reach()
            self._furthest = max(self._furthest, reach.total)
            self._marks.write(reach, establish=establish)

    def _begin_marks(self) -> None:
        """Say in the heads themselves that there are marks: a copy of them without any is doubtful."""
        head = Head(0, bytes(ROOT_BYTES), b"")
        with self._connected(self._writer) as connection:
            self._seal(connection, lock=True)
            if self._read(connection, MARKED) is None:
                row = {"origin": MARKED, **_columns(head, _digest(MARKED, head))}
                connection.execute(insert(HEADS), row)
                self._reseal(connection, lambda seal: seal.with_row(_digest(MARKED, head)))

    @contextlib.contextmanager
    def _marked(self, origin: str) -> Iterator[None]:
        """Look before a head moves, and leave the mark of it afterwards."""
        self.look()
        yield
        unsure = None if self._marks is None else self._marks.unsure()
        self.mark(establish=origin == self._own and (unsure is None or not unsure.own))

    def create_head(self, origin: str, head: Head) -> None:
        """Begin to keep the head of a log that this home has not seen.

        Raises:
            TemporaryFailure: it has one already (`state-conflict`).
        """
        check_new(origin, head)
        with (
            self._marked(origin),
            self._answered(origin, None, head),
            self._connected(self._writer) as connection,
        ):
            self._seal(connection, lock=True)
            if self._read(connection, origin) is not None:
                raise conflict(origin, expected="no head yet", found="a head")
            self._check_all(connection)
            digest = _digest(origin, head)
            connection.execute(insert(HEADS), {"origin": origin, **_columns(head, digest)})
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
        check_new(origin, new)
        with (
            self._marked(origin),
            self._answered(origin, old_size, new),
            self._connected(self._writer) as connection,
        ):
            self._seal(connection, lock=True)
            old = self._read(connection, origin)
            if old is None:
                self._check_all(connection)
                raise EvidenceMissing("state-origin", f"this home keeps no head of {origin}", path=origin)
            if old.size != old_size:
                raise conflict(origin, expected=f"size {old_size}", found=f"size {old.size}")
            check_growth(origin, old, new)
            digest = _digest(origin, new)
            changed = connection.execute(_SWAP, {"at": origin, "old": old_size, **_columns(new, digest)})
            if changed.rowcount != 1:
                raise conflict(origin, expected=f"size {old_size}", found="another size")
            self._reseal(connection, lambda seal: seal.with_change(_digest(origin, old), digest))

    @contextlib.contextmanager
    def _answered(self, origin: str, old_size: int | None, new: Head) -> Iterator[None]:
        """Find out what became of a change whose answer was lost with the connection.

        Raises:
            TemporaryFailure: nothing was changed.
            EvidenceMissing: it cannot be told (`state-unknown`).
        """
        try:
            yield
        except TemporaryFailure as error:
            if self._server is None or error.code != "database-unavailable":
                raise
            try:
                with sql_errors(self._path, damaged):
                    self._server.take_again()  # granted once the lost connection's work is done or undone
                found = self.head(origin)
            except HeritageError:
                found = None
            if found == new:
                return
            if found is not None and found.size == old_size:
                raise
            raise EvidenceMissing(  # not a passing failure: whoever repeats the call may do the work twice
                "state-unknown",
                "the database went away in the middle, and whether the head moved is not known",
                path=origin,
                expected=f"size {new.size}",
                found=None if found is None else f"size {found.size}",
                advice="run `heritage list` when the server is back: it says whether the deposit is recorded",
            ) from error

    @contextlib.contextmanager
    def _connected(self, engine: Engine) -> Iterator[Connection]:
        """A transaction, one at a time; after a failed fsync there are no more that write."""
        if engine is self._writer and self._stopped is not None:
            raise DiskProblem(
                "disk-sync-stopped",
                f"an earlier write was not confirmed by the disk, nothing more is written ({self._stopped})",
                path=self._path,
                advice="check the disk and its logs, then start again and run `heritage doctor`",
            )
        try:
            with self._turn, sql_errors(self._path, damaged), self._transaction(engine) as connection:
                yield connection
        except DiskProblem as problem:
            if problem.code == "disk-sync-failed":
                self._stopped = problem.message
            raise

    @contextlib.contextmanager
    def _transaction(self, engine: Engine) -> Iterator[Connection]:
        if engine is self._writer and self._server is not None and self._server.connection is not None:
            with self._server.transaction() as connection:
                yield connection
        else:
            with engine.begin() as connection:
                yield connection

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
        raise damaged(self._path, f"the head of {origin!r} is not what was written")

    def _check_all(self, connection: Connection) -> dict[str, Head]:
        expected = self._seal(connection)
        found = Seal(STATE_VERSION)
        heads = {}
        for row in connection.execute(select(HEADS).order_by(HEADS.c.origin)):
            origin, heads[origin] = self._checked(row)
            found = found.with_row(row.digest)
        if found != expected:
            raise damaged(self._path, f"{expected.heads} heads were written, {found.heads} others are there")
        return heads

    def _seal(self, connection: Connection, *, lock: bool = False, any_version: bool = False) -> Seal:
        # a server's writers queue for this row; SQLite's hold the write lock from the start
        row = connection.execute(select(SEAL).with_for_update() if lock else select(SEAL)).one_or_none()
        if row is not None and isinstance(row.version, int):
            seal = Seal(row.version, row.heads, row.mix)
            if isinstance(seal.mix, bytes) and row.digest == seal.digest():
                return seal if any_version else self._known(seal)
        raise damaged(self._path, "the seal is not what was written")

    def _known(self, seal: Seal) -> Seal:
        if seal.version != STATE_VERSION:
            raise OperationFailed(
                "state-version",
                "the heads have the layout of another release",
                path=self._path,
                expected=f"version {STATE_VERSION}",
                found=f"version {seal.version}",
                advice="use the release that made it, or a newer one",
            )
        return seal

    def _reseal(self, connection: Connection, change: Callable[[Seal], Seal]) -> None:
        old = self._seal(connection)
        connection.execute(_RESEAL, {"old": old.mix, **seal_columns(change(old))})


def _digest(origin: str, head: Head) -> bytes:
    return row_digest(origin, head.size, head.root, head.checkpoint)


def _columns(head: Head, digest: bytes) -> dict[str, object]:
    return {"size": head.size, "root": head.root, "checkpoint": head.checkpoint, "digest": digest}
