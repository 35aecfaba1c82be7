"""Saving an answer and getting the next item is one step, in every store of studies."""

from dataclasses import replace

import pytest

from steering.errors import InputError, NotFoundError
from steering.types import Choice
from storage.records import new_id
from storage.records_pairs import CanonicalSide
from storage.records_seen import Standing
from storage.records_studies import Assignment, Progress, StudyState
from tests.storage.conftest import Stores
from tests.storage.study_examples import DIMENSIONS, an_open_study, answers_to, some_settings


@pytest.fixture
def ada(stores: Stores) -> str:
    return stores.repository.annotator("hash of Ada's key", "Ada").id


def test_what_is_laid_out_is_the_item_given_with_its_texts_by_the_side_of_the_screen(stores: Stores, ada: str) -> None:
    study_id = an_open_study(stores.studies, 6)
    sides = set()
    for n_before in range(6):
        standing = stores.studies.go_on(study_id, ada)
        given = stores.studies.next_assignment(study_id, ada)
        assert given is not None
        assert standing.seen is not None
        assert standing.seen.item_id == given.item.id
        assert standing.seen.messages == given.item.comparison.left.messages
        texts = (given.item.comparison.left.text, given.item.comparison.right.text)
        is_a_left = given.shown_left is CanonicalSide.A
        assert (standing.seen.left, standing.seen.right) == (texts if is_a_left else texts[::-1])
        assert standing.progress == stores.studies.progress(study_id, ada) == Progress(n_before, 6 - n_before)
        sides.add(given.shown_left)
        stores.studies.answer(answers_to(given))
    assert stores.studies.go_on(study_id, ada).seen is None
    assert stores.studies.go_on(study_id, ada).progress == Progress(6, 0)


def test_answers_are_stored_as_the_next_item_is_given_and_again_changes_nothing(stores: Stores, ada: str) -> None:
    study_id = an_open_study(stores.studies, 3)
    first = stores.studies.next_assignment(study_id, ada)
    assert first is not None
    answers = answers_to(first, Choice.RIGHT, reason="Kinder.")
    following = stores.studies.go_on(study_id, ada, answers)
    assert following.progress == Progress(1, 2)
    assert following.seen is not None
    assert following.seen.item_id != first.item.id
    assert stores.studies.go_on(study_id, ada, answers) == following
    stored = stores.repository.judgements_of(first.item.comparison.id, ada)
    assert [(made.dimension, made.choice, made.reason, made.revision) for made in stored] == [
        (dimension, Choice.RIGHT, "Kinder.", 1) for dimension in sorted(DIMENSIONS)
    ]


def test_what_a_study_has_told_about_is_not_answered_otherwise_and_the_next_item_is_laid_out(
    stores: Stores, ada: str
) -> None:
    study_id = an_open_study(stores.studies, 3, reveals=True)
    first = stores.studies.next_assignment(study_id, ada)
    assert first is not None
    half, rest = answers_to(first, Choice.LEFT)
    stores.studies.go_on(study_id, ada, [half])
    # Nothing was told yet, so the mind may change.
    half = replace(half, choice=Choice.TIE, client_key=new_id())
    following = stores.studies.go_on(study_id, ada, [half, rest])
    stored = stores.repository.judgements_of(first.item.comparison.id, ada)
    assert [made.choice for made in stored] == [Choice.LEFT, Choice.TIE]
    assert stores.studies.go_on(study_id, ada, [half, rest]) == following
    other = answers_to(first, Choice.RIGHT)
    assert stores.studies.go_on(study_id, ada, other) == replace(following, is_refused=True)
    with pytest.raises(InputError, match="judged already"):
        stores.studies.answer(other)
    assert stores.repository.judgements_of(first.item.comparison.id, ada) == stored


def test_a_half_answered_item_stays_before_the_annotator(stores: Stores, ada: str) -> None:
    study_id = an_open_study(stores.studies, 3)
    before = stores.studies.go_on(study_id, ada)
    first = stores.studies.next_assignment(study_id, ada)
    assert first is not None
    assert stores.studies.go_on(study_id, ada, answers_to(first)[:1]) == before
    assert stores.studies.go_on(study_id, ada, answers_to(first)[1:]).progress == Progress(1, 2)


