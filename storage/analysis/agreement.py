"""How far annotators say the same of the same comparison."""

from dataclasses import dataclass

import krippendorff
import numpy as np

from storage.analysis.columns import SKIP, Ints, JudgementColumns
from storage.analysis.intervals import Lack, Missing


@dataclass(frozen=True)
class PairAgreement:
    """Two annotators: of ``n_shared`` comparisons that both judged, on ``n_same`` they said the same."""

    first_id: str
    second_id: str
    n_shared: int
    n_same: int


@dataclass(frozen=True)
class Agreement:
    """``raw`` is the share of pairs of judgements of one comparison that say the same; ``alpha`` corrects for chance.

    ``alpha`` is Krippendorff's, nominal: 1 is full agreement, 0 what chance would give, below 0 less than that.
    """

    n_comparisons: int
    n_pairs: int
    raw: float
    alpha: float | Missing
    pairs: tuple[PairAgreement, ...]


def agreement(columns: JudgementColumns) -> Agreement | Missing:
    """Agreement of the annotators in one dimension on A, B, tie and both bad; skips, gold and repetitions left out.

    Krippendorff (2011), "Computing Krippendorff's alpha-reliability", by the package of that name.
    """
    said = columns.where(~columns.is_gold & (columns.repeat_of < 0) & (columns.outcome != SKIP))
    if not len(said):
        return Missing(Lack.JUDGEMENTS, 0, 1)
    n_annotators = len(np.unique(said.annotator))
    if n_annotators < 2:
        return Missing(Lack.ANNOTATORS, n_annotators, 2)
    _, unit = np.unique(said.comparison, return_inverse=True)
    counts = np.bincount(unit * SKIP + said.outcome, minlength=(unit.max() + 1) * SKIP).reshape(-1, SKIP)
    shared = counts[counts.sum(axis=1) > 1]
    if not len(shared):
        return Missing(Lack.OVERLAP, 0, 1)
    n_pairs = int((shared.sum(axis=1) * (shared.sum(axis=1) - 1) // 2).sum())
    n_same = int((shared * (shared - 1) // 2).sum())
    varied = int((shared.sum(axis=0) > 0).sum())
    alpha = (
        float(krippendorff.alpha(value_counts=shared, level_of_measurement="nominal"))
        if varied > 1
        else Missing(Lack.VARIETY, varied, 2)
    )
    return Agreement(len(shared), n_pairs, n_same / n_pairs, alpha, _pairs(said, unit))


def _pairs(said: JudgementColumns, unit: Ints) -> tuple[PairAgreement, ...]:
    """Every two annotators with a comparison in common, those with the most first."""
    n_annotators = len(said.names.annotators)
    order = np.lexsort((said.annotator, unit))
    units, annotators, outcomes = unit[order], said.annotator[order], said.outcome[order]
    found: list[tuple[Ints, Ints, Ints]] = []  # of those who share any: on the Steer page every browser is an annotator
    # Sorted by comparison, the partners of a judgement are its neighbours 1, 2, … places on.
    for distance in range(1, int(np.bincount(units).max())):
        together = units[distance:] == units[:-distance]
        key = annotators[:-distance][together] * n_annotators + annotators[distance:][together]
        same = outcomes[:-distance][together] == outcomes[distance:][together]
        found.append(_counted(key, np.ones_like(key), same.astype(np.int64)))
    keys, n_shared, n_same = _counted(*(np.concatenate(column) for column in zip(*found, strict=True)))
    ids = said.names.annotators
    return tuple(
        PairAgreement(ids[key // n_annotators], ids[key % n_annotators], int(shared), int(same))
        for key, shared, same in sorted(zip(keys, n_shared, n_same, strict=True), key=lambda pair: -pair[1])
    )


def _counted(key: Ints, n_shared: Ints, n_same: Ints) -> tuple[Ints, Ints, Ints]:
    """Every key once, ascending, with the sums of what belongs to it."""
    keys, place = np.unique(key, return_inverse=True)
    sums = np.zeros((2, len(keys)), dtype=np.int64)
    np.add.at(sums[0], place, n_shared)
    np.add.at(sums[1], place, n_same)
    return keys, sums[0], sums[1]
