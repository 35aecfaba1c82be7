"""The Bradley-Terry model: log-odds of blend i beating blend j = r_i − r_j, plus what a longer answer adds.

Bradley and Terry (1952), "Rank analysis of incomplete block designs", Biometrika 39, 324-345; a tie is half a win for
each. Every two blends are given half a tie in advance, divided among a blend's pairs (for two blends this is Jeffreys'
prior), so that a blend that never lost has a rating that can be drawn. Ratings sum to 0.
"""

from dataclasses import dataclass

import choix
import numpy as np
from numpy.typing import NDArray

from storage.analysis.columns import Floats, Ints, JudgementColumns
from storage.analysis.newton import maximise, probability
from storage.analysis.resampling import Observations

LENGTH_STEP = 0.05
"""Length differences are counted in classes this wide; the measure goes from −1 to 1."""
LENGTH_PRECISION = 1 / 9
"""Of the prior of the length's effect, whose standard deviation is 3: the longest against the shortest, odds of 20."""


@dataclass(frozen=True)
class Cells:
    """Where the judgements of one dimension are counted: every two blends, and the length difference in classes.

    ``blends`` (n,) are codes of the columns. ``pairs`` (P, 2) are places in ``blends``, the smaller first, all there
    are. ``pair`` (C,) ascends and ``length`` (C,) is from the side of a pair's first blend; ``starts`` (P,) is the
    first cell of each pair, and ``even`` (P,) its cell without a difference, where the prior counts.
    """

    blends: Ints
    pairs: Ints
    pair: Ints
    length: Floats
    starts: Ints
    even: Ints

    def without_length(self) -> "Cells":
        """One cell for every two blends."""
        places = np.arange(len(self.pairs), dtype=np.int64)
        return Cells(self.blends, self.pairs, places, np.zeros(len(places)), places, places)

    @property
    def prior(self) -> float:
        """Wins, and as many losses, that every pair is given in advance."""
        return 0.5 / (len(self.blends) - 1)


