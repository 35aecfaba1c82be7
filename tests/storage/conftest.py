"""Fresh databases: SQLite files, and PostgreSQL where TILLER_TEST_DATABASE_URL names a server that may be filled."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from storage.database import Database, open_database
from storage.records import new_id
from storage.repository import Repository
from storage.sql_repository import SqlRepository
from tests.storage.examples import Ticking
from tests.storage.fakes import InMemoryRepository

POSTGRESQL = "TILLER_TEST_DATABASE_URL"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with open_database(f"sqlite:///{tmp_path}/tiller.db") as opened:
        yield opened


@pytest.fixture
def postgresql() -> Iterator[Database]:
    """A database of its own on the server that the environment names, dropped afterwards."""
    if POSTGRESQL not in os.environ:
        pytest.skip(f"{POSTGRESQL} is not set, so there is no PostgreSQL server to test on")
    server = make_url(os.environ[POSTGRESQL])
    name = f"tiller_{new_id()}"
    administration = create_engine(server, isolation_level="AUTOCOMMIT")
    with administration.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    try:
        with open_database(server.set(database=name).render_as_string(hide_password=False)) as opened:
            yield opened
    finally:
        with administration.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        administration.dispose()


@pytest.fixture(params=["sqlite", "postgresql", "memory"])
def repository(request: pytest.FixtureRequest) -> Repository:
    """Every implementation of the store, with a clock that ticks once a reading."""
    if request.param == "memory":
        return InMemoryRepository(Ticking())
    name = "database" if request.param == "sqlite" else "postgresql"
    return SqlRepository(request.getfixturevalue(name), Ticking())


@pytest.fixture(params=["sqlite", "postgresql"])
def any_database(request: pytest.FixtureRequest) -> Database:
    """Every kind of real database."""
    name = "database" if request.param == "sqlite" else "postgresql"
    opened: Database = request.getfixturevalue(name)
    return opened
