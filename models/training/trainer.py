"""transformers' Trainer with the losses of guides, its own evaluation, and progress that others can follow."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import SequentialSampler
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainerState, TrainingArguments
from transformers.trainer_callback import EarlyStoppingCallback, PrinterCallback, ProgressCallback

from models.training.batches import Batch, Example, Layout, batch_logprobs, collate
from models.training.evaluate import Scored, accuracy, mean_loss, score_pairs
from models.training.loss import (
    LossKind,
    LossSettings,
    RewardShift,
    pairwise_losses,
    unpaired_losses,
    weighted_mean,
)
from models.training.order import in_whole_steps
from models.training.processes import StopFlag, is_sharded, of_the_first
from models.training.run_folder import RunFolder
from models.training.settings import OptimiserSettings
from models.training.trainee import Trainee
from models.training.watch import Watch, best_of
from steering.errors import SettingsError

_SHIFT = "reward_shift.json"


@dataclass(frozen=True)
class Lesson:
    """What a trainee is trained and tested on: ``order`` has the training examples in the order of the steps.

    The best checkpoint is chosen on ``choosing``, so what it is worth is told by ``held_out``, which chose nothing.
    Where ``choosing`` is empty nothing is chosen, and the last weights are kept.
    """

    order: Sequence[Example]
    choosing: Sequence[Example]
    held_out: Sequence[Example]
    loss: LossSettings
    layout: Layout

    @property
    def watched(self) -> Sequence[Example]:
        """What is scored while it trains: what chooses, or else what reports."""
        return self.choosing or self.held_out


class GuideTrainer(Trainer):
    """Trains a trainee on a lesson; the loss is computed here, in fp32, and not by the model."""

    def __init__(self, trainee: Trainee, lesson: Lesson, args: TrainingArguments, callbacks: list[TrainerCallback]):
        batch_size = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
        self._is_unpaired = lesson.loss.kind is LossKind.UNPAIRED
        self._order = in_whole_steps(lesson.order, batch_size, lesson.layout, by_response=self._is_unpaired)
        super().__init__(
            model=trainee.model,
            args=args,
            data_collator=partial(collate, layout=lesson.layout, pad_token_id=trainee.pad_token_id),
            train_dataset=self._order,
            eval_dataset=lesson.watched,
            callbacks=callbacks,
        )
        self.trainee, self.lesson = trainee, lesson
        self.shift = RewardShift()
        # all parts of a step are equal in examples, by which their losses are divided: the Trainer averages them
        self.model_accepts_loss_kwargs = False
        self.remove_callback(PrinterCallback)
        self.remove_callback(ProgressCallback)

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        return SequentialSampler(self._order)

    def compute_loss(
        self, model: nn.Module, inputs: Batch, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Tensor:
        """Return the loss of a part of a step, which is a scalar; the mean over the parts is that of the step."""
        logprobs = batch_logprobs(model, self.trainee.head, inputs, self.lesson.layout)
        loss, signs, weights = self.lesson.loss, inputs["signs"], inputs["weights"]
        if not self._is_unpaired:
            return weighted_mean(pairwise_losses(logprobs[0::2], logprobs[1::2], loss), weights[0::2])
        shift = logprobs.new_tensor(self.shift.value)
        losses = unpaired_losses(logprobs, signs, shift, loss.beta) * weights
        self._hear(logprobs, inputs)
        if self.accelerator.sync_gradients:  # the last part of the step
            self.shift.follow(partial(self.accelerator.reduce, reduction="sum"))
        return losses.sum() / self.args.per_device_train_batch_size

    def _hear(self, logprobs: Tensor, inputs: Batch) -> None:
        counted = inputs["weights"] > 0  # what fills a step up does not
        self.shift.hear(self.lesson.loss.beta * logprobs[counted], inputs["signs"][counted])

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: torch.device) -> tuple[list[Any], Any]:
        """Return the parts of a step; before the first one their rewards say where the unpaired loss begins."""
        parts, n_items = super().get_batch_samples(epoch_iterator, num_batches, device)
        if self._is_unpaired and self.shift.is_new:
            with torch.no_grad(), self.compute_loss_context_manager():
                for part in map(self._prepare_inputs, parts):
                    self._hear(batch_logprobs(self._scoring, self.trainee.head, part, self.lesson.layout), part)
            self.shift.follow(partial(self.accelerator.reduce, reduction="sum"))
        return parts, n_items

    @property
    def kept_step(self) -> int | None:
        """The step whose weights are kept when the training is over: the best one's where one is chosen."""
        # transformers notes the best one even where it does not load it
        return self.state.best_global_step if self.args.load_best_model_at_end else self.state.global_step

    @property
    def _scoring(self) -> nn.Module:
        return self.model_wrapped if self.is_fsdp_enabled else self.trainee.model

    def score(self, pairs: Sequence[Example]) -> list[Scored]:
        """Score pairs with the model as it stands; in a distributed run every process scores all of them."""
        with self.compute_loss_context_manager():
            return score_pairs(
                self._scoring,
                self.trainee.head,
                pairs,
                self.lesson.layout,
                self.trainee.pad_token_id,
                2 * self.args.per_device_train_batch_size,
            )

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Return accuracy and loss on the held-out pairs that choose the checkpoint, or on all where none is chosen.

        They are those of the first process in all of them: where two GPUs differ in a last bit, one would stop early
        and the other wait for it in the next step.
        """
        scored = self.score(self.lesson.watched)
        found = accuracy(scored)
        loss = mean_loss(scored, self.lesson.loss.beta)
        metrics = of_the_first({"eval_accuracy": found["accuracy"], "eval_loss": loss})
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def begin_again(self, checkpoint: Path) -> bool:
        """Take over a checkpoint of a training that was over by then; False where there is something left to do."""
        state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
        is_over = state.global_step >= state.max_steps
        is_over |= state.stateful_callbacks["TrainerControl"]["args"]["should_training_stop"]  # stopped early
        if is_over:
            self.state = state
            best = best_of(state, checkpoint.parent) if self.args.load_best_model_at_end else None
            self._load_from_checkpoint(str(best or checkpoint))
        return bool(is_over)

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        if self.args.should_save:
            (Path(output_dir) / _SHIFT).write_text(json.dumps(self.shift.means))

    def _load_rng_state(self, checkpoint: str | None) -> None:
        super()._load_rng_state(checkpoint)
        file = Path(checkpoint or ".") / _SHIFT
        if checkpoint and file.exists():
            good, bad = json.loads(file.read_text())
            self.shift = RewardShift((good, bad))


def make_trainer(
    trainee: Trainee, lesson: Lesson, optimiser: OptimiserSettings, folder: RunFolder, stop: StopFlag
) -> GuideTrainer:
    """Return the trainer of a run, with what transformers and accelerate are told.

    Raises:
        SettingsError: the pairs of a step cannot be divided among the processes.
    """
    n_processes = int(os.environ.get("WORLD_SIZE", "1"))
    micro = optimiser.micro_batch_size or max(1, optimiser.batch_size // n_processes)
    if optimiser.batch_size % (micro * n_processes):
        raise SettingsError(
            f"batch_size {optimiser.batch_size} cannot be divided among {n_processes} processes, {micro} at a time.",
            hint="Make it a multiple.",
        )
    n_steps = -(-len(lesson.order) // optimiser.batch_size)
    eval_steps = max(1, round(optimiser.eval_share * n_steps))
    chooses = bool(optimiser.patience and lesson.choosing)
    device = trainee.inner.device
    # a model that will be sharded is loaded beside the GPUs it is sharded over
    on_cpu = device.type == "cpu" and not (is_sharded() and torch.cuda.is_available())
    args = TrainingArguments(
        output_dir=str(folder.checkpoints),
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=optimiser.batch_size // (micro * n_processes),
        num_train_epochs=1,  # the order of the lesson has all epochs in it
        learning_rate=optimiser.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=round(optimiser.warmup_share * n_steps),
        weight_decay=optimiser.weight_decay,
        max_grad_norm=optimiser.max_grad_norm,
        logging_steps=1,
        eval_strategy="steps",
        eval_steps=eval_steps,
        save_strategy="steps",
        save_steps=eval_steps,  # the best weights are those of a checkpoint
        save_total_limit=2,
        load_best_model_at_end=chooses,
        metric_for_best_model="eval_accuracy",
        greater_is_better=True,
        restore_callback_states_from_checkpoint=True,
        bf16=trainee.dtype == torch.bfloat16,
        use_cpu=on_cpu,
        dataloader_pin_memory=not on_cpu,
        remove_unused_columns=False,
        label_names=[],
        disable_tqdm=True,
        report_to="none",
        seed=optimiser.seed,
    )
    # the Trainer would copy the model to every GPU it sees; several GPUs are a matter of accelerate launch
    args._n_gpu = min(args.n_gpu, 1)
    if optimiser.gradient_checkpointing:
        _checkpoint_gradients(trainee.inner)
    watch = Watch(folder, stop)
    callbacks: list[TrainerCallback] = [watch]
    if chooses:
        callbacks.append(EarlyStoppingCallback(early_stopping_patience=optimiser.patience))
    return GuideTrainer(trainee, lesson, args, callbacks)


def _checkpoint_gradients(model: PreTrainedModel) -> None:
    # transformers has renamed it since 5.17, the oldest that is allowed, and says so at every call
    enable = getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)
    enable({"use_reentrant": False})
