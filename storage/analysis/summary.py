"""Everything the results page shows of a set of judgements, in one call."""

from dataclasses import dataclass

import numpy as np

from storage.analysis.agreement import Agreement, agreement
from storage.analysis.annotators import AnnotatorFigures, annotator_figures
from storage.analysis.columns import BOTH_BAD, CLEARLY, NONE, SKIP, SLIGHTLY, TIE, JudgementColumns
from storage.analysis.intervals import Missing
from storage.analysis.preference import Preference, fit_preference
from storage.analysis.ratings import (
    Influence,
    RatingPlan,
    Ratings,
    influence_of_annotators,
    rate_blends,
    rate_blends_at_equal_length,
)
from storage.analysis.wins import PairRate, WinRate, pair_rates, win_rates


@dataclass(frozen=True)
class Counts:
    """How many judgements there are, and of which kind; ``n_same_blend`` had one blend on both sides.

    Decided (won or tied), tied, both bad and skipped are of the judgements that are neither gold, nor repeated, nor of
    one blend. ``n_clear`` and ``n_slight`` of those won were said to be so.
    """

    n_judgements: int
    n_comparisons: int
    n_annotators: int
    n_gold: int
    n_repeats: int
    n_same_blend: int
    n_decided: int
    n_ties: int
    n_both_bad: int
    n_skips: int
    n_clear: int
    n_slight: int


@dataclass(frozen=True)
class DimensionResults:
    """What was found in one dimension; every figure is there or says what is missing."""

    dimension: str
    counts: Counts
    win_rates: tuple[WinRate, ...]
    pair_rates: tuple[PairRate, ...]
    ratings: Ratings | Missing
    ratings_at_equal_length: Ratings | Missing
    agreement: Agreement | Missing
    influence: tuple[Influence, ...] | Missing
    preference: Preference | Missing


@dataclass(frozen=True)
class Results:
    """What was found over all; ``together`` is the preference when the judgements of all dimensions count alike."""

    counts: Counts
    dimensions: tuple[DimensionResults, ...]
    annotators: tuple[AnnotatorFigures, ...]
    together: Preference | Missing


def summarise(columns: JudgementColumns, plan: RatingPlan | None = None) -> Results:
    """Every figure of every dimension."""
    plan = plan or RatingPlan()
    present = [columns.names.dimensions[code] for code in np.unique(columns.dimension)]
    return Results(
        counts=count(columns),
        dimensions=tuple(summarise_dimension(columns, dimension, plan) for dimension in sorted(present)),
        annotators=annotator_figures(columns, plan.level),
        together=fit_preference(columns, plan),
    )


def summarise_dimension(columns: JudgementColumns, dimension: str, plan: RatingPlan | None = None) -> DimensionResults:
    """Every figure of one dimension."""
    plan = plan or RatingPlan()
    own = columns.of_dimension(dimension)
    return DimensionResults(
        dimension=dimension,
        counts=count(own),
        win_rates=win_rates(own, plan.level),
        pair_rates=pair_rates(own, plan.level),
        ratings=rate_blends(own, plan),
        ratings_at_equal_length=rate_blends_at_equal_length(own, plan),
        agreement=agreement(own),
        influence=influence_of_annotators(own, plan),
        preference=fit_preference(own, plan),
    )


def count(columns: JudgementColumns) -> Counts:
    """How many judgements of which kind there are."""
    measured = columns.where(columns.is_measured)
    is_repeat = columns.repeat_of != NONE
    return Counts(
        n_judgements=len(columns),
        n_comparisons=len(np.unique(columns.comparison)),
        n_annotators=len(np.unique(columns.annotator)),
        n_gold=int(columns.is_gold.sum()),
        n_repeats=int((is_repeat & ~columns.is_gold).sum()),
        n_same_blend=int((~columns.is_gold & ~is_repeat & (columns.blend_a == columns.blend_b)).sum()),
        n_decided=int(measured.is_decided.sum()),
        n_ties=int((measured.outcome == TIE).sum()),
        n_both_bad=int((measured.outcome == BOTH_BAD).sum()),
        n_skips=int((measured.outcome == SKIP).sum()),
        n_clear=int(((measured.outcome < TIE) & (measured.strength == CLEARLY)).sum()),
        n_slight=int(((measured.outcome < TIE) & (measured.strength == SLIGHTLY)).sum()),
    )
