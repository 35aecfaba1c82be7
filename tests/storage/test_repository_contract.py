"""What every store must do, whatever it keeps its records in."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import TypeVar

import pytest

from steering.errors import InputError, NotFoundError, StorageError
from steering.types import Blend, Choice, FinishReason
from storage.records import OVERALL, new_id
from storage.repository import Repository
from tests.storage.examples import START, a_click, a_comparison, a_generation


@pytest.fixture
def comparison_id(repository: Repository) -> str:
    comparison = a_comparison()
    repository.save_comparison(comparison)
    return comparison.id


@pytest.fixture
def annotator_id(repository: Repository) -> str:
    return repository.annotator("hash of Ada's key", "Ada").id


def test_a_saved_comparison_is_read_back_equal(repository: Repository) -> None:
    comparison = a_comparison()
    repository.save_comparison(comparison)
    assert repository.get_comparison(comparison.id) == comparison


def test_an_answer_stopped_before_its_first_token_is_stored(repository: Repository) -> None:
    stopped = a_generation(
        text="",
        token_ids=(),
        finish_reason=FinishReason.STOPPED,
        guides=(),
        blend=Blend(),
        exponents={},
        guide_rewards={},
        kl_per_token=None,
    )
    comparison = a_comparison(right=stopped)
    repository.save_comparison(comparison)
    assert repository.get_comparison(comparison.id).right == stopped


def test_saving_the_same_comparison_twice_changes_nothing(repository: Repository) -> None:
    comparison = a_comparison()
    repository.save_comparison(comparison)
    repository.save_comparison(comparison)
    assert repository.get_comparison(comparison.id) == comparison


def test_another_comparison_under_a_stored_id_is_refused_and_leaves_nothing_behind(repository: Repository) -> None:
    comparison = a_comparison()
    repository.save_comparison(comparison)
    new_side = a_generation()
    with pytest.raises(StorageError, match="already stored"):
        repository.save_comparison(replace(comparison, right=new_side))
    assert repository.get_comparison(comparison.id) == comparison
    # Had the new side been kept, this would be "another generation under its id".
    repository.save_comparison(a_comparison(right=replace(new_side, text="different")))


def test_another_generation_under_a_stored_id_is_refused(repository: Repository) -> None:
    comparison = a_comparison()
    repository.save_comparison(comparison)
    forged = replace(comparison.left, text="I never said this.")
    with pytest.raises(StorageError, match="already stored"):
        repository.save_comparison(a_comparison(left=forged))
    assert repository.get_comparison(comparison.id) == comparison


def test_two_comparisons_may_share_a_generation(repository: Repository) -> None:
    first = a_comparison()
    second = a_comparison(left=first.right)
    repository.save_comparison(first)
    repository.save_comparison(second)
    assert repository.get_comparison(second.id) == second


@pytest.mark.parametrize("missing", ["0" * 32, "", "x" * 32, "'; DROP TABLE comparisons; --", "\ud800", "\0"])
def test_an_id_that_is_not_there_is_not_found(repository: Repository, missing: str) -> None:
    with pytest.raises(NotFoundError):
        repository.get_comparison(missing)
    assert repository.judgements_of(missing, missing) == ()
    assert repository.history_of(missing, OVERALL, missing) == ()
    assert repository.recent_judgements(annotator_id=missing) == ()


def test_an_annotator_is_made_once_and_keeps_the_first_name(repository: Repository) -> None:
    made = repository.annotator("a key's hash", "Grace")
    assert repository.annotator("a key's hash", "Somebody else") == made
    assert made.display_name == "Grace"
    assert repository.annotator("another hash").id != made.id


def test_many_threads_asking_for_one_new_annotator_get_the_same_one(repository: Repository) -> None:
    assert len(set(_at_once(repository.annotator, ["the same hash"] * 8))) == 1


@pytest.mark.parametrize(("key_hash", "name"), [("", "Ada"), ("x" * 101, "Ada"), ("x", "A" * 101), ("x", "\ud83d")])
def test_an_annotator_that_cannot_be_stored_is_refused(repository: Repository, key_hash: str, name: str) -> None:
    with pytest.raises(InputError):
        repository.annotator(key_hash, name)


def test_a_judgement_is_stored_as_given(repository: Repository, comparison_id: str, annotator_id: str) -> None:
    click = a_click(comparison_id, annotator_id, Choice.BOTH_BAD, reason="Both are wrong: 1/3 ≠ 0.333 🙂")
    stored = repository.record_judgement(click)
    assert (stored.comparison_id, stored.annotator_id, stored.dimension) == (comparison_id, annotator_id, OVERALL)
    assert (stored.choice, stored.reason, stored.client_key) == (click.choice, click.reason, click.client_key)
    assert stored.revision == 1
    assert stored.judged_at.utcoffset() == timedelta(0)
    assert repository.judgements_of(comparison_id, annotator_id) == (stored,)
    assert repository.count_judgements() == 1


def test_a_changed_choice_replaces_the_judgement_and_keeps_history(
    repository: Repository, comparison_id: str, annotator_id: str
) -> None:
    choices = (Choice.LEFT, Choice.RIGHT, Choice.TIE, Choice.LEFT)
    stored = tuple(repository.record_judgement(a_click(comparison_id, annotator_id, choice)) for choice in choices)
    assert [judgement.revision for judgement in stored] == [1, 2, 3, 4]
    assert repository.judgements_of(comparison_id, annotator_id) == stored[-1:]
    assert repository.history_of(comparison_id, OVERALL, annotator_id) == stored
    assert repository.recent_judgements() == stored[-1:]
    assert repository.count_judgements() == 1


def test_the_same_choice_under_a_new_key_changes_nothing(
    repository: Repository, comparison_id: str, annotator_id: str
) -> None:
    first = repository.record_judgement(a_click(comparison_id, annotator_id, reason="clearer"))
    assert repository.record_judgement(a_click(comparison_id, annotator_id)) == first
    assert repository.history_of(comparison_id, OVERALL, annotator_id) == (first,)


def test_a_new_reason_for_the_same_choice_is_a_revision(
    repository: Repository, comparison_id: str, annotator_id: str
) -> None:
    first = repository.record_judgement(a_click(comparison_id, annotator_id, reason="clearer"))
    second = repository.record_judgement(a_click(comparison_id, annotator_id, reason="clearer and shorter"))
    assert repository.history_of(comparison_id, OVERALL, annotator_id) == (first, second)


def test_a_replayed_click_returns_the_row_it_made_even_after_a_change_of_mind(
    repository: Repository, comparison_id: str, annotator_id: str
) -> None:
    first_click = a_click(comparison_id, annotator_id, Choice.LEFT)
    first = repository.record_judgement(first_click)
    second = repository.record_judgement(a_click(comparison_id, annotator_id, Choice.RIGHT))
    assert repository.record_judgement(first_click) == first
    assert repository.record_judgement(replace(first_click, choice=Choice.TIE)) == first
    assert repository.judgements_of(comparison_id, annotator_id) == (second,)


def test_a_late_replay_of_a_click_that_changed_nothing_still_changes_nothing(
    repository: Repository, comparison_id: str, annotator_id: str
) -> None:
    first = repository.record_judgement(a_click(comparison_id, annotator_id, Choice.LEFT))
    idle_click = a_click(comparison_id, annotator_id, Choice.LEFT)
    repository.record_judgement(idle_click)
    second = repository.record_judgement(a_click(comparison_id, annotator_id, Choice.RIGHT))
    assert repository.record_judgement(idle_click) == first
    assert repository.judgements_of(comparison_id, annotator_id) == (second,)


def test_one_key_for_two_judgements_is_refused(repository: Repository, comparison_id: str, annotator_id: str) -> None:
    click = a_click(comparison_id, annotator_id)
    repository.record_judgement(click)
    other_annotator = repository.annotator("hash of Eve's key").id
    for other in (replace(click, dimension="helpfulness"), replace(click, annotator_id=other_annotator)):
        with pytest.raises(InputError, match="client key"):
            repository.record_judgement(other)
    assert repository.count_judgements() == 1


def test_a_judgement_of_nothing_or_by_nobody_is_not_found(
    repository: Repository, comparison_id: str, annotator_id: str
) -> None:
    for click in (a_click(new_id(), annotator_id), a_click(comparison_id, new_id())):
        with pytest.raises(NotFoundError):
            repository.record_judgement(click)
    assert repository.count_judgements() == 0


def test_dimensions_and_annotators_are_judged_separately(repository: Repository, comparison_id: str) -> None:
    people = [repository.annotator(f"hash {number}").id for number in range(2)]
    dimensions = ("Zeal", "helpfulness", OVERALL, "ärlighet")
    made = [
        repository.record_judgement(a_click(comparison_id, person, dimension=dimension))
        for person in people
        for dimension in reversed(dimensions)
    ]
    assert repository.count_judgements() == len(made) == 8
    for person in people:
        theirs = repository.judgements_of(comparison_id, person)
        assert [judgement.dimension for judgement in theirs] == sorted(dimensions)


def test_recent_judgements_are_newest_first_and_limited(repository: Repository, annotator_id: str) -> None:
    made = []
    for _ in range(5):
        comparison = a_comparison()
        repository.save_comparison(comparison)
        made.append(repository.record_judgement(a_click(comparison.id, annotator_id)))
    assert repository.recent_judgements() == tuple(reversed(made))
    assert repository.recent_judgements(limit=2) == (made[4], made[3])
    assert repository.recent_judgements(annotator_id=annotator_id) == tuple(reversed(made))
    assert repository.recent_judgements(annotator_id=new_id()) == ()


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_a_limit_out_of_range_is_refused(repository: Repository, limit: int) -> None:
    with pytest.raises(InputError, match="limit"):
        repository.recent_judgements(limit)


def test_forgetting_old_prompts_removes_what_nobody_judged_and_empties_the_rest(
    repository: Repository, comparison_id: str, annotator_id: str
) -> None:
    judged, new = a_comparison(), a_comparison(created_at=START + timedelta(days=1))
    for comparison in (judged, new):
        repository.save_comparison(comparison)
    repository.record_judgement(a_click(judged.id, annotator_id))
    forgotten = repository.forget_prompts(START + timedelta(days=1))
    assert (forgotten.n_comparisons_removed, forgotten.n_generations_emptied) == (1, 2)
    with pytest.raises(NotFoundError):
        repository.get_comparison(comparison_id)
    assert repository.get_comparison(new.id) == new
    left = repository.get_comparison(judged.id).left
    assert (left.messages, left.text) == ((), "")
    assert left.text_removed_at is not None
    assert repository.count_judgements() == 1
    assert repository.forget_prompts(START + timedelta(days=1)).n_generations_emptied == 0


T = TypeVar("T")
R = TypeVar("R")


def _at_once(function: Callable[[T], R], arguments: Sequence[T]) -> list[R]:
    """Call ``function`` in one thread for each argument."""
    with ThreadPoolExecutor(len(arguments)) as threads:
        return list(threads.map(function, arguments))


def test_a_double_click_in_two_threads_is_one_row(
    repository: Repository, comparison_id: str, annotator_id: str
) -> None:
    for number in range(20):
        click = a_click(comparison_id, annotator_id, dimension=f"dimension {number}")
        assert len(set(_at_once(repository.record_judgement, [click] * 4))) == 1
    assert repository.count_judgements() == 20


def test_racing_changes_of_mind_leave_an_unbroken_history(
    repository: Repository, comparison_id: str, annotator_id: str
) -> None:
    choices = [Choice.LEFT, Choice.RIGHT, Choice.TIE, Choice.BOTH_BAD] * 4
    _at_once(repository.record_judgement, [a_click(comparison_id, annotator_id, choice) for choice in choices])
    history = repository.history_of(comparison_id, OVERALL, annotator_id)
    assert [judgement.revision for judgement in history] == list(range(1, len(history) + 1))
    assert repository.judgements_of(comparison_id, annotator_id) == history[-1:]
    assert all(earlier.choice != later.choice for earlier, later in pairwise(history))


def test_eight_threads_store_fifty_judgements_each_without_a_locked_database(repository: Repository) -> None:
    def work(thread: int) -> None:
        person = repository.annotator(f"hash {thread}").id
        for number in range(50):
            if number % 10 == 0:
                comparison = a_comparison()
                repository.save_comparison(comparison)
            repository.record_judgement(a_click(comparison.id, person, dimension=f"dimension {number}"))
            assert repository.judgements_of(comparison.id, person)

    _at_once(work, range(8))
    assert repository.count_judgements() == 400
