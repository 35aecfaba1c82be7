"""A run that is killed, cancelled or finished: it goes on to the same guide, or it is refused and left as it is."""

import signal
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from models.files import LOCK
from models.guides import hash_files, read_card
from models.training.loss import LossSettings
from models.training.processes import Cancelled, StopFlag
from models.training.run import train
from models.training.run_folder import COMPLETE, RunFolder, read_progress
from models.training.settings import CalibrationSettings, TrainSettings
from steering.errors import SettingsError
from tests.models.training.conftest import SHORT, some_rows, some_settings, write_rows
from tests.models.training.running import command, run_aside, weights


@pytest.fixture(scope="module")
def calm(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The guide of a run that nothing happened to."""
    return train(some_settings(base, tmp_path_factory.mktemp("calm")), "calm")


@pytest.mark.timeout(600)  # eleven processes, each of which reads its model
def test_a_run_killed_ten_times_ends_in_the_very_weights_of_one_that_was_not(
    settings: TrainSettings, calm: Path
) -> None:
    early, late = ("step 2", "step 5", "step 8", "saving 12", "step 14"), ("step 17", "saving 18", "step 20")
    for number, moment in enumerate((*early, *late, "stage evaluating", "stage calibrating")):
        codes = run_aside(command(settings, *["--resume"] * (number > 0)), moment, signal.SIGKILL)
        assert codes == [-signal.SIGKILL], moment
        assert not (settings.out / "guide").exists()
    found, expected = weights(train(settings, "resumed", resume=True)), weights(calm)
    steps = [event["step"] for event in read_progress(settings.out) if event["event"] == "step"]
    # the two checkpoints that are kept are the best and the last: that of step 12 had made room for that of step 18
    taken = [(1, 2), (1, 5), (1, 8), (7, 12), (7, 14), (13, 17), (13, 18), (7, 20), (19, 23)]
    assert steps == [step for first, last in taken for step in range(first, last + 1)]
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    cards = [read_card(guide) for guide in (calm, settings.out / "guide")]
    assert cards[0].hash == cards[1].hash
    assert cards[0].unit == pytest.approx(cards[1].unit, rel=0.03)  # a last bit may turn a bisection
    assert cards[0].held_out_accuracy == cards[1].held_out_accuracy


@pytest.mark.parametrize("moment", ["step 20", "stage evaluating"])
def test_a_run_whose_folder_was_moved_goes_on_to_the_same_best_weights(settings: TrainSettings, moment: str) -> None:
    """The best checkpoint was looked for where the folder had been; learning so slowly, the first one is the best."""
    optimiser = replace(settings.optimiser, learning_rate=1e-9, patience=9)
    settings = replace(settings, optimiser=optimiser, calibration=replace(settings.calibration, n_prompts=0))
    more = ("--learning-rate", "1e-9", "--patience", "9")
    assert run_aside(command(settings, *more), moment) == [-signal.SIGKILL]
    moved, calm = (replace(settings, out=settings.out.parent / name / "run") for name in ("moved", "calm"))
    moved.out.parent.mkdir()
    settings.out.rename(moved.out)
    guides = [train(moved, "", resume=True), train(calm, "")]
    found, expected = map(weights, guides)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    steps = [read_card(guide).metrics["best_step"] for guide in guides]
    assert steps == [6, 6]


def test_sigterm_cancels_and_the_run_can_go_on(settings: TrainSettings, calm: Path) -> None:
    assert run_aside(command(settings), "step 8", signal.SIGTERM) == [143]
    assert read_progress(settings.out)[-1]["event"] == "cancelled"
    assert not (settings.out / "guide").exists()
    found, expected = weights(train(settings, "", resume=True)), weights(calm)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_cancel_before_the_first_step_is_a_cancel_too(settings: TrainSettings) -> None:
    with pytest.raises(Cancelled):
        train(settings, "", stop=StopFlag(is_set=True))


def test_a_checkpoint_that_a_kill_left_half_written_is_not_gone_on_with(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for step, is_complete in ((5, True), (20, True), (100, False)):
        checkpoint = folder.checkpoints / f"checkpoint-{step}"
        checkpoint.mkdir(parents=True)
        if is_complete:
            (checkpoint / COMPLETE).touch()
    newest = folder.newest_checkpoint()
    assert newest is not None
    assert newest.name == "checkpoint-20"
    assert not (folder.checkpoints / "checkpoint-100").exists()


def test_a_guide_that_a_kill_left_untold_is_told_of_by_resume(settings: TrainSettings) -> None:
    """It was refused as finished, and nobody that watched the progress ever knew of it."""
    settings = replace(settings, optimiser=SHORT, calibration=CalibrationSettings(n_prompts=0))
    assert run_aside(command(settings), "guide in place") == [-signal.SIGKILL]
    guide = settings.out / "guide"
    *_, last = read_progress(settings.out)
    assert last["event"] != "finished"
    card = read_card(guide)
    assert card.hash == hash_files(guide)
    assert run_aside(command(settings)) == [2]
    assert run_aside(command(settings, "--resume")) == [0]
    events = read_progress(settings.out)
    assert [event["event"] for event in events].count("finished") == 1
    figures = {name: events[-1][name] for name in ("guide", "unit", "accuracy", "low", "high")}
    assert figures == {"guide": str(guide), "unit": card.unit} | {
        name: card.metrics[name] for name in ("accuracy", "low", "high")
    }
    assert read_card(guide) == card
    assert sorted(path.name for path in settings.out.iterdir()) == [LOCK, "guide", "progress.jsonl", "settings.json"]
    assert run_aside(command(settings, "--resume")) == [2]


@pytest.mark.parametrize("what", ["finished", "not_asked", "other_settings", "other_data", "no_run", "at_work"])
def test_a_folder_that_cannot_be_used_is_refused_and_left_as_it_is(settings: TrainSettings, what: str) -> None:
    """It said `failed` in the progress of another run, also of one whose guide was finished."""
    if what == "no_run":
        settings.out.mkdir()
        (settings.out / "mine.txt").write_text("mine")
    else:
        with pytest.raises(Cancelled):
            train(settings, "", stop=StopFlag(is_set=True))
    if what == "finished":
        (settings.out / "guide").mkdir()
    if what == "other_data":
        write_rows(settings.data[0], some_rows(61))
    if what == "other_settings":
        settings = replace(settings, loss=LossSettings(beta=0.2))
    before = {path.name: path.is_dir() or path.read_bytes() for path in settings.out.iterdir()}
    at_work = FileLock(settings.out / LOCK) if what == "at_work" else nullcontext()
    with pytest.raises(SettingsError) as caught, at_work:
        train(settings, "", resume=what not in ("not_asked", "no_run"))
    assert caught.value.hint
    assert {path.name: path.is_dir() or path.read_bytes() for path in settings.out.iterdir()} == before
