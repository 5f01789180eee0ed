"""The tables of the index (`specs/index.md`), in SQL that SQLite and PostgreSQL both speak.

Every column can be derived from bags and log: no row numbers of the database, no times of indexing. A package
is known by the log index of its event. Paths are bytes, so that their order is that of their bytes on every
database. A CID is looked up by `cid_key`, its digest's first 8 bytes: an index of a third the size, into
which a million random keys go much faster; the whole CID is compared after it.
"""

from __future__ import annotations

import struct
from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    Integer,
    MetaData,
    Table,
    UniqueConstraint,
)

from heritage_ledger.content.cid import DIGEST_LENGTH
from heritage_ledger.home.sql import Blob, OrderedText

INDEX_VERSION: Final = 1
"""The layout of the tables; an older one is brought up to it, a newer one is rebuilt."""
_KEY: Final = struct.Struct(">q")

METADATA: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# on SQLite an INTEGER key is the row number itself, which saves a second tree
_LogIndex: Final = BigInteger().with_variant(Integer, "sqlite")

META: Final = Table(
    "index_meta",
    METADATA,
    Column("id", Integer, CheckConstraint("id = 1", name="single"), primary_key=True, autoincrement=False),
    Column("version", Integer, nullable=False),
    Column("origin", OrderedText, nullable=False),
    Column("absorbed", BigInteger, nullable=False),
)
EVENTS: Final = Table(
    "events",
    METADATA,
    Column("log_index", _LogIndex, primary_key=True, autoincrement=False),
    Column("origin", OrderedText, nullable=False),
    Column("event_id", OrderedText, nullable=False),
    Column("types", OrderedText, nullable=False),
    Column("created", OrderedText, nullable=False),
    Column("agent", OrderedText, nullable=False),
    Column("key", OrderedText, nullable=False),
    Column("started", OrderedText),
    Column("ended", OrderedText),
    Column("outcome", OrderedText),
    Column("asset", OrderedText),
    Column("version", BigInteger),
    Column("package_cid", Blob),
    UniqueConstraint("event_id"),
    Index(None, "asset", "log_index"),
)
ASSETS: Final = Table(
    "assets",
    METADATA,
    Column("asset", OrderedText, primary_key=True),
    Column("title", OrderedText),
    Column("first_index", BigInteger, nullable=False),
    Column("latest_version", BigInteger, nullable=False),
)
PACKAGES: Final = Table(
    "packages",
    METADATA,
    Column("log_index", _LogIndex, primary_key=True, autoincrement=False),
    Column("asset", OrderedText, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("package_cid", Blob, nullable=False, index=True),
    Column("payload_cid", Blob, nullable=False, index=True),
    Column("folder", OrderedText, nullable=False),
    Column("bagit_version", OrderedText, nullable=False),
    Column("files", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("tag_files", BigInteger, nullable=False),
    Column("kind", OrderedText, CheckConstraint("kind IN ('ingest', 'adopt')", name="kind"), nullable=False),
    UniqueConstraint("asset", "version"),
)
FILES: Final = Table(
    "files",
    METADATA,
    Column("package", BigInteger, primary_key=True, autoincrement=False),
    Column("path", Blob, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("cid", Blob, nullable=False),
    Column("cid_key", BigInteger, nullable=False, index=True),
)
BLOCKS: Final = Table(
    "blocks",
    METADATA,
    Column("package", BigInteger, primary_key=True, autoincrement=False),
    Column("path", Blob, primary_key=True),
    Column("offset", BigInteger, primary_key=True, autoincrement=False),
    Column("length", BigInteger, nullable=False),
    Column("digest", Blob, nullable=False),
    Column("digest_key", BigInteger, nullable=False, index=True),
)
NODES: Final = Table(
    "nodes",
    METADATA,
    Column("digest", Blob, primary_key=True),
    Column("package", BigInteger, primary_key=True, autoincrement=False),
    Column("data", Blob, nullable=False),
)
ALL: Final = (META, EVENTS, ASSETS, PACKAGES, FILES, BLOCKS, NODES)
"""Every table, in the order in which `Index.dump` shows them."""


def lookup_key(cid_or_digest: bytes) -> int:
    """The key by which a CID, or the digest at its end, is looked up: 8 bytes as a signed integer."""
    key: int = _KEY.unpack_from(cid_or_digest, len(cid_or_digest) - DIGEST_LENGTH)[0]
    return key
