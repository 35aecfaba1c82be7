"""The parts of the page: of each what is said, drawn and tabled, or what is missing for it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import plotly.graph_objects as go  # type: ignore[import-untyped]

from storage.analysis.intervals import Estimate, Missing
from storage.analysis.preference import Preference, UtilityForm
from storage.analysis.summary import DimensionResults
from ui import wording_results as wording
from ui.results import figures, tables
from ui.results.actions import Findings
from ui.results.tables import Table


class Part(StrEnum):
    """A part of the page, in the order of the page."""

    WINS = "wins"
    RATINGS = "ratings"
    WANT = "want"
    PAIRS = "pairs"
    AGREEMENT = "agreement"
    INFLUENCE = "influence"
    ANNOTATORS = "annotators"
    PACE = "pace"


TITLES = {
    Part.WINS: wording.WINS,
    Part.RATINGS: wording.RATINGS,
    Part.WANT: wording.PEOPLE_WANT,
    Part.PAIRS: wording.PAIRS,
    Part.AGREEMENT: wording.AGREEMENT,
    Part.INFLUENCE: wording.INFLUENCE,
    Part.ANNOTATORS: wording.ANNOTATORS,
    Part.PACE: wording.PACE,
}
WITHOUT_PLOT = frozenset({Part.PAIRS, Part.AGREEMENT})
OF_A_DIMENSION = (Part.WINS, Part.RATINGS, Part.PAIRS, Part.AGREEMENT, Part.INFLUENCE)
OF_ANNOTATORS = (Part.ANNOTATORS, Part.PACE)


@dataclass(frozen=True)
class Drawn:
    """One part: ``note`` is plain text, people's names in it."""

    note: str
    figure: go.Figure | None = None
    table: Table | None = None


def why(missing: Missing) -> str:
    """What is missing, in a sentence."""
    return wording.LACKS[missing.lack].format(have=missing.have, need=missing.need)


def draw(part: Part, findings: Findings, dimension: str | None) -> Drawn:
    """One part; ``dimension`` is one of the findings', or None for what people want in all dimensions together."""
    if part in OF_ANNOTATORS:
        return _ANNOTATOR_PARTS[part](findings)
    if part is Part.WANT:
        return _want(findings.dimension(dimension).preference if dimension else findings.together())
    assert dimension is not None
    return _DIMENSION_PARTS[part](findings.dimension(dimension), findings.names)


def _wins(found: DimensionResults, _names: Mapping[str, str]) -> Drawn:
    table = tables.wins(found.win_rates)
    shares = [_known(rate.share) for rate in found.win_rates]
    missing = next((rate.share for rate in found.win_rates if isinstance(rate.share, Missing)), None)
    if not any(shares):
        return Drawn(why(missing) if missing else wording.NO_JUDGEMENTS, None, table if table.rows else None)
    rows = [rate.blend for rate in found.win_rates]
    series = [figures.Dots(wording.WINS, shares)]
    figure = figures.dots(rows, series, wording.WIN_AXIS, is_share=True, line_at=0.5)
    return Drawn(_with_rest(wording.WINS_NOTE, len(rows)), figure, table)


def _pairs(found: DimensionResults, _names: Mapping[str, str]) -> Drawn:
    table = tables.pairs(found.pair_rates)
    return Drawn(wording.PAIRS_NOTE, None, table) if table.rows else Drawn(wording.NO_JUDGEMENTS)


def _ratings(found: DimensionResults, _names: Mapping[str, str]) -> Drawn:
    rated, level = found.ratings, found.ratings_at_equal_length
    if isinstance(rated, Missing):
        return Drawn(why(rated))
    notes = [wording.RATINGS_NOTE.format(ties=rated.n_ties, count=rated.n_judgements)]
    series = [figures.Dots(wording.AS_JUDGED, [one.rating for one in rated.blends])]
    if isinstance(level, Missing):
        notes.append(wording.NO_LENGTH.format(reason=why(level)))
    else:
        by_blend = {one.blend: one.rating for one in level.blends}
        series.append(figures.Dots(wording.EQUAL_LENGTH, [by_blend.get(one.blend) for one in rated.blends]))
        if level.twice_as_long is not None:
            notes.append(wording.LENGTH_GAIN.format(**_words(level.twice_as_long)))
    for words, blends in ((wording.NEVER_LOST, rated.never_lost), (wording.NEVER_WON, rated.never_won)):
        if blends:
            notes.append(words.format(names=", ".join(blends)))
    rows = [one.blend for one in rated.blends]
    figure = figures.dots(rows, series, wording.RATING_AXIS, is_share=False, line_at=0.0)
    return Drawn(_with_rest(" ".join(notes), len(rows)), figure, tables.ratings(rated, level))


