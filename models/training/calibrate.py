"""The unit of a guide: the exponent at which it moves the base by a fixed mean KL per token, found with the decoder."""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from models.answers import Answer, ComparisonRequest
from models.engine import Engine
from models.options import EngineOptions
from models.training.settings import CalibrationSettings
from steering.types import Blend, Message, SamplingSettings

_SMALLEST, _LARGEST = 2.0**-10, 64.0
_MOST_STEPS = 14
_CLOSE = 0.01
_TOGETHER = 24

# the application may be answering on the same GPU
ENGINE_OPTIONS = EngineOptions(memory_fraction=0.2, max_slots=_TOGETHER)


@dataclass(frozen=True)
class Point:
    """Mean KL(mixed ‖ base) per token at an exponent, in nats, with its standard error over prompts."""

    exponent: float
    kl: float
    standard_error: float


@dataclass(frozen=True)
class Calibration:
    """The unit and the curve it was read from, by exponent; ``is_reached`` False: the guide never moves the base that
    far, and the unit is the exponent that came nearest."""

    unit: float
    curve: tuple[Point, ...]
    is_reached: bool


Measure = Callable[[float], Point]


def calibrate(
    engine: Engine,
    prompts: Sequence[Sequence[Message]],
    settings: CalibrationSettings,
    check: Callable[[], None] = lambda: None,
) -> Calibration:
    """Find the unit of the engine's only guide, whose own unit must be 1.

    Every exponent is measured on the same prompts with the same seeds at temperature 1, nothing cut off, so the curve
    is smooth enough to be bisected. ``check`` is called before every measurement and may raise to end it.

    Raises:
        TillerError: the engine cannot answer.
    """
    (guide,) = engine.guides
    sampling = [
        SamplingSettings(temperature=1.0, top_p=1.0, max_new_tokens=settings.n_tokens, seed=seed)
        for seed in range(len(prompts))
    ]

    def measure(exponent: float) -> Point:
        check()
        blend = Blend({guide.dimension: exponent})

        def answer(index: int) -> Answer:
            request = ComparisonRequest(tuple(prompts[index]), (blend,), sampling[index], score_unguided=False)
            *_, last = engine.compare(request)
            return last.answers()[0]

        with ThreadPoolExecutor(_TOGETHER) as pool:
            answers = [each for each in pool.map(answer, range(len(prompts))) if each.steps]
        return _point(exponent, answers)

    return find_unit(measure, settings.target_nats)


def find_unit(measure: Measure, target_nats: float) -> Calibration:
    """Find where the curve of ``measure`` crosses ``target_nats``, by doubling or halving and then by bisection.

    Ends where the curve is within 1 % of the target, after 14 measurements, or where exponents would leave 2⁻¹⁰ to 64.
    """
    points = [measure(0.25)]
    low, high = 0.0, math.inf
    while len(points) < _MOST_STEPS and abs(points[-1].kl - target_nats) > _CLOSE * target_nats:
        last = points[-1]
        if last.kl < target_nats:
            low = last.exponent
        else:
            high = last.exponent
        following = (low + high) / 2 if low and high < math.inf else low * 2 if low else high / 2
        if not _SMALLEST <= following <= _LARGEST:
            break
        points.append(measure(following))
    best = min(points, key=lambda point: abs(point.kl - target_nats))
    is_reached = any(point.kl >= target_nats for point in points)
    return Calibration(best.exponent, tuple(sorted(points, key=lambda point: point.exponent)), is_reached)


def _point(exponent: float, answers: Sequence[Answer]) -> Point:
    """The mean over all tokens; the standard error is over answers, whose tokens depend on one another."""
    kls = [(sum(step.kl for step in answer.steps), len(answer.steps)) for answer in answers]
    n_tokens = sum(n for _, n in kls)
    mean = sum(kl for kl, _ in kls) / n_tokens
    spread = math.sqrt(sum((kl - mean * n) ** 2 for kl, n in kls))
    return Point(exponent, mean, spread / n_tokens)
