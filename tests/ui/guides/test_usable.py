"""Which judgements a retraining can use: hand-counted pairs, reasons, rigged annotators, and who could be left out."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from models.training.rows import Preference
from steering.errors import InputError
from steering.types import Message, Role
from storage.records_pairs import AnnotatorCount, JudgedPair, Outcome, PairFilter
from tests.storage.examples import START
from tests.storage.judged import a_pair
from ui.guides.asking import Ask
from ui.guides.usable import Usable, WithoutOne, n_needed, usable, without_each

ADA, BOB, EVE = "a" * 32, "b" * 32, "e" * 32


class Judged:
    """The results of a store that has these judgements."""

    def __init__(self, pairs: Sequence[JudgedPair]) -> None:
        self._pairs = pairs

    def pairs(self, wanted: PairFilter, *, with_texts: bool = True) -> Iterator[JudgedPair]:
        assert with_texts
        return iter([pair for pair in self._pairs if pair.dimension in (wanted.dimensions or ())])

    def annotator_counts(self, wanted: PairFilter) -> tuple[AnnotatorCount, ...]:
        """Who judged in which study; how much, and when, nobody asks here."""
        who = {(pair.study_id or "", pair.annotator_id) for pair in self.pairs(wanted)}
        return tuple(AnnotatorCount(study, one, "", "", 1, 1, START, START) for study, one in sorted(who))


def judged(n_pairs: int, annotator: str = ADA, outcome: Outcome = Outcome.A, start: int = 0) -> list[JudgedPair]:
    ids = {"annotator_id": annotator, "outcome": outcome}
    return [
        replace(a_pair(number, **ids), judgement_id=f"{annotator[0]}{number:031x}")
        for number in range(start, start + n_pairs)
    ]


def gold(annotator: str, n_right: int, n_wrong: int) -> list[JudgedPair]:
    outcomes = [Outcome.A] * n_right + [Outcome.B] * n_wrong
    return [
        a_pair(
            1000 + number, annotator_id=annotator, outcome=outcome, is_gold=True, gold_answer=Outcome.A,
            judgement_id=f"{annotator[0]}9{number:030x}",
        )
        for number, outcome in enumerate(outcomes)
    ]  # fmt: skip


def found(pairs: Sequence[JudgedPair], folder: Path, **changes: object) -> Usable:
    ask = Ask(**({"question": "overall", "dimension": "wit", "held_out_share": 0.3} | changes))  # type: ignore[arg-type]
    return usable(Judged(pairs), ask, folder / "data")  # type: ignore[arg-type]


def test_every_judgement_is_in_a_pair_or_left_out_for_a_reason(tmp_path: Path) -> None:
    given = [
        *judged(40),
        *judged(3, outcome=Outcome.TIE, start=100),
        *judged(2, outcome=Outcome.SKIP, start=200),
        *judged(5, BOB, start=300),
        *[replace(pair, dimension="elsewhere") for pair in judged(7, start=400)],
    ]
    here = found(given, tmp_path, without=(BOB,))
    assert here.report.n_train + here.report.n_held_out == 40
    assert here.report.n_prompts == 40
    assert 0 < here.report.n_held_out < 40
    assert here.left_out == {"tie": 3, "skip": 2, "excluded": 5}


def test_judgements_of_a_question_train_the_guide_that_is_named(tmp_path: Path) -> None:
    found(judged(30), tmp_path)
    text = (tmp_path / "data" / "train.jsonl").read_text(encoding="utf-8")
    assert text.count('"dimension": "wit"') == 30
    assert '"overall"' not in text


def test_an_annotator_who_disagrees_with_gold_is_left_out_with_everything(tmp_path: Path) -> None:
    given = [*judged(30), *gold(ADA, 9, 1), *judged(20, EVE, Outcome.B, start=50), *gold(EVE, 2, 8)]
    trusting = found(given, tmp_path / "a")
    careful = found(given, tmp_path / "b", min_reliability=0.7)
    assert trusting.report.n_train + trusting.report.n_held_out == 50
    assert careful.report.n_train + careful.report.n_held_out == 30
    assert careful.report.quarantined == [EVE]
    assert careful.left_out["unreliable"] == 20
    assert [one.annotator_id for one in careful.without] == [ADA]


def test_caps_hold_per_annotator(tmp_path: Path) -> None:
    here = found([*judged(30), *judged(10, BOB, start=40)], tmp_path, max_per_annotator=12)
    assert here.report.n_train + here.report.n_held_out == 12 + 10
    assert here.left_out["annotator_cap"] == 18


def test_comparisons_about_which_people_disagree_are_left_out_when_asked(tmp_path: Path) -> None:
    torn = [*judged(10), *judged(10, BOB, Outcome.B)]
    here = found([*torn, *judged(30, start=60)], tmp_path, min_agreement=0.6)
    assert here.left_out["disagreement"] == 20
    assert here.report.n_train + here.report.n_held_out == 30


def test_nothing_to_train_on_is_said_with_what_was_left_out(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'tie': 4"):
        found(judged(4, outcome=Outcome.TIE), tmp_path)


def test_wilsons_interval_leaves_chance_where_the_score_test_rejects_it() -> None:
    # The interval inverts the score test: (0.7 − 0.5)·√n / 0.5 has to exceed 1.96.
    assert n_needed() == 25


def test_few_held_out_pairs_are_not_enough_and_many_are(tmp_path: Path) -> None:
    few, many = found(judged(30), tmp_path / "a"), found(judged(200), tmp_path / "b")
    assert (few.is_enough, many.is_enough) == (False, True)
    assert few.low < 0.5 < many.low < 0.7 < many.high < few.high


def vote(prompt: str, annotator: str, chosen: str, rejected: str) -> Preference:
    return Preference(f"{prompt} {annotator}", (Message(Role.USER, prompt),), chosen, rejected, annotator=annotator)


def test_leaving_one_out_counts_pairs_turned_labels_and_agreement_by_hand() -> None:
    votes = [
        vote("1", ADA, "x", "y"), vote("1", BOB, "x", "y"), vote("1", EVE, "y", "x"),
        vote("2", ADA, "x", "y"), vote("2", EVE, "y", "x"),
        vote("3", EVE, "x", "y"),
    ]  # fmt: skip
    by_name = {one.annotator_id: one for one in without_each(votes)}
    # Pair 1 is x, pair 2 a draw, pair 3 x. Agreement: pair 1 2 of 3, pair 2 1 of 2.
    assert by_name[EVE] == WithoutOne(EVE, 3, 2, 1, 3 / 5, 1.0)
    assert by_name[ADA] == WithoutOne(ADA, 2, 2, 1, 3 / 5, 1 / 2)
    assert by_name[BOB] == WithoutOne(BOB, 1, 1, 1, 3 / 5, 2 / 4)
    assert by_name[EVE].n_own == max(one.n_own for one in by_name.values())
    assert without_each(votes)[0].annotator_id == EVE