def _agreement(found: DimensionResults, names: Mapping[str, str]) -> Drawn:
    agreed = found.agreement
    if isinstance(agreed, Missing):
        return Drawn(why(agreed))
    note = wording.AGREEMENT_NOTE.format(
        raw=f"{agreed.raw:.0%}",
        pairs=agreed.n_pairs,
        comparisons=agreed.n_comparisons,
        alpha=why(agreed.alpha) if isinstance(agreed.alpha, Missing) else f"{agreed.alpha:.2f}",
    )
    return Drawn(note, None, tables.agreement(agreed, names))


def _influence(found: DimensionResults, names: Mapping[str, str]) -> Drawn:
    moved = found.influence
    if isinstance(moved, Missing):
        return Drawn(why(moved))
    rows = [names[one.annotator_id] for one in moved]
    values = [abs(one.largest_shift) for one in moved]
    hover = [f"{row}: {one.blend} {-one.largest_shift:+.2f}" for row, one in zip(rows, moved, strict=True)]
    figure = figures.bars(rows, values, hover, wording.INFLUENCE_AXIS)
    return Drawn(_with_rest(wording.INFLUENCE_NOTE, len(rows)), figure, tables.influence(moved, names))


def _want(found: Preference | Missing) -> Drawn:
    if isinstance(found, Missing):
        return Drawn(why(found))
    weights = [wording.WEIGHT_WORDS.format(axis=axis, **_words(weight)) for axis, weight in found.preferred.items()]
    gain = _words(found.gain)
    notes = [
        wording.WANT_NOTE.format(
            count=found.n_judgements, weights=", ".join(weights), gain=gain["value"], low=gain["low"], high=gain["high"]
        )
    ]
    if found.at_edge:
        notes.append(wording.AT_EDGE.format(axes=", ".join(found.at_edge)))
    if found.form is UtilityForm.LINEAR:
        notes.append(wording.LINEAR)
    if len(found.axes) > 2:
        notes.append(wording.OTHER_WEIGHTS.format(x=found.axes[0], y=found.axes[1]))
    figure = figures.preference_plane(found) if len(found.axes) > 1 else figures.preference_line(found)
    return Drawn(" ".join(notes), figure, tables.preference(found))


def _annotators(findings: Findings) -> Drawn:
    found = findings.annotators
    if not found:
        return Drawn(wording.NO_JUDGEMENTS)
    rows = [findings.names[one.annotator_id] for one in found]
    series = [
        figures.Dots(wording.GOLD, [_known(one.gold) for one in found]),
        figures.Dots(wording.CONSISTENCY, [_known(one.consistency) for one in found]),
        figures.Dots(wording.CHOSE_LEFT, [_known(one.chose_left) for one in found]),
    ]
    lacks = [one.estimates for one in series]
    notes = [wording.ANNOTATORS_NOTE]
    for estimates, missing in zip(lacks[:2], (found[0].gold, found[0].consistency), strict=True):
        if not any(estimates) and isinstance(missing, Missing):
            notes.append(why(missing))
    drawn = [one for one in series if any(one.estimates)]
    figure = figures.dots(rows, drawn, wording.SHARE_AXIS, is_share=True, line_at=0.5) if drawn else None
    return Drawn(_with_rest(" ".join(notes), len(rows)), figure, tables.annotators(found, findings.names))


def _pace(findings: Findings) -> Drawn:
    paced = [
        (findings.names[one.annotator_id], one.judgements_per_hour)
        for one in findings.annotators
        if not isinstance(one.judgements_per_hour, Missing)
    ]
    if not paced:
        missing = next((one.judgements_per_hour for one in findings.annotators), None)
        return Drawn(why(missing) if isinstance(missing, Missing) else wording.NO_JUDGEMENTS)
    rows, rates = [name for name, _ in paced], [rate for _, rate in paced]
    figure = figures.bars(rows, rates, [f"{name}: {rate:.0f}" for name, rate in paced], wording.PACE_AXIS)
    return Drawn(_with_rest(wording.PACE_NOTE, len(rows)), figure, tables.pace(findings.annotators, findings.names))


_DIMENSION_PARTS: Mapping[Part, Callable[[DimensionResults, Mapping[str, str]], Drawn]] = {
    Part.WINS: _wins,
    Part.PAIRS: _pairs,
    Part.RATINGS: _ratings,
    Part.AGREEMENT: _agreement,
    Part.INFLUENCE: _influence,
}
_ANNOTATOR_PARTS: Mapping[Part, Callable[[Findings], Drawn]] = {Part.ANNOTATORS: _annotators, Part.PACE: _pace}


def _known(found: Estimate | Missing) -> Estimate | None:
    return found if isinstance(found, Estimate) else None


def _words(found: Estimate) -> dict[str, str]:
    return {"value": f"{found.value:.2f}", "low": f"{found.low:.2f}", "high": f"{found.high:.2f}"}


def _with_rest(note: str, n_rows: int) -> str:
    shown = figures.MAX_ROWS
    return note if n_rows <= shown else f"{note} {wording.MOST_ROWS.format(shown=shown, count=n_rows)}"
