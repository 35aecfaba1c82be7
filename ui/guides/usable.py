"""Which judgements a retraining can use, what is left out and why, and how much hangs on each annotator."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from models.training.data import DataReport, choose
from models.training.evaluate import wilson
from models.training.rows import Preference, RowsRead, read_rows
from storage.exchange.export import ExportPlan, Manifest, export_judgements
from storage.exchange.formats import Format
from storage.exchange.selection import Selection
from storage.records_pairs import JudgedPair
from storage.study_repository import ResultsRepository
from ui.guides.asking import Ask

ASSUMED_ACCURACY = 0.7
CHANCE = 0.5
MOST_HELD_OUT = 1000  # looked for when asked how many would be enough


@dataclass(frozen=True)
class WithoutOne:
    """What leaving an annotator out would change, in distinct pairs.

    ``n_own`` pairs were judged by them, of ``n_left`` a label is left without them, ``n_turned`` get another label or
    lose it to a draw. ``agreement`` is the share of judgements, of pairs that several people judged, that say what most
    of them say; None without such pairs.
    """

    annotator_id: str
    n_own: int
    n_left: int
    n_turned: int
    agreement: float | None
    agreement_without: float | None


@dataclass(frozen=True)
class Usable:
    """What a training can use: ``report`` counts pairs, ``left_out`` judgements that are in no pair, by reason.

    ``low`` and ``high``: the 95 % interval that the held-out pairs would give a guide that is right about
    ``ASSUMED_ACCURACY`` of them. ``n_needed`` held-out pairs would tell such a guide from chance.
    """

    report: DataReport
    left_out: Counter[str]
    low: float
    high: float
    n_needed: int
    without: tuple[WithoutOne, ...]

    @property
    def is_enough(self) -> bool:
        """Whether the held-out pairs would tell such a guide from chance."""
        return self.low > CHANCE


def write_data(results: ResultsRepository, ask: Ask, target: Path) -> tuple[Manifest, int]:
    """Write the judgements asked for into the new folder ``target``; also returns how many were left out by name.

    Raises:
        StorageError: the database cannot be read, or the folder not be written.
    """
    n_excluded = 0

    def wanted() -> Iterator[JudgedPair]:
        nonlocal n_excluded
        for pair in results.pairs(ask.wanted()):
            if pair.annotator_id in ask.without:
                n_excluded += 1
            else:
                yield replace(pair, dimension=ask.dimension)

    selection = Selection(min_agreement=ask.min_agreement or None)
    manifest = export_judgements(wanted(), ExportPlan(Format.FULL, selection=selection), target)
    return manifest, n_excluded


def usable(results: ResultsRepository, ask: Ask, target: Path) -> Usable:
    """Write the judgements into ``target`` and say what a training on them would use; lengths are not looked at yet.

    Raises:
        InputError: nothing is left to train or to test on; the message says what was left out.
        StorageError: the database cannot be read, or the folder not be written.
    """
    manifest, n_excluded = write_data(results, ask, target)
    read = read_rows([target], ask.dimension)
    read.left_out.update(manifest.left_out)
    if n_excluded:
        read.left_out["excluded"] += n_excluded
    split = choose(read, RowsRead(), ask.rules(), lambda _: "", pairs_only=True)
    low, high = wilson(ASSUMED_ACCURACY, split.report.n_held_out)
    share = {name: right / answered for name, (right, answered) in read.gold.items()}
    kept = [each for each in read.train if share.get(each.annotator or "", 0.0) >= ask.min_reliability]
    return Usable(split.report, split.report.left_out, low, high, n_needed(), without_each(kept))


def n_needed() -> int:
    """How many held-out pairs tell a guide of the assumed accuracy from chance."""
    return next(n for n in range(1, MOST_HELD_OUT) if wilson(ASSUMED_ACCURACY, n)[0] > CHANCE)


def without_each(given: Sequence[Preference]) -> tuple[WithoutOne, ...]:
    """Leave out one annotator after the other; those whose absence turns most labels first."""
    votes: dict[tuple[str, ...], dict[str, int]] = defaultdict(dict)
    for each in given:
        if each.chosen is not None and each.rejected is not None:
            texts = sorted((each.chosen, each.rejected))
            votes[(each.prompt_key, *texts)][each.annotator or ""] = 1 if each.chosen == texts[0] else -1
    own: dict[str, list[dict[str, int]]] = defaultdict(list)
    for pair in votes.values():
        for annotator in pair:
            own[annotator].append(pair)
    everybody = [list(pair.values()) for pair in votes.values()]
    found = []
    for annotator, pairs in own.items():
        left = [[vote for name, vote in pair.items() if name != annotator] for pair in votes.values()]
        turned = [_label(list(pair.values())) for pair in pairs]
        stay = [_label([vote for name, vote in pair.items() if name != annotator]) for pair in pairs]
        n_turned = sum(before != after for before, after in zip(turned, stay, strict=True) if before)
        n_left = sum(bool(_label(each)) for each in left)
        found.append(WithoutOne(annotator, len(pairs), n_left, n_turned, _agreement(everybody), _agreement(left)))
    return tuple(sorted(found, key=lambda one: (-one.n_turned, -one.n_own, one.annotator_id)))


def _label(votes: Sequence[int]) -> int:
    """What most say: 1, −1, or 0 for a draw or nobody."""
    total = sum(votes)
    return (total > 0) - (total < 0)


def _agreement(pairs: Sequence[Sequence[int]]) -> float | None:
    shared = [votes for votes in pairs if len(votes) > 1]
    n_votes = sum(map(len, shared))
    return sum(max(votes.count(1), votes.count(-1)) for votes in shared) / n_votes if shared else None
