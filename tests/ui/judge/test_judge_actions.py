"""The actions of the Judge page, over the in-memory store."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.requests import Request

from steering.errors import InputError, NotFoundError
from storage.records import new_id
from storage.records_studies import Progress, StudyState
from tests.storage.fakes import InMemoryRepository
from tests.storage.study_fakes import InMemoryStudies
from tests.ui.judge.serving import PLAIN, PULLED, QUESTIONS, a_study, an_item
from ui.components import judge_markup
from ui.judge.actions import Desk, JudgeActions, normalised
from ui.judge.item_handles import ItemHandles
from ui.judge.pace import LONG_PAUSE_SECONDS, Pace, read_pace, seconds_each
from ui.judge.saving import saved


@pytest.fixture
def studies() -> InMemoryStudies:
    return InMemoryStudies(InMemoryRepository())


@pytest.fixture
def actions(studies: InMemoryStudies, tmp_path: Path) -> JudgeActions:
    return JudgeActions(studies.repository, studies, tmp_path)


def said(desk: Desk, *choices: str, key: str = "") -> str:
    return json.dumps(
        {"item": desk.handle, "key": key or new_id(), "answers": [{"choice": choice} for choice in choices]}
    )


def test_only_open_studies_are_offered(actions: JudgeActions, studies: InMemoryStudies) -> None:
    first, second = a_study(studies, 1), a_study(studies, 1)
    studies.set_state(first, StudyState.CLOSED)
    assert [study.id for study in actions.open_studies()] == [second]
    with pytest.raises(InputError, match="not open"):
        actions.start(first, "Ada", False)


def test_every_judge_gets_sides_of_their_own_and_the_page_shows_them(
    actions: JudgeActions, studies: InMemoryStudies
) -> None:
    study_id = a_study(studies, 1)
    lefts = set()
    for number in range(40):  # all the same by chance once in 2**39
        shown = actions.start(study_id, f"Judge {number}", False).shown
        assert shown is not None
        assert {shown.left, shown.right} == {"Plainly 1.", "Pulledly 1."}
        lefts.add(shown.left)
    assert lefts == {"Plainly 1.", "Pulledly 1."}


def test_what_is_drawn_of_an_item_is_its_texts_and_nothing_of_whose_they_are(
    actions: JudgeActions, studies: InMemoryStudies
) -> None:
    study_id = a_study(studies, 1)
    drawn = {}
    for number in range(40):
        desk = actions.start(study_id, f"Judge {number}", False)
        assert desk.shown is not None
        drawn[desk.shown.left] = judge_markup.item("the same", desk.shown, desk.questions)
    one, other = drawn["Plainly 1."], drawn["Pulledly 1."]
    swapped = one.replace("Plainly", "*").replace("Pulledly", "Plainly").replace("*", "Pulledly")
    assert one != other
    assert swapped == other


def test_the_same_name_in_other_letters_is_the_same_judge(actions: JudgeActions, studies: InMemoryStudies) -> None:
    study_id = a_study(studies, 2)
    desk = actions.start(study_id, "Ada  Lovelace", False)
    assert actions.start(study_id, " ada LOVELACE", False) == desk
    assert actions.start(study_id, "A\uff24a Lovelace", False).shown == desk.shown
    assert len(studies.repository.annotators) == 1
    (person,) = studies.repository.annotators.values()
    assert person.display_name == "Ada Lovelace"
    assert "ada" not in person.key_hash
    assert normalised("STRASSE") == normalised("Straße")


@pytest.mark.parametrize("name", ["", "   ", None, 7, "x" * 101])
def test_a_name_that_cannot_be_one_is_refused(actions: JudgeActions, studies: InMemoryStudies, name: object) -> None:
    with pytest.raises(InputError, match="name"):
        actions.start(a_study(studies, 1), name, False)


@pytest.mark.parametrize("study_id", ["", None, 7])
def test_no_study_is_told(actions: JudgeActions, study_id: object) -> None:
    with pytest.raises(InputError, match="not picked"):
        actions.start(study_id, "Ada", False)
    with pytest.raises(NotFoundError):
        actions.start(new_id(), "Ada", False)


def test_the_same_save_again_is_one_judgement_and_goes_on(actions: JudgeActions, studies: InMemoryStudies) -> None:
    study_id = a_study(studies, 3, questions=QUESTIONS)
    sent = said(actions.start(study_id, "Ada", False), "left", "tie")
    following = actions.save(study_id, "Ada", sent)
    assert actions.save(study_id, "Ada", sent) == following
    assert following.progress == Progress(1, 2)
    assert studies.repository.count_judgements() == 2


def test_a_judge_cannot_answer_what_another_one_was_shown(actions: JudgeActions, studies: InMemoryStudies) -> None:
    study_id = a_study(studies, 1)
    sent = said(actions.start(study_id, "Ada", False), "left")
    actions.start(study_id, "Bob", False)  # is given the same item, perhaps with the sides swapped
    for stranger in ("Bob", "Grace"):
        with pytest.raises(InputError, match="no item of yours"):
            actions.save(study_id, stranger, sent)
    assert studies.repository.count_judgements() == 0


def test_the_page_names_no_items_id_and_what_it_names_looks_alike(
    actions: JudgeActions, studies: InMemoryStudies
) -> None:
    """Gold items and repetitions once stood out: an id of the one can be computed, one of the other is a uuid4."""
    study_id = a_study(studies, 0)
    gold = hashlib.sha256(f"{study_id} 0 gold 0".encode()).hexdigest()[:32]
    ids = [gold, *(new_id() for _ in range(15))]
    studies.add_items(
        study_id, [replace(an_item(study_id, n, "Plain.", "Pulled."), id=each) for n, each in enumerate(ids)]
    )
    handles, desk = [], actions.start(study_id, "Ada", False)
    while desk.shown is not None:
        drawn = judge_markup.laid_out(desk, Pace())["item"]
        assert f'data-item="{desk.handle}"' in drawn
        assert [each for each in ids if each in drawn] == []
        handles.append(desk.handle)
        desk = actions.save(study_id, "Ada", said(desk, "left"))
    assert studies.repository.count_judgements() == len(set(handles)) == len(ids)
    # All of one digit the same by chance once in 16**15; of the uuid4s the 13th always is.
    assert min(len(set(digits)) for digits in zip(*handles, strict=True)) > 1


def test_a_handle_is_one_judges_in_one_study_and_cannot_be_made_or_changed() -> None:
    item_id, handles = new_id(), ItemHandles(b"s" * 32, new_id(), new_id())
    handle = handles.of(item_id)
    assert handles.item_id(handle) == item_id
    assert replace(handles).of(item_id) == handle
    for other in (
        replace(handles, secret=b"t" * 32),
        replace(handles, study_id=new_id()),
        replace(handles, annotator_id=new_id()),
    ):
        assert other.of(item_id) != handle
        with pytest.raises(InputError, match="no item of yours"):
            other.item_id(handle)
    for place in (0, 31, 32, 63):
        changed = handle[:place] + ("1" if handle[place] == "0" else "0") + handle[place + 1 :]
        with pytest.raises(InputError, match="no item of yours"):
            handles.item_id(changed)


def test_undo_lays_the_last_item_out_again_and_needs_one(actions: JudgeActions, studies: InMemoryStudies) -> None:
    study_id = a_study(studies, 3)
    first = actions.start(study_id, "Ada", False)
    assert not first.can_undo
    with pytest.raises(InputError, match="nothing to take back"):
        actions.undo(study_id, "Ada")
    assert actions.save(study_id, "Ada", said(first, "left")).can_undo
    again = actions.undo(study_id, "Ada")
    assert again.shown == first.shown
    assert studies.repository.count_judgements() == 0


def test_a_study_that_reveals_names_the_blends_after_a_save_and_takes_nothing_back(
    actions: JudgeActions, studies: InMemoryStudies
) -> None:
    study_id = a_study(studies, 3, reveals=True)
    desk = actions.start(study_id, "Ada", False)
    assert desk.shown is not None
    assert desk.revealed is None
    is_plain_left = desk.shown.left.startswith("Plainly")
    after = actions.save(study_id, "Ada", said(desk, "left"))
    assert after.revealed == ((PLAIN.key, PULLED.key) if is_plain_left else (PULLED.key, PLAIN.key))
    assert not after.can_undo
    with pytest.raises(InputError, match="cannot be taken back"):
        actions.undo(study_id, "Ada")


def test_what_was_revealed_is_not_judged_again_and_the_page_says_so_and_goes_on(
    actions: JudgeActions, studies: InMemoryStudies
) -> None:
    study_id = a_study(studies, 3, reveals=True)
    first = actions.start(study_id, "Ada", False)
    after = actions.save(study_id, "Ada", said(first, "left"))
    again = actions.save(study_id, "Ada", said(first, "right"))
    assert "judged already" in again.told
    assert (after.told, again.shown, again.revealed) == ("", after.shown, after.revealed)
    assert [made.choice for made in studies.repository.revisions] == ["left"]


def test_an_answer_to_a_study_that_has_closed_is_saved_and_the_page_says_both_and_is_finished(
    actions: JudgeActions, studies: InMemoryStudies
) -> None:
    """The page once said to press Save again, which helped nothing."""
    study_id = a_study(studies, 3)
    first = actions.start(study_id, "Ada", False)
    studies.set_state(study_id, StudyState.CLOSED)
    body = json.dumps(
        {"token": actions.session_token("mine"), "study": study_id, "name": "Ada", "sent": said(first, "left")}
    )
    shown = saved(actions, Request({"type": "http", "headers": []}), body.encode())
    assert "Your answer is saved; the study has closed." in str(shown["message"])
    assert "judge-finished" in str(shown["item"])
    assert not shown["can_undo"]
    assert studies.repository.count_judgements() == 1


def test_consent_is_asked_once(actions: JudgeActions, studies: InMemoryStudies) -> None:
    study_id = a_study(studies, 1, consent="Please agree.")
    assert actions.consent_of(study_id) == "Please agree."
    with pytest.raises(InputError, match="agree"):
        actions.start(study_id, "Ada", False)
    assert actions.start(study_id, "Ada", True).shown is not None
    assert actions.start(study_id, "Ada", False).shown is not None
    with pytest.raises(InputError, match="agree"):
        actions.start(study_id, "Grace", False)


def test_a_page_writes_only_with_the_token_it_was_given_also_after_a_restart(
    actions: JudgeActions, studies: InMemoryStudies, tmp_path: Path
) -> None:
    token = actions.session_token("mine")
    restarted = JudgeActions(studies.repository, studies, tmp_path)
    restarted.check_token(token)
    restarted.check_token(token, "mine")
    elsewhere = JudgeActions(studies.repository, studies, tmp_path / "another server").session_token("mine")
    for wrong in (elsewhere, token[:-1], f"x{token}", "mine.", "mine", "", None, "ä", "ä.ä"):
        with pytest.raises(InputError, match="not known"):
            actions.check_token(wrong)
    with pytest.raises(InputError, match="not known"):
        actions.check_token(actions.session_token("other"), "mine")


def test_pace_is_the_mean_of_the_last_gaps_without_pauses() -> None:
    assert seconds_each(()) is None
    assert seconds_each((5.0,)) is None
    assert seconds_each((0.0, 10.0, 10.0 + LONG_PAUSE_SECONDS, 30.0 + LONG_PAUSE_SECONDS)) == pytest.approx(15.0)
    many = (*map(float, range(0, 1000, 7)), 1000.0, 1002.0)
    assert seconds_each(many) == pytest.approx((many[-1] - many[-21]) / 20)


def test_a_pace_that_no_page_of_ours_tells_is_none() -> None:
    assert read_pace({"count": 3, "times": [1.0, 2.0, 4.0]}) == Pace(3, 1.5)
    for sent in (None, [], {}, {"count": "3", "times": []}, {"count": 3, "times": [None]}, {"count": 3, "times": 7}):
        assert read_pace(sent) == Pace()
