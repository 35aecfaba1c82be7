"""What follows a training as it goes: it tells the run's folder, marks whole checkpoints, and stops when asked to."""

import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from models.training.processes import StopFlag
from models.training.run_folder import COMPLETE, RunFolder


def best_of(state: TrainerState, checkpoints: Path) -> Path | None:
    """The best checkpoint so far, where it lies now: the path that was noted is of the folder as it was called then."""
    best = checkpoints / f"checkpoint-{state.best_global_step}"
    return best if best.is_dir() else None


class Watch(TrainerCallback):
    """Tells the run's folder how it goes, marks checkpoints that are whole, and ends the training when asked to."""

    def __init__(self, folder: RunFolder, stop: StopFlag) -> None:
        self._folder, self._stop = folder, stop
        self._began = time.monotonic()
        self._first_step: int | None = None

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """It begins, perhaps with the state that a checkpoint has."""
        best = best_of(state, Path(str(args.output_dir)))
        if best is not None:
            state.best_model_checkpoint = str(best)

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """A step is about to be taken, perhaps the first, or the first after a checkpoint."""
        if self._first_step is None:
            self._began, self._first_step = time.monotonic(), state.global_step

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """The Trainer reports the loss of a step, or what an evaluation found."""
        logs = logs or {}
        seconds = time.monotonic() - self._began
        n_done = state.global_step - (self._first_step or 0)
        shared = {"step": state.global_step, "n_steps": state.max_steps}
        if "eval_accuracy" in logs:
            self._folder.say(
                "held_out", **shared, held_out_accuracy=logs["eval_accuracy"], held_out_loss=logs["eval_loss"]
            )
        elif "loss" in logs:
            left = (state.max_steps - state.global_step) * seconds / n_done if n_done else None
            self._folder.say(
                "step",
                **shared,
                loss=logs["loss"],
                learning_rate=logs["learning_rate"],
                seconds=round(seconds, 2),
                seconds_left=None if left is None else round(left, 1),
            )

    def on_substep_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """A part of a step is done."""
        self._stop.check(args.device)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """A step is done; the last one's weights may be the best."""
        self._stop.check(args.device)
        if state.global_step >= state.max_steps:
            control.should_evaluate = True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """A checkpoint has been written: whatever stops now, it is whole."""
        if state.is_world_process_zero:
            (Path(str(args.output_dir)) / f"checkpoint-{state.global_step}" / COMPLETE).touch()
