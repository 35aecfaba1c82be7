"""Estimates with their intervals, and what is missing where there is none."""

import math
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist

import numpy as np

from steering.errors import InputError
from storage.analysis.columns import Floats, Ints

DEFAULT_LEVEL = 0.95


class Lack(StrEnum):
    """Why a figure cannot be given."""

    JUDGEMENTS = "judgements"
    """Nobody has said which is better, or that they tie: there is nothing, or only skips and both-bad."""
    BLENDS = "blends"
    """Fewer than two different blends were compared."""
    TOO_MANY_BLENDS = "too_many_blends"
    """Each blend has its own rating only up to a number of blends; for more there is the preference model."""
    LINKS = "links"
    """Blends fall into groups that were never compared with each other; ``have`` is how many groups."""
    ANNOTATORS = "annotators"
    """Fewer annotators than the figure needs."""
    OVERLAP = "overlap"
    """No comparison was judged by two annotators."""
    VARIETY = "variety"
    """Everybody always said the same, so agreement beyond chance is not defined."""
    LENGTHS = "lengths"
    """The answers' lengths are not known or never differ."""
    WEIGHTS = "weights"
    """The compared blends do not differ in enough weights; ``have`` is in how many directions they do."""
    GOLD = "gold"
    """No gold item was judged."""
    REPEATS = "repeats"
    """No item was judged twice by the same annotator."""
    TIME = "time"
    """Too few judgements follow one another to tell a pace."""


@dataclass(frozen=True)
class Missing:
    """There is no figure: there are ``have`` of what ``lack`` names and ``need`` are needed.

    Of TOO_MANY_BLENDS and LINKS ``need`` is the most there may be.
    """

    lack: Lack
    have: int
    need: int


@dataclass(frozen=True)
class Estimate:
    """A value with the interval that holds it at the level that was asked for."""

    value: float
    low: float
    high: float


def check_level(level: float) -> float:
    """``level`` if it can be that of an interval.

    Raises:
        InputError: it is not between 0.5 and 0.999.
    """
    if not 0.5 <= level <= 0.999:
        raise InputError(f"The level of the intervals is {level!r}; it must be from 0.5 to 0.999.", hint="Use 0.95.")
    return level


def wilson(share: float, n: float, level: float = DEFAULT_LEVEL) -> Estimate:
    """The score interval of a share of ``n`` (> 0, may be an effective number) observations.

    Wilson (1927), "Probable inference, the law of succession, and statistical inference", JASA 22, 209-212.
    """
    z2 = NormalDist().inv_cdf((1 + level) / 2) ** 2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    reach = math.sqrt(z2 / n * (share * (1 - share) + z2 / (4 * n))) / (1 + z2 / n)
    # Rounding may push the ends a little past the share where it is 0 or 1.
    return Estimate(share, min(max(middle - reach, 0.0), share), max(min(middle + reach, 1.0), share))


def effective_number(score: Floats, comparison: Ints, annotator: Ints) -> float:
    """How many independent observations the scores (N,), each 0, ½ or 1, are worth for their mean; from 1 to N.

    Judgements of one comparison resemble each other, and so do those of one annotator. The variance of the mean
    counts both: V = V_comparisons + V_annotators − V_judgements (Cameron, Gelbach and Miller 2011, "Robust inference
    with multiway clustering", JBES 29, eq. 2.11). Where everybody agrees there is no variance to see; each
    comparison then counts once.
    """
    n, mean = len(score), float(score.mean())
    if mean in (0.0, 1.0):
        return float(len(np.unique(comparison)))
    residual = score - mean
    alone = cluster_square(residual, np.arange(n, dtype=np.int64))
    variance = (cluster_square(residual, comparison) + cluster_square(residual, annotator) - alone) / n**2
    # Ties halve the scores' own variance; the binomial one is kept as a floor so that the interval is never too short.
    return float(np.clip(mean * (1 - mean) / max(variance, mean * (1 - mean) / n), 1.0, n))


def cluster_square(residual: Floats, cluster: Ints) -> float:
    """Sum over clusters of the squared sum of residuals, with the correction G/(G−1); 0 with a single cluster."""
    _, codes = np.unique(cluster, return_inverse=True)
    n_clusters = int(codes.max()) + 1
    if n_clusters < 2:
        return 0.0
    sums = np.bincount(codes, residual)
    return float((sums**2).sum()) * n_clusters / (n_clusters - 1)


def percentiles(value: float, draws: Floats, level: float) -> Estimate:
    """``value`` with the middle ``level`` of its bootstrap draws (R,)."""
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value, float(low), float(high))
