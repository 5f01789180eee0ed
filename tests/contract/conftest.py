"""Databases for the contract: a file, or one in a real server that all tests of a worker share."""

from __future__ import annotations

import pytest

from heritage_testkit.postgres import Postgres


@pytest.fixture(scope="session")
def postgres(tmp_path_factory):
    server = Postgres(tmp_path_factory.mktemp("postgres") / "data")
    server.init()
    server.start()
    yield server
    server.stop()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.external)])
def database(request):
    """None for files, or the URL of an empty database."""
    if request.param == "sqlite":
        return None
    return request.getfixturevalue("postgres").database()
