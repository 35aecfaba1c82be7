"""What was typed on Steer goes by itself once it is as old as the setting says, and not before."""

import logging
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import ui.page
from steering.errors import StorageError
from storage.database import open_database
from storage.records import Forgotten
from storage.sql_repository import SqlRepository
from storage.sql_results import SqlResults
from tests.storage.examples import a_click, a_comparison, a_generation
from tests.storage.fakes import InMemoryRepository
from tests.ui.fakes import ScriptedEngine
from tests.ui.pages import wait_until
from ui.forgetting import forgetting_prompts
from ui.page import Backing, launch_page
from ui.settings import Settings

SOON = 0.02


def typed(repository: SqlRepository | InMemoryRepository, days_ago: float, *, judged: bool = False) -> str:
    """The id of a comparison of the Steer page of so many days ago."""
    at = datetime.now(UTC) - timedelta(days=days_ago)
    left, right = (a_generation(created_at=at) for _ in range(2))
    comparison = a_comparison(created_at=at, left=left, right=right)
    repository.save_comparison(comparison)
    if judged:
        repository.record_judgement(a_click(comparison.id, repository.annotator("somebody").id))
    return comparison.id


class Flaky(InMemoryRepository):
    """A store that cannot be written the first two times; ``n_asked`` counts."""

    n_asked = 0

    def forget_prompts(self, before: datetime, actor: str = "system") -> Forgotten:
        self.n_asked += 1
        if self.n_asked <= 2:
            raise StorageError("The disk is full.", hint="Make room.")
        return super().forget_prompts(before, actor)


def test_what_is_old_goes_at_once_and_what_becomes_old_later_and_the_audit_has_both(tmp_path: Path) -> None:
    with open_database(f"sqlite:///{tmp_path}/tiller.db") as database:
        repository = SqlRepository(database)
        new, old, judged = typed(repository, 29), typed(repository, 31), typed(repository, 31, judged=True)

        def stored() -> set[str]:
            with database.reading() as session:
                return set(session.connection().exec_driver_sql("SELECT id FROM comparisons").scalars())

        with forgetting_prompts(repository, 30, SOON):
            wait_until(lambda: old not in stored())
            later = typed(repository, 32)
            wait_until(lambda: later not in stored())
        assert stored() == {new, judged}
        assert repository.get_comparison(judged).left.text_removed_at is not None
        assert repository.get_comparison(new).left.text_removed_at is None
        entries = [entry for entry in SqlResults(database).audit() if entry.action == "forgotten"]
        assert [entry.actor for entry in entries] == ["system", "system"]


def test_a_database_that_cannot_be_written_is_told_and_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    repository = Flaky()
    old = typed(repository, 31)
    with forgetting_prompts(repository, 30, SOON):
        wait_until(lambda: old not in repository.comparisons)
    assert caplog.text.count("The disk is full.") == 2


def test_without_the_setting_everything_is_kept() -> None:
    repository = Flaky()
    before = threading.active_count()
    with forgetting_prompts(repository, Settings().keep_prompts_days):
        assert threading.active_count() == before
    assert repository.n_asked == 0


def test_the_thread_ends_with_the_page_and_not_a_day_later() -> None:
    with forgetting_prompts(InMemoryRepository(), 30):
        assert "forgetting" in {thread.name for thread in threading.enumerate()}
    assert "forgetting" not in {thread.name for thread in threading.enumerate()}


def test_a_page_that_is_served_forgets_as_its_settings_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = InMemoryRepository()
    old, new = typed(repository, 8), typed(repository, 6)

    class Served(SimpleNamespace):
        @property
        def is_running(self) -> bool:
            return old in repository.comparisons

        def close(self, **_how: Any) -> None:
            closed.append(True)

    closed: list[bool] = []
    monkeypatch.setattr(ui.page, "open_page", lambda backing: Served(local_url=""))
    launch_page(Backing(ScriptedEngine(), repository, Settings(home=tmp_path, keep_prompts_days=7)))
    assert (set(repository.comparisons), closed) == ({new}, [True])
