"""What a study comes to before it is made, counted by hand; and the time it takes, on a clock that is told."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from models.answers import ComparisonRequest, Progress
from steering.errors import BlendError
from steering.types import SamplingSettings
from storage.records_pairs import NamedBlend
from tests.ui.fakes import ScriptedEngine, pieces_of
from tests.ui.test_commands_generating import a_plan
from ui.studying.sizing import PROBE_TOKENS, Size, seconds_to_write, size_of


def test_every_two_blends_of_each_prompt_are_asked_of_as_many_annotators_as_overlap() -> None:
    # 6 prompts, 3 blends, 3 pairs of them, 2 annotators, 1 question
    assert size_of(a_plan().settings) == Size(6, 18, 18, 36, 36)
    four = (*a_plan().settings.blends, NamedBlend("fourth", {"helpfulness": 1.0}))
    # 4 blends make 6 pairs; of 72 items asked 28 % are more than the regular ones: 72 / 0.72 = 100
    asked = size_of(a_plan(blends=four, gold_share=0.2, repeat_share=0.08).settings)
    assert asked == Size(6, 36, 24, 72, 100)


def test_of_ranges_two_blends_answer_each_prompt() -> None:
    settings = a_plan(blends=(), ranges={"helpfulness": (0.0, 3.0)}, overlap=3).settings
    assert size_of(settings) == Size(6, 6, 12, 18, 18)


class Clock:
    """Time passes only as the engine says."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Timed(ScriptedEngine):
    """Waits 50 s twice in line, then takes 3 s to the first token and ``per_token`` seconds to each other."""

    clock: Clock
    per_token: float

    def compare(self, request: ComparisonRequest, stop: object = None, owner: str = "") -> Iterator[Progress]:
        for report in super().compare(request, lambda: False, owner):
            self.clock.now += 50 if report.position else 3 if report.n_tokens == 1 else self.per_token
            yield report


@pytest.mark.parametrize(("per_token", "n_probed"), [(0.125, PROBE_TOKENS), (1.5, 3)])
def test_the_time_is_that_of_the_longest_answers_allowed_without_the_waiting(per_token: float, n_probed: int) -> None:
    engine = Timed(script=lambda request: [pieces_of("a " * 40) for _ in request.blends], positions=(2, 1))
    engine.clock, engine.per_token = Clock(), per_token
    settings = a_plan(sampling=SamplingSettings(max_new_tokens=200)).settings
    # six prompts, each 3 s to its first token and then the others
    assert seconds_to_write(engine, settings, "me", engine.clock) == pytest.approx(6 * (3 + 200 * per_token))
    assert engine.closed == 1, "no more is written than is needed to know"
    assert engine.clock.now == pytest.approx(100 + 2 * 50 + 3 + (n_probed - 1) * per_token)


def test_a_blend_no_guide_was_trained_for_is_refused_before_anything_is_made() -> None:
    engine = replace(ScriptedEngine(), error=BlendError("No guide for 'wit'."))
    with pytest.raises(BlendError, match="wit"):
        seconds_to_write(engine, a_plan().settings, "me")
