"""Judged pairs made up for tests: single ones, and whole studies by annotators whose taste is known."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from random import Random

from steering.types import Message, Role
from storage.records import OVERALL
from storage.records_pairs import CanonicalSide, JudgedPair, NamedBlend, Outcome
from tests.storage.examples import START

UNGUIDED = NamedBlend.of({})
HELPFUL = NamedBlend.of({"helpfulness": 1.0})


def a_pair(number: int = 0, **changes: object) -> JudgedPair:
    """Somebody said that unguided (A) was better than helpful (B), ``number`` seconds after the start."""
    pair = JudgedPair(
        judgement_id=f"{number:032x}",
        comparison_id=f"{number:032x}",
        study_id="5" * 32,
        study="pilot",
        dimension=OVERALL,
        annotator_id="a" * 32,
        group="",
        blend_a=UNGUIDED,
        blend_b=HELPFUL,
        outcome=Outcome.A,
        strength=None,
        n_tokens_a=10,
        n_tokens_b=20,
        shown_left=CanonicalSide.A,
        judged_at=START + timedelta(seconds=number),
        is_gold=False,
        gold_answer=None,
        repeat_of=None,
        generation_a_id=f"{2 * number:032x}",
        generation_b_id=f"{2 * number + 1:032x}",
        messages=(Message(Role.USER, f"Question {number}?"),),
        response_a="No.",
        response_b="Yes, of course.",
    )
    return replace(pair, **changes)  # type: ignore[arg-type]


def pairs_of(outcomes: str, **changes: object) -> list[JudgedPair]:
    """One pair per letter, each of its own comparison: a, b, t(ie), n(either, both bad), s(kip)."""
    meanings = {"a": Outcome.A, "b": Outcome.B, "t": Outcome.TIE, "n": Outcome.BOTH_BAD, "s": Outcome.SKIP}
    return [a_pair(number, outcome=meanings[letter], **changes) for number, letter in enumerate(outcomes)]


@dataclass(frozen=True)
class World:
    """A study and its annotators: what they want, how they differ, and how often they decline to choose.

    ``utility`` is of a blend's weights, in log-odds. Every annotator adds to it a taste of their own for each blend
    (``taste``, standard deviation), every pair of answers its own luck (``luck``). ``length`` is what a response twice
    as long gains.
    """

    blends: Sequence[NamedBlend]
    utility: Callable[[dict[str, float]], float]
    n_comparisons: int = 120
    n_annotators: int = 8
    overlap: int = 2
    taste: float = 0.0
    luck: float = 0.0
    length: float = 0.0
    tie_share: float = 0.0

    def pairs(self, seed: int) -> list[JudgedPair]:
        """Every judgement of the study."""
        rng = Random(seed)
        tastes = [{blend.key: rng.gauss(0, self.taste) for blend in self.blends} for _ in range(self.n_annotators)]
        found = []
        for comparison in range(self.n_comparisons):
            a, b = rng.sample(list(self.blends), 2)
            n_a, n_b = rng.randint(20, 200), rng.randint(20, 200)
            common = self.utility(dict(a.weights)) - self.utility(dict(b.weights)) + rng.gauss(0, self.luck)
            common += 3 * self.length * (n_a - n_b) / (n_a + n_b)
            for annotator in rng.sample(range(self.n_annotators), self.overlap):
                odds = common + tastes[annotator][a.key] - tastes[annotator][b.key]
                won = rng.random() < 1 / (1 + math.exp(-odds))
                outcome = Outcome.TIE if rng.random() < self.tie_share else Outcome.A if won else Outcome.B
                found.append(
                    a_pair(
                        len(found),
                        comparison_id=f"{comparison:032x}",
                        annotator_id=f"{annotator:032x}",
                        blend_a=a,
                        blend_b=b,
                        outcome=outcome,
                        n_tokens_a=n_a,
                        n_tokens_b=n_b,
                        shown_left=rng.choice(list(CanonicalSide)),
                    )
                )
        return found


def plane(*levels: float) -> list[NamedBlend]:
    """Every blend of helpfulness and harmlessness with these weights."""
    return [NamedBlend.of({"helpfulness": x, "harmlessness": y}) for x in levels for y in levels]
