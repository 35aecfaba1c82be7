"""What is said of held-out pairs, against figures worked out by hand or by SciPy."""

import math
import random

import pytest
from scipy import stats

from models.training.evaluate import Scored, accuracy, calibration_error, correlation, mean_loss, metrics, wilson


def scored(margin: float, n_chosen: int = 10, n_rejected: int = 10, source: str = "") -> Scored:
    return Scored(source, margin - 20.0, -20.0, n_chosen, n_rejected)


@pytest.mark.parametrize(("n_right", "n"), [(0, 7), (7, 7), (30, 41), (150, 300)])
def test_the_interval_is_wilsons(n_right: int, n: int) -> None:
    expected = stats.binomtest(n_right, n).proportion_ci(method="wilson")
    assert wilson(n_right / n, n) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_a_pair_the_guide_cannot_tell_is_half_right() -> None:
    assert accuracy([scored(1.0), scored(-1.0), scored(0.0), scored(2.0)])["accuracy"] == pytest.approx(2.5 / 4)


def test_without_pairs_there_is_no_accuracy() -> None:
    assert accuracy([]) == {"accuracy": None, "low": 0.0, "high": 1.0, "n_pairs": 0}


SEVEN_OF_NINE = math.log(7 / 2)  # σ of it is 7/9


def test_a_guide_that_is_right_as_often_as_it_says_has_no_calibration_error() -> None:
    pairs = [scored(SEVEN_OF_NINE)] * 7 + [scored(-SEVEN_OF_NINE)] * 2
    assert calibration_error(pairs, 1.0) == pytest.approx(0.0, abs=1e-9)


def test_one_that_is_always_sure_and_right_half_of_the_time_is_off_by_a_half() -> None:
    assert calibration_error([scored(1e4), scored(-1e4)], 1.0) == pytest.approx(0.5)


def test_beta_is_part_of_how_sure_a_guide_is() -> None:
    pairs = [scored(SEVEN_OF_NINE / 0.1)] * 7 + [scored(-SEVEN_OF_NINE / 0.1)] * 2
    assert calibration_error(pairs, 0.1) == pytest.approx(0.0, abs=1e-9)


def test_the_correlation_is_pearsons() -> None:
    draw = random.Random(0)
    xs = [draw.gauss(0, 1) for _ in range(50)]
    ys = [x + draw.gauss(0, 1) for x in xs]
    assert correlation(xs, ys) == pytest.approx(stats.pearsonr(xs, ys).statistic, abs=1e-9)
    assert correlation([1.0, 1.0], [1.0, 2.0]) is None


def test_the_mean_loss_is_that_of_the_pairwise_loss_also_where_it_is_huge() -> None:
    assert mean_loss([scored(2.0), scored(-5000.0)], 1.0) == pytest.approx((math.log1p(math.exp(-2)) + 5000) / 2)


def test_accuracy_is_told_by_source_and_by_which_response_is_longer() -> None:
    pairs = [scored(1, 30, 10, "a"), scored(-1, 30, 10, "a"), scored(1, 10, 30, "b"), scored(1, 10, 11, "b")]
    found = metrics(pairs, 0.1)
    assert {source: each["accuracy"] for source, each in found["by_source"].items()} == {"a": 0.5, "b": 1.0}
    counts = {name: (each["accuracy"], each["n_pairs"]) for name, each in found["by_length"].items()}
    assert counts == {"chosen_longer": (0.5, 2), "about_equal": (1.0, 1), "chosen_shorter": (1.0, 1)}
    assert found["longer_wins"] == 0.5


def test_a_guide_that_prefers_what_is_long_has_a_high_correlation_of_margin_and_length() -> None:
    pairs = [scored(float(n - 10), n, 10) for n in (5, 9, 20, 40)]
    assert metrics(pairs, 0.1)["margin_length_correlation"] == pytest.approx(1.0)
