"""Ratings of the blends with intervals, with and without length, and who moves them most."""

from dataclasses import dataclass

import numpy as np

from storage.analysis.bradley_terry import Cells, cells_of, fit_many, fit_ratings, n_groups
from storage.analysis.columns import TIE, Floats, JudgementColumns
from storage.analysis.intervals import DEFAULT_LEVEL, Estimate, Lack, Missing, check_level, percentiles
from storage.analysis.resampling import Observations, Resampler

MAX_RATED_BLENDS = 40
DEFAULT_DRAWS = 200


@dataclass(frozen=True)
class BlendRating:
    """A blend's rating in log-odds (the mean of all is 0), and the share of draws in which it is the best."""

    blend: str
    rating: Estimate
    best: float


@dataclass(frozen=True)
class Ratings:
    """The ratings of one dimension, the best first.

    ``never_lost`` and ``never_won`` name blends whose rating is only bounded by the prior on one side.
    ``twice_as_long`` is what a response twice as long as the other gains, in log-odds; None in a rating without length.
    """

    blends: tuple[BlendRating, ...]
    n_judgements: int
    n_ties: int
    never_lost: tuple[str, ...]
    never_won: tuple[str, ...]
    twice_as_long: Estimate | None = None


@dataclass(frozen=True)
class Influence:
    """What the ratings would be without one annotator.

    ``largest_shift`` is how far ``blend`` moves, in log-odds (ratings with minus without); ``n_swaps`` is how many
    pairs of blends change their order.
    """

    annotator_id: str
    n_judgements: int
    blend: str
    largest_shift: float
    n_swaps: int


@dataclass(frozen=True)
class RatingPlan:
    """How much to resample, and how; ``seed`` makes the intervals come out the same again.

    ``by_strength`` counts a slight preference as three quarters of a win instead of a whole one. The ratings then say
    by how much people prefer something and not only how many do; what they mean by slight is each one's own.

    Raises:
        InputError: ``level`` cannot be that of an interval.
    """

    level: float = DEFAULT_LEVEL
    n_draws: int = DEFAULT_DRAWS
    seed: int = 0
    by_strength: bool = False

    def __post_init__(self) -> None:
        check_level(self.level)
        assert self.n_draws >= 2


def rate_blends(columns: JudgementColumns, plan: RatingPlan | None = None) -> Ratings | Missing:
    """Bradley-Terry ratings from the judgements of one dimension; both-bad, skips, gold and repetitions left out."""
    return _rate(columns, plan or RatingPlan(), with_length=False)


def rate_blends_at_equal_length(columns: JudgementColumns, plan: RatingPlan | None = None) -> Ratings | Missing:
    """The same ratings as if both answers always had the same length.

    The normalised difference of lengths is a covariate, as in the style control of Chatbot Arena (Li, Angelopoulos
    and Chiang 2024, "Does style matter?").
    """
    return _rate(columns, plan or RatingPlan(), with_length=True)


def influence_of_annotators(
    columns: JudgementColumns, plan: RatingPlan | None = None
) -> tuple[Influence, ...] | Missing:
    """For every annotator the ratings of one dimension without that one, the one who moves them most first."""
    prepared = _prepared(columns, by_strength=plan is not None and plan.by_strength)
    if isinstance(prepared, Missing):
        return prepared
    decided, cells, observations = prepared
    annotators, place = np.unique(decided.annotator, return_inverse=True)
    if len(annotators) < 2:
        return Missing(Lack.ANNOTATORS, len(annotators), 2)
    whole = observations.counts()
    ratings = fit_ratings(cells, whole)
    found = []
    for code, annotator in enumerate(annotators):
        own = place == code
        without = fit_many(cells, (whole - observations.counts(own.astype(float)))[None], ratings, with_length=False)[0]
        shift = ratings - without
        moved = int(np.abs(shift).argmax())
        first, second = cells.pairs.T
        before, after = ratings[first] - ratings[second], without[first] - without[second]
        found.append(
            Influence(
                annotator_id=columns.names.annotators[annotator],
                n_judgements=int(own.sum()),
                blend=columns.names.blends[cells.blends[moved]],
                largest_shift=float(shift[moved]),
                n_swaps=int((before * after < 0).sum()),
            )
        )
    return tuple(sorted(found, key=lambda influence: -abs(influence.largest_shift)))


