"""A study as TOML and back: what the page makes the command line makes again, and the other way round."""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steering.types import Message, Role, SamplingSettings
from storage.database import open_database
from storage.records_pairs import NamedBlend
from storage.records_publishing import Publishing
from storage.records_studies import Ordering, Question, StudySettings
from storage.sql_studies import SqlStudies
from tests.ui.test_commands_generating import an_engine
from ui.studies import create_study, generate_answers
from ui.study_documents import stored_plan, toml_of
from ui.study_files import GoldPair, StudyPlan, study_plan

ROOT = Path(__file__).parent.parent.parent
# Whatever a person can type and a study can store: no half characters; NUL is not allowed in names.
typed = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30).filter(
    lambda text: bool(text.strip())
)
named = typed.filter(lambda text: "\0" not in text)
weights = st.floats(-4, 4).map(lambda weight: round(weight, 4))
conversations = st.tuples(
    st.lists(st.builds(Message, st.sampled_from(Role), typed), max_size=2),
    st.builds(Message, st.just(Role.USER), typed),
).map(lambda both: (*both[0], both[1]))
samplings = st.builds(
    SamplingSettings,
    temperature=st.floats(0, 10),
    top_k=st.integers(0, 100),
    top_p=st.floats(0.01, 1),
    min_p=st.floats(0, 1),
    max_new_tokens=st.integers(1, 5000),
    plausibility=st.none() | st.floats(0, 1),
)


@st.composite
def plans(draw: st.DrawFn) -> StudyPlan:
    dimensions = draw(st.lists(named, min_size=1, max_size=3, unique=True))
    guides = draw(st.lists(named, min_size=1, max_size=3, unique=True))
    prompts = draw(st.lists(conversations, min_size=1, max_size=4))
    is_drawn = draw(st.booleans())
    if is_drawn:
        n_pairs = draw(st.integers(1, 3))
        prompts = [prompt for prompt in prompts for _ in range(n_pairs)]
    names = draw(st.lists(named, min_size=2, max_size=4, unique=True))
    blends = tuple(NamedBlend(name, draw(st.dictionaries(st.sampled_from(guides), weights))) for name in names)
    gold = tuple(
        GoldPair(draw(conversations), f"{draw(typed)} right", f"{draw(typed)} wrong", tuple(dimensions))
        for _ in range(draw(st.integers(0, 2)))
    )
    repeat_share = draw(st.sampled_from([0.0, 0.1, 0.75]))
    can_reveal = repeat_share == 0 and (is_drawn or len(blends) == 2)
    settings = StudySettings(
        prompts=tuple(prompts),
        questions=tuple(Question(dimension, draw(named)) for dimension in dimensions),
        blends=() if is_drawn else blends,
        ranges={guide: (-1.0, draw(st.floats(-0.5, 4))) for guide in guides} if is_drawn else {},
        sampling=draw(samplings),
        overlap=draw(st.integers(1, 9)),
        gold_share=0.25 if gold else 0.0,
        repeat_share=repeat_share,
        consent=draw(st.just("") | named),
        reveals=can_reveal and draw(st.booleans()),
        ordering=draw(st.sampled_from(Ordering)),
        seed=draw(st.integers(0, 2**31)),
        publish=Publishing(draw(st.booleans()), draw(st.floats(0, allow_infinity=False) | st.integers(0, 9))),
    )
    return StudyPlan(draw(named), settings, gold)


@given(plan=plans())
def test_a_plan_written_as_toml_is_read_as_the_same_plan(plan: StudyPlan) -> None:
    assert study_plan(tomllib.loads(toml_of(plan)), Path("nowhere")) == plan


@pytest.fixture
def studies(tmp_path: Path) -> Iterator[SqlStudies]:
    with open_database(f"sqlite:///{tmp_path}/tiller.db") as database:
        yield SqlStudies(database)


def test_a_stored_study_gives_the_toml_it_was_made_from_before_and_after_its_answers_are_written(
    studies: SqlStudies,
) -> None:
    (example,) = re.findall(r"^```toml\n(.*?)^```$", (ROOT / "docs/studies.md").read_text("utf-8"), re.S | re.M)
    plan = study_plan(tomllib.loads(example), ROOT)
    study = create_study(studies, plan)
    assert study_plan(tomllib.loads(toml_of(stored_plan(studies, study))), ROOT) == plan
    list(generate_answers(an_engine(), studies, study.id))
    assert study_plan(tomllib.loads(toml_of(stored_plan(studies, studies.study(study.id)))), ROOT) == plan


def test_gold_that_is_right_in_some_dimensions_only_stays_so(studies: SqlStudies) -> None:
    questions = (Question("tone", "Which is kinder?"), Question("overall", "Which is better?"))
    settings = StudySettings(
        ((Message(Role.USER, "P"),),), questions, (NamedBlend.of({}), NamedBlend.of({"a": 1.0})), gold_share=0.5
    )
    gold = GoldPair((Message(Role.SYSTEM, "S"), Message(Role.USER, "G")), "right", "wrong", ("overall",))
    plan = StudyPlan("gold", settings, (gold, replace(gold, right="Right", dimensions=("tone", "overall"))))
    found = stored_plan(studies, create_study(studies, plan))
    assert set(found.gold) == set(plan.gold)
