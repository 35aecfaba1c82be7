"""Snapshots on the Hub: only the Hub itself is made up; what it gets can be read back, and is never the live file."""

import logging
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

from steering.errors import InputError, SettingsError
from storage.database import Database, open_database
from storage.exchange.archive import MANIFEST, export_archive, import_archive
from storage.sql_repository import SqlRepository
from storage.sql_studies import SqlStudies
from tests.storage.study_examples import an_open_study, judge_all
from ui.snapshots import pushing_snapshots

REPOSITORY = "somebody/judgements"


class Hub(HfApi):
    """One repository as the Hub would hold it: ``files`` by path, and the paths of every commit."""

    def __init__(self, *, private: bool = True) -> None:
        super().__init__(token="hf_of_the_test")
        self.private = private
        self.files: dict[str, bytes] = {}
        self.commits: list[list[str]] = []
        self.trouble: Exception | None = None

    def _reach(self, repo_id: str, repo_type: str | None) -> None:
        assert (repo_id, repo_type) == (REPOSITORY, "dataset")
        if self.trouble is not None:
            raise self.trouble

    def create_repo(self, repo_id: str, *, repo_type: str, private: bool, exist_ok: bool) -> Any:  # type: ignore[override]
        self._reach(repo_id, repo_type)
        assert private
        assert exist_ok
        return SimpleNamespace(repo_id=repo_id)

    def repo_info(self, repo_id: str, *, repo_type: str) -> Any:  # type: ignore[override]
        self._reach(repo_id, repo_type)
        return SimpleNamespace(private=self.private)

    def snapshot_download(self, repo_id: str, *, repo_type: str, local_dir: str) -> str:  # type: ignore[override]
        self._reach(repo_id, repo_type)
        for path, content in self.files.items():
            (Path(local_dir) / path).write_bytes(content)
        return local_dir

    def create_commit(  # type: ignore[override]
        self, *, repo_id: str, repo_type: str, operations: Iterable[CommitOperationAdd], **_about: object
    ) -> None:
        self._reach(repo_id, repo_type)
        added = list(operations)
        for operation in added:
            with operation.as_file() as file:
                self.files[operation.path_in_repo] = file.read()
        self.commits.append([operation.path_in_repo for operation in added])

    def write_to(self, folder: Path) -> Path:
        """The repository as somebody downloads it."""
        folder.mkdir()
        return Path(self.snapshot_download(REPOSITORY, repo_type="dataset", local_dir=str(folder)))


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_test")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with open_database(f"sqlite:///{tmp_path / 'tiller.db'}") as opened:
        yield opened


def a_judge_works(database: Database, name: str) -> None:
    repository, studies = SqlRepository(database), SqlStudies(database)
    judge_all(studies, an_open_study(studies, 3), repository.annotator(f"hash of {name}", name).id)


def everything(database: Database, folder: Path) -> dict[str, bytes]:
    export_archive(database, folder)
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_what_is_pushed_fills_an_empty_database_and_is_never_the_live_file(database: Database, tmp_path: Path) -> None:
    hub = Hub()
    with pushing_snapshots(database, tmp_path, REPOSITORY, hub):
        a_judge_works(database, "Ada")
    live = everything(database, tmp_path / "live")
    assert {Path(path).suffix for path in hub.files} == {".jsonl", ".json"}
    assert not any(content.startswith(b"SQLite format 3") for content in hub.files.values())
    with open_database(f"sqlite:///{tmp_path / 'other.db'}") as other:
        import_archive(other, hub.write_to(tmp_path / "downloaded"))
        assert everything(other, tmp_path / "again") == live


def test_after_a_restart_on_an_empty_disk_everything_is_back_and_judging_goes_on(tmp_path: Path) -> None:
    hub = Hub()
    for home, name in ((tmp_path / "first", "Ada"), (tmp_path / "second", "Bob"), (tmp_path / "third", "Eve")):
        with (
            open_database(f"sqlite:///{home / 'tiller.db'}") as database,
            pushing_snapshots(database, home, REPOSITORY, hub),
        ):
            a_judge_works(database, name)
            n_judgements = SqlRepository(database).count_judgements()
    assert n_judgements == 3 * 3 * 2
    assert hub.files["judgements.jsonl"].count(b"\n") == 18


