"""A served Judge page over a SQLite file, and studies to judge on it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from steering.types import Blend, Message, Role
from storage.database import Database, open_database
from storage.records import ComparisonKind, GuideRecord, new_id
from storage.records_pairs import CanonicalSide, NamedBlend, PairFilter
from storage.records_studies import Assignment, Question, StudyItem, StudySettings, StudyState
from storage.sql_repository import SqlRepository
from storage.sql_results import SqlResults
from storage.sql_studies import SqlStudies
from storage.study_repository import StudyRepository
from tests.storage.examples import a_comparison, a_generation
from tests.ui.fakes import ScriptedEngine
from tests.ui.pages import free_port, in_a_loop
from ui.page import Backing, open_page
from ui.settings import Settings

# Words that stand in the records of an item and nowhere else: none of them may reach a judge.
PLAIN = NamedBlend("zqplainblend", {})
PULLED = NamedBlend("zqpulledblend", {"zqdimension": 2.718281})
GUIDE = GuideRecord("zqguide/pull", "zqdimension", 41, 1.414213, "c" * 64)
QUESTIONS = (Question("zqoverall", "Which answer is better?"), Question("zqkind", "Which is kinder?"))


@dataclass(frozen=True)
class Served:
    """A running page with the store behind it; ``url`` is the Judge page's."""

    url: str
    database: Database
    repository: SqlRepository
    studies: SqlStudies

    @property
    def base_url(self) -> str:
        """Where the application is."""
        return self.url.removesuffix("/judge")


@contextmanager
def judging(home: Path, database_url: str = "", **options: object) -> Iterator[Served]:
    """Serve the page with a scripted engine; the database is one in ``home`` unless another is named."""
    settings = Settings(**({"home": home, "port": free_port()} | options))  # type: ignore[arg-type]
    with open_database(database_url or settings.database_url) as database:
        repository, studies = SqlRepository(database), SqlStudies(database)
        blocks = in_a_loop(lambda: open_page(Backing(ScriptedEngine(), repository, settings, studies)))
        try:
            yield Served(f"http://127.0.0.1:{settings.port}/judge", database, repository, studies)
        finally:
            blocks.close(verbose=False)


def an_item(study_id: str, number: int, plain: str, pulled: str) -> StudyItem:
    """An unguided and a guided answer to a prompt of its own."""
    messages = (Message(Role.USER, f"Prompt number {number}?"),)
    plainly = a_generation(
        messages=messages, text=plain, blend=Blend(), exponents={}, guides=(GUIDE,), guide_rewards={}, kl_per_token=0.0
    )
    blend = Blend(dict(PULLED.weights))
    guided = replace(
        plainly, id=new_id(), text=pulled, blend=blend, exponents={"zqdimension": 3.844142}, kl_per_token=0.771828
    )
    comparison = a_comparison(kind=ComparisonKind.STUDY, sides_known=False, left=plainly, right=guided)
    return StudyItem(new_id(), study_id, comparison, PLAIN, PULLED)


def a_study(studies: StudyRepository, n_items: int, name: str = "", **changes: object) -> str:
    """An open study whose answers tell in their texts which they are, for the tests to see; its id."""
    settings = StudySettings(
        prompts=((Message(Role.USER, "Prompt?"),),), questions=QUESTIONS[:1], blends=(PLAIN, PULLED), overlap=100
    )
    settings = replace(settings, **changes)  # type: ignore[arg-type]
    study = studies.create_study(name or f"Study {new_id()}", settings)
    numbered = range(1, n_items + 1)
    studies.add_items(study.id, [an_item(study.id, n, f"Plainly {n}.", f"Pulledly {n}.") for n in numbered])
    studies.set_state(study.id, StudyState.OPEN)
    return study.id


def left_text(assignment: Assignment) -> str:
    """What this judge sees on the left."""
    comparison = assignment.item.comparison
    return comparison.left.text if assignment.shown_left is CanonicalSide.A else comparison.right.text


def judged(served: Served) -> list[tuple[str, str]]:
    """Prompt and outcome of every judgement that holds, in their order."""
    return [(pair.prompt, pair.outcome.value) for pair in SqlResults(served.database).pairs(PairFilter())]
