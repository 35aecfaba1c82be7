"""How far each annotator can be relied on, leans to one side of the screen, and how fast they are."""

from dataclasses import dataclass

import numpy as np

from storage.analysis.columns import NONE, SKIP, A, B, Bools, Ints, JudgementColumns
from storage.analysis.intervals import DEFAULT_LEVEL, Estimate, Lack, Missing, check_level, wilson

PAUSE_SECONDS = 600.0
"""Longer between two judgements is a pause, not work."""


@dataclass(frozen=True)
class AnnotatorFigures:
    """One annotator over all dimensions; every share is of the judgements the name says, with Wilson's interval.

    ``gold`` is the share of gold answers given right, ``consistency`` that of repeated items answered as before, both
    without skips. ``chose_left`` is the share of decided choices, gold items left out, that fell on the left side of
    the screen: without a bias 0.5. Of the repeated items with two different answers, ``n_left_twice`` and
    ``n_right_twice`` fell on the same side of the screen both times.
    ``judgements_per_hour`` and ``comparisons_per_hour`` leave out pauses.
    """

    annotator_id: str
    group: str
    n_judgements: int
    n_comparisons: int
    n_skips: int
    n_gold: int
    gold: Estimate | Missing
    n_repeats: int
    consistency: Estimate | Missing
    chose_left: Estimate | Missing
    n_left_twice: int
    n_right_twice: int
    active_seconds: float
    judgements_per_hour: float | Missing
    comparisons_per_hour: float | Missing


@dataclass(frozen=True)
class _Repeats:
    """Judgements of repetitions that can be held against the first answer, all (N,) with the annotator of each."""

    annotator: Ints
    same: Bools
    left_twice: Bools
    right_twice: Bools


def annotator_figures(columns: JudgementColumns, level: float = DEFAULT_LEVEL) -> tuple[AnnotatorFigures, ...]:
    """The figures of every annotator, those with the most judgements first.

    Raises:
        InputError: ``level`` cannot be that of an interval.
    """
    check_level(level)
    repeats = _repeats(columns)
    order = np.argsort(columns.annotator, kind="stable")
    codes, starts = np.unique(columns.annotator[order], return_index=True)
    found = []
    for code, places in zip(codes, np.split(order, starts[1:]) if len(codes) else [], strict=True):
        own = columns.where(np.isin(np.arange(len(columns)), places, assume_unique=True, kind="table"))
        found.append(_figures(own, int(code), repeats, level))
    return tuple(sorted(found, key=lambda figures: -figures.n_judgements))


def _figures(own: JudgementColumns, code: int, repeats: _Repeats, level: float) -> AnnotatorFigures:
    tested = own.where(own.is_gold & (own.gold != NONE) & (own.outcome != SKIP))
    repeated = repeats.annotator == code
    sided = own.where(~own.is_gold & ((own.outcome == A) | (own.outcome == B)))
    left = (sided.outcome == A) == sided.left_is_a
    n_comparisons = len(np.unique(own.comparison))
    n_judgements_paced, n_comparisons_paced, active_seconds = _pace(own)

    def share(hits: Bools, lack: Lack) -> Estimate | Missing:
        return wilson(float(hits.mean()), len(hits), level) if len(hits) else Missing(lack, 0, 1)

    def per_hour(n: int) -> float | Missing:
        return n * 3600 / active_seconds if active_seconds > 0 else Missing(Lack.TIME, 0, 1)

    return AnnotatorFigures(
        annotator_id=own.names.annotators[code],
        group=own.names.groups[code],
        n_judgements=len(own),
        n_comparisons=n_comparisons,
        n_skips=int((own.outcome == SKIP).sum()),
        n_gold=len(tested),
        gold=share(tested.outcome == tested.gold, Lack.GOLD),
        n_repeats=int(repeated.sum()),
        consistency=share(repeats.same[repeated], Lack.REPEATS),
        chose_left=share(left, Lack.JUDGEMENTS),
        n_left_twice=int(repeats.left_twice[repeated].sum()),
        n_right_twice=int(repeats.right_twice[repeated].sum()),
        active_seconds=active_seconds,
        judgements_per_hour=per_hour(n_judgements_paced),
        comparisons_per_hour=per_hour(n_comparisons_paced),
    )


def _pace(own: JudgementColumns) -> tuple[int, int, float]:
    """Judgements and comparisons that were reached without a pause, and the seconds they took together."""
    order = np.argsort(own.seconds, kind="stable")
    gaps = np.diff(own.seconds[order])
    worked = gaps <= PAUSE_SECONDS
    onward = np.diff(own.comparison[order]) != 0
    return int(worked.sum()), int((worked & onward).sum()), float(gaps[worked].sum())


def _repeats(columns: JudgementColumns) -> _Repeats:
    """Each repetition with the same annotator's answer to the first showing; those without one are left out."""
    n_dimensions = max(1, len(columns.names.dimensions))
    n_annotators = max(1, len(columns.names.annotators))

    def key(comparison: Ints) -> Ints:
        return (comparison * n_dimensions + columns.dimension) * n_annotators + columns.annotator

    given = np.flatnonzero(columns.outcome != SKIP)
    again = given[columns.repeat_of[given] != NONE]
    first_keys = key(columns.comparison)[given]
    order = np.argsort(first_keys, kind="stable")
    wanted = key(columns.repeat_of)[again]
    place = np.searchsorted(first_keys[order], wanted)
    known = place < len(given)
    known[known] = first_keys[order][place[known]] == wanted[known]
    again, first = again[known], given[order][place[known]]
    same = columns.outcome[again] == columns.outcome[first]
    side_again, side_first = _side(columns, again), _side(columns, first)
    stuck = ~same & (side_again == side_first)
    return _Repeats(
        annotator=columns.annotator[again],
        same=same,
        left_twice=stuck & (side_again == 1),
        right_twice=stuck & (side_again == -1),
    )


def _side(columns: JudgementColumns, places: Ints) -> Ints:
    """1 where the left of the screen was chosen, −1 the right, 0 neither."""
    outcome, left_is_a = columns.outcome[places], columns.left_is_a[places]
    chosen = np.where(outcome == A, 1, np.where(outcome == B, -1, 0))
    return np.asarray(np.where(left_is_a, chosen, -chosen), dtype=np.int64)
