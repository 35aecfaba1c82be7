"""For all tests: how they are run, and PostgreSQL where it is installed.

The test run starts a server of its own, unless TILLER_TEST_DATABASE_URL names one that may be filled.
"""

import gc
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import hypothesis
import pytest
from sqlalchemy import URL, Connection, create_engine, make_url, text

from storage.database import Database, open_database
from storage.records import new_id
from tests.storage.postgresql_server import NoServerError, running_server

POSTGRESQL = "TILLER_TEST_DATABASE_URL"

hypothesis.settings.register_profile("untimed", deadline=None)  # a slow machine is no failure
hypothesis.settings.load_profile("untimed")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest: the last one to end should be a short one."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


def pytest_collection_finish() -> None:
    """Leave what is imported by now out of later collections of garbage.

    Closing an engine and ending a training collect, and looked through half a million such objects each time.
    """
    gc.collect()
    gc.freeze()


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
