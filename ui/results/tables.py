"""The data behind each plot, as rows of a table and as CSV."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from storage.analysis.agreement import Agreement
from storage.analysis.annotators import AnnotatorFigures
from storage.analysis.intervals import Estimate, Missing
from storage.analysis.preference import Preference
from storage.analysis.ratings import Influence, Ratings
from storage.analysis.wins import PairRate, Tally, WinRate
from storage.exchange.writing import Repairs
from ui import wording_results as wording

Cell = str | int | float
N_DIGITS = 4
BYTE_ORDER_MARK = "\ufeff"


@dataclass(frozen=True)
class Table:
    """Headers, and rows as long as they are; an empty cell is a figure that is not there."""

    headers: tuple[str, ...]
    rows: list[list[Cell]]

    def to_csv(self) -> str:
        """The table as CSV that spreadsheets read as UTF-8 and in which they find nothing to run."""
        cell = Repairs().cell
        file = io.StringIO(newline="")
        writer = csv.writer(file)
        writer.writerow([header.strip() for header in self.headers])
        writer.writerows([[cell(value) for value in row] for row in self.rows])
        return BYTE_ORDER_MARK + file.getvalue()


def wins(rates: Sequence[WinRate]) -> Table:
    """Win rates, one blend a row."""
    rows = [[rate.blend, *_tally(rate.tally), *_three(rate.share)] for rate in rates]
    return Table((wording.BLEND, *wording.HEADERS_TALLY), rows)


def pairs(rates: Sequence[PairRate]) -> Table:
    """Win rates, one pair of blends a row."""
    rows = [[rate.blend, rate.other, *_tally(rate.tally), *_three(rate.share)] for rate in rates]
    return Table((wording.BLEND, wording.OTHER_BLEND, *wording.HEADERS_TALLY), rows)


def ratings(found: Ratings, at_equal_length: Ratings | Missing) -> Table:
    """Ratings with and without length as a control, one blend a row."""
    other = {} if isinstance(at_equal_length, Missing) else {one.blend: one.rating for one in at_equal_length.blends}
    rows = [
        [one.blend, *_three(one.rating), round(one.best, N_DIGITS), *_three(other.get(one.blend))]
        for one in found.blends
    ]
    return Table((wording.BLEND, *wording.HEADERS_RATINGS), rows)


def agreement(found: Agreement, names: Mapping[str, str]) -> Table:
    """Raw agreement, one pair of annotators a row."""
    rows: list[list[Cell]] = [
        [names[pair.first_id], names[pair.second_id], pair.n_shared, pair.n_same, _rounded(pair.n_same / pair.n_shared)]
        for pair in found.pairs
    ]
    return Table(wording.HEADERS_AGREEMENT, rows)


def influence(found: Sequence[Influence], names: Mapping[str, str]) -> Table:
    """What changes without one annotator, one annotator a row."""
    rows: list[list[Cell]] = [
        [names[one.annotator_id], one.n_judgements, one.blend, _rounded(-one.largest_shift), one.n_swaps]
        for one in found
    ]
    return Table(wording.HEADERS_INFLUENCE, rows)


def preference(found: Preference) -> Table:
    """The preferred blend, one weight a row."""
    rows: list[list[Cell]] = [
        [axis, *_three(found.preferred[axis]), _rounded(float(low)), _rounded(float(high))]
        for axis, low, high in zip(found.axes, found.low, found.high, strict=True)
    ]
    return Table(wording.HEADERS_WANT, rows)


def annotators(found: Sequence[AnnotatorFigures], names: Mapping[str, str]) -> Table:
    """Reliability and leaning, one annotator a row."""
    rows: list[list[Cell]] = [
        [
            *(names[one.annotator_id], one.group, one.n_judgements, one.n_comparisons, one.n_skips),
            *(one.n_gold, *_three(one.gold), one.n_repeats, *_three(one.consistency)),
            *(*_three(one.chose_left), one.n_left_twice, one.n_right_twice),
        ]
        for one in found
    ]
    return Table(wording.HEADERS_ANNOTATORS, rows)


def pace(found: Sequence[AnnotatorFigures], names: Mapping[str, str]) -> Table:
    """How fast each annotator is, one a row."""
    rows: list[list[Cell]] = [
        [
            *(names[one.annotator_id], one.n_judgements),
            *(
                "" if isinstance(rate, Missing) else round(rate, 1)
                for rate in (one.judgements_per_hour, one.comparisons_per_hour)
            ),
            round(one.active_seconds / 3600, 2),
        ]
        for one in found
    ]
    return Table(wording.HEADERS_PACE, rows)


def _tally(tally: Tally) -> list[Cell]:
    counts: list[Cell] = [tally.n_wins, tally.n_losses, tally.n_ties, tally.n_both_bad, tally.n_skips]
    said = (tally.n_clear_wins, tally.n_slight_wins, tally.n_clear_losses, tally.n_slight_losses)
    return [*counts, *said]


def _three(found: Estimate | Missing | None) -> list[Cell]:
    if not isinstance(found, Estimate):
        return ["", "", ""]
    return [_rounded(found.value), _rounded(found.low), _rounded(found.high)]


def _rounded(number: float) -> float:
    return round(number, N_DIGITS) + 0.0  # never -0.0
