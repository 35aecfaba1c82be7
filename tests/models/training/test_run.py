"""A whole run: what it leaves behind, what its card says, and what can be trained how."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.assembly import load_engine
from models.engine import Engine
from models.files import LOCK
from models.guides import hash_files, read_card
from models.options import EngineOptions
from models.presets import GuideSpec, Preset, Source
from models.training.data import DataSettings
from models.training.loss import LossKind, LossSettings
from models.training.rows import read_rows
from models.training.run import train
from models.training.run_folder import read_progress
from models.training.settings import AdapterSettings, CalibrationSettings, TrainSettings
from tests.models.training.conftest import SHORT, some_rows, some_settings, write_rows
from tests.models.training.running import pair_lines, weights


@pytest.fixture(scope="module")
def finished(base: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainSettings:
    """A run that has made its guide; its prompts are split by another seed than those of the other tests."""
    settings = replace(
        some_settings(base, tmp_path_factory.mktemp("finished")),
        licence="Apache-2.0",
        choice=DataSettings(held_out_share=0.3, seed=1),
        optimiser=SHORT,
    )
    train(settings, "python -m models.training.train …")
    return settings


@pytest.fixture
def quick(settings: TrainSettings) -> TrainSettings:
    """A run of a few steps that is not calibrated."""
    return replace(settings, optimiser=SHORT, calibration=CalibrationSettings(n_prompts=0))


def test_a_finished_run_has_a_guide_with_its_card_and_nothing_else_lying_about(finished: TrainSettings) -> None:
    guide = finished.out / "guide"
    card = read_card(guide)
    assert (card.id, card.dimension, card.version, card.base_id) == ("tiny-cats-v1", "cats", 1, "tiny")
    assert card.hash == hash_files(guide)
    assert card.command == "python -m models.training.train …"
    assert card.versions["torch"] == torch.__version__.split("+")[0] or card.versions["torch"] == torch.__version__
    assert card.licence == "Apache-2.0"
    assert card.parent_version is None
    assert sorted(path.name for path in finished.out.iterdir()) == [LOCK, "guide", "progress.jsonl", "settings.json"]
    events = [event["event"] for event in read_progress(finished.out)]
    assert events[:3] == ["started", "data", "before"]
    assert events[-1] == "finished"
    assert str(finished.out) not in (guide / "adapter_config.json").read_text()
    targets = json.loads((guide / "adapter_config.json").read_text())["target_modules"]
    assert targets == sorted(targets)  # as a set they had another order in every process, and the card another hash
    assert len(targets) > 1


def test_every_pair_was_trained_on_or_tested_on_and_the_card_has_the_figures_of_the_latter(
    finished: TrainSettings,
) -> None:
    guide = finished.out / "guide"
    card, lines = read_card(guide), pair_lines(guide)
    halves = {half: {line["id"] for line in lines if line["half"] == half} for half in ("train", "held_out")}
    assert halves["train"] == set(card.data_ids)
    assert not halves["train"] & halves["held_out"]
    assert len(lines) == 60
    measured = card.metrics
    assert measured["n_pairs"] == len(halves["held_out"])
    assert measured["low"] < measured["accuracy"] < measured["high"] or measured["accuracy"] in (0.0, 1.0)
    assert set(measured["by_source"]) == {"s0", "s1"}
    assert sum(each["n_pairs"] for each in measured["by_length"].values()) == measured["n_pairs"]


def test_the_engine_loads_a_finished_guide_with_its_unit(finished: TrainSettings) -> None:
    guide = finished.out / "guide"
    preset = Preset("tiny", Source(finished.base), (GuideSpec(Source(str(guide))),))
    engine = load_engine(preset, device="cpu", dtype="float32", options=EngineOptions(in_background=False))
    assert engine.guides[0].unit == read_card(guide).unit


@pytest.mark.parametrize(("n_tokens", "n_prompts"), [(112, 2), (128, 0)])
def test_the_unit_is_measured_on_prompts_that_leave_room_and_is_one_where_none_does(
    settings: TrainSettings, caplog: pytest.LogCaptureFixture, n_tokens: int, n_prompts: int
) -> None:
    """The base reads 128 tokens; a few of the prompts are made too long for 112 more."""
    rows = some_rows(60)
    for row in rows[:30:2]:
        row["prompt"] = [{"role": "user", "content": row["prompt"][0]["content"] + " the" * 16}]
    write_rows(settings.data[0], rows)
    calibration = CalibrationSettings(n_prompts=2, n_tokens=n_tokens)
    card = read_card(train(replace(settings, optimiser=SHORT, calibration=calibration), ""))
    assert card.metrics["calibration"]["n_prompts"] == n_prompts
    if not n_prompts:
        assert card.unit == 1.0
        assert card.metrics["calibration"]["note"] in caplog.text


def test_the_unit_is_measured_in_the_runs_precision_and_in_a_part_of_the_memory_that_is_left(
    settings: TrainSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def load(preset: Preset, *, dtype: str = "auto", options: EngineOptions = EngineOptions()) -> Engine:  # noqa: B008
        made.append((load_engine(preset, dtype=dtype, options=options), options))
        return made[-1][0]

    monkeypatch.setattr("models.training.run.load_engine", load)
    steps = replace(SHORT, epochs=0.1)
    train(replace(settings, optimiser=replace(steps, dtype="bfloat16")), "")
    train(replace(settings, out=settings.out.with_name("other"), optimiser=steps), "")
    assert [engine.base.dtype for engine, _ in made] == ["bfloat16", "float32"]
    assert all(options.memory_fraction <= 0.2 and options.max_slots <= 24 for _, options in made)


def test_the_checkpoint_is_chosen_on_other_prompts_than_the_card_reports_on(quick: TrainSettings) -> None:
    guide = train(replace(quick, optimiser=replace(SHORT, patience=1)), "")
    found, lines = read_card(guide).metrics, pair_lines(guide)
    choosing, reporting = ({each["id"] for each in lines if each["half"] == h} for h in ("choosing", "held_out"))
    assert choosing
    assert (found["n_choosing"], found["n_pairs"]) == (len(choosing), len(reporting))
    (told,) = (e for e in read_progress(quick.out) if e["event"] == "before")
    assert told["n_pairs"] == len(reporting)
    prompts = {each.id: each.prompt_key for each in read_rows(quick.data, "cats").train}
    assert not {prompts[id] for id in choosing} & {prompts[id] for id in reporting}


def test_a_guide_is_trained_further_with_its_earlier_data(
    finished: TrainSettings, quick: TrainSettings, tmp_path: Path
) -> None:
    parent = finished.out / "guide"
    more = write_rows(tmp_path / "more.jsonl", some_rows(40, seed=5))
    child = train(replace(quick, data=(more,), out=tmp_path / "child", parent=parent, replay=finished.data), "")
    card, before = read_card(child), read_card(parent)
    assert (card.version, card.parent_version, card.parent_hash) == (2, 1, before.hash)
    assert card.metrics["data"]["n_replayed"] > 0
    with_both = (*finished.data, more)
    other = train(replace(quick, data=with_both, out=tmp_path / "other", parent=child), "")
    tested = {line["id"] for line in pair_lines(other) if line["half"] == "held_out"}
    assert not tested & {*before.data_ids, *card.data_ids}
    assert read_card(other).metrics["data"]["n_seen_by_parent"] > 0
    old = weights(parent)
    assert any(not torch.equal(old[name], weight) for name, weight in weights(child).items())


def test_a_small_model_is_trained_as_a_whole_and_saved_with_its_tokenizer(quick: TrainSettings) -> None:
    whole = replace(quick, adapter=AdapterSettings(rank=0), optimiser=replace(SHORT, gradient_checkpointing=True))
    guide = train(whole, "")
    assert (guide / "tokenizer.json").exists()
    preset = Preset("tiny", Source(quick.base), (GuideSpec(Source(str(guide))),))
    engine = load_engine(preset, device="cpu", dtype="float32", options=EngineOptions(in_background=False))
    assert engine.guides[0].kind == "model"


def test_single_responses_are_trained_on_with_the_unpaired_loss(quick: TrainSettings, tmp_path: Path) -> None:
    rows = some_rows(40)
    singles = [
        {"prompt": row["prompt"], "completion": row[side], "label": side == "chosen"}
        for row in rows[:10]
        for side in ("chosen", "rejected")
    ]
    data = (write_rows(tmp_path / "pairs.jsonl", rows[10:]), write_rows(tmp_path / "singles.jsonl", singles))
    unpaired = replace(quick, data=data, loss=LossSettings(LossKind.UNPAIRED), optimiser=SHORT)
    card = read_card(train(unpaired, ""))
    assert card.n_pairs > 20
