"""Recovery: from labels made by a known reward the guide finds it again, and steering by it is as good as theory says.

The world is that of benchmarks/letters.py.
"""

import math
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.letters import LETTERS, N_LETTERS, World, make_world
from models.answers import Answer, ComparisonRequest
from models.assembly import load_engine
from models.loading import Placement
from models.presets import GuideSpec, Preset, Source
from models.training.batches import Example, Layout
from models.training.data import DataSettings
from models.training.evaluate import score_pairs
from models.training.loss import LossSettings
from models.training.run import train
from models.training.settings import AdapterSettings, CalibrationSettings, OptimiserSettings, TrainSettings
from models.training.trainee import load_trainee
from steering.types import Blend, Message, Role, SamplingSettings
from tests.models.training.conftest import write_rows


@dataclass(frozen=True)
class Trained:
    """The world and a guide trained on labels made in it."""

    world: World
    guide: Path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("recovery")
    world = make_world(folder / "base", seed=0)
    pairs = world.pairs(1500, np.random.default_rng(0), noisy=True)
    rows = [{"prompt": f"{number}", "chosen": good, "rejected": bad} for number, (good, bad) in enumerate(pairs)]
    settings = TrainSettings(
        base=str(world.base),
        dimension="value",
        data=(write_rows(folder / "rows.jsonl", rows),),
        out=folder / "run",
        base_id="letters",
        choice=DataSettings(held_out_share=0.15),
        loss=LossSettings(beta=1.0),
        adapter=AdapterSettings(rank=4, lora_alpha=8),
        optimiser=OptimiserSettings(learning_rate=0.01, epochs=4.0, dtype="float32", patience=0, eval_share=1.0),
        calibration=CalibrationSettings(n_prompts=0),
    )
    return Trained(world, train(settings, ""))


def test_the_guides_reward_is_the_true_one_on_held_out_pairs(trained: Trained) -> None:
    world = trained.world
    placement = Placement(torch.device("cpu"), torch.float32, "")
    trainee = load_trainee(world.base, placement, AdapterSettings(), parent=trained.guide)
    draw = random.Random(9)
    letters = [tuple(draw.choices(range(len(LETTERS)), world.probs, k=N_LETTERS)) for _ in range(400)]
    answers = [(*(world.ids[letter] for letter in row), 3) for row in letters]
    pairs = [Example("", (0, 1, 2), (answers[at], answers[at + 1]), (1, -1)) for at in range(0, 400, 2)]
    scored = score_pairs(trainee.model, trainee.head, pairs, Layout.TOGETHER, 3, 50)
    truth = np.array([world.values[list(row)].sum() for row in letters])
    margins = np.array([pair.margin for pair in scored])
    assert np.corrcoef(margins, truth[0::2] - truth[1::2])[0, 1] >= 0.95
    rewards = np.array([value for pair in scored for value in (pair.chosen, pair.rejected)])
    assert np.corrcoef(rewards, truth)[0, 1] >= 0.95


Drawn = Callable[[float], tuple[np.ndarray, float]]


@pytest.fixture(scope="module")
def drawn(trained: Trained) -> Iterator[Drawn]:
    """The true values of 3,000 letters drawn at an exponent, and the mean KL per letter that the engine reports."""
    world = trained.world
    spec = GuideSpec(Source(str(trained.guide)), unit=1.0)
    preset = Preset("letters", Source(str(world.base), name="letters"), (spec,))
    engine = load_engine(preset, device="cpu", dtype="float32")

    @cache
    def draw(exponent: float) -> tuple[np.ndarray, float]:
        def answer(seed: int) -> Answer:
            sampling = SamplingSettings(1.0, top_p=1.0, max_new_tokens=50, seed=seed, stop_at_eos=False)
            blend, prompt = Blend({"value": exponent}), (Message(Role.USER, "0"),)
            *_, last = engine.compare(ComparisonRequest(prompt, (blend,), sampling, score_unguided=False))
            return last.answers()[0]

        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(answer, range(60)))
        tokens = [token for each in answers for token in each.token_ids]
        values = [world.values[world.ids.index(token)] for token in tokens if token in world.ids]
        return np.array(values), float(np.mean([step.kl for each in answers for step in each.steps]))

    yield draw
    engine.close()


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 2.0])
def test_steering_raises_the_true_reward_along_the_closed_form_optimum(
    trained: Trained, drawn: Drawn, exponent: float
) -> None:
    values, kl = drawn(exponent)
    expected_reward, expected_kl = trained.world.optimum(exponent)
    # four standard errors of the sample; from 1,275 noisy labels a letter's value is known to about a tenth, and the KL
    # is as the square of the values
    noise = 4 * float(values.std()) / math.sqrt(len(values))
    assert abs(values.mean() - expected_reward) <= noise + 0.1
    assert kl == pytest.approx(expected_kl, rel=0.3, abs=0.01)


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0])
def test_for_what_it_costs_in_kl_the_reward_is_nearly_the_highest_there_is(
    trained: Trained, drawn: Drawn, exponent: float
) -> None:
    values, kl = drawn(exponent)
    unguided, _ = trained.world.optimum(0.0)
    strength = min(np.linspace(0, 6, 6001), key=lambda each: abs(trained.world.optimum(each)[1] - kl))
    best, _ = trained.world.optimum(strength)
    noise = 4 * float(values.std()) / math.sqrt(len(values))
    assert values.mean() - unguided >= 0.93 * (best - unguided) - noise
    assert values.mean() <= best + noise, "no more than theory allows"
