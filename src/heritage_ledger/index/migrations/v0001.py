"""Layout 1 of the index."""

from __future__ import annotations

from alembic import op
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Integer,
    PrimaryKeyConstraint,
    UniqueConstraint,
)

from heritage_ledger.home.sql import Blob, OrderedText

revision = "0001"
down_revision = None

_LogIndex = BigInteger().with_variant(Integer, "sqlite")


def _key(table: str, *columns: str) -> PrimaryKeyConstraint:
    return PrimaryKeyConstraint(*columns, name=f"pk_{table}")


def _number(name: str) -> Column[int]:
    return Column(name, BigInteger, autoincrement=False, nullable=False)


def _text(name: str, *, nullable: bool = False) -> Column[str]:
    return Column(name, OrderedText, nullable=nullable)


def upgrade() -> None:
    """Make the tables and their indexes."""
    op.create_table(
        "index_meta",
        Column("id", Integer, CheckConstraint("id = 1", name="ck_index_meta_single"), autoincrement=False),
        Column("version", Integer, nullable=False),
        _text("origin"),
        _number("absorbed"),
        _key("index_meta", "id"),
    )
    op.create_table(
        "events",
        Column("log_index", _LogIndex, autoincrement=False),
        *(_text(name) for name in ("origin", "event_id", "types", "created", "agent", "key")),
        *(_text(name, nullable=True) for name in ("started", "ended", "outcome", "asset")),
        Column("version", BigInteger),
        Column("package_cid", Blob),
        _key("events", "log_index"),
        UniqueConstraint("event_id", name="uq_events_event_id"),
    )
    op.create_index("ix_events_asset_log_index", "events", ["asset", "log_index"])
    op.create_table(
        "assets",
        _text("asset"),
        _text("title", nullable=True),
        _number("first_index"),
        _number("latest_version"),
        _key("assets", "asset"),
    )
    _packages()
    _content()


def _packages() -> None:
    op.create_table(
        "packages",
        Column("log_index", _LogIndex, autoincrement=False),
        _text("asset"),
        _number("version"),
        Column("package_cid", Blob, nullable=False),
        Column("payload_cid", Blob, nullable=False),
        _text("folder"),
        _text("bagit_version"),
        *(_number(name) for name in ("files", "bytes", "tag_files")),
        Column(
            "kind",
            OrderedText,
            CheckConstraint("kind IN ('ingest', 'adopt')", name="ck_packages_kind"),
            nullable=False,
        ),
        _key("packages", "log_index"),
        UniqueConstraint("asset", "version", name="uq_packages_asset_version"),
    )
    op.create_index("ix_packages_package_cid", "packages", ["package_cid"])
    op.create_index("ix_packages_payload_cid", "packages", ["payload_cid"])


def _content() -> None:
    op.create_table(
        "files",
        _number("package"),
        Column("path", Blob, nullable=False),
        _number("size"),
        Column("cid", Blob, nullable=False),
        _number("cid_key"),
        _key("files", "package", "path"),
    )
    op.create_index("ix_files_cid_key", "files", ["cid_key"])
    op.create_table(
        "blocks",
        _number("package"),
        Column("path", Blob, nullable=False),
        _number("offset"),
        _number("length"),
        Column("digest", Blob, nullable=False),
        _number("digest_key"),
        _key("blocks", "package", "path", "offset"),
    )
    op.create_index("ix_blocks_digest_key", "blocks", ["digest_key"])
    op.create_table(
        "nodes",
        Column("digest", Blob, nullable=False),
        _number("package"),
        Column("data", Blob, nullable=False),
        _key("nodes", "digest", "package"),
    )
