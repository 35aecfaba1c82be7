"""Fresh databases: SQLite files, and PostgreSQL where it is installed.

The test run starts a PostgreSQL server of its own, unless TILLER_TEST_DATABASE_URL names one that may be filled.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import URL, Connection, create_engine, make_url, text

from storage.database import Database, open_database
from storage.records import new_id
from storage.repository import Repository
from storage.sql_repository import SqlRepository
from storage.sql_results import SqlResults
from storage.sql_studies import SqlStudies
from storage.study_repository import ResultsRepository, StudyRepository
from tests.storage.examples import Ticking
from tests.storage.fakes import InMemoryRepository
from tests.storage.postgresql_server import NoServerError, running_server
from tests.storage.study_fakes import InMemoryStudies

POSTGRESQL = "TILLER_TEST_DATABASE_URL"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with open_database(f"sqlite:///{tmp_path}/tiller.db") as opened:
        yield opened


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """The server that the environment names, or one of the test run's own."""
    if POSTGRESQL in os.environ:
        yield os.environ[POSTGRESQL]
        return
    with ExitStack() as stack:
        try:
            url = stack.enter_context(running_server())
        except NoServerError as error:
            pytest.skip(f"{POSTGRESQL} is not set, and no PostgreSQL server can be started: {error}")
        yield url


@contextmanager
def _administering(server: URL) -> Iterator[Connection]:
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


@pytest.fixture(scope="session")
def postgresql_template(postgresql_url: str) -> Iterator[str]:
    """The name of a database that is migrated once, and copied by every test that needs one."""
    server = make_url(postgresql_url)
    name = f"tiller_{new_id()}"
    with _administering(server) as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    with open_database(server.set(database=name).render_as_string(hide_password=False)):
        pass
    yield name
    with _administering(server) as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def postgresql(postgresql_url: str, postgresql_template: str) -> Iterator[Database]:
    """A database of its own on the server, dropped afterwards."""
    server = make_url(postgresql_url)
    name = f"tiller_{new_id()}"
    with _administering(server) as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {postgresql_template}"))
    try:
        with open_database(server.set(database=name).render_as_string(hide_password=False)) as opened:
            yield opened
    finally:
        with _administering(server) as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


@dataclass(frozen=True)
class Stores:
    """The stores that share one place, whatever it is; ``results`` is None where nothing can count."""

    repository: Repository
    studies: StudyRepository
    results: ResultsRepository | None


@pytest.fixture(params=["sqlite", "postgresql", "memory"])
def stores(request: pytest.FixtureRequest) -> Stores:
    """Every implementation of the stores of studies, with a clock that ticks once a reading."""
    clock = Ticking()
    if request.param == "memory":
        repository = InMemoryRepository(clock)
        return Stores(repository, InMemoryStudies(repository, clock), None)
    opened = request.getfixturevalue("database" if request.param == "sqlite" else "postgresql")
    return Stores(SqlRepository(opened, clock), SqlStudies(opened, clock), SqlResults(opened))


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
