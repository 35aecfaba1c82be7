"""Newton's method for many small problems at once."""

from collections.abc import Callable

import numpy as np

from storage.analysis.columns import Floats

MAX_STEP = 2.0
MAX_VALUE = 12.0
"""Log-odds beyond this (1 in 160,000) mean no more than "never seen the other way"."""

Terms = Callable[[Floats], tuple[Floats, Floats]]
"""Parameters (R, P) to the slope (R, P) of the log-posterior and its negative curvature (R, P, P)."""


def maximise(terms: Terms, start: Floats, *, tolerance: float = 1e-9, max_steps: int = 100) -> Floats:
    """The parameters (R, P) at which R concave functions are greatest, each from its own row of ``start``.

    Parameters stay within ±``MAX_VALUE``. The curvature must be positive definite.
    """
    values = start.copy()
    for _ in range(max_steps):
        slope, curvature = terms(values)
        step = np.linalg.solve(curvature, slope[..., None])[..., 0]
        # A full step overshoots where the curve is flat, as it is for data that one line separates.
        longest = np.abs(step).max(axis=1, keepdims=True)
        step *= MAX_STEP / np.maximum(longest, MAX_STEP)
        moved = np.clip(values + step, -MAX_VALUE, MAX_VALUE)
        change = float(np.abs(moved - values).max())
        values = moved
        if change < tolerance:
            break
    return values


def probability(log_odds: Floats) -> Floats:
    """1 / (1 + e^−x), without overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * log_odds))
