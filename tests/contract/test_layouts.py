"""Layouts of the databases: revisions and whole tables agree, and a release brings older ones up to it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.exc import DBAPIError

from heritage_ledger import Ledger
from heritage_ledger.errors import OperationFailed
from heritage_ledger.fixity.verdict import Outcome
from heritage_ledger.home import heads
from heritage_ledger.home import state as state_module
from heritage_ledger.home.migrate import upgrade
from heritage_ledger.home.seal import Seal
from heritage_ledger.home.state import Head, StateStore
from heritage_ledger.index import database as database_module
from heritage_ledger.index import tables

ORIGIN = "museum.example/ledger/1"
SECOND = """
from alembic import op
from sqlalchemy import Column, Integer
revision = "0002"
down_revision = "0001"
def upgrade():
    op.add_column("{table}", Column("weight", Integer))
    {more}
"""


@pytest.fixture
def engine(database, tmp_path):
    made = create_engine(database or f"sqlite:///{tmp_path / 'layout.db'}")
    yield made
    made.dispose()


LAYOUTS = {
    "heads": (heads.METADATA, heads.REVISIONS, heads.STATE_VERSION),
    "index": (tables.METADATA, database_module.REVISIONS, tables.INDEX_VERSION),
}


def described(engine) -> dict[str, object]:
    """Everything that the database says about its tables."""
    look = inspect(engine)
    return {
        name: (
            [
                (
                    column["name"],
                    str(column["type"]),
                    getattr(column["type"], "collation", None),
                    column["nullable"],
                )
                for column in look.get_columns(name)
            ],
            look.get_pk_constraint(name),
            sorted(look.get_unique_constraints(name), key=str),
            sorted(look.get_check_constraints(name), key=str),
            sorted(look.get_indexes(name), key=str),
        )
        for name in look.get_table_names()
        if not name.endswith("_revision")
    }


@pytest.mark.parametrize("of", LAYOUTS)
def test_revisions_make_the_tables_that_a_new_database_gets(engine, of, tmp_path):
    metadata, revisions, version = LAYOUTS[of]
    with engine.begin() as connection:
        upgrade(connection, revisions, table=f"{of}_revision", found=0, wanted=version)
        options = {
            "compare_type": True,
            "include_object": lambda thing, name, *_: not name.endswith("_revision"),
        }
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []
    by_revisions = described(engine)
    with engine.begin() as connection:
        metadata.drop_all(connection)
        metadata.create_all(connection)
    assert described(engine) == by_revisions


def test_guards_of_the_revisions_are_those_of_a_new_database(engine):
    with engine.begin() as connection:
        upgrade(connection, heads.REVISIONS, table="heads_revision", found=0, wanted=heads.STATE_VERSION)
        connection.execute(
            heads.HEADS.insert(),
            {"origin": ORIGIN, "size": 3, "root": bytes(32), "checkpoint": b"c", "digest": b"d"},
        )
    for change in ("UPDATE heads SET size = 2", "DELETE FROM heads"):
        with pytest.raises(DBAPIError, match="never"), engine.begin() as connection:
            connection.execute(text(change))


@pytest.fixture
def home(database, tmp_path):
    place = tmp_path / "home"
    Ledger.init(place, institution="Museum", origin=ORIGIN, passphrase=None, database=database).close()
    (tmp_path / "scan.tif").write_bytes(b"scan")
    with Ledger.open(place) as ledger:
        ledger.ingest(tmp_path / "scan.tif", asset="urn:example:scan")
    return place


def next_release(monkeypatch, tmp_path, *, more: str = "pass") -> None:
    """Pretend to be the next release: both layouts have a second version."""
    for name, module, table in (("heads", heads, "heads"), ("index", database_module, "packages")):
        folder = tmp_path / f"revisions-{name}"
        shutil.copytree(module.REVISIONS, folder, ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "v0002.py").write_text(SECOND.format(table=table, more=more))
        monkeypatch.setattr(module, "REVISIONS", folder)
    for module in (heads, state_module):
        monkeypatch.setattr(module, "STATE_VERSION", 2)
    monkeypatch.setattr(database_module, "INDEX_VERSION", 2)


def columns(database: str | None, path: Path, table: str) -> set[str]:
    engine = create_engine(database or f"sqlite:///{path}")
    try:
        return {column["name"] for column in inspect(engine).get_columns(table)}
    finally:
        engine.dispose()


def test_the_next_release_brings_both_up_and_keeps_the_rows(home, database, monkeypatch, tmp_path):
    with Ledger.open(home) as ledger:
        rows = list(ledger.index.packages())
    next_release(monkeypatch, tmp_path)
    with Ledger.open(home) as ledger:
        assert list(ledger.index.packages()) == rows
        receipt = ledger.ingest(tmp_path / "scan.tif", asset="urn:example:scan")
        assert (receipt.version, receipt.log_index) == (2, 2)
    assert "weight" in columns(database, home / "index.db", "packages")
    assert "weight" in columns(database, home / "state.db", "heads")
    monkeypatch.undo()
    with Ledger.open(home) as ledger:
        with pytest.raises(OperationFailed) as error:
            list(ledger.assets())
        assert error.value.code == "index-version"
    with pytest.raises(OperationFailed) as error:
        StateStore.open(database or home / "state.db")
    assert error.value.code == "state-version"


def test_a_revision_that_fails_changes_nothing(home, database, monkeypatch, tmp_path):
    next_release(monkeypatch, tmp_path, more="raise RuntimeError('power')")
    with Ledger.open(home) as ledger, pytest.raises(RuntimeError):
        list(ledger.assets())
    with pytest.raises(RuntimeError):
        StateStore.open(database or home / "state.db")
    monkeypatch.undo()
    assert "weight" not in columns(database, home / "index.db", "packages")
    assert "weight" not in columns(database, home / "state.db", "heads")
    with Ledger.open(home) as ledger:
        assert {verdict.outcome for verdict in ledger.verify(deep=True)} == {Outcome.PASS}


def test_verification_changes_no_layout(home, database, monkeypatch, tmp_path):
    next_release(monkeypatch, tmp_path)
    with Ledger.open(home) as ledger:
        found = {finding.code for verdict in ledger.verify(deep=True) for finding in verdict.findings}
    assert found == {"state-version", "index-version"}
    assert "weight" not in columns(database, home / "state.db", "heads")


def test_damage_is_found_before_a_layout_is_changed(database, tmp_path, monkeypatch):
    target = database or tmp_path / "state.db"
    with StateStore.create(target) as store:
        store.create_head(ORIGIN, Head(0, bytes(32), b"c"))
    engine = create_engine(database or f"sqlite:///{target}")
    with engine.begin() as connection:
        connection.execute(heads.SEAL.update().values(digest=Seal(7).digest()))
    engine.dispose()
    next_release(monkeypatch, tmp_path)
    with pytest.raises(Exception, match="seal is not what was written"):
        StateStore.open(target)
