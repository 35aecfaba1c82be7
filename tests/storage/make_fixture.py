"""Saves a database of the newest schema, so that later versions can prove that they open it.

Run once, when a migration is added, from the root of the repository, and commit the file it names:

    python -m tests.storage.make_fixture
"""

from pathlib import Path

from steering.types import Choice
from storage import schema
from storage.database import open_database
from storage.records import Comparison, JudgementInput
from storage.sql_repository import SqlRepository
from tests.storage.examples import Ticking, a_click, a_comparison, a_generation

FIXTURES = Path(__file__).parent / "fixtures"
KEY_HASH = "hash of Ada's key"


def the_comparison() -> Comparison:
    """The comparison that every saved database holds."""
    return a_comparison(id="c" * 32, left=a_generation(id="1" * 32, text="A third."), right=a_generation(id="2" * 32))


def the_click(annotator_id: str, number: int) -> JudgementInput:
    """The first or second click that every saved database holds."""
    choice = (Choice.TIE, Choice.RIGHT)[number - 1]
    return a_click("c" * 32, annotator_id, choice, client_key=f"click {number}", reason=f"reason {number}")


def main() -> None:
    """Write fixtures/<revision>.db; refuses to replace one, because old files are the point."""
    file = FIXTURES / f"{schema.newest_revision()}.db"
    assert not file.exists(), f"{file} is there already"
    with open_database(f"sqlite:///{file}") as database:
        repository = SqlRepository(database, Ticking())
        repository.save_comparison(the_comparison())
        person = repository.annotator(KEY_HASH, "Ada")
        for number in (1, 2):
            repository.record_judgement(the_click(person.id, number))
    print(f"{file}: {file.stat().st_size} bytes")


if __name__ == "__main__":
    main()
