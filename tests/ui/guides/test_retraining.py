"""A real training of a tiny model in a process of its own: killed, gone on with, made a version, compared."""

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from models.files import write_whole
from models.guides import CARD_NAME, hash_files
from models.options import EngineOptions
from models.presets import load_preset
from models.training.run_folder import RunFolder
from models.versions.publishing import GuideVersions
from models.versions.registry import ROLLED_BACK
from models.versions.starting import load_published
from steering.errors import BusyError, InputError, StorageError
from storage.database import open_database
from storage.records_pairs import JudgedPair, Outcome
from storage.records_publishing import Publishing
from storage.records_studies import StudySummary
from storage.sql_studies import SqlStudies
from tests.models.tiny import save_lora, save_model
from tests.storage.judged import a_pair
from tests.storage.study_examples import some_settings
from tests.ui.guides.test_usable import Judged
from tests.ui.pages import wait_until
from ui.components import retrain_markup
from ui.guides import processes
from ui.guides.asking import Ask
from ui.guides.gate import Decision, Gate, Said, gate_of, studies_in
from ui.guides.retraining import Retrainer
from ui.guides.runs import RetrainFolder, Stage, make_folder
from ui.guides.usable import write_data
from ui.settings import Settings

PATIENCE_SECONDS = 240.0
ASK = Ask("wit", "wit", held_out_share=0.3)
pytestmark = pytest.mark.timeout(600)  # three programs that each import everything, on cores others use, too


@dataclass(frozen=True)
class Place:
    """A home with a tiny base, a guide for wit and a study of it, and what a server makes of it."""

    settings: Settings
    versions: GuideVersions
    studies: SqlStudies
    study_id: str
    results: Judged

    def retrainer(self) -> Retrainer:
        return Retrainer(self.versions, self.studies, self.results, self.settings)  # type: ignore[arg-type]

    def publishes(self, *, enabled: bool = True, margin: float = 0.1) -> None:
        """The study says so from now on."""
        self.studies.set_publishing(self.study_id, Publishing(enabled, margin))

    def active(self) -> int | None:
        version = self.versions.active("wit")
        return None if version is None else version.number


def judged(n_pairs: int, study_id: str = "5" * 32) -> list[JudgedPair]:
    return [a_pair(number, dimension="wit", study_id=study_id) for number in range(n_pairs)]


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
    with open_database(settings.database_url) as database:
        studies = SqlStudies(database)
        study_id = studies.create_study("Wits", some_settings()).id
        yield Place(settings, versions, studies, study_id, Judged(judged(30, study_id)))
    versions.engine.close()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with a_place(tmp_path) as made:
        yield made


def pid_of(folder: RetrainFolder) -> int:
    return int(json.loads(folder.record.read_text(encoding="utf-8"))["pid"])


def events(folder: RetrainFolder) -> list[str]:
    return [event["event"] for event in folder.progress()]


def finished(place: Place) -> RetrainFolder:
    """A training that ended when no server was there: its guide is the preset's own with other weights."""
    folder = make_folder(place.settings.home, ASK, old=0)
    folder.ask_by(gate_of(place.studies, [place.study_id]))
    write_data(place.results, folder.ask, folder.data)  # type: ignore[arg-type]
    run = RunFolder(folder.run)
    with run.begun({}, resume=False):
        pass
    base = save_model(folder.path / "base", "llama", seed=1)
    save_lora(folder.guide, base, seed=5)
    card = {"dimension": "wit", "version": 1, "base_id": place.versions.engine.base.id, "unit": 0.3, "data_ids": ["1"]}
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
    assert folder.gate == Gate((Said(place.study_id, "Wits", Publishing()),))
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


