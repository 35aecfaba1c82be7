"""Where the ranking of the blends is still uncertain, quickly enough to be asked between two judgements.

The doubt about a pair of blends is the posterior probability that the other one of them is better than the estimate
says: 0.5 where nothing is known or both are alike, towards 0 where one is clearly better. The posterior is Laplace's
around the Bradley-Terry estimate. It counts every judgement as if it were alone, unlike the intervals of the results,
which is enough to say which pair is in more doubt than another.
"""

import math
from collections.abc import Collection, Iterable

import numpy as np

from storage.analysis.columns import Floats
from storage.analysis.newton import maximise, probability
from storage.analysis.ratings import MAX_RATED_BLENDS
from storage.records_pairs import NamedBlend, Outcome, OutcomeCount

PRIOR_SD = 3.0
"""Of every coefficient in log-odds, weights being scaled so that they go from −1 to 1."""
_SHARE_OF_A = {Outcome.A: 1.0, Outcome.B: 0.0, Outcome.TIE: 0.5}

BlendPair = tuple[NamedBlend, NamedBlend]
PairKeys = tuple[str, str]


def doubts(
    counts: Iterable[OutcomeCount], pairs: Collection[BlendPair], dimensions: Collection[str]
) -> dict[PairKeys, float]:
    """The doubt about every pair of one study (by the keys of its blends), from 0 to 0.5, the mean of the dimensions.

    With many blends, as when they are drawn from ranges, each has no rating of its own; then their weights are what is
    rated, and a pair is in doubt where the weights do not tell which is better.
    """
    blends = sorted({blend.key: blend for pair in pairs for blend in pair}.values(), key=lambda blend: blend.key)
    if not blends or not dimensions:
        return {}
    place = {blend.key: number for number, blend in enumerate(blends)}
    features = np.eye(len(blends)) if len(blends) <= MAX_RATED_BLENDS else _weights(blends)
    by_dimension: dict[str, list[OutcomeCount]] = {dimension: [] for dimension in dimensions}
    for count in counts:
        if count.outcome in _SHARE_OF_A and count.dimension in by_dimension and count.blend_a in place:
            by_dimension[count.dimension].append(count)
    keys = sorted({(first.key, second.key) for first, second in pairs})
    asked = _differences(features, place, keys)
    found = np.mean([_doubt(features, place, own, asked) for own in by_dimension.values()], axis=0)
    return dict(zip(keys, map(float, found), strict=True))


def _weights(blends: Collection[NamedBlend]) -> Floats:
    """Features (n, P): every weight scaled to −1 … 1, and their squares, for more is not always better."""
    axes = sorted({axis for blend in blends for axis in blend.weights})
    weights = np.array([[blend.weights.get(axis, 0.0) for axis in axes] for blend in blends]).reshape(len(blends), -1)
    low, high = weights.min(axis=0), weights.max(axis=0)
    scaled = (2 * weights - low - high) / np.where(high > low, high - low, 1.0)
    return np.concatenate([scaled, scaled**2], axis=1)


def _differences(features: Floats, place: dict[str, int], keys: Collection[PairKeys]) -> Floats:
    first, second = [place[a] for a, _ in keys], [place[b] for _, b in keys]
    return np.asarray(features[first] - features[second])


def _doubt(features: Floats, place: dict[str, int], counts: Collection[OutcomeCount], asked: Floats) -> Floats:
    """The doubt about each of the ``asked`` differences (K, P) after ``counts``."""
    known = [count for count in counts if count.blend_b in place]
    compared = _differences(features, place, [(count.blend_a, count.blend_b) for count in known])
    n = np.array([count.n_judgements for count in known], dtype=np.float64)
    wins = n * np.array([_SHARE_OF_A[count.outcome] for count in known])
    size, precision = features.shape[1], PRIOR_SD**-2

    def terms(values: Floats) -> tuple[Floats, Floats]:
        won = probability(values @ compared.T)
        slope = (wins - n * won) @ compared - precision * values
        curvature = (compared.T * (n * won * (1 - won))) @ compared
        return slope, curvature[None] + precision * np.eye(size)

    start = np.zeros((1, size))
    found = maximise(terms, start) if len(known) else start
    covariance = np.linalg.inv(terms(found)[1][0])
    deviation = np.sqrt(np.einsum("kp,pq,kq->k", asked, covariance, asked))
    ahead = np.abs(asked @ found[0]) / np.where(deviation > 0, deviation, 1.0)
    return np.array([0.5 * math.erfc(distance / math.sqrt(2)) for distance in ahead])