def test_a_full_database_is_pushed_and_not_filled_up(tmp_path: Path) -> None:
    hub = Hub()
    for name in ("first", "second"):
        with open_database(f"sqlite:///{tmp_path / name}.db") as database:
            a_judge_works(database, name)
            with pushing_snapshots(database, tmp_path, REPOSITORY, hub):
                pass
    assert hub.files["annotators.jsonl"].count(b"\n") == 1
    assert b"hash of second" in hub.files["annotators.jsonl"]


def test_only_what_changed_is_pushed_again(database: Database, tmp_path: Path) -> None:
    hub = Hub()
    a_judge_works(database, "Ada")
    with pushing_snapshots(database, tmp_path, REPOSITORY, hub):
        pass
    first, *later = hub.commits
    assert MANIFEST in first
    assert later == []  # the push at the end found nothing new
    with pushing_snapshots(database, tmp_path, REPOSITORY, hub):
        while len(hub.commits) < 2:  # what a new start pushes before somebody comes
            time.sleep(0.01)
        SqlRepository(database).annotator("hash of Bob", "Bob")
    assert sorted(hub.commits[-1]) == ["annotators.jsonl", MANIFEST, "audit.jsonl"]


def test_a_public_repository_gets_no_names(database: Database, tmp_path: Path) -> None:
    hub = Hub(private=False)
    with pytest.raises(SettingsError, match="is public"), pushing_snapshots(database, tmp_path, REPOSITORY, hub):
        pass
    assert hub.commits == []


def test_without_a_token_nothing_starts(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ui.snapshots.get_token", lambda: None)  # the test's machine may have one of its owner's
    hub = Hub()
    with (
        pytest.raises(SettingsError, match="no Hugging Face tok"),
        pushing_snapshots(database, tmp_path, REPOSITORY, hub),
    ):
        pass
    assert hub.commits == []


@pytest.mark.parametrize("trouble", [HTTPError("no route to the Hub"), OSError("401"), ValueError("no such name")])
def test_a_hub_that_cannot_be_reached_or_refuses_is_told_at_the_start(
    database: Database, tmp_path: Path, trouble: Exception
) -> None:
    hub = Hub()
    hub.trouble = trouble
    with pytest.raises(SettingsError, match=str(trouble)), pushing_snapshots(database, tmp_path, REPOSITORY, hub):
        pass


def test_a_damaged_snapshot_is_left_as_it_is(database: Database, tmp_path: Path) -> None:
    hub = Hub()
    hub.files = {MANIFEST: b'{"columns": {}, "n_rows": {}}', "judgements.jsonl": b"{}\n"}
    before = dict(hub.files)
    with (
        pytest.raises(InputError, match="other tables or columns"),
        pushing_snapshots(database, tmp_path, REPOSITORY, hub),
    ):
        pass
    assert hub.files == before
    assert hub.commits == []


def test_a_last_push_that_fails_is_told_and_keeps_nobody_from_stopping(
    database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hub = Hub()
    caplog.set_level(logging.ERROR)
    with pushing_snapshots(database, tmp_path, REPOSITORY, hub):
        a_judge_works(database, "Ada")
        hub.trouble = OSError("the Hub is down")
    assert "the last snapshot was not pushed: the Hub is down" in caplog.text


def test_names_and_judgements_do_not_stay_beside_the_database_where_nothing_would_remove_them(
    database: Database, tmp_path: Path
) -> None:
    """After one run with snapshots the folder once kept who was deleted later."""
    for trouble in (None, OSError("the Hub is down")):
        hub = Hub()
        with pushing_snapshots(database, tmp_path, REPOSITORY, hub):
            while not hub.commits:
                time.sleep(0.01)
            assert (tmp_path / "snapshot" / MANIFEST).is_file()
            hub.trouble = trouble
        assert [path.name for path in tmp_path.iterdir() if "snapshot" in path.name] == []
    for left in ("snapshot", ".snapshot-killed"):  # by a run that was killed
        (tmp_path / left).mkdir()
        (tmp_path / left / "annotators.jsonl").write_text("Ada")
    with pushing_snapshots(database, tmp_path, None):
        assert [path.name for path in tmp_path.iterdir() if "snapshot" in path.name] == []


def test_without_a_repository_nothing_is_asked_of_the_hub(database: Database, tmp_path: Path) -> None:
    hub = Hub()
    hub.trouble = AssertionError("the Hub was asked")
    with pushing_snapshots(database, tmp_path, None, hub):
        a_judge_works(database, "Ada")
    assert hub.commits == []