def test_two_servers_that_find_the_same_retraining_compare_it_once(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, begun, begin = finished(place), [], processes.begin
    monkeypatch.setattr(processes, "begin", lambda *given: begun.append(given) or begin(*given))
    place.retrainer()
    place.retrainer()
    wait_until(lambda: folder.stage() is Stage.DONE, PATIENCE_SECONDS)
    assert (folder.failure, folder.version, len(begun)) == ("", 1, 1)


def compared(place: Place, *, p_value: float = 1e-5, care: float = -2.0) -> RetrainFolder:
    """A training whose version was compared when no server was there: ``care`` is that guide's reward, −2 before."""
    folder = finished(place)
    pairs = {"n_pairs": 60, "n_only_old": 1, "n_only_new": 20, "p_value": p_value}
    sides = {"old": -2.0, "new": care}
    prompts = {side: {"rewards": {"care": reward, "old": -1.0, "new": -1.0}} for side, reward in sides.items()}
    write_whole(folder.assessment, json.dumps({"old": 0, "pairs": pairs, "prompts": prompts}))
    folder.note(version=place.versions.add(str(folder.guide), "wit").number)
    return folder


def decided(place: Place, folder: RetrainFolder) -> str:
    """What the page says once a server has looked at it."""
    assert "is being decided" in retrain_markup.run(folder, Stage.DONE, folder.progress())
    place.retrainer()
    wait_until(lambda: not folder.waits_for_decision)
    return retrain_markup.run(folder, Stage.DONE, folder.progress())


def test_a_version_that_holds_the_gate_is_published_by_itself_where_its_study_asks_for_it(place: Place) -> None:
    place.publishes(margin=0.5)
    told = decided(place, compared(place, care=-2.4))
    assert "It was published by itself" in told
    assert "more than 0.50 nats" in told
    assert [made.version for made in place.versions.history("wit")] == [1]
    assert place.versions.answering("wit") == 1
    place.retrainer()  # a server that comes later leaves it at that
    assert len(place.versions.history("wit")) == 1


def test_a_version_that_holds_the_gate_is_not_published_by_itself_where_its_study_did_not_ask_at_the_start(
    place: Place,
) -> None:
    folder = compared(place)
    place.publishes()  # too late for this training
    assert not folder.waits_for_decision
    place.retrainer()
    assert (folder.decision, place.active()) == (None, 0)
    assert "It is not published." in retrain_markup.run(folder, Stage.DONE, folder.progress())


def test_a_version_is_not_published_by_itself_where_the_study_was_turned_off_meanwhile(place: Place) -> None:
    place.publishes()
    folder = compared(place)
    place.publishes(enabled=False)
    assert "turned off meanwhile for study “Wits”" in decided(place, folder)
    assert place.active() == 0


@pytest.mark.parametrize(("before", "meanwhile"), [(0.025, 0.025), (0.025, 9.0), (9.0, 0.025)])
def test_a_version_that_lowers_another_dimension_by_more_than_the_margin_is_not_published_by_itself(
    place: Place, before: float, meanwhile: float
) -> None:
    place.publishes(margin=before)
    folder = compared(place, care=-2.05)
    place.publishes(margin=meanwhile)
    assert "by more than 0.025 nats per token it lowers the reward of Care" in decided(place, folder)
    assert place.active() == 0


def test_a_version_that_is_not_better_is_not_published_by_itself(place: Place) -> None:
    place.publishes()
    assert "it is not shown to be better" in decided(place, compared(place, p_value=0.06))
    assert place.active() == 0


def test_a_version_that_was_compared_with_another_than_answers_now_is_not_published_by_itself(place: Place) -> None:
    place.publishes()
    folder = compared(place)
    other = place.versions.add(str(folder.guide), "wit").number
    place.versions.publish("wit", other)
    assert "another version than the one it was compared with" in decided(place, folder)
    assert place.active() == other


def test_a_server_that_was_killed_after_publishing_finds_it_published_once(place: Place) -> None:
    place.publishes()
    folder = compared(place)
    place.versions.publish("wit", 1)  # and the note of it was never written
    assert "It was published by itself" in decided(place, folder)
    assert len(place.versions.history("wit")) == 1


@pytest.mark.parametrize(
    ("where", "meanwhile"),
    [
        ("waits for its turn", "published"),
        ("waits for its turn", "taken back"),
        ("waits for its turn", "turned off"),
        ("loads", "published by a command"),  # no other thread can publish while one loads
        ("loads", "turned off"),
    ],
)
def test_what_a_person_does_while_publishing_waits_or_loads_stays_as_the_person_wants_it(
    place: Place, monkeypatch: pytest.MonkeyPatch, where: str, meanwhile: str
) -> None:
    place.publishes()
    folder = compared(place)
    other = place.versions.add(str(folder.guide), "wit").number
    registry, publish, activate = place.versions.registry, place.versions.publish, place.versions.registry.activate

    def person() -> None:
        if meanwhile == "turned off":
            place.publishes(enabled=False)
        elif meanwhile == "taken back":
            activate("wit", folder.version)
            activate("wit", 0, why=ROLLED_BACK)
        elif meanwhile == "published by a command":
            activate("wit", other)
        else:
            publish("wit", other)

    def late(do: Callable[..., object]) -> Callable[..., object]:
        def doing(*given: object, **named: object) -> object:
            person()
            return do(*given, **named)

        return doing

    if where == "loads":
        monkeypatch.setattr(registry, "activate", late(activate))
    else:
        monkeypatch.setattr(place.versions, "publish", late(publish))
    told = decided(place, folder)
    expected = {"taken back": "somebody published it and took it back", "turned off": "turned off meanwhile"}
    assert expected.get(meanwhile, "another version than the one it was compared with") in told
    assert place.active() == (other if "published" in meanwhile else 0)


@pytest.fixture
def storage_fails(place: Place, monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The looks at the studies, counted from 1, at which the database cannot be read."""
    failing, n_looks, studies = set[int](), 0, place.studies.studies

    def looked_at() -> tuple[StudySummary, ...]:
        nonlocal n_looks
        n_looks += 1
        if n_looks in failing:
            raise StorageError("The database is locked.")
        return studies()

    monkeypatch.setattr(place.studies, "studies", looked_at)
    monkeypatch.setattr("ui.guides.retraining.AGAIN_SECONDS", 0.01)
    return failing


@pytest.mark.parametrize("failing", [{1}, {2}, {3}, {1, 2, 5}])
def test_where_the_database_cannot_be_read_for_a_moment_publishing_is_decided_later(
    place: Place, storage_fails: set[int], failing: set[int]
) -> None:
    """A publishing looks at the studies three times: before it, at its turn, and when the version was loaded."""
    place.publishes()
    folder = compared(place)
    n_looked = 1  # for what the training's folder says
    storage_fails |= {n_looked + look for look in failing}
    assert "It was published by itself" in decided(place, folder)
    assert [each.version for each in place.versions.history("wit")] == [1]


def test_a_version_that_cannot_be_loaded_ends_the_decision(place: Place) -> None:
    place.publishes()
    folder = compared(place)
    version = place.versions.registry.version("wit", 1)
    assert version.folder is not None
    (version.folder / "adapter_model.safetensors").write_bytes(b"damaged")
    assert "not those its card was written for" in decided(place, folder)
    assert (folder.decision, place.active()) == (None, 0)


def test_no_training_starts_while_it_is_decided_whether_the_newest_one_is_published(
    place: Place, storage_fails: set[int]
) -> None:
    place.publishes()
    folder = compared(place)
    for_ever = set(range(2, 10**5))
    storage_fails |= for_ever
    retrainer = place.retrainer()
    with pytest.raises(BusyError, match="is being decided"):
        retrainer.start(ASK)
    storage_fails -= for_ever
    wait_until(lambda: not folder.waits_for_decision)
    with pytest.raises(InputError, match="left to train on"):
        retrainer.start(Ask("nobody judged this", "wit"))


def test_training_further_asks_the_studies_of_the_judgements_that_are_mixed_in_too(place: Place) -> None:
    place.publishes()
    before = compared(place)
    place.versions.publish("wit", 1)
    asked = Ask("wit", "wit", study_id=place.study_id, further=True)
    assert place.retrainer().gate(asked).is_asked_for
    row = json.loads((before.data / "train.jsonl").read_text(encoding="utf-8").splitlines()[0])
    with (before.data / "train.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(row | {"study_id": None}) + "\n")
    assert [one.name for one in place.retrainer().gate(asked).against] == ["The Steer page"]
    assert place.retrainer().gate(replace(asked, further=False)).is_asked_for


@pytest.fixture
def nothing_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    """A training's process ends at once."""
    begin = processes.begin
    monkeypatch.setattr(processes, "begin", lambda _, record, log: begin(["-c", ""], record, log))


@pytest.mark.usefixtures("nothing_trains")
def test_a_start_asks_the_studies_that_the_page_named_also_where_none_of_their_judgements_is_left(
    place: Place,
) -> None:
    place.publishes()
    silent = place.studies.create_study("Silent", some_settings()).id
    both = [replace(pair, comparison_id="c" * 32) for pair in a_disagreement(silent)]
    asked = replace(ASK, min_agreement=0.9)
    retrainer = replace(place, results=Judged([*judged(30, place.study_id), *both])).retrainer()
    said = retrainer.gate(asked)
    assert [one.name for one in said.against] == ["Silent"]
    folder = retrainer.start(asked)
    assert studies_in(folder.data) == {place.study_id}
    assert folder.gate == said


def a_disagreement(study_id: str) -> list[JudgedPair]:
    """Two people who say the opposite of the same two answers."""
    one, other = judged(102, study_id)[100:]
    same = {"generation_a_id": one.generation_a_id, "generation_b_id": one.generation_b_id}
    return [one, replace(other, outcome=Outcome.B, annotator_id="b" * 32, **same)]


@pytest.mark.usefixtures("nothing_trains")
def test_the_studies_behind_a_versions_parents_are_asked_when_it_is_trained_further(place: Place) -> None:
    place.publishes()
    first = compared(place)
    grandparents = place.studies.create_study("Grandparents", some_settings()).id
    first.ask_by(gate_of(place.studies, [place.study_id, grandparents]))  # as if trained from a version of theirs
    place.versions.publish("wit", 1)
    asked = Ask("wit", "wit", study_id=place.study_id, held_out_share=0.3, further=True)
    first.note(decision=Decision(0.1).as_json())
    folder = place.retrainer().start(asked)
    assert [one.name for one in folder.gate.against] == ["Grandparents"]


def test_what_is_trained_further_from_a_version_whose_training_is_gone_is_not_published_by_itself(
    place: Place,
) -> None:
    place.publishes()
    first = compared(place)
    place.versions.publish("wit", 1)
    asked = Ask("wit", "wit", study_id=place.study_id, further=True)
    first.ask_by(Gate())
    assert "is not known here" in retrain_markup.gate(place.retrainer().gate(asked))
    shutil.rmtree(first.path)
    found = place.retrainer().gate(asked)
    assert not found.is_asked_for
    assert "is not known here" in retrain_markup.gate(found)
    place.versions.roll_back("wit")
    assert place.retrainer().gate(asked).is_asked_for, "the preset's own was trained on no study's judgements"


def test_nothing_to_train_on_leaves_no_folder_behind(place: Place) -> None:
    with pytest.raises(InputError, match="left to train on"):
        place.retrainer().start(Ask("nobody judged this", "wit"))
    assert place.retrainer().all() == []
