"""The unit is where the curve crosses the target, found by bisection, and the real decoder agrees."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from models.assembly import load_engine
from models.presets import GuideSpec, Preset, Source
from models.training.calibrate import Point, calibrate, find_unit
from models.training.settings import CalibrationSettings
from steering.errors import SettingsError
from steering.types import Message, Role
from tests.models.oracle import Oracle, mixed_logprobs


@pytest.mark.parametrize("slope", [0.002, 0.4, 1.0, 17.0])
def test_the_unit_is_where_a_known_curve_crosses_the_target(slope: float) -> None:
    found = find_unit(lambda exponent: Point(exponent, slope * exponent**1.5, 0.0), 0.10)
    assert found.is_reached
    assert found.unit == pytest.approx((0.10 / slope) ** (2 / 3), rel=0.02)
    exponents = [point.exponent for point in found.curve]
    assert exponents == sorted(exponents)


def test_a_guide_that_hardly_moves_the_base_gets_the_largest_exponent_and_that_is_said() -> None:
    found = find_unit(lambda exponent: Point(exponent, 1e-9 * exponent, 0.0), 0.10)
    assert not found.is_reached
    assert found.unit == max(point.exponent for point in found.curve)


def test_the_curve_is_the_kl_of_the_mixture_at_what_the_decoder_wrote(tiny_folder: Callable[[str], Path]) -> None:
    root = tiny_folder("llama")
    spec = GuideSpec(Source(str(root / "lora-a")), dimension="wit", unit=1.0)
    engine = load_engine(Preset("tiny", Source(str(root / "base")), (spec,)), device="cpu", dtype="float32")
    prompts = [[Message(Role.USER, text)] for text in ("the cat", "a dog ran", "to the door")]
    settings = CalibrationSettings(target_nats=0.05, n_prompts=3, n_tokens=12)
    try:
        found = calibrate(engine, prompts, settings)
        again = calibrate(engine, prompts, settings)
        ids = [engine.prompt_token_ids(prompt) for prompt in prompts]
        size = engine.base.vocabulary_size
    finally:
        engine.close()
    # the same seeds make the same answers; how many are decoded together changes the last bits
    assert [point.exponent for point in again.curve] == [point.exponent for point in found.curve]
    assert [point.kl for point in again.curve] == pytest.approx([point.kl for point in found.curve], rel=1e-3)
    assert found.is_reached
    (point,) = [point for point in found.curve if point.exponent == found.unit]
    assert point.kl == pytest.approx(0.05, rel=0.25)
    # the mixture's KL at a point, in float64 along answers drawn from the mixture itself, many of them
    oracle = Oracle(root / "base", [root / "lora-a"])
    generator = torch.Generator().manual_seed(0)
    kls = []
    for prompt in ids:
        for _ in range(4):
            response: list[int] = []
            for _ in range(12):
                members = oracle.members([prompt, prompt], [*response, 0], size)[:, -1:]
                mixed = mixed_logprobs(members, [found.unit])[0]
                kls.append(float((mixed.exp() * (mixed - members[0, 0])).sum()))
                response.append(int(torch.multinomial(mixed.exp(), 1, generator=generator)))
                if response[-1] == 4:
                    break
    mean = sum(kls) / len(kls)
    spread = math.sqrt(sum((kl - mean) ** 2 for kl in kls)) / len(kls)
    assert abs(point.kl - mean) < 4 * math.hypot(spread, point.standard_error) + 0.01


@pytest.mark.parametrize("values", [{"target_nats": 0}, {"n_prompts": -1}, {"n_tokens": 0}])
def test_a_calibration_that_cannot_be_made_is_refused(values: dict[str, float]) -> None:
    with pytest.raises(SettingsError):
        CalibrationSettings(**values)
