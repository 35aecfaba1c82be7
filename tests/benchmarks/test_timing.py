"""What is made of the times of a run, where reports are merged and readers are slow."""

import time
from collections.abc import Iterator

import pytest

from benchmarks.report import ratios, summary
from benchmarks.serve import Log, Traffic, summarise
from benchmarks.timing import Timing, percentiles, time_run, time_together
from benchmarks.visitors import Outcome, Visit
from models.answers import Answer, Progress
from steering.types import Blend, FinishReason, StepTrace

STEP = StepTrace(1, -1.0, -1.0, {}, kl=0.0, entropy=0.0)


def reports(*tokens: int, engine_seconds_per_token: float, reader_waits: float = 0.0) -> Iterator[Progress]:
    """Reports of two answers after so many tokens each, and a last one; the engine's clock is its own."""
    for n_tokens in (*tokens, tokens[-1]):
        seconds = 1.0 + engine_seconds_per_token * n_tokens
        answer = Answer(Blend(), {}, "", (1,) * n_tokens, FinishReason.LENGTH, seconds, (STEP,) * n_tokens)
        yield Progress(n_tokens, finished=False, answers=lambda answer=answer: (answer, answer), prompt_token_ids=())
        time.sleep(reader_waits)


def test_merged_reports_give_the_engines_time_per_token() -> None:
    timing = time_run(lambda: reports(0, 3, 4, 64, engine_seconds_per_token=0.25))
    assert timing.per_token == pytest.approx(0.25)
    assert timing.n_tokens == 128


def test_a_slow_reader_changes_the_wall_time_but_not_the_time_per_token() -> None:
    timing = time_run(lambda: reports(1, 5, 9, engine_seconds_per_token=0.001, reader_waits=0.02))
    assert timing.per_token == pytest.approx(0.001)
    assert timing.to_first < timing.to_last < timing.whole
    assert timing.whole >= 4 * 0.02


def test_everything_in_one_report_counts_the_time_to_the_first_token_in() -> None:
    timing = time_run(lambda: reports(8, engine_seconds_per_token=0.5))
    assert timing.per_token == pytest.approx((1.0 + 8 * 0.5) / 8)


def test_runs_together_count_from_the_first_to_begin_to_the_last_to_end() -> None:
    def run(seconds: float) -> Timing:
        time.sleep(seconds)
        return Timing(seconds, seconds / 2, seconds, seconds, 10)

    timing = time_together([lambda: run(0.4), lambda: run(0.5), lambda: run(0.6)])
    assert timing.per_token == pytest.approx(0.5)
    assert timing.n_tokens == 30
    assert 0.6 <= timing.to_last < 1.5  # in turn it would be 1.5 at the least


def a_round(unguided: float, side: float) -> dict[str, Timing]:
    return {
        "unguided alone": Timing(unguided, 0.0, 10 * unguided, 10 * unguided, 10),
        "side by side, 2 guides": Timing(side, 0.0, 10 * side, 10 * side + 1.0, 20),
        "1 visitor, side by side": Timing(side, 0.0, 1.0, 2.0, 20),
        "4 visitors, side by side": Timing(side, 0.0, 2.0, 5.0, 80),
    }


def test_ratios_are_medians_of_each_rounds_own_ratio() -> None:
    # a machine that was four times slower in one round: medians of times would give 1.5 / 1 or 6 / 4 by chance of order
    rounds = [a_round(1.0, 1.2), a_round(4.0, 6.0), a_round(1.0, 1.4)]
    found = ratios(rounds, 2, floor_seconds=0.5)
    assert found["side by side, 2 guides / unguided alone"] == pytest.approx(1.4)
    assert found["unguided alone / reading the weights"] == pytest.approx(2.0)
    assert found["whole: side by side, 2 guides / unguided alone"] == pytest.approx(15 / 10)
    assert found["all tokens/s: 4 visitors, side by side / 1 visitor, side by side"] == pytest.approx(2.0)
    included = "all tokens/s, scores included: 4 visitors, side by side / 1 visitor, side by side"
    assert found[included] == pytest.approx(80 / 5 / (20 / 2))
    assert not any("usual" in name for name in found)


def test_scoring_stands_in_a_column_of_its_own_and_in_the_whole() -> None:
    row = summary([Timing(0.01, 0.1, 0.7, 0.9, 64)])
    assert row["ms_per_token"] == pytest.approx(10)
    assert row["ms_to_score"] == pytest.approx(200)
    assert row["ms_whole"] == pytest.approx(900)
    assert row["all_tokens_per_second"] == pytest.approx(64 / 0.7)


def test_percentiles_are_those_of_the_known_values() -> None:
    row = percentiles([None, *(float(n) for n in range(101)), None], (50, 90, 99))
    assert row == {"n": 101, "p50": 50.0, "p90": 90.0, "p99": 99.0, "max": 100.0}
    assert percentiles([float(n) for n in range(1, 102)], (95,)) == {"n": 101, "p95": 96.0, "max": 101.0}
    assert percentiles([None], (50,)) == {"n": 0}
    assert percentiles([2.0], (99,))["p99"] == 2.0


@pytest.mark.parametrize(
    ("n_slots", "settled", "outcome", "is_clean"),
    [
        (0, 0.1, Outcome.ANSWERED, True),
        (2, None, Outcome.ANSWERED, False),
        (0, None, Outcome.ANSWERED, False),  # no slot, but the engine went on working
        (None, None, Outcome.ANSWERED, False),  # the engine was not found, so nobody knows
        (0, 0.1, Outcome.FAILED, False),
        (0, 0.1, Outcome.REFUSED, True),
    ],
)
def test_what_is_left_behind_is_not_clean(
    n_slots: int | None, settled: float | None, outcome: Outcome, is_clean: bool
) -> None:
    end = {"n_slots": n_slots, "is_working": settled is None, "memory_bytes": 1, "gpu_bytes": 0}
    log = Log([Visit(outcome, 0.1, 0.2, words="words")], {"at end": end}, 1.0, settled)
    report = summarise(log, Traffic(1, 1, 0.0, 0.0, 8, 0))
    assert report["is_clean"] is is_clean
    assert report["n_slots_leaked"] == n_slots
