"""Records that look like real ones, and a clock that tests can read."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count

from steering.types import Blend, Choice, FinishReason, Message, Role, SamplingSettings
from storage.records import (
    OVERALL,
    Comparison,
    ComparisonKind,
    Generation,
    GuideRecord,
    JudgementInput,
    new_id,
)

START = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)

GUIDES = (
    GuideRecord("demo/helpful", "helpfulness", 3, 0.1 + 0.2, "a" * 64),
    GuideRecord("demo/harmless", "harmlessness", None, 1.0, "b" * 64),
)


class Ticking:
    """A clock that is one second later each time it is read."""

    def __init__(self) -> None:
        self._seconds = count(1)

    def __call__(self) -> datetime:
        return START + timedelta(seconds=next(self._seconds))


def a_generation(**changes: object) -> Generation:
    """The guided answer of a short chat, with anything in it replaced."""
    generation = Generation(
        id=new_id(),
        messages=(Message(Role.SYSTEM, "Be brief."), Message(Role.USER, 'What is "1/3"?\n')),
        blend=Blend({"helpfulness": 2.0, "harmlessness": -0.1}),
        exponents={"helpfulness": 2 * (0.1 + 0.2), "harmlessness": -0.1},
        sampling=SamplingSettings(temperature=1 / 3, seed=2**63 - 1, plausibility=0.1),
        base_id="models/demo/base",
        base_revision="sha256:" + "c" * 64,
        guides=GUIDES,
        prompt_token_ids=(1, 50256, 7),
        token_ids=(0, 42, 2**31 - 1),
        text="0.333… 🙂",
        finish_reason=FinishReason.EOS,
        seconds=0.1 + 0.7,
        kl_per_token=1e-17,
        guide_rewards={"helpfulness": -1.0 / 3, "harmlessness": -float("inf")},
        created_at=START,
    )
    return replace(generation, **changes)  # type: ignore[arg-type]


def a_comparison(**changes: object) -> Comparison:
    """Unguided on the left, guided on the right."""
    left = a_generation(blend=Blend(), text="A third.", guide_rewards={}, kl_per_token=0.0)
    comparison = Comparison(new_id(), ComparisonKind.STEER, left, a_generation(), sides_known=True, created_at=START)
    return replace(comparison, **changes)  # type: ignore[arg-type]


def a_click(comparison_id: str, annotator_id: str, choice: Choice = Choice.LEFT, **changes: str) -> JudgementInput:
    """One click on "which is better?", with a fresh client key unless one is given."""
    click = JudgementInput(comparison_id, annotator_id, OVERALL, choice, client_key=new_id())
    return replace(click, **changes)  # type: ignore[arg-type]
