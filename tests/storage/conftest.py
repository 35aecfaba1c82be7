"""Every implementation of the stores, over fresh databases."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from storage.database import Database, open_database
from storage.repository import Repository
from storage.sql_repository import SqlRepository
from storage.sql_results import SqlResults
from storage.sql_studies import SqlStudies
from storage.study_repository import ResultsRepository, StudyRepository
from tests.storage.examples import Ticking
from tests.storage.fakes import InMemoryRepository
from tests.storage.study_fakes import InMemoryStudies


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with open_database(f"sqlite:///{tmp_path}/tiller.db") as opened:
        yield opened


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
