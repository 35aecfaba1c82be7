"""How often each blend wins, and against which."""

from dataclasses import dataclass

import numpy as np

from storage.analysis.columns import BOTH_BAD, CLEARLY, SKIP, SLIGHTLY, TIE, A, B, JudgementColumns
from storage.analysis.intervals import DEFAULT_LEVEL, Estimate, Lack, Missing, check_level, effective_number, wilson


@dataclass(frozen=True)
class Tally:
    """How many judgements said what. ``n_decided`` are those that rank: wins, losses and ties.

    Of the wins and losses so many were said to be clear or slight; of the rest nobody said.
    """

    n_wins: int
    n_losses: int
    n_ties: int
    n_both_bad: int
    n_skips: int
    n_clear_wins: int = 0
    n_slight_wins: int = 0
    n_clear_losses: int = 0
    n_slight_losses: int = 0

    @property
    def n_decided(self) -> int:
        """Judgements that rank the two answers."""
        return self.n_wins + self.n_losses + self.n_ties


@dataclass(frozen=True)
class WinRate:
    """A blend against all others: the share of decided judgements it won, a tie counting half."""

    blend: str
    tally: Tally
    share: Estimate | Missing


@dataclass(frozen=True)
class PairRate:
    """One blend against one other, from the side of ``blend``."""

    blend: str
    other: str
    tally: Tally
    share: Estimate | Missing


def win_rates(columns: JudgementColumns, level: float = DEFAULT_LEVEL) -> tuple[WinRate, ...]:
    """Every blend's win rate over the judgements of one dimension, the best first.

    Gold items and repetitions are left out. The interval is Wilson's over the number of independent observations that
    the judgements are worth (``effective_number``).

    Raises:
        InputError: ``level`` cannot be that of an interval.
    """
    check_level(level)
    seen = columns.where(columns.is_measured)
    found = []
    for code in np.unique(np.concatenate([seen.blend_a, seen.blend_b])):
        own = seen.where((seen.blend_a == code) | (seen.blend_b == code))
        tally, share = _from_side_of(own, int(code), level)
        found.append(WinRate(columns.names.blends[code], tally, share))
    return tuple(sorted(found, key=lambda rate: -rate.share.value if isinstance(rate.share, Estimate) else 1.0))


def pair_rates(columns: JudgementColumns, level: float = DEFAULT_LEVEL) -> tuple[PairRate, ...]:
    """Every two blends that were compared in one dimension, each pair once.

    Raises:
        InputError: ``level`` cannot be that of an interval.
    """
    check_level(level)
    seen = columns.where(columns.is_measured)
    n_blends = len(columns.names.blends)
    low, high = np.minimum(seen.blend_a, seen.blend_b), np.maximum(seen.blend_a, seen.blend_b)
    key = low * n_blends + high
    order = np.argsort(key, kind="stable")
    keys, starts = np.unique(key[order], return_index=True)
    found = []
    for pair, places in zip(keys, np.split(order, starts[1:]), strict=False):
        blend, other = int(pair) // n_blends, int(pair) % n_blends
        mask = np.zeros(len(seen), dtype=bool)
        mask[places] = True
        tally, share = _from_side_of(seen.where(mask), blend, level)
        found.append(PairRate(columns.names.blends[blend], columns.names.blends[other], tally, share))
    return tuple(found)


def _from_side_of(columns: JudgementColumns, blend: int, level: float) -> tuple[Tally, Estimate | Missing]:
    is_a = columns.blend_a == blend
    won = np.where(is_a, columns.outcome == A, columns.outcome == B)
    lost = np.where(is_a, columns.outcome == B, columns.outcome == A)
    tally = Tally(
        n_wins=int(won.sum()),
        n_losses=int(lost.sum()),
        n_ties=int((columns.outcome == TIE).sum()),
        n_both_bad=int((columns.outcome == BOTH_BAD).sum()),
        n_skips=int((columns.outcome == SKIP).sum()),
        n_clear_wins=int((won & (columns.strength == CLEARLY)).sum()),
        n_slight_wins=int((won & (columns.strength == SLIGHTLY)).sum()),
        n_clear_losses=int((lost & (columns.strength == CLEARLY)).sum()),
        n_slight_losses=int((lost & (columns.strength == SLIGHTLY)).sum()),
    )
    if not tally.n_decided:
        return tally, Missing(Lack.JUDGEMENTS, 0, 1)
    decided = columns.is_decided
    score = np.where(won, 1.0, np.where(lost, 0.0, 0.5))[decided]
    n = effective_number(score, columns.comparison[decided], columns.annotator[decided])
    return tally, wilson(float(score.mean()), n, level)
