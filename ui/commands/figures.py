"""Results as lines of text and as a document: every figure with its interval, or what is missing for it."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum
from typing import Any

import numpy as np

from storage.analysis.agreement import Agreement
from storage.analysis.intervals import Estimate, Lack, Missing
from storage.analysis.preference import Preference
from storage.analysis.ratings import Influence, Ratings
from storage.analysis.summary import Counts, DimensionResults, Results
from storage.analysis.wins import PairRate, WinRate
from storage.records_studies import StudySummary
from ui.commands.tables import shown, table

_MISSING = {
    Lack.JUDGEMENTS: "no judgement says which is better",
    Lack.BLENDS: "fewer than two blends were compared",
    Lack.TOO_MANY_BLENDS: "too many blends for a rating of each",
    Lack.LINKS: "some blends were never compared with the others, directly or through a third",
    Lack.ANNOTATORS: "too few annotators",
    Lack.OVERLAP: "no comparison was judged by two annotators",
    Lack.VARIETY: "everybody always said the same",
    Lack.LENGTHS: "the lengths of the answers are not known or never differ",
    Lack.WEIGHTS: "the blends do not differ in enough weights",
    Lack.GOLD: "no gold item was judged",
    Lack.REPEATS: "no item was judged twice",
    Lack.TIME: "too few judgements follow one another",
}
_DRAWS = {"draws", "optima"}  # hundreds of rows that the seed makes again
_N_PAIRS = 20


def results_document(study: StudySummary, found: Results, names: Mapping[str, str], level: float) -> dict[str, Any]:
    """Every figure as JSON types. What has no figure is ``{"missing": …, "have": …, "need": …}``.

    ``names`` are annotators' names by id; ``level`` is that of the intervals. Infinite numbers are null.
    """
    return {"study": _plain(study), "level": level, **_plain(found), "annotator_names": dict(names)}


def results_lines(study: StudySummary, found: Results, names: Mapping[str, str], level: float) -> Iterator[str]:
    """The figures for a person who reads a terminal; intervals are in brackets."""
    yield f"{shown(study.name)} ({study.state.value}): {study.n_given} of {study.n_wanted} answers."
    yield _counted(found.counts)
    yield f"In brackets: intervals at the level {level:g}. Ratings are log-odds, the mean of all blends being 0."
    for dimension in found.dimensions:
        yield from ("", f"== {shown(dimension.dimension)}", _counted(dimension.counts))
        yield from _dimension_lines(dimension, names)
    if len(found.dimensions) > 1:
        yield from ("", "== all dimensions together")
        yield from _preferred(found.together)
    if found.annotators:
        yield from ("", "== annotators")
        yield from table(
            ("annotator", "id", "judgements", "gold right", "same again", "chose left", "per hour"),
            [
                (
                    names.get(one.annotator_id, "") or "-",
                    one.annotator_id,
                    str(one.n_judgements),
                    _share(one.gold),
                    _share(one.consistency),
                    _share(one.chose_left),
                    "-" if isinstance(one.judgements_per_hour, Missing) else f"{one.judgements_per_hour:.0f}",
                )
                for one in found.annotators
            ],
        )


def _counted(counts: Counts) -> str:
    return (
        f"{counts.n_judgements} judgements of {counts.n_comparisons} comparisons by {counts.n_annotators} annotators; "
        f"{counts.n_gold} gold, {counts.n_repeats} repeated; of the others {counts.n_decided} decided "
        f"({counts.n_ties} ties, {counts.n_clear} clear wins, {counts.n_slight} slight ones), "
        f"{counts.n_both_bad} both bad, {counts.n_skips} skipped."
    )


def _dimension_lines(found: DimensionResults, names: Mapping[str, str]) -> Iterator[str]:
    if found.win_rates:
        yield ""
        yield from table(("blend", "won", "lost", "tied", "both bad", "win rate"), map(_win_row, found.win_rates))
    if len(found.pair_rates) > 1:
        yield ""
        pairs = found.pair_rates[:_N_PAIRS]
        yield from table(("blend against other", "won", "lost", "tied", "both bad", "win rate"), map(_pair_row, pairs))
        if len(found.pair_rates) > len(pairs):
            yield f"and {len(found.pair_rates) - len(pairs)} more pairs; --json has all."
    yield ""
    yield from _rated(found.ratings, found.ratings_at_equal_length)
    yield from _agreed(found.agreement)
    yield from _influence(found.influence, names)
    yield from _preferred(found.preference)


def _win_row(rate: WinRate) -> tuple[str, ...]:
    tally = rate.tally
    numbers = (tally.n_wins, tally.n_losses, tally.n_ties, tally.n_both_bad)
    return (rate.blend, *map(str, numbers), _share(rate.share))


def _pair_row(rate: PairRate) -> tuple[str, ...]:
    return (
        f"{shown(rate.blend, 28)} > {shown(rate.other, 28)}",
        *_win_row(WinRate(rate.blend, rate.tally, rate.share))[1:],
    )


def _rated(ratings: Ratings | Missing, at_equal_length: Ratings | Missing) -> Iterator[str]:
    if isinstance(ratings, Missing):
        yield f"Ratings: {_why(ratings)}."
        return
    other = {} if isinstance(at_equal_length, Missing) else {one.blend: one.rating for one in at_equal_length.blends}
    yield from table(
        ("blend", "rating", "best in", "at equal length"),
        [
            (one.blend, _number(one.rating), f"{one.best:.0%}", _number(other[one.blend]) if other else "-")
            for one in ratings.blends
        ],
    )
    if isinstance(at_equal_length, Missing):
        yield f"At equal length: {_why(at_equal_length)}."
    elif at_equal_length.twice_as_long is not None:
        yield f"An answer twice as long gains {_number(at_equal_length.twice_as_long)}."
    for what, blends in (("never lost", ratings.never_lost), ("never won", ratings.never_won)):
        if blends:
            yield f"{', '.join(map(shown, blends))} {what}: the rating is bounded on one side only by what is assumed."


def _agreed(found: Agreement | Missing) -> Iterator[str]:
    if isinstance(found, Missing):
        yield f"Agreement: {_why(found)}."
        return
    alpha = _why(found.alpha) if isinstance(found.alpha, Missing) else f"{found.alpha:.2f}"
    yield (
        f"Agreement: {found.raw:.0%} of {found.n_pairs} pairs of judgements of {found.n_comparisons} comparisons; "
        f"Krippendorff's alpha: {alpha}."
    )


def _influence(found: tuple[Influence, ...] | Missing, names: Mapping[str, str]) -> Iterator[str]:
    if isinstance(found, Missing):
        yield f"Influence of single annotators: {_why(found)}."
        return
    most = found[0]
    name = shown(names.get(most.annotator_id, "") or most.annotator_id)
    yield (
        f"Without {name}, who moves the ratings most, that of {shown(most.blend)} would change by "
        f"{-most.largest_shift:+.2f}, and {most.n_swaps} pairs of blends would change places."
    )


def _preferred(found: Preference | Missing) -> Iterator[str]:
    if isinstance(found, Missing):
        yield f"Preferred blend: {_why(found)}."
        return
    weights = ", ".join(f"{shown(axis)} {_number(weight)}" for axis, weight in found.preferred.items())
    yield f"Preferred blend ({found.form.value}): {weights}; gain over unguided {_number(found.gain)}."
    if found.at_edge:
        yield f"At the end of what was tried, so the best may lie beyond: {', '.join(map(shown, found.at_edge))}."


def _why(missing: Missing) -> str:
    return f"{_MISSING[missing.lack]} ({missing.have}, needed {missing.need})"


def _share(found: Estimate | Missing) -> str:
    return "-" if isinstance(found, Missing) else f"{found.value:.0%} [{found.low:.0%}, {found.high:.0%}]"


def _number(found: Estimate) -> str:
    return f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"


def _plain(value: Any) -> Any:
    """A value as JSON types."""
    if isinstance(value, Missing):
        return {"missing": value.lack.value, "have": value.have, "need": value.need}
    if is_dataclass(value):
        return {one.name: _plain(getattr(value, one.name)) for one in fields(value) if one.name not in _DRAWS}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