def _rate(columns: JudgementColumns, plan: RatingPlan, *, with_length: bool) -> Ratings | Missing:
    prepared = _prepared(columns, by_strength=plan.by_strength)
    if isinstance(prepared, Missing):
        return prepared
    decided, cells, observations = prepared
    if with_length and not np.ptp(cells.length[np.unique(observations.cell)]):
        return Missing(Lack.LENGTHS, 1, 2)
    whole, rng = observations.counts(), np.random.default_rng(plan.seed)
    point = fit_ratings(cells, whole)
    if with_length:
        point = fit_many(cells, whole[None], np.append(point, 0.0), with_length=True)[0]

    def fit(counts: Floats, redraw_prior: bool) -> Floats:
        return fit_many(cells, counts, point, with_length=with_length, rng=rng if redraw_prior else None)

    draws = Resampler(observations, fit, plan.n_draws, rng).two_way()
    return _ratings(columns, decided, cells, (point, draws), plan.level)


def _prepared(
    columns: JudgementColumns, *, by_strength: bool
) -> tuple[JudgementColumns, Cells, Observations] | Missing:
    """What can be rated: decided judgements of two blends or more, all linked by comparisons."""
    decided = columns.where(columns.is_measured & columns.is_decided)
    n_compared = len(np.unique(np.concatenate([columns.blend_a, columns.blend_b])))
    if n_compared == 1:
        return Missing(Lack.BLENDS, 1, 2)
    if not len(decided):
        return Missing(Lack.JUDGEMENTS, 0, 1)
    n_blends = len(np.unique(np.concatenate([decided.blend_a, decided.blend_b])))
    if n_blends > MAX_RATED_BLENDS:
        return Missing(Lack.TOO_MANY_BLENDS, n_blends, MAX_RATED_BLENDS)
    cells, observations = cells_of(decided, by_strength=by_strength)
    groups = n_groups(cells, observations.counts())
    return Missing(Lack.LINKS, groups, 1) if groups > 1 else (decided, cells, observations)


def _ratings(
    columns: JudgementColumns, decided: JudgementColumns, cells: Cells, found: tuple[Floats, Floats], level: float
) -> Ratings:
    point, draws = found
    n, names = len(cells.blends), [columns.names.blends[code] for code in cells.blends]
    best = np.bincount(draws[:, :n].argmax(axis=1), minlength=n) / len(draws)
    rated = [
        BlendRating(name, percentiles(float(point[place]), draws[:, place], level), float(best[place]))
        for place, name in enumerate(names)
    ]
    won, score = np.zeros(n), decided.score_a
    np.add.at(won, np.searchsorted(cells.blends, decided.blend_a), score)
    np.add.at(won, np.searchsorted(cells.blends, decided.blend_b), 1 - score)
    played = np.bincount(np.searchsorted(cells.blends, np.concatenate([decided.blend_a, decided.blend_b])), minlength=n)
    third = 1 / 3  # (2n − n) / (2n + n)
    return Ratings(
        blends=tuple(sorted(rated, key=lambda blend: -blend.rating.value)),
        n_judgements=len(decided),
        n_ties=int((decided.outcome == TIE).sum()),
        never_lost=tuple(name for name, wins, n_games in zip(names, won, played, strict=True) if wins == n_games),
        never_won=tuple(name for name, wins in zip(names, won, strict=True) if wins == 0),
        twice_as_long=percentiles(point[n] * third, draws[:, n] * third, level) if len(point) > n else None,
    )
