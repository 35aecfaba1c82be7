"""The order of the examples, and steps that are divided without changing what they mean."""

from dataclasses import replace
from pathlib import Path

import pytest

from models.training.batches import Example, Layout
from models.training.order import in_whole_steps, training_order
from tests.models.training.conftest import some_examples


def test_every_epoch_has_every_example_once_in_an_order_of_its_own(base: Path) -> None:
    examples = some_examples(base, 37)
    order = training_order(examples, 2.0, 4, seed=1, layout=Layout.APART)
    halves = [[example.id for example in half] for half in (order[:37], order[37:])]
    counts = [sum(ids.count(example.id) for ids in halves) for example in examples]
    assert counts == [2] * 37
    assert order == training_order(examples, 2.0, 4, seed=1, layout=Layout.APART)
    assert order != training_order(examples, 2.0, 4, seed=2, layout=Layout.APART)


@pytest.mark.parametrize(("epochs", "n"), [(0.5, 18), (1.0, 37), (2.25, 83), (0.001, 1)])
def test_a_fraction_of_an_epoch_is_a_fraction_of_the_examples(base: Path, epochs: float, n: int) -> None:
    assert len(training_order(some_examples(base, 37), epochs, 4, 0, Layout.APART)) == n


def test_batches_hold_examples_of_similar_length(base: Path) -> None:
    examples = some_examples(base, 160)
    order = training_order(examples, 1.0, 8, 0, Layout.APART)

    def padded(given: list) -> int:
        sizes = [[example.n_tokens(Layout.APART) for example in given[at : at + 8]] for at in range(0, len(given), 8)]
        return sum(len(batch) * max(batch) for batch in sizes)

    n_tokens = sum(example.n_tokens(Layout.APART) for example in examples)
    assert padded(order) - n_tokens < (padded(examples) - n_tokens) / 2


def mean_of_means(step: list[Example], n_parts: int) -> float:
    """What a step divided into equal parts makes of a loss that is the example's number."""
    size = len(step) // n_parts
    parts = [step[at : at + size] for at in range(0, len(step), size)]
    return sum(sum(each.weight * int(each.id) for each in part) / size for part in parts) / n_parts


@pytest.mark.parametrize("n_parts", [1, 2, 4, 8])
@pytest.mark.parametrize("n_last", range(1, 9))
def test_a_step_divided_among_turns_and_processes_has_the_mean_of_its_examples_also_where_it_is_not_full(
    base: Path, n_parts: int, n_last: int
) -> None:
    """The last of several processes took examples of the first step where the last step was not full."""
    weights = [0.5, 1.5, 1.0, 3.0, 0.25, 0.0, 1.0, 0.75]
    given = [
        replace(example, weight=weight)
        for example, weight in zip(some_examples(base, 8 + n_last), weights * 2, strict=False)
    ]
    steps = in_whole_steps(given, 8, Layout.APART)
    assert steps[:8] == given[:8]
    assert len(steps) == 16
    expected = sum(each.weight * int(each.id) for each in given[8:]) / n_last
    assert mean_of_means(steps[8:], n_parts) == pytest.approx(expected)


def test_steps_that_are_full_are_left_as_they_are(base: Path) -> None:
    given = some_examples(base, 12)
    assert in_whole_steps(given, 4, Layout.APART) == given
