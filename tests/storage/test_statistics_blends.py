"""Which blends are the same: keys are unique within one study only, and two versions of a guide answer differently."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from storage.analysis.columns import columns_of
from storage.analysis.preference import Preference, fit_preference
from storage.analysis.summary import count
from storage.analysis.wins import pair_rates, win_rates
from storage.exchange.export import ExportPlan, export_judgements
from storage.exchange.formats import Format
from storage.exchange.selection import Selection
from storage.records_pairs import JudgedPair, NamedBlend, blend_labels, made_with
from tests.storage.judged import UNGUIDED, World, a_pair, pairs_of

MILD = NamedBlend("balanced", {"helpfulness": 1.0, "harmlessness": 1.0})
STRONG = NamedBlend("balanced", {"helpfulness": 3.0, "harmlessness": 3.0})
MILD_NAME, STRONG_NAME = "balanced (harmlessness=1 helpfulness=1)", "balanced (harmlessness=3 helpfulness=3)"
FIRST, SECOND = (NamedBlend("bold", {"helpfulness": 2.0}, made_with({"helpfulness": n}, 1.0)) for n in (1, 2))


def two_studies(one: NamedBlend, other: NamedBlend) -> list[JudgedPair]:
    """Unguided wins against the first blend, and loses against the second, which is of another study."""
    return [
        *pairs_of("aaa", blend_b=one),
        *(
            a_pair(10 + n, study_id="6" * 32, study="later", blend_b=other, outcome=pair.outcome)
            for n, pair in enumerate(pairs_of("bbb"))
        ),
    ]


def test_blends_of_two_studies_with_one_name_are_one_only_if_their_weights_are_the_same() -> None:
    columns = columns_of(two_studies(MILD, STRONG))
    shares = {rate.blend: (rate.tally.n_wins, rate.tally.n_losses) for rate in win_rates(columns)}
    assert shares == {"unguided": (3, 3), MILD_NAME: (0, 3), STRONG_NAME: (3, 0)}
    weights = dict(zip(columns.names.blends, columns.names.weights.tolist(), strict=True))
    assert weights == {"unguided": [0, 0], MILD_NAME: [1, 1], STRONG_NAME: [3, 3]}
    same = NamedBlend("balanced", {"harmlessness": 1, "helpfulness": 1, "humour": 0.0})
    assert {rate.blend for rate in win_rates(columns_of(two_studies(MILD, same)))} == {"unguided", "balanced"}


def test_what_people_want_is_fitted_at_the_weights_that_were_judged() -> None:
    mild, strong = NamedBlend("bold", {"helpfulness": 1.0}), NamedBlend("bold", {"helpfulness": 3.0})
    studies = [World([UNGUIDED, blend], lambda weights: weights.get("helpfulness", 0.0)) for blend in (mild, strong)]
    found = fit_preference(columns_of([pair for seed, study in enumerate(studies) for pair in study.pairs(seed)]))
    assert isinstance(found, Preference)
    # Under one name with the first study's weights, nothing above 1 would have been tried, or opened in Steer.
    assert (found.high.tolist(), found.preferred["helpfulness"].value) == ([3.0], 3.0)


def test_two_versions_of_a_guide_are_two_blends_of_one_name_and_can_be_compared() -> None:
    columns = columns_of([*pairs_of("aab", blend_a=FIRST, blend_b=SECOND)])
    names = ("bold (helpfulness version 1)", "bold (helpfulness version 2)")
    assert columns.names.blends == names
    assert count(columns).n_same_blend == 0
    (rate,) = pair_rates(columns)
    assert (rate.blend, rate.other, rate.tally.n_wins, rate.tally.n_losses) == (*names, 2, 1)


def test_names_do_not_depend_on_the_order_of_the_judgements() -> None:
    pairs = two_studies(MILD, STRONG)
    assert set(columns_of(pairs).names.blends) == set(columns_of(pairs[::-1]).names.blends)


@pytest.mark.parametrize(
    "blends",
    [
        [MILD, STRONG, NamedBlend(STRONG_NAME, {})],
        [NamedBlend.of({"helpfulness": 1.0}), NamedBlend.of({"helpfulness": 1.0 + 1e-9})],
        [FIRST, SECOND, NamedBlend("bold", {"helpfulness": 2.0}), NamedBlend("bold", {"helpfulness": 1.0})],
    ],
)
def test_no_two_blends_are_called_the_same(blends: Sequence[NamedBlend]) -> None:
    assert len(set(blend_labels(blends).values())) == len(blends)


@pytest.mark.parametrize(
    ("versions", "base_exponent", "words"),
    [
        ({}, 1.0, ""),
        ({"helpfulness": None}, 1.0, ""),
        ({"wit": 2, "helpfulness": 1}, 1.0, "helpfulness version 1, wit version 2"),
        ({"helpfulness": 0}, 0.5, "helpfulness version 0, base exponent 0.5"),
    ],
)
def test_guides_without_versions_and_the_usual_base_are_not_mentioned(
    versions: dict[str, int | None], base_exponent: float, words: str
) -> None:
    assert made_with(versions, base_exponent) == words


@pytest.mark.parametrize(("format_", "column"), [(Format.TRL, "rejected_blend"), (Format.ARENA, "model_b")])
def test_an_export_tells_blends_of_one_name_apart_and_leaves_other_names_as_they_are(
    tmp_path: Path, format_: Format, column: str
) -> None:
    def exported(folder: str, pairs: list[JudgedPair]) -> list[str]:
        plan = ExportPlan(format_, selection=Selection(test_share=0.5))
        export_judgements(pairs, plan, tmp_path / folder)
        files = [tmp_path / folder / f"{half}.jsonl" for half in ("train", "test")]
        return [json.loads(line)[column] for file in files for line in file.read_text().splitlines()]

    mixed = [*pairs_of("a" * 20, blend_b=MILD), *(a_pair(100 + n, blend_b=STRONG) for n in range(20))]
    names = exported("mixed", mixed)
    assert (names.count(MILD_NAME), names.count(STRONG_NAME)) == (20, 20)
    assert set(exported("one", pairs_of("aaa", blend_b=MILD))) == {"balanced"}


def test_weights_of_every_blend_stand_under_its_own_code() -> None:
    columns = columns_of(two_studies(STRONG, MILD))
    rows = columns.names.weights[columns.blend_b]
    assert np.array_equal(rows, [[3, 3]] * 3 + [[1, 1]] * 3)
