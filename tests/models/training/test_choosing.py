"""Which held-out pairs choose a checkpoint, and what becomes of a run that has too few prompts to choose."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models.guides import read_card
from models.training.data import DataReport, DataSettings, Split
from models.training.rows import Preference
from models.training.run import train
from models.training.run_folder import read_progress
from models.training.settings import CalibrationSettings, OptimiserSettings, TrainSettings
from steering.types import Message, Role
from tests.models.training.conftest import some_rows, some_settings, write_rows

OPTIMISER = OptimiserSettings(learning_rate=1e-9, batch_size=4, epochs=2.0, eval_share=0.1, dtype="float32", patience=1)


def held_out(*prompts: str) -> Split:
    """Two held-out pairs of each prompt."""
    pairs = [
        Preference(f"{prompt}{n}", (Message(Role.USER, prompt),), "yes", f"no {n}") for prompt in prompts for n in "12"
    ]
    return Split([], [], pairs, DataReport())


@pytest.mark.parametrize(("n_prompts", "n_choosing"), [(1, 0), (2, 1), (3, 1), (8, 4)])
def test_a_prompt_chooses_or_reports_and_one_alone_reports(n_prompts: int, n_choosing: int) -> None:
    split = held_out(*"abcdefgh"[:n_prompts])
    choosing, reporting = split.halves(seed=3)
    assert len({each.prompt_key for each in choosing}) == n_choosing
    assert not {each.prompt_key for each in choosing} & {each.prompt_key for each in reporting}
    assert sorted(each.id for each in [*choosing, *reporting]) == sorted(each.id for each in split.held_out)


def run_of(base: Path, tmp_path: Path, n_prompts: int, **changes: Any) -> TrainSettings:
    """A run over an export with 24 rows to train on and six to test on, of so many prompts."""
    folder = tmp_path / "export"
    folder.mkdir()
    rows = some_rows(30)
    for index, row in enumerate(rows[24:]):
        row["prompt"] = [{"role": "user", "content": f"the door {index % n_prompts}"}]
    write_rows(folder / "train.jsonl", rows[:24])
    write_rows(folder / "test.jsonl", rows[24:])
    return replace(
        some_settings(base, tmp_path),
        data=(folder,),
        choice=DataSettings(),
        optimiser=replace(OPTIMISER, **changes),
        calibration=CalibrationSettings(n_prompts=0),
    )


@pytest.mark.parametrize("n_prompts", [1, 2])
def test_with_one_held_out_prompt_nothing_is_chosen_all_pairs_report_and_the_card_says_so(
    base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, n_prompts: int
) -> None:
    """Learning so slowly that no evaluation is better than the one before, a run that chooses ends early."""
    settings = run_of(base, tmp_path, n_prompts)
    guide = train(settings, "")
    found = read_card(guide).metrics
    halves = [json.loads(line)["half"] for line in (guide / "pairs.jsonl").read_text().splitlines()]
    n_choosing = halves.count("choosing")
    chooses = n_prompts > 1
    assert (found["n_choosing"], found["n_pairs"]) == (n_choosing, 6 - n_choosing)
    assert (n_choosing > 0) == chooses
    assert (found["n_steps"] < found["n_steps_planned"]) == chooses
    assert ("note" in found) != chooses
    assert ("Only one prompt is held out" in caplog.text) != chooses
    assert any(event["event"] == "held_out" for event in read_progress(settings.out))  # it is still watched


def test_a_run_that_was_told_to_choose_nothing_has_nothing_to_note(base: Path, tmp_path: Path) -> None:
    found = read_card(train(run_of(base, tmp_path, 1, patience=0, epochs=0.5), "")).metrics
    assert (found["n_choosing"], found["n_pairs"]) == (0, 6)
    assert "note" not in found


@pytest.mark.parametrize("patience", [0, 1])
def test_the_card_names_the_step_whose_weights_it_has(base: Path, tmp_path: Path, patience: int) -> None:
    """Where nothing chose it named the best one, though the weights were the last."""
    settings = run_of(base, tmp_path, 6, patience=patience, epochs=1.0)
    found = read_card(train(settings, "")).metrics
    told = [event for event in read_progress(settings.out) if event["event"] == "held_out"]
    best = max(told, key=lambda event: event["held_out_accuracy"])["step"]  # the first of the best
    assert best < found["n_steps"]
    assert found["best_step"] == (best if patience else found["n_steps"])
