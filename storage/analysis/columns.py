"""Judgements as columns of numbers, so that 50,000 of them are counted in milliseconds."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.records import Strength
from storage.records_pairs import BlendIdentity, CanonicalSide, JudgedPair, NamedBlend, Outcome, blend_labels

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

OUTCOMES = tuple(Outcome)
CODE_OF = {outcome: code for code, outcome in enumerate(OUTCOMES)}
A, B, TIE, BOTH_BAD, SKIP = (CODE_OF[outcome] for outcome in Outcome)
NONE = -1
"""The code of something a judgement does not have: a gold answer, a comparison it repeats, a strength."""
STRENGTHS = tuple(Strength)
SLIGHTLY, CLEARLY = (STRENGTHS.index(strength) for strength in (Strength.SLIGHTLY, Strength.CLEARLY))
SLIGHT_SCORE = 0.75
"""What the winner scores of a slight preference where strength counts: halfway between a tie and a win."""


@dataclass(frozen=True)
class Names:
    """What the codes of the columns stand for. ``weights`` is (blends, axes): the weight of each blend on each axis.

    ``blends`` are as ``blend_labels`` calls them, no two alike. ``reliability`` (annotators,) is that of the pairs, NaN
    where it is not known.
    """

    comparisons: tuple[str, ...]
    annotators: tuple[str, ...]
    groups: tuple[str, ...]
    dimensions: tuple[str, ...]
    blends: tuple[str, ...]
    axes: tuple[str, ...]
    weights: Floats
    reliability: Floats


@dataclass(frozen=True)
class JudgementColumns:
    """One entry per judgement in every column, all (N,).

    ``outcome`` and ``gold`` index ``OUTCOMES``, ``strength`` ``STRENGTHS``; the other codes index ``names``.
    ``repeat_of`` is the code of a comparison. ``length`` is (n_a − n_b) / (n_a + n_b), from −1 to 1 and 0 where no
    length is known. ``seconds`` is when it was judged, since 1970.
    """

    names: Names
    comparison: Ints
    annotator: Ints
    dimension: Ints
    blend_a: Ints
    blend_b: Ints
    outcome: Ints
    strength: Ints
    gold: Ints
    is_gold: Bools
    repeat_of: Ints
    left_is_a: Bools
    length: Floats
    seconds: Floats

    def __len__(self) -> int:
        return len(self.outcome)

    def where(self, mask: Bools) -> "JudgementColumns":
        """The judgements at which ``mask`` (N,) is true, under the same codes."""
        chosen = {column.name: getattr(self, column.name)[mask] for column in fields(self) if column.name != "names"}
        return replace(self, **chosen)

    def of_dimension(self, dimension: str) -> "JudgementColumns":
        """The judgements of one dimension."""
        return self.where(self.dimension == self.names.dimensions.index(dimension))

    @property
    def is_measured(self) -> Bools:
        """Which judgements say something of the blends: no gold item, no repetition, two different blends.

        Gold items and repetitions measure the annotator; a repetition would count one opinion twice.
        """
        return np.asarray(~self.is_gold & (self.repeat_of == NONE) & (self.blend_a != self.blend_b))

    @property
    def is_decided(self) -> Bools:
        """Which judgements rank A and B: one of them is better, or they tie."""
        return self.outcome <= TIE

    @property
    def score_a(self) -> Floats:
        """1 where A won, 0 where B won, one half elsewhere."""
        return np.array([1.0, 0.0, 0.5, 0.5, 0.5])[self.outcome]

    @property
    def graded_score_a(self) -> Floats:
        """``score_a``, but a slight preference is ``SLIGHT_SCORE`` for the winner; one without strength is clear."""
        slight = (self.strength == SLIGHTLY) & (self.outcome < TIE)
        return np.where(slight, 0.5 + (self.score_a - 0.5) * (2 * SLIGHT_SCORE - 1), self.score_a)


def columns_of(pairs: Iterable[JudgedPair]) -> JudgementColumns:
    """The judgements as columns; ``pairs`` is read once and not kept."""
    codes = _Codes()
    rows = [codes.row(pair) for pair in pairs]
    width = len(fields(JudgementColumns)) - 1
    table: NDArray[Any] = np.array(rows, dtype=np.float64).reshape(len(rows), width)
    names = [column.name for column in fields(JudgementColumns) if column.name != "names"]
    kinds = {"is_gold": np.bool_, "left_is_a": np.bool_, "length": np.float64, "seconds": np.float64}
    columns: dict[str, Any] = {
        name: table[:, place].astype(kinds.get(name, np.int64)) for place, name in enumerate(names)
    }
    return JudgementColumns(names=codes.names(), **columns)


class _Codes:
    """Numbers for names, given out in the order of appearance."""

    def __init__(self) -> None:
        self.comparisons: dict[str, int] = {}
        self.annotators: dict[str, int] = {}
        self.groups: list[str] = []
        self.reliability: list[float] = []
        self.dimensions: dict[str, int] = {}
        self.blends: dict[BlendIdentity, int] = {}
        self.named_blends: list[NamedBlend] = []

    def row(self, pair: JudgedPair) -> tuple[float, ...]:
        """The entries of one judgement, in the order of the columns."""
        known = pair.n_tokens_a + pair.n_tokens_b
        return (
            self.comparisons.setdefault(pair.comparison_id, len(self.comparisons)),
            self._annotator(pair),
            self.dimensions.setdefault(pair.dimension, len(self.dimensions)),
            self._blend(pair.blend_a),
            self._blend(pair.blend_b),
            CODE_OF[pair.outcome],
            NONE if pair.strength is None else STRENGTHS.index(pair.strength),
            NONE if pair.gold_answer is None else CODE_OF[pair.gold_answer],
            pair.is_gold,
            NONE if pair.repeat_of is None else self.comparisons.setdefault(pair.repeat_of, len(self.comparisons)),
            pair.shown_left is CanonicalSide.A,
            (pair.n_tokens_a - pair.n_tokens_b) / known if known else 0.0,
            pair.judged_at.timestamp(),
        )

    def _annotator(self, pair: JudgedPair) -> int:
        code = self.annotators.setdefault(pair.annotator_id, len(self.annotators))
        if code == len(self.groups):
            self.groups.append(pair.group)
            self.reliability.append(math.nan if pair.reliability is None else pair.reliability)
        return code

    def _blend(self, blend: NamedBlend) -> int:
        code = self.blends.setdefault(blend.identity, len(self.blends))
        if code == len(self.named_blends):
            self.named_blends.append(blend)
        return code

    def names(self) -> Names:
        """What the codes given out stand for."""
        axes = tuple(sorted({axis for blend in self.named_blends for axis in blend.weights}))
        weights = [[blend.weights.get(axis, 0.0) for axis in axes] for blend in self.named_blends]
        labels = blend_labels(self.named_blends)
        return Names(
            comparisons=tuple(self.comparisons),
            annotators=tuple(self.annotators),
            groups=tuple(self.groups),
            dimensions=tuple(self.dimensions),
            blends=tuple(labels[identity] for identity in self.blends),
            axes=axes,
            weights=np.array(weights, dtype=np.float64).reshape(len(self.named_blends), len(axes)),
            reliability=np.array(self.reliability, dtype=np.float64),
        )
