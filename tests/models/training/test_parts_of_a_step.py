"""A step of the unpaired loss is the mean over its responses, in however many parts it is computed."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from models.loading import Placement
from models.training.batches import Example, Layout, batch_logprobs, collate
from models.training.loss import LossKind, LossSettings
from models.training.processes import StopFlag
from models.training.run_folder import RunFolder
from models.training.settings import AdapterSettings, OptimiserSettings
from models.training.trainee import Trainee, load_trainee
from models.training.trainer import Lesson, make_trainer
from tests.models.training.conftest import some_examples

BETA = 0.3
STILL = OptimiserSettings(
    learning_rate=1e-12, batch_size=4, dtype="float32", patience=0, eval_share=1.0, max_grad_norm=1e9
)
"""Weights stay what they were, so that every step has the gradient of the first ones."""


def mixed(base: Path, n: int) -> list[Example]:
    """Pairs, good responses and bad ones, unevenly, of several weights."""
    pairs = some_examples(base, n, seed=3)
    kept = [(0, 1), (1,), (0, 1), (0,), (1,), (1,), (0, 1), (0,), (0, 1), (1,)]
    return [
        replace(
            pair,
            responses=tuple(pair.responses[which] for which in kept[index]),
            signs=tuple(pair.signs[which] for which in kept[index]),
            weight=(1.0, 0.5, 2.0)[index % 3],
        )
        for index, pair in enumerate(pairs)
    ]


class Gradients(TrainerCallback):
    """Notes the gradient of every step."""

    def __init__(self) -> None:
        self.found: list[torch.Tensor] = []

    def on_pre_optimizer_step(self, *_: Any, model: torch.nn.Module, **__: Any) -> None:
        self.found.append(gradient_of(model))


def gradient_of(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([weight.grad.flatten().clone() for weight in model.parameters() if weight.grad is not None])


def a_trainee(base: Path) -> Trainee:
    """With an adapter that is no longer nothing, or half of the gradients would be."""
    trainee = load_trainee(base, Placement(torch.device("cpu"), torch.float32, ""), AdapterSettings(rank=2))
    generator = torch.Generator().manual_seed(0)
    for name, weight in trainee.model.named_parameters():
        if "lora_B" in name:
            weight.data = 0.05 * torch.randn(weight.shape, generator=generator)
    return trainee


def gradients(base: Path, folder: Path, examples: Sequence[Example], n_at_a_time: int) -> list[torch.Tensor]:
    """The gradient of each step, so many examples at a time."""
    pairs = some_examples(base, 2)
    lesson = Lesson(examples, pairs, pairs, LossSettings(LossKind.UNPAIRED, BETA), Layout.TOGETHER)
    optimiser = replace(STILL, micro_batch_size=n_at_a_time)
    folder.mkdir()
    trainer = make_trainer(a_trainee(base), lesson, optimiser, RunFolder(folder), StopFlag())
    told = Gradients()
    trainer.add_callback(told)
    trainer.train()
    return told.found


def written_out(base: Path, examples: Sequence[Example]) -> list[torch.Tensor]:
    """The same, every response on its own, by the definition."""
    trainee = a_trainee(base)
    means: dict[float, float] = {}
    found = []
    for start in range(0, len(examples), STILL.batch_size):
        step = examples[start : start + STILL.batch_size]
        rewards = {1: [], -1: []}
        each_loss = []
        logprobs = [
            (batch_logprobs(trainee.model, trainee.head, collate([alone], Layout.APART, 5), Layout.APART)[0], alone)
            for example in step
            for response, sign in zip(example.responses, example.signs, strict=True)
            for alone in [replace(example, responses=(response,), signs=(sign,))]
        ]
        for logprob, alone in logprobs:
            rewards[alone.signs[0]].append(BETA * logprob.item())
        now = {sign: sum(values) / len(values) for sign, values in rewards.items()}
        means = means or now
        shift = sum(means.values()) / 2
        for logprob, alone in logprobs:
            each_loss.append(alone.weight * torch.log1p(torch.exp(-alone.signs[0] * (BETA * logprob - shift))))
        trainee.model.zero_grad()
        (sum(each_loss) / len(each_loss)).backward()
        found.append(gradient_of(trainee.model))
        means = {sign: 0.95 * means[sign] + 0.05 * now[sign] for sign in now}
    return found


@pytest.mark.parametrize("n", [8, 10], ids=["full", "the last is not full"])
def test_pairs_and_single_responses_count_alike_in_however_many_parts_a_step_is_computed(
    base: Path, tmp_path: Path, n: int
) -> None:
    """A part was divided by its own responses: a single one beside a pair counted less than one alone."""
    examples = mixed(base, n)
    expected = written_out(base, examples)
    assert len(expected) == -(-n // 4)
    for n_at_a_time in (1, 2, 4):
        found = gradients(base, tmp_path / str(n_at_a_time), examples, n_at_a_time)
        assert len(found) == len(expected)
        for gradient, right in zip(found, expected, strict=True):
            assert right.abs().max() > 1e-2
            # fp32 sums in another order differ by 1e-6 of it
            assert (gradient - right).norm() <= 5e-6 * right.norm()
