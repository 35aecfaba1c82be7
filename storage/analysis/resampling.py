"""Bootstrap over comparisons and annotators: other comparisons, and other people, might have been asked.

Judgements of one comparison share its two answers, and those of one annotator share a taste, so neither are
independent observations. Taking whole comparisons again leaves out that the annotators might have been others; taking
whole annotators again leaves out that the prompts might have been; taking both at once counts the noise of a single
judgement up to three times (Owen 2007, "The pigeonhole bootstrap", AOAS 1). So each is taken on its own and they are
put together as Cameron, Gelbach and Miller (2011, JBES 29, eq. 2.11) do:
V = V_comparisons + V_annotators − V_judgements.

Weights are drawn from the exponential distribution (Rubin 1981, "The Bayesian bootstrap"), not counted as in the
classic bootstrap, so that a blend that few comparisons have is never left out.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from storage.analysis.columns import Floats, Ints

CHUNK_VALUES = 4_000_000
"""About how many numbers one round of draws holds in memory."""


@dataclass(frozen=True)
class Observations:
    """What is resampled, all (N,): the cell a judgement counts in, its score there, and its two clusters.

    ``score`` is the share of a win, from 0 to 1. ``cell`` is from 0 to ``n_cells`` − 1.
    """

    cell: Ints
    score: Floats
    comparison: Ints
    annotator: Ints
    n_cells: int

    def counts(self, weights: Floats | None = None) -> Floats:
        """Weighted wins and losses of every cell (2, n_cells); ``weights`` is (N,) or None for 1 each."""
        ones = np.ones(len(self.cell)) if weights is None else weights
        wins = np.bincount(self.cell, ones * self.score, self.n_cells)
        losses = np.bincount(self.cell, ones * (1 - self.score), self.n_cells)
        return np.stack([wins, losses])


Fit = Callable[[Floats, bool], Floats]
"""Counts (R, 2, n_cells) to estimates (R, P). The flag asks to draw the prior anew for every row."""


@dataclass(frozen=True)
class Resampler:
    """What is estimated from which observations, how often, and where chance comes from."""

    observations: Observations
    fit: Fit
    n_draws: int
    rng: np.random.Generator

    def two_way(self) -> Floats:
        """``n_draws`` draws of the estimate (R, P), as uncertain as comparisons and annotators make it.

        With one annotator there are no others to take, and the draws say how sure that one annotator is.
        """
        seen = self.observations
        point = self.fit(seen.counts()[None], False)[0]
        draws: Floats = point + self._deviations(seen.comparison, point, redraw_prior=True)
        n_annotators = len(np.unique(seen.annotator))
        if n_annotators > 1:
            by_annotator = self._deviations(seen.annotator, point)
            by_judgement = self._deviations(np.arange(len(seen.cell), dtype=np.int64), point)
            # Annotators count only for what they differ more than single judgements do anyhow.
            both, noise = by_annotator.var(axis=0), by_judgement.var(axis=0)
            by_annotator *= np.sqrt(np.clip(1 - noise / np.where(both > 0, both, 1.0), 0.0, 1.0))
            # How much they differ is itself guessed from few of them: Student's tails instead of the normal ones.
            freedom = n_annotators - 1
            draws += by_annotator * np.sqrt(freedom / self.rng.chisquare(freedom, (self.n_draws, 1)))
        return draws

    def _deviations(self, cluster: Ints, point: Floats, *, redraw_prior: bool = False) -> Floats:
        """Estimates less ``point`` (R, P) with every cluster's judgements weighted together."""
        _, codes = np.unique(cluster, return_inverse=True)
        n_clusters, n_cells = int(codes.max()) + 1, self.observations.n_cells
        per_chunk = max(1, CHUNK_VALUES // (len(codes) + 2 * n_cells))
        found = []
        for start in range(0, self.n_draws, per_chunk):
            counts = np.empty((min(per_chunk, self.n_draws - start), 2, n_cells))
            for row in counts:
                row[:] = self.observations.counts(self.rng.standard_exponential(n_clusters)[codes])
            found.append(self.fit(counts, redraw_prior))
        deviations: Floats = np.concatenate(found) - point
        # G clusters with exponential weights vary too little by (G − 1) / (G + 1).
        if n_clusters > 1:
            deviations *= math.sqrt((n_clusters + 1) / (n_clusters - 1))
        return np.asarray(deviations, dtype=np.float64)
