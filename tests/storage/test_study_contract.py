"""What every store of studies must do, whatever it keeps them in."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from steering.errors import InputError, NotFoundError, StorageError
from steering.types import Choice
from storage.next_item import REPEAT_GAP
from storage.records import OVERALL, Strength, new_id
from storage.records_pairs import CanonicalSide, Outcome
from storage.records_publishing import Publishing
from storage.records_studies import ItemRole, Ordering, Progress, StudyState
from tests.storage.conftest import Stores
from tests.storage.examples import a_click
from tests.storage.study_examples import DIMENSIONS, an_item, an_open_study, answers_to, judge_all, some_settings


@pytest.fixture
def ada(stores: Stores) -> str:
    return stores.repository.annotator("hash of Ada's key", "Ada", "nurses").id


def test_a_study_is_read_back_equal_with_its_prompts(stores: Stores) -> None:
    settings = some_settings(
        blends=(),
        ranges={"helpfulness": (-1.0, 2.5)},
        consent="Sure?",
        reveals=True,
        seed=2**63 - 1,
        publish=Publishing(enabled=True, margin=0.025),
    )
    made = stores.studies.create_study("Tone", settings)
    assert stores.studies.study(made.id) == made
    assert made.settings == settings
    assert made.state is StudyState.GENERATING


def test_two_studies_cannot_have_one_name(stores: Stores) -> None:
    stores.studies.create_study("Tone", some_settings())
    with pytest.raises(InputError, match="already"):
        stores.studies.create_study("Tone", some_settings(overlap=7))
    assert [study.name for study in stores.studies.studies()] == ["Tone"]


def test_a_study_opens_closes_and_opens_again_but_is_never_generated_again(stores: Stores) -> None:
    study_id = stores.studies.create_study("Tone", some_settings()).id
    for state in (StudyState.OPEN, StudyState.OPEN, StudyState.CLOSED, StudyState.OPEN):
        assert stores.studies.set_state(study_id, state).state is state
    with pytest.raises(InputError):
        stores.studies.set_state(study_id, StudyState.GENERATING)
    assert stores.studies.study(study_id).state is StudyState.OPEN


def test_whether_a_study_publishes_can_be_changed_in_every_state_and_changes_nothing_else(stores: Stores) -> None:
    made = stores.studies.create_study("Tone", some_settings(consent="Sure?"))
    other = stores.studies.create_study("Wit", some_settings(publish=Publishing(enabled=True)))
    assert not made.settings.publish.enabled
    for state in (StudyState.GENERATING, StudyState.OPEN, StudyState.CLOSED):
        stores.studies.set_state(made.id, state)
        for said in (Publishing(enabled=True, margin=0), Publishing(margin=0.3)):
            changed = stores.studies.set_publishing(made.id, said)
            assert stores.studies.study(made.id) == changed
            assert changed == replace(made, state=state, settings=replace(made.settings, publish=said))
            listed = {summary.id: summary.publish for summary in stores.studies.studies()}
            assert listed == {made.id: said, other.id: Publishing(enabled=True)}


@pytest.mark.parametrize("missing", ["0" * 32, "", "x' OR 1=1", "\ud800"])
def test_what_is_not_there_is_not_found(stores: Stores, ada: str, missing: str) -> None:
    study_id = an_open_study(stores.studies, 1)
    for call in (
        lambda: stores.studies.study(missing),
        lambda: stores.studies.set_state(missing, StudyState.OPEN),
        lambda: stores.studies.set_publishing(missing, Publishing(enabled=True)),
        lambda: stores.studies.next_assignment(missing, ada),
        lambda: stores.studies.next_assignment(study_id, missing),
        lambda: stores.studies.accept_consent(study_id, missing),
        lambda: stores.studies.undo(missing, ada),
        lambda: stores.repository.delete_annotator(missing),
    ):
        with pytest.raises(NotFoundError):
            call()


def test_items_are_stored_once_and_read_in_pages(stores: Stores) -> None:
    study_id = stores.studies.create_study("Tone", some_settings()).id
    items = sorted((an_item(study_id) for _ in range(5)), key=lambda item: item.id)
    stores.studies.add_items(study_id, items)
    stores.studies.add_items(study_id, items)
    first = stores.studies.items(study_id, limit=3)
    assert first + stores.studies.items(study_id, after=first[-1].id) == tuple(items)


def test_an_item_that_does_not_fit_its_study_leaves_nothing_behind(stores: Stores) -> None:
    study_id = stores.studies.create_study("Tone", some_settings()).id
    sound, original = an_item(study_id), an_item(study_id)
    for wrong in (
        an_item(new_id()),
        an_item(study_id, gold={"honesty": Outcome.A}),
        an_item(study_id, repeat_of=new_id()),
    ):
        with pytest.raises(InputError):
            stores.studies.add_items(study_id, [sound, wrong])
        assert stores.studies.items(study_id) == ()
    stores.studies.add_items(study_id, [an_item(study_id, repeat_of=original.id), original])
    with pytest.raises(StorageError):
        stores.studies.add_items(study_id, [sound, replace(original, blend_a=original.blend_b)])
    assert len(stores.studies.items(study_id)) == 2


def test_nobody_judges_a_study_that_is_not_open_or_before_consenting(stores: Stores, ada: str) -> None:
    study = stores.studies.create_study("Tone", some_settings(consent="May we keep what you say?"))
    stores.studies.add_items(study.id, [an_item(study.id)])
    stores.studies.accept_consent(study.id, stores.repository.annotator("somebody else").id)
    with pytest.raises(InputError):
        stores.studies.next_assignment(study.id, ada)
    stores.studies.set_state(study.id, StudyState.OPEN)
    assert not stores.studies.has_consented(study.id, ada)
    with pytest.raises(InputError):
        stores.studies.next_assignment(study.id, ada)
    for _ in range(2):
        stores.studies.accept_consent(study.id, ada)
    assert stores.studies.has_consented(study.id, ada)
    assert stores.studies.next_assignment(study.id, ada) is not None


def test_an_item_waits_for_its_annotator_in_every_tab_until_all_is_answered(stores: Stores, ada: str) -> None:
    study_id = an_open_study(stores.studies, 3)
    first = stores.studies.next_assignment(study_id, ada)
    assert first is not None
    assert stores.studies.next_assignment(study_id, ada) == first
    one, other = answers_to(first)
    stores.studies.answer([one])
    assert stores.studies.next_assignment(study_id, ada) == first
    stores.studies.answer([other])
    second = stores.studies.next_assignment(study_id, ada)
    assert second is not None
    assert second.item.id != first.item.id
    assert (first.position, second.position) == (0, 1)
    assert stores.studies.progress(study_id, ada) == Progress(1, 2)


def test_nothing_is_asked_twice_and_everything_is_asked(stores: Stores, ada: str) -> None:
    study_id = an_open_study(stores.studies, 12)
    given = judge_all(stores.studies, study_id, ada)
    assert len(given) == len({assignment.item.id for assignment in given}) == 12
    assert stores.studies.next_assignment(study_id, ada) is None
    assert stores.studies.progress(study_id, ada) == Progress(12, 0)


def test_items_get_as_many_answers_as_wanted_and_the_fewest_come_first(stores: Stores) -> None:
    study_id = an_open_study(stores.studies, 4, overlap=2)
    people = [stores.repository.annotator(f"hash {number}").id for number in range(4)]
    counts: Counter[str] = Counter()
    for turn in range(8):
        assignment = stores.studies.next_assignment(study_id, people[turn // 2])
        assert assignment is not None
        assert counts[assignment.item.id] == turn // 4
        counts[assignment.item.id] += 1
        stores.studies.answer(answers_to(assignment))
    assert all(stores.studies.next_assignment(study_id, person) is None for person in people)
    (summary,) = stores.studies.studies()
    assert (summary.n_items, summary.n_given, summary.n_wanted) == (4, 8, 8)


def test_a_study_without_items_wants_and_has_no_answers(stores: Stores) -> None:
    """The empty row of an outer join was once counted as one that had all it wanted."""
    stores.studies.create_study("empty", some_settings())
    (summary,) = stores.studies.studies()
    assert (summary.n_items, summary.n_given, summary.n_wanted) == (0, 0, 0)


def test_the_last_answer_wanted_is_not_given_to_two_people_at_once(stores: Stores, ada: str) -> None:
    study_id = an_open_study(stores.studies, 1, overlap=1)
    eve = stores.repository.annotator("hash of Eve's key").id
    assert stores.studies.next_assignment(study_id, ada) is not None
    assert stores.studies.next_assignment(study_id, eve) is None


def test_the_order_differs_between_annotators(stores: Stores) -> None:
    study_id = an_open_study(stores.studies, 10, overlap=100)
    orders = set()
    for number in range(3):
        person = stores.repository.annotator(f"hash {number}").id
        orders.add(tuple(given.item.id for given in judge_all(stores.studies, study_id, person)))
    assert len(orders) == 3


def test_the_most_uncertain_goes_first_where_the_study_wants_it(stores: Stores, ada: str) -> None:
    for ordering in Ordering:
        study_id = an_open_study(stores.studies, 8, ordering=ordering)
        items = [item.id for item in stores.studies.items(study_id)]
        scores = {item_id: float(number) for number, item_id in enumerate(items)}
        asked = []
        while (assignment := stores.studies.next_assignment(study_id, ada, scores)) is not None:
            asked.append(assignment.item.id)
            stores.studies.answer(answers_to(assignment))
        assert (asked == items[::-1]) is (ordering is Ordering.UNCERTAIN)


def test_gold_items_and_repetitions_come_at_their_share_with_the_sides_swapped(stores: Stores, ada: str) -> None:
    study_id = an_open_study(stores.studies, 20, n_gold=10, overlap=1, gold_share=0.2, repeat_share=0.1)
    given = judge_all(stores.studies, study_id, ada)
    roles = Counter(assignment.item.role for assignment in given)
    assert roles[ItemRole.REGULAR] == 20
    # One away from the share at most; repetitions two, and none in the beginning.
    assert abs(roles[ItemRole.GOLD] - 0.2 * len(given)) <= 1
    assert 0 < roles[ItemRole.REPEAT] <= 0.1 * len(given) + 1
    by_item = {assignment.item.id: assignment for assignment in given}
    for again in given:
        if again.item.repeat_of is not None:
            first = by_item[again.item.repeat_of]
            assert again.shown_left is first.shown_left.other
            assert again.position - first.position > REPEAT_GAP
            assert again.item.comparison.left == first.item.comparison.left
    assert len({again.item.repeat_of for again in given if again.item.repeat_of}) == roles[ItemRole.REPEAT]


@pytest.mark.parametrize("n_gold", [10, 2])
def test_what_is_left_does_not_tell_which_items_are_gold_or_repetitions(stores: Stores, ada: str, n_gold: int) -> None:
    """It fell by one with a regular item, and stayed as it was when another one was laid before the annotator."""
    study_id = an_open_study(stores.studies, 20, n_gold=n_gold, overlap=1, gold_share=0.2, repeat_share=0.1)
    left, roles = [], Counter[ItemRole]()
    while (assignment := stores.studies.next_assignment(study_id, ada)) is not None:
        left.append(stores.studies.progress(study_id, ada).n_left)
        roles[assignment.item.role] += 1
        stores.studies.answer(answers_to(assignment))
    assert min(roles.values()) > 0
    assert len(roles) == 3
    assert left == [max(left[0] - n_answered, 1) for n_answered in range(len(left))]
    assert abs(left[0] - len(left)) <= 4  # so many gold items and repetitions may be lacking at the end
    assert stores.studies.progress(study_id, ada).n_left == 0


def test_both_sides_are_left_about_as_often(stores: Stores) -> None:
    study_id = an_open_study(stores.studies, 20, overlap=100)
    sides: Counter[CanonicalSide] = Counter()
    for number in range(5):
        person = stores.repository.annotator(f"hash {number}").id
        sides.update(given.shown_left for given in judge_all(stores.studies, study_id, person))
    # 100 fair draws: outside this once in 60,000 runs.
    assert 29 <= sides[CanonicalSide.A] <= 71


def test_an_answer_is_kept_with_its_strength_and_reason_and_in_sides_of_the_screen(stores: Stores, ada: str) -> None:
    study_id = an_open_study(stores.studies, 1)
    assignment = stores.studies.next_assignment(study_id, ada)
    assert assignment is not None
    answers = answers_to(assignment, Choice.RIGHT, strength=Strength.SLIGHTLY, reason="Shorter 🙂")
    stored = stores.studies.answer(answers)
    assert [(made.choice, made.strength, made.reason, made.revision) for made in stored] == [
        (Choice.RIGHT, Strength.SLIGHTLY, "Shorter 🙂", 1)
    ] * 2
    assert stores.studies.answer(answers) == stored
    stronger = [replace(answer, strength=Strength.CLEARLY, client_key=new_id()) for answer in answers]
    assert [made.revision for made in stores.studies.answer(stronger)] == [2, 2]
    assert stores.repository.count_judgements() == 2


def test_answers_that_do_not_fit_are_refused_whole(stores: Stores, ada: str) -> None:
    study_id = an_open_study(stores.studies, 2)
    eve = stores.repository.annotator("hash of Eve's key").id
    assignment = stores.studies.next_assignment(study_id, ada)
    assert assignment is not None
    sound, other = answers_to(assignment)
    used = stores.studies.answer([other])[0].client_key
    for wrong in (
        replace(sound, dimension="honesty"),
        replace(sound, annotator_id=eve),
        replace(sound, client_key=used),
    ):
        with pytest.raises(InputError):
            stores.studies.answer([sound, wrong])
    with pytest.raises(InputError):
        stores.studies.answer([])
    with pytest.raises(NotFoundError):
        stores.studies.answer([replace(sound, annotator_id=eve)])
    with pytest.raises(NotFoundError):
        stores.studies.answer([replace(sound, item_id=new_id())])
    assert stores.repository.count_judgements() == 1


def test_a_comparison_of_a_study_is_not_judged_past_it(stores: Stores, ada: str) -> None:
    study_id = an_open_study(stores.studies, 1)
    assignment = stores.studies.next_assignment(study_id, ada)
    assert assignment is not None
    with pytest.raises(InputError, match="study"):
        stores.repository.record_judgement(a_click(assignment.item.comparison.id, ada))


def test_undo_takes_an_answer_back_keeps_it_as_history_and_asks_again(stores: Stores, ada: str) -> None:
    study_id = an_open_study(stores.studies, 3)
    given = judge_all(stores.studies, study_id, ada)
    last = stores.studies.answered(study_id, ada, limit=1)[0]
    assert last.item == given[-1].item
    for _ in range(2):
        assert stores.studies.undo(last.item.id, ada) == replace(last, answered_at=None)
    assert stores.repository.count_judgements() == 4
    assert stores.studies.progress(study_id, ada) == Progress(2, 1)
    again = stores.studies.next_assignment(study_id, ada)
    assert again == given[-1]
    stores.studies.answer(answers_to(again, Choice.TIE))
    history = stores.repository.history_of(last.item.comparison.id, OVERALL, ada)
    assert [(made.choice, made.revision) for made in history] == [(Choice.LEFT, 1), (Choice.TIE, 2)]
    assert [made.withdrawn_at is not None for made in history] == [True, False]
    assert stores.repository.judgements_of(last.item.comparison.id, ada)[1] == history[-1]
    assert stores.repository.count_judgements() == 6


def test_ten_answers_can_be_taken_back_and_not_eleven(stores: Stores, ada: str) -> None:
    study_id = an_open_study(stores.studies, 12)
    judge_all(stores.studies, study_id, ada)
    eleventh = stores.studies.answered(study_id, ada, limit=11)[-1]
    with pytest.raises(InputError, match="last"):
        stores.studies.undo(eleventh.item.id, ada)
    for assignment in stores.studies.answered(study_id, ada):
        stores.studies.undo(assignment.item.id, ada)
    with pytest.raises(InputError, match="last"):
        stores.studies.undo(eleventh.item.id, ada)
    assert stores.studies.progress(study_id, ada) == Progress(2, 10)


def test_an_answer_given_after_the_study_closed_is_kept(stores: Stores, ada: str) -> None:
    study_id = an_open_study(stores.studies, 2)
    assignment = stores.studies.next_assignment(study_id, ada)
    assert assignment is not None
    stores.studies.set_state(study_id, StudyState.CLOSED)
    assert len(stores.studies.answer(answers_to(assignment))) == len(DIMENSIONS)
    with pytest.raises(InputError):
        stores.studies.next_assignment(study_id, ada)


def test_a_deleted_annotator_leaves_no_answer_and_the_items_are_asked_again(stores: Stores, ada: str) -> None:
    study_id = an_open_study(stores.studies, 3, overlap=1)
    eve = stores.repository.annotator("hash of Eve's key").id
    judge_all(stores.studies, study_id, ada)
    assert stores.studies.next_assignment(study_id, eve) is None
    left = stores.repository.delete_annotator(ada)
    assert (left.id, left.display_name, left.group) == (ada, "", "")
    assert left.deleted_at is not None
    assert stores.repository.delete_annotator(ada) == left
    assert stores.repository.count_judgements() == 0
    with pytest.raises(NotFoundError):
        stores.studies.next_assignment(study_id, ada)
    assert stores.repository.annotator("hash of Ada's key").id != ada
    assert len(judge_all(stores.studies, study_id, eve)) == 3


def test_many_tabs_of_one_annotator_are_given_one_item(stores: Stores, ada: str) -> None:
    study_id = an_open_study(stores.studies, 5)
    for _ in range(3):
        with ThreadPoolExecutor(8) as threads:
            given = set(threads.map(lambda _: _id_of(stores, study_id, ada), range(8)))
        assert len(given) == 1
        assignment = stores.studies.next_assignment(study_id, ada)
        assert assignment is not None
        stores.studies.answer(answers_to(assignment))


def _id_of(stores: Stores, study_id: str, annotator_id: str) -> str:
    assignment = stores.studies.next_assignment(study_id, annotator_id)
    assert assignment is not None
    return assignment.item.id
