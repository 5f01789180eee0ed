"""Layout 1 of the heads: `heads`, `seal`, and what the database itself refuses."""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, CheckConstraint, Column, Integer

from heritage_ledger.home.sql import Blob, OrderedText

revision = "0001"
down_revision = None

GUARDS = {
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


def upgrade() -> None:
    """Make the tables and guards."""
    op.create_table(
        "heads",
        Column("origin", OrderedText, primary_key=True),
        Column("size", BigInteger, CheckConstraint("size >= 0"), nullable=False),
        Column("root", Blob, CheckConstraint("length(root) = 32"), nullable=False),
        Column("checkpoint", Blob, nullable=False),
        Column("digest", Blob, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "seal",
        Column("id", Integer, CheckConstraint("id = 1"), primary_key=True),
        Column("version", Integer, nullable=False),
        Column("heads", Integer, nullable=False),
        Column("mix", Blob, nullable=False),
        Column("digest", Blob, nullable=False),
    )
    for guard in GUARDS[op.get_bind().dialect.name]:
        op.execute(guard)
