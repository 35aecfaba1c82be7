"""What people want: a utility over the weights, and the blend at which it is greatest.

P(A is better than B) = σ(u(w_A) − u(w_B)), where u is quadratic in the weights (linear where too few weights were
tried), a tie counting half: the Bradley-Terry model with the blends' weights as covariates. The coefficients have a
normal prior and are found by maximising the posterior; their uncertainty is from the bootstrap over comparisons and
annotators, with the prior's mean drawn anew each time, so that it does not vanish where the data say nothing.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from storage.analysis.columns import Floats, Ints, JudgementColumns
from storage.analysis.intervals import Estimate, Lack, Missing, percentiles
from storage.analysis.newton import maximise, probability
from storage.analysis.ratings import RatingPlan
from storage.analysis.resampling import Observations, Resampler

PRIOR_SD = 3.0
"""Of every coefficient, with the weights scaled so that those tried go from −1 to 1."""
MAX_AXES = 6


class UtilityForm(StrEnum):
    """How the utility depends on the weights."""

    LINEAR = "linear"
    QUADRATIC = "quadratic"


@dataclass(frozen=True)
class Preference:
    """The utility of one dimension over the weights that were tried.

    ``axes`` name the weights and ``low`` and ``high`` (G,) say how far each was tried. ``preferred`` is the best blend
    within that, each weight with its interval; ``at_edge`` names the weights that are at the end of what was tried,
    where the best may lie beyond. ``gain`` is its utility over the unguided blend's, in log-odds. ``coefficients`` (P,)
    and ``draws`` (R, P) are of the scaled features; ``optima`` (R, G) is the best blend of every draw.
    """

    axes: tuple[str, ...]
    low: Floats
    high: Floats
    form: UtilityForm
    n_judgements: int
    preferred: dict[str, Estimate]
    at_edge: tuple[str, ...]
    gain: Estimate
    coefficients: Floats
    draws: Floats
    optima: Floats

    def utility(self, weights: Floats) -> tuple[Floats, Floats]:
        """The utility over the unguided blend's at ``weights`` (K, G), and its standard deviation: (K,) each, log-odds.

        Between ``low`` and ``high`` only: outside, it is the curve that goes on and not the people.
        """
        features = self._over_unguided(weights)
        return features @ self.coefficients, (features @ self.draws.T).std(axis=1)

    def grid(self, x: str, y: str, n: int = 41) -> tuple[Floats, Floats, Floats, Floats]:
        """The utility for drawing: values of x (n,), of y (n,), utility and its deviation (n, n), rows being y.

        Other weights are those of the preferred blend.
        """
        place_x, place_y = self.axes.index(x), self.axes.index(y)
        along_x = np.linspace(self.low[place_x], self.high[place_x], n)
        along_y = np.linspace(self.low[place_y], self.high[place_y], n)
        points = np.tile([self.preferred[axis].value for axis in self.axes], (n * n, 1))
        points[:, place_x], points[:, place_y] = np.tile(along_x, n), np.repeat(along_y, n)
        utility, deviation = self.utility(points)
        return along_x, along_y, utility.reshape(n, n), deviation.reshape(n, n)

    def _over_unguided(self, weights: Floats) -> Floats:
        scaled = _scaled(np.vstack([weights, np.zeros(len(self.axes))]), self.low, self.high)
        features = _features(scaled, self.form)
        return np.asarray(features[:-1] - features[-1])


@dataclass(frozen=True)
class _Tried:
    """The weights that vary, how far each does (G,), and the form they allow."""

    axes: tuple[str, ...]
    low: Floats
    high: Floats
    form: UtilityForm


def fit_preference(columns: JudgementColumns, plan: RatingPlan | None = None) -> Preference | Missing:
    """The utility that explains the decided judgements best; skips, both-bad, gold and repetitions are left out.

    Of one dimension, or of all together for what people want on the whole. Weights that never vary are left out.
    """
    plan = plan or RatingPlan()
    decided = columns.where(columns.is_measured & columns.is_decided)
    if not len(decided):
        return Missing(Lack.JUDGEMENTS, 0, 1)
    used = np.unique(np.concatenate([decided.blend_a, decided.blend_b]))
    tried = columns.names.weights[used]
    moving = np.flatnonzero(np.ptp(tried, axis=0) > 0)
    if not 1 <= len(moving) <= MAX_AXES:
        return Missing(Lack.WEIGHTS, len(moving), 1)
    low, high = tried[:, moving].min(axis=0), tried[:, moving].max(axis=0)
    scaled = _scaled(columns.names.weights[:, moving], low, high)
    pairs, observations = _observations(decided, plan)
    form = UtilityForm.QUADRATIC
    differences = _differences(scaled, pairs, form)
    if np.linalg.matrix_rank(differences) < differences.shape[1]:
        form = UtilityForm.LINEAR
        differences = _differences(scaled, pairs, form)
        rank = int(np.linalg.matrix_rank(differences))
        if rank < differences.shape[1]:
            return Missing(Lack.WEIGHTS, rank, differences.shape[1])
    tried_weights = _Tried(tuple(columns.names.axes[place] for place in moving), low, high, form)
    return _preference(tried_weights, _fit(differences, observations, plan), len(decided), plan.level)


def _observations(decided: JudgementColumns, plan: RatingPlan) -> tuple[Ints, Observations]:
    """The ordered pairs of blends (C, 2) that were compared, and in which cell each judgement counts."""
    both = np.stack([decided.blend_a, decided.blend_b], axis=1)
    pairs, cell = np.unique(both, axis=0, return_inverse=True)
    score = decided.graded_score_a if plan.by_strength else decided.score_a
    return pairs, Observations(cell.ravel(), score, decided.comparison, decided.annotator, len(pairs))


def _fit(differences: Floats, observations: Observations, plan: RatingPlan) -> tuple[Floats, Floats]:
    rng, n = np.random.default_rng(plan.seed), differences.shape[1]
    precision = PRIOR_SD**-2
    squares = (differences[:, :, None] * differences[:, None, :]).reshape(len(differences), n * n)
    start = np.zeros(n)

    def fit(counts: Floats, redraw_prior: bool) -> Floats:
        wins, losses = counts[:, 0], counts[:, 1]
        prior = rng.normal(0.0, PRIOR_SD, (len(counts), n)) if redraw_prior else np.zeros((len(counts), n))

        def terms(values: Floats) -> tuple[Floats, Floats]:
            won = probability(values @ differences.T)
            slope = (wins * (1 - won) - losses * won) @ differences - precision * (values - prior)
            curvature = ((wins + losses) * won * (1 - won)) @ squares
            return slope, curvature.reshape(-1, n, n) + precision * np.eye(n)

        return maximise(terms, np.tile(start, (len(counts), 1)), tolerance=1e-6 if len(counts) > 1 else 1e-10)

    start = fit(observations.counts()[None], False)[0]
    return start, Resampler(observations, fit, plan.n_draws, rng).two_way()


def _scaled(weights: Floats, low: Floats, high: Floats) -> Floats:
    return np.asarray((2 * weights - low - high) / (high - low))


def _features(scaled: Floats, form: UtilityForm) -> Floats:
    """Features (K, P) of scaled weights (K, G): the weights, then, if quadratic, their products i ≤ j."""
    if form is UtilityForm.LINEAR:
        return scaled
    first, second = np.triu_indices(scaled.shape[1])
    return np.concatenate([scaled, scaled[:, first] * scaled[:, second]], axis=1)


def _differences(scaled: Floats, pairs: Ints, form: UtilityForm) -> Floats:
    features = _features(scaled, form)
    return np.asarray(features[pairs[:, 0]] - features[pairs[:, 1]])


def best_point(coefficients: Floats, n_axes: int, form: UtilityForm) -> Floats:
    """Where the utility of each row of coefficients (R, P) is greatest within [−1, 1]^G: (R, G).

    Along one weight the utility is a parabola, whose greatest point is known; going round the weights from the middle
    and from every corner finds the greatest of all where the utility is concave, and a good one elsewhere.
    """
    if form is UtilityForm.LINEAR:
        return np.sign(coefficients)
    first, second = np.triu_indices(n_axes)
    slope, quadratic = coefficients[:, :n_axes], np.zeros((len(coefficients), n_axes, n_axes))
    quadratic[:, first, second] += coefficients[:, n_axes:]
    quadratic[:, second, first] += coefficients[:, n_axes:]  # the diagonal holds twice the coefficient: a derivative
    corners = np.stack(np.meshgrid(*[[-1.0, 1.0]] * n_axes), axis=-1).reshape(-1, n_axes)
    best, greatest = np.zeros_like(slope), np.full(len(slope), -math.inf)
    for begin in [np.zeros(n_axes), *corners]:
        point = np.tile(begin, (len(slope), 1))
        for _ in range(60):
            before = point.copy()
            for axis in range(n_axes):
                bend = quadratic[:, axis, axis]
                push = slope[:, axis] + np.einsum("rg,rg->r", quadratic[:, axis], point) - bend * point[:, axis]
                top = np.where(bend < 0, -push / np.where(bend < 0, bend, 1.0), np.sign(push))
                point[:, axis] = np.clip(top, -1.0, 1.0)
            if np.abs(point - before).max() < 1e-7:
                break
        value = np.einsum("rp,rp->r", coefficients, _features(point, form))
        better = value > greatest
        best[better], greatest[better] = point[better], value[better]
    return best


def _preference(tried: _Tried, fitted: tuple[Floats, Floats], n_judgements: int, level: float) -> Preference:
    coefficients, draws = fitted
    all_of_them = np.vstack([coefficients, draws])
    scaled = best_point(all_of_them, len(tried.axes), tried.form)
    points = (scaled * (tried.high - tried.low) + tried.low + tried.high) / 2
    unguided = _features(_scaled(np.zeros((1, len(tried.axes))), tried.low, tried.high), tried.form)
    gains = np.einsum("rp,rp->r", all_of_them, _features(scaled, tried.form) - unguided)
    return Preference(
        axes=tried.axes,
        low=tried.low,
        high=tried.high,
        form=tried.form,
        n_judgements=n_judgements,
        preferred={
            axis: percentiles(float(points[0, place]), points[1:, place], level)
            for place, axis in enumerate(tried.axes)
        },
        at_edge=tuple(axis for place, axis in enumerate(tried.axes) if abs(scaled[0, place]) >= 1 - 1e-9),
        gain=percentiles(float(gains[0]), gains[1:], level),
        coefficients=coefficients,
        draws=draws,
        optima=points[1:],
    )
