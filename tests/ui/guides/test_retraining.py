"""A real training of a tiny model in a process of its own: killed, gone on with, made a version, compared."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from models.guides import CARD_NAME, hash_files
from models.options import EngineOptions
from models.presets import load_preset
from models.training.run_folder import RunFolder, write_whole
from models.versions.publishing import GuideVersions
from models.versions.starting import load_published
from steering.errors import BusyError, InputError
from storage.records_pairs import JudgedPair
from tests.models.tiny import save_lora, save_model
from tests.storage.judged import a_pair
from tests.ui.guides.test_usable import Judged
from tests.ui.pages import wait_until
from ui.guides.asking import Ask
from ui.guides.retraining import Retrainer
from ui.guides.runs import RetrainFolder, Stage, make_folder
from ui.guides.usable import write_data
from ui.settings import Settings

PATIENCE_SECONDS = 240.0
ASK = Ask("wit", "wit", held_out_share=0.3)
pytestmark = pytest.mark.timeout(600)  # three programs that each import everything, on cores others use, too


@dataclass(frozen=True)
class Place:
    """A home with a tiny base and a guide for wit, and what a server makes of it."""

    settings: Settings
    versions: GuideVersions
    results: Judged

    def retrainer(self) -> Retrainer:
        return Retrainer(self.versions, self.results, self.settings)  # type: ignore[arg-type]


def judged(n_pairs: int) -> list[JudgedPair]:
    return [a_pair(number, dimension="wit") for number in range(n_pairs)]


@contextmanager
def a_place(root: Path) -> Iterator[Place]:
    base = save_model(root / "base", "llama", seed=1)
    save_lora(root / "wit", base, seed=2)
    config = root / "tiny.toml"
    config.write_text(
        f'name = "tiny"\n[base]\nid = "{root / "base"}"\n'
        f'[[guides]]\nid = "{root / "wit"}"\ndimension = "wit"\nunit = 0.5\n',
        encoding="utf-8",
    )
    settings = Settings(home=root / "home", config=config)
    options = EngineOptions(in_background=False, memory_fraction=0.05)
    versions = load_published(load_preset(None, config), settings.home, device="cpu", dtype="float32", options=options)
    yield Place(settings, versions, Judged(judged(30)))
    versions.engine.close()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with a_place(tmp_path) as made:
        yield made


def pid_of(folder: RetrainFolder) -> int:
    return int(json.loads(folder.record.read_text(encoding="utf-8"))["pid"])


def events(folder: RetrainFolder) -> list[str]:
    return [event["event"] for event in folder.progress()]


def finished(place: Place, **changes: Any) -> RetrainFolder:
    """A training that ended when no server was there: its guide is the preset's own with other weights."""
    folder = make_folder(place.settings.home, Ask("wit", "wit", held_out_share=0.3, **changes), old=0)
    write_data(place.results, folder.ask, folder.data)  # type: ignore[arg-type]
    run = RunFolder(folder.run)
    run.begin({}, resume=False)
    base = save_model(folder.path / "base", "llama", seed=1)
    save_lora(folder.guide, base, seed=5)
    card = {"dimension": "wit", "version": 1, "base_id": place.versions.engine.base.id, "unit": 0.3}
    lines = [f'{{"id": "{pair.judgement_id}", "half": "held_out"}}' for pair in judged(6)]
    (folder.guide / "pairs.jsonl").write_text("\n".join(lines), encoding="utf-8")
    write_whole(folder.guide / CARD_NAME, json.dumps(card | {"hash": hash_files(folder.guide)}))
    run.say("finished")
    return folder


def test_a_training_that_is_killed_goes_on_and_becomes_a_version_that_nobody_published(place: Place) -> None:
    retrainer = place.retrainer()
    folder = retrainer.start(ASK)
    with pytest.raises(BusyError):
        retrainer.start(ASK)
    with pytest.raises(InputError):
        retrainer.go_on()
    wait_until(lambda: "data" in events(folder), PATIENCE_SECONDS)
    os.kill(pid_of(folder), signal.SIGKILL)
    wait_until(lambda: folder.stage() is Stage.KILLED)
    again = place.retrainer()  # another server finds it
    assert again.go_on() == folder
    wait_until(lambda: folder.stage() is Stage.DONE, PATIENCE_SECONDS)
    assert folder.failure == ""
    assert events(folder).count("finished") == 1
    (made,) = [version for version in place.versions.versions("wit") if version.number == folder.version]
    assert made.card.metrics["n_pairs"] == folder.assessed["pairs"]["n_pairs"] > 0
    assert set(made.card.data_ids) < {pair.judgement_id for pair in judged(30)}
    active = place.versions.active("wit")
    assert active is not None
    assert active.is_built_in


def test_what_ended_while_no_server_was_there_is_taken_up_by_the_next(place: Place) -> None:
    folder = finished(place)
    assert folder.stage() is Stage.COMPARING
    place.retrainer()
    wait_until(lambda: folder.stage() is Stage.DONE, PATIENCE_SECONDS)
    assert folder.version == 1
    found = folder.assessed
    assert (found["old"], found["new"], found["pairs"]["n_pairs"]) == (0, 1, 6)
    assert 0 <= found["pairs"]["p_value"] <= 1
    assert found["prompts"]["n_prompts"] == 20
    assert set(found["prompts"]["new"]["rewards"]) == {"old", "new"}
    assert found["prompts"]["new"]["kl_per_token"] > 0


def test_a_version_that_is_not_better_is_not_published_by_itself(place: Place) -> None:
    folder = finished(place, publish=True)
    assessed = {"old": 0, "pairs": {"n_pairs": 6, "n_only_old": 0, "n_only_new": 1, "p_value": 1.0}}
    rewards = {"rewards": {"old": -1.0, "new": -1.0}}
    write_whole(folder.assessment, json.dumps(assessed | {"prompts": {"old": rewards, "new": rewards}}))
    folder.note(version=place.versions.add(str(folder.guide), "wit").number)
    place.retrainer()
    wait_until(lambda: folder.published_by_itself is not None)
    assert folder.published_by_itself is False
    active = place.versions.active("wit")
    assert active is not None
    assert active.is_built_in


@pytest.mark.parametrize("publish", [False, True])
def test_a_version_that_is_better_is_published_by_itself_only_where_that_was_asked_for(
    place: Place, publish: bool
) -> None:
    folder = finished(place, publish=publish)
    assessed = {"old": 0, "pairs": {"n_pairs": 60, "n_only_old": 1, "n_only_new": 20, "p_value": 1e-5}}
    rewards = {"rewards": {"old": -1.0, "new": -1.0}}
    write_whole(folder.assessment, json.dumps(assessed | {"prompts": {"old": rewards, "new": rewards}}))
    folder.note(version=place.versions.add(str(folder.guide), "wit").number)
    place.retrainer()
    wait_until(lambda: not publish or folder.published_by_itself is not None)
    assert folder.published_by_itself is (True if publish else None)
    assert [made.version for made in place.versions.history("wit")] == ([1] if publish else [])
    assert place.versions.answering("wit") == (1 if publish else None)


def test_nothing_to_train_on_leaves_no_folder_behind(place: Place) -> None:
    with pytest.raises(InputError, match="left to train on"):
        place.retrainer().start(Ask("nobody judged this", "wit"))
    assert place.retrainer().all() == []