def cells_of(columns: JudgementColumns, *, by_strength: bool = False) -> tuple[Cells, Observations]:
    """The cells of decided judgements (of one dimension, two blends or more), and in which cell each one counts.

    With ``by_strength`` a slight preference counts less than a clear one.
    """
    blends = np.unique(np.concatenate([columns.blend_a, columns.blend_b]))
    a, b = np.searchsorted(blends, columns.blend_a), np.searchsorted(blends, columns.blend_b)
    swapped = a > b
    pairs = np.stack(np.triu_indices(len(blends), 1), axis=1).astype(np.int64)
    pair_at = np.zeros((len(blends), len(blends)), dtype=np.int64)
    pair_at[pairs[:, 0], pairs[:, 1]] = np.arange(len(pairs))
    pair = pair_at[np.minimum(a, b), np.maximum(a, b)]
    n_steps = round(1 / LENGTH_STEP)
    step = np.rint(np.where(swapped, -columns.length, columns.length) * n_steps).astype(np.int64)
    classes = 2 * n_steps + 1
    even_keys = np.arange(len(pairs)) * classes + n_steps
    own_keys = pair * classes + step + n_steps
    keys = np.unique(np.concatenate([even_keys, own_keys]))
    cells = Cells(
        blends=blends,
        pairs=pairs,
        pair=keys // classes,
        length=(keys % classes - n_steps) / n_steps,
        starts=np.searchsorted(keys // classes, np.arange(len(pairs))),
        even=np.searchsorted(keys, even_keys),
    )
    score_a = columns.graded_score_a if by_strength else columns.score_a
    score = np.where(swapped, 1 - score_a, score_a)
    place = np.searchsorted(keys, own_keys)
    return cells, Observations(place, score, columns.comparison, columns.annotator, len(keys))


def n_groups(cells: Cells, counts: Floats) -> int:
    """Into how many groups the blends fall of which none was compared with one of another; counts are (2, C)."""
    compared = np.add.reduceat(counts.sum(axis=0), cells.starts) > 0
    group = np.arange(len(cells.blends))
    for first, second in cells.pairs[compared]:
        group[group == group[second]] = group[first]
    return len(np.unique(group))


def fit_ratings(cells: Cells, counts: Floats) -> Floats:
    """The ratings (n,) of the blends from wins and losses of every cell (2, C), lengths left out; by choix."""
    wins, losses = np.add.reduceat(counts, cells.starts, axis=1) + cells.prior
    first, second = cells.pairs.T
    beaten = np.zeros((len(cells.blends), len(cells.blends)))
    beaten[first, second], beaten[second, first] = wins, losses
    found: NDArray[np.float64] = choix.ilsr_pairwise_dense(beaten, max_iter=100_000, tol=1e-10)
    return np.asarray(found - found.mean())


def fit_many(
    cells: Cells, counts: Floats, start: Floats, *, with_length: bool, rng: np.random.Generator | None = None
) -> Floats:
    """The ratings from many sets of counts (R, 2, C) at once: (R, n), or (R, n + 1) with the length's effect last.

    Without lengths the estimate is that of ``fit_ratings``. ``start`` (n,) or (n + 1,) is where to begin. With ``rng``
    the prior is drawn anew for every row, as the Bayesian bootstrap does with what it knows in advance.
    """
    used = cells if with_length else cells.without_length()
    wins, losses = (counts if with_length else np.add.reduceat(counts, cells.starts, axis=2)).transpose(1, 0, 2).copy()
    shape = (len(counts), len(cells.pairs))
    wins[:, used.even] += cells.prior if rng is None else rng.standard_gamma(cells.prior, shape)
    losses[:, used.even] += cells.prior if rng is None else rng.standard_gamma(cells.prior, shape)
    n, (first, second) = len(cells.blends), cells.pairs.T
    length_prior = np.zeros(len(counts)) if rng is None else rng.normal(0.0, LENGTH_PRECISION**-0.5, len(counts))
    incidence = np.zeros((len(cells.pairs), n))
    incidence[np.arange(len(cells.pairs)), first], incidence[np.arange(len(cells.pairs)), second] = 1.0, -1.0

    def terms(values: Floats) -> tuple[Floats, Floats]:
        log_odds = (values[:, first] - values[:, second])[:, used.pair]
        if with_length:
            log_odds = log_odds + values[:, n:] * used.length
        won = probability(log_odds)
        residual = wins * (1 - won) - losses * won
        weight = (wins + losses) * won * (1 - won)
        by_pair = np.add.reduceat(weight, used.starts, axis=1)
        curvature = np.full((len(values), values.shape[1], values.shape[1]), 0.0)
        curvature[:, first, second] = curvature[:, second, first] = -by_pair
        diagonal = np.arange(n)
        curvature[:, diagonal, diagonal] = by_pair @ np.abs(incidence)
        # The ratings are free up to a common shift; this fixes it without changing any difference.
        curvature[:, :n, :n] += 1.0 / n
        slope = np.zeros_like(values)
        slope[:, :n] = np.add.reduceat(residual, used.starts, axis=1) @ incidence
        if with_length:
            cross = np.add.reduceat(weight * used.length, used.starts, axis=1) @ incidence
            curvature[:, :n, n] = curvature[:, n, :n] = cross
            curvature[:, n, n] = (weight * used.length**2).sum(axis=1) + LENGTH_PRECISION
            slope[:, n] = (residual * used.length).sum(axis=1) - LENGTH_PRECISION * (values[:, n] - length_prior)
        return slope, curvature

    found = maximise(terms, np.tile(start, (len(counts), 1)), tolerance=1e-6 if len(counts) > 1 else 1e-10)
    found[:, :n] -= found[:, :n].mean(axis=1, keepdims=True)
    return found
