"""Layouts of databases from one release to the next: alembic, as this project runs it.

Each database keeps its layout's version in a row of its own, which its owner checks. A folder of revisions,
numbered like the versions (`0001`, `0002`, …), says how each version is made from the one before; the first
makes everything. New databases are made whole by their owner, and a test holds both ways to the same tables.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Connection


def upgrade(connection: Connection, revisions: Path, *, table: str, found: int, wanted: int) -> None:
    """Take a database from layout `found` (0: empty) to layout `wanted`, in the caller's transaction.

    Args:
        connection: in a transaction that keeps other writers out; nothing is kept unless the caller commits.
        revisions: the folder of revisions.
        table: where alembic notes the revision, one table for each owner in the database.
        found: the layout's version as the database says it.
        wanted: the version to reach, not below `found`.
    """
    from alembic.migration import MigrationContext  # noqa: PLC0415 - 150 ms, and needed once a release
    from alembic.operations import Operations  # noqa: PLC0415 - the same
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - the same

    scripts = ScriptDirectory(str(revisions), version_locations=[str(revisions)])
    context = MigrationContext.configure(connection, opts={"version_table": table, "transactional_ddl": True})
    start = _name(found) if found else "base"
    context.stamp(scripts, start)
    with Operations.context(context):
        for revision in reversed(list(scripts.iterate_revisions(_name(wanted), start))):
            revision.module.upgrade()
            context.stamp(scripts, revision.revision)


def _name(version: int) -> str:
    return f"{version:04d}"
