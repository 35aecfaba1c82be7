"""A study's answers are written ahead: each once, with the blends it names, however often it is stopped."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from itertools import count, islice
from pathlib import Path

import pytest

from models.answers import ComparisonRequest
from steering.errors import CapacityError, InputError, LoadError, PromptError
from steering.types import Message, Role
from storage.database import Database, open_database
from storage.records import OVERALL
from storage.records_pairs import CanonicalSide, NamedBlend, Outcome
from storage.records_publishing import Publishing
from storage.records_studies import ItemRole, Question, StudyItem, StudySettings, StudyState
from storage.sql_repository import SqlRepository
from storage.sql_studies import SqlStudies
from tests.ui.fakes import ScriptedEngine, pieces_of
from ui.studies import blends_of, close_study, create_study, generate_answers, n_comparisons, study_named
from ui.study_files import GoldPair, StudyPlan

UNGUIDED, HELPFUL = NamedBlend.of({}), NamedBlend("helpful", {"helpfulness": 2.0})
BOTH = NamedBlend.of({"helpfulness": 2.0, "harmlessness": 1.0})
PROMPTS = tuple((Message(Role.USER, f"Question {number}?"),) for number in range(6))
GOLD = GoldPair((Message(Role.USER, "1 + 1?"),), "Two.", "A fish.\0 <b>", (OVERALL,))


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with open_database(f"sqlite:///{tmp_path}/tiller.db") as opened:
        yield opened


@pytest.fixture
def studies(database: Database) -> SqlStudies:
    return SqlStudies(database)


def a_plan(**changes: object) -> StudyPlan:
    settings = StudySettings(
        PROMPTS, (Question(OVERALL, "Which is better?"),), (UNGUIDED, HELPFUL, BOTH), seed=40, overlap=2
    )
    return StudyPlan("pilot", replace(settings, **changes))  # type: ignore[arg-type]


def an_engine(**changes: object) -> ScriptedEngine:
    """Each answer says which prompt and which weights it is of."""

    def script(request: ComparisonRequest) -> list[list[str]]:
        return [
            pieces_of(f"{request.messages[-1].content} {sorted(blend.weights.items())}") for blend in request.blends
        ]

    return replace(ScriptedEngine(script=script), **changes)  # type: ignore[arg-type]


def all_items(studies: SqlStudies, study_id: str) -> list[StudyItem]:
    return list(studies.items(study_id, limit=1000))


def texts(items: list[StudyItem]) -> set[tuple[str, str, str, str]]:
    return {
        (item.blend_a.key, item.comparison.left.text, item.blend_b.key, item.comparison.right.text) for item in items
    }


def test_every_two_blends_are_compared_for_every_prompt_and_the_study_opens(studies: SqlStudies) -> None:
    engine, study = an_engine(), create_study(studies, a_plan())
    reports = list(generate_answers(engine, studies, study.id))
    assert (reports[0].n_done, reports[-1].n_done, reports[-1].n_all) == (0, 18, 18)
    items = all_items(studies, study.id)
    said = {
        (
            a.key,
            f"{prompt[0].content} {sorted(a.weights.items())}",
            b.key,
            f"{prompt[0].content} {sorted(b.weights.items())}",
        )
        for prompt in PROMPTS
        for a, b in ((UNGUIDED, HELPFUL), (UNGUIDED, BOTH), (HELPFUL, BOTH))
    }
    assert len(items) == 18
    assert texts(items) == said
    assert studies.study(study.id).state is StudyState.OPEN
    assert study_named(studies, "pilot").n_wanted == 36
    assert all(item.comparison.left.blend.weights == item.blend_a.weights for item in items)


def test_an_answer_in_two_comparisons_is_one_generation_and_each_prompt_has_a_seed_of_its_own(
    studies: SqlStudies,
) -> None:
    engine, study = an_engine(), create_study(studies, a_plan())
    list(generate_answers(engine, studies, study.id))
    made = [side for item in all_items(studies, study.id) for side in (item.comparison.left, item.comparison.right)]
    assert len({generation.id for generation in made}) == 18  # six prompts, three blends
    assert [request.sampling.seed for request in engine.requests] == [40, 41, 42, 43, 44, 45]
    assert {generation.sampling.seed for generation in made} == set(range(40, 46))


def test_what_was_stopped_at_any_step_goes_on_and_ends_as_if_it_had_not_been(studies: SqlStudies) -> None:
    study = create_study(studies, a_plan())
    engine = an_engine()
    for n_steps in count(1):
        with closing(generate_answers(engine, studies, study.id)) as reports:
            assert list(islice(reports, n_steps))
        there = study_named(studies, "pilot")
        assert there.n_items % 3 == 0  # a prompt is there with all its comparisons or not at all
        if there.state is StudyState.OPEN:
            break
    assert engine.closed > 0  # the engine was told each time
    assert engine.running == 0
    whole = create_study(studies, replace(a_plan(), name="in one go"))
    list(generate_answers(an_engine(), studies, whole.id))
    assert texts(all_items(studies, study.id)) == texts(all_items(studies, whole.id))


def test_what_is_there_is_not_written_again(studies: SqlStudies) -> None:
    study = create_study(studies, a_plan())
    with closing(generate_answers(an_engine(), studies, study.id)) as reports:
        assert any(report.n_done == 9 for report in reports)
    before = all_items(studies, study.id)
    assert len(before) == 9
    engine = an_engine()
    first, *_ = list(generate_answers(engine, studies, study.id))
    assert first.n_done == 9
    assert [request.messages for request in engine.requests] == list(PROMPTS[3:])
    assert [item for item in all_items(studies, study.id) if item in before] == before
    engine = an_engine()
    assert [report.n_done for report in generate_answers(engine, studies, study.id)] == [18]
    assert engine.requests == []


def test_the_time_left_is_that_of_the_prompts_made_so_far(studies: SqlStudies) -> None:
    study = create_study(studies, a_plan())
    ticks = count()
    reports = list(generate_answers(an_engine(), studies, study.id, clock=lambda: 10.0 * next(ticks)))
    left = [report.seconds_left for report in reports]
    assert list(dict.fromkeys(left)) == [None, 50.0, 40.0, 30.0, 20.0, 10.0, 0.0]


def test_other_models_do_not_go_on_with_a_study(studies: SqlStudies) -> None:
    study = create_study(studies, replace(a_plan(gold_share=0.1), gold=(GOLD,)))
    with closing(generate_answers(an_engine(), studies, study.id)) as reports:
        assert any(report.n_done == 3 for report in reports)
    other = an_engine(base=replace(ScriptedEngine().base, revision="sha256:1"))
    with pytest.raises(InputError, match="begun with other models: scripted, guide-a, guide-b"):
        list(generate_answers(other, studies, study.id))
    assert other.requests == []
    assert study_named(studies, "pilot").n_items == 3


@pytest.mark.parametrize(
    "error", [PromptError("It is too long.", hint="Cut."), LoadError("NaN."), CapacityError("Full.")]
)
def test_an_error_names_the_prompt_and_leaves_the_study_to_be_gone_on_with(
    error: Exception, studies: SqlStudies
) -> None:
    study = create_study(studies, a_plan())
    with pytest.raises(type(error), match=f"Prompt 1: {error.message}"):  # type: ignore[attr-defined]
        list(generate_answers(an_engine(late_error=error), studies, study.id))
    assert all_items(studies, study.id) == []
    assert studies.study(study.id).state is StudyState.GENERATING


def test_an_answer_that_the_time_limit_cut_is_not_stored(studies: SqlStudies) -> None:
    study = create_study(studies, a_plan())
    with pytest.raises(CapacityError, match="prompt 1 were not finished in time"):
        list(generate_answers(an_engine(time_out_after=2), studies, study.id))
    assert all_items(studies, study.id) == []


RANGES = {"helpfulness": (0.0, 3.0), "harmlessness": (-1.0, 1.0)}


def test_drawn_blends_lie_evenly_in_their_ranges_and_are_the_same_again() -> None:
    prompts = PROMPTS[:1] * 2000
    settings = a_plan(prompts=prompts, blends=(), ranges=RANGES).settings
    drawn = [blend.weights for number in range(len(prompts)) for blend in blends_of(settings, number)]
    for axis, (low, high) in RANGES.items():
        weights = sorted(weights.get(axis, 0.0) for weights in drawn)
        assert low <= weights[0] <= low + 0.02
        assert high - 0.02 <= weights[-1] <= high
        # the quartiles of 4,000 even draws: their standard deviation is 0.7 % of the range, five of them are allowed
        for place in (1, 2, 3):
            assert weights[1000 * place] == pytest.approx(low + place * (high - low) / 4, abs=0.035 * (high - low))
    assert blends_of(settings, 7) == blends_of(settings, 7)
    assert blends_of(settings, 7) != blends_of(replace(settings, seed=41), 7)


def test_a_study_of_drawn_blends_has_one_comparison_a_prompt_of_two_different_blends(studies: SqlStudies) -> None:
    study = create_study(studies, a_plan(blends=(), ranges=RANGES))
    assert n_comparisons(study.settings) == 6
    list(generate_answers(an_engine(), studies, study.id))
    items = all_items(studies, study.id)
    assert len(items) == 6
    assert len({blend.key for item in items for blend in (item.blend_a, item.blend_b)}) == 12


@pytest.mark.parametrize("ends", [(0.0, 0.001), (0.001, 0.0115), (-1e-9, 1e-9)])
def test_blends_drawn_from_a_narrow_range_stay_in_it(ends: tuple[float, float]) -> None:
    settings = a_plan(blends=(), ranges={"helpfulness": ends}).settings
    drawn: list[Mapping[str, float]] = [blend.weights for number in range(6) for blend in blends_of(settings, number)]
    assert all(ends[0] <= weights.get("helpfulness", 0.0) <= ends[1] for weights in drawn)


def test_guides_that_are_published_meanwhile_end_the_writing_before_they_are_mixed_with_the_old_ones(
    studies: SqlStudies,
) -> None:
    engine, study = an_engine(), create_study(studies, a_plan())
    old = engine.guides
    with closing(generate_answers(engine, studies, study.id)) as reports:
        while next(reports).n_done < 6:
            pass
        engine.guides = (replace(old[0], id="guide-a2", sha256="c" * 64), old[1])
        with pytest.raises(InputError, match=r"prompt 3 was answered with .*guide-a2.*guide-a, "):
            list(reports)
    assert len(all_items(studies, study.id)) == 6
    engine.guides = old
    list(generate_answers(engine, studies, study.id))
    assert {guide.sha256 for item in all_items(studies, study.id) for guide in item.comparison.left.guides} == {
        guide.sha256 for guide in old
    }
    assert studies.study(study.id).state is StudyState.OPEN


def test_gold_items_are_asked_with_the_answers_a_person_wrote(studies: SqlStudies, database: Database) -> None:
    study = create_study(studies, replace(a_plan(gold_share=1.0), gold=(GOLD,)))
    list(generate_answers(an_engine(), studies, study.id))
    ada = SqlRepository(database).annotator("ada")
    assignment = studies.next_assignment(study.id, ada.id)
    assert assignment is not None
    item = assignment.item
    assert item.role is ItemRole.GOLD
    assert item.gold == {OVERALL: Outcome.A}
    assert (item.comparison.left.text, item.comparison.right.text) == ("Two.", "A fish.\0 <b>")
    assert assignment.shown_left in CanonicalSide
    assert study_named(studies, "pilot").n_items == 18  # gold is counted apart


def test_a_study_whose_making_was_interrupted_is_made_whole_by_the_same_plan_and_by_no_other(
    studies: SqlStudies,
) -> None:
    plan = replace(a_plan(gold_share=0.1), gold=(GOLD,))
    interrupted = studies.create_study(plan.name, plan.settings)
    with pytest.raises(InputError, match="already a study 'pilot'"):
        create_study(studies, replace(plan, settings=replace(plan.settings, overlap=3)))
    studies.set_publishing(interrupted.id, Publishing(enabled=True, margin=0.2))  # meanwhile, on the page
    assert create_study(studies, plan).id == interrupted.id
    assert [item.role for item in all_items(studies, interrupted.id)] == [ItemRole.GOLD]
    list(generate_answers(an_engine(), studies, interrupted.id))
    with pytest.raises(InputError, match="already a study 'pilot'"):
        create_study(studies, plan)


def test_a_study_is_closed_by_its_name_and_only_once_it_was_open(studies: SqlStudies) -> None:
    study = create_study(studies, a_plan())
    with pytest.raises(InputError, match="generating"):
        close_study(studies, "pilot")
    list(generate_answers(an_engine(), studies, study.id))
    assert close_study(studies, "pilot").state is StudyState.CLOSED
    with pytest.raises(InputError, match=r"no study 'Pilot'.*'pilot'"):
        close_study(studies, "Pilot")