def test_answers_to_a_study_that_has_closed_are_stored_and_nothing_more_is_asked(stores: Stores, ada: str) -> None:
    study_id = an_open_study(stores.studies, 2)
    first = stores.studies.next_assignment(study_id, ada)
    assert first is not None
    stores.studies.set_state(study_id, StudyState.CLOSED)
    answers = answers_to(first)
    for _ in range(2):  # again, where the reply was lost
        assert stores.studies.go_on(study_id, ada, answers) == Standing(None, Progress(1, 0), is_closed=True)
    with pytest.raises(InputError, match="not open"):
        stores.studies.go_on(study_id, ada)
    assert len(stores.repository.judgements_of(first.item.comparison.id, ada)) == len(DIMENSIONS)


def refused(stores: Stores, given: Assignment, ada: str) -> list[tuple[type[Exception], list[object]]]:
    study_id, eve = given.item.study_id, stores.repository.annotator("hash of Eve's key", "Eve").id
    missing = new_id()
    unknown = [replace(answer, item_id=missing) for answer in answers_to(given)]
    unasked = [*answers_to(given)[:1], *answers_to(given, dimension="unasked")[:1]]
    return [
        (InputError, [study_id, eve, answers_to(given)]),
        (NotFoundError, [study_id, eve, answers_to(given, annotator_id=eve)]),
        (NotFoundError, [study_id, ada, unknown]),
        (InputError, [study_id, ada, [*answers_to(given)[:1], *unknown[1:]]]),
        (InputError, [study_id, ada, unasked]),
        (NotFoundError, [new_id(), ada, answers_to(given)]),
        (NotFoundError, [study_id, new_id(), []]),
    ]


def test_what_cannot_be_stored_is_refused_and_stores_nothing(stores: Stores, ada: str) -> None:
    study_id = an_open_study(stores.studies, 2)
    given = stores.studies.next_assignment(study_id, ada)
    assert given is not None
    for kind, arguments in refused(stores, given, ada):
        with pytest.raises(kind):
            stores.studies.go_on(*arguments)  # type: ignore[arg-type]
        assert stores.studies.next_assignment(study_id, ada) == given
    assert stores.repository.count_judgements() == 0


def test_nobody_goes_on_before_consenting(stores: Stores, ada: str) -> None:
    study = stores.studies.create_study("Consent", some_settings(consent="Sure?"))
    stores.studies.set_state(study.id, StudyState.OPEN)
    with pytest.raises(InputError, match="consent"):
        stores.studies.go_on(study.id, ada)
    stores.studies.accept_consent(study.id, ada)
    assert stores.studies.go_on(study.id, ada).seen is None


def test_a_click_key_used_for_one_question_is_refused_for_another_and_nothing_is_stored(
    stores: Stores, ada: str
) -> None:
    study_id = an_open_study(stores.studies, 2)
    given = stores.studies.next_assignment(study_id, ada)
    assert given is not None
    with pytest.raises(InputError, match="client key"):
        stores.studies.go_on(study_id, ada, answers_to(given, client_key=new_id()))
    assert stores.repository.count_judgements() == 0


def test_a_change_of_mind_keeps_the_first_choice_and_its_old_key_changes_nothing_any_more(
    stores: Stores, ada: str
) -> None:
    study_id = an_open_study(stores.studies, 2)
    given = stores.studies.next_assignment(study_id, ada)
    assert given is not None
    first, other = answers_to(given), answers_to(given, Choice.TIE)
    for answers in (first, other, first, answers_to(given, Choice.TIE)):
        stores.studies.go_on(study_id, ada, answers)
    for dimension in DIMENSIONS:
        history = stores.repository.history_of(given.item.comparison.id, dimension, ada)
        assert [made.choice for made in history] == [Choice.LEFT, Choice.TIE]
    assert {made.choice for made in stores.repository.judgements_of(given.item.comparison.id, ada)} == {Choice.TIE}
    assert stores.studies.progress(study_id, ada) == Progress(1, 1)
