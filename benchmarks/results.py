"""How long the Results page's data take to read and work out: python -m benchmarks.results

The items of a study and one answer to one of them are stored as always; the archive of that is given as many answers
as are asked for and moved into a new database. Timed are the first look (read, count, one dimension, what people want,
annotators, and every figure drawn) and the next one, which is remembered.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import combinations
from pathlib import Path
from typing import Any

import torch

from benchmarks.command_line import at_least
from benchmarks.hardware import describe
from steering.types import Blend, Choice, FinishReason, Message, Role, SamplingSettings
from storage.database import open_database
from storage.exchange.archive import MANIFEST, export_archive, import_archive
from storage.records import Comparison, ComparisonKind, Generation, new_id
from storage.records_pairs import NamedBlend
from storage.records_studies import Answer, Question, StudyItem, StudySettings, StudyState
from storage.sql_repository import SqlRepository
from storage.sql_results import SqlResults
from storage.sql_studies import SqlStudies
from ui.results.actions import Findings, ResultsActions, query_of
from ui.results.parts import OF_A_DIMENSION, OF_ANNOTATORS, Part, draw

Row = dict[str, Any]
LEVELS = (0.0, 1.0, 2.0)
DIMENSIONS = ("harmlessness", "helpfulness", "overall")
N_ANNOTATORS, OVERLAP, N_ITEMS_AT_ONCE = 24, 3, 500
START = datetime(2026, 1, 5, tzinfo=UTC)


def main(arguments: Sequence[str]) -> None:
    """Create the judgements, time both looks, print what was found and one line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.results", description=__doc__, allow_abbrev=False)
    parser.add_argument("--judgements", type=at_least(1), default=50_000)
    wanted: int = parser.parse_args(arguments).judgements
    n_items = max(1, -(-wanted // (OVERLAP * len(DIMENSIONS))))
    with tempfile.TemporaryDirectory() as folder:
        url = create(Path(folder), n_items)
        with open_database(url) as database:
            actions = ResultsActions(SqlResults(database), SqlStudies(database), is_private=True)
            first, findings = timed(actions)
            again, _ = timed(actions)
    report = {
        "benchmark": "results",
        **describe(torch.device("cpu")),
        "n_judgements": findings.counts.n_judgements,
        "seconds_first": round(first, 3),
        "seconds_again": round(again, 3),
    }
    print(f"{findings.counts.n_judgements} judgements: first look {first:.2f} s, next one {again:.2f} s")
    print(json.dumps(report))


def timed(actions: ResultsActions) -> tuple[float, Findings]:
    """Seconds of all the page does when it opens."""
    start = time.perf_counter()
    study = actions.studies()[0].id
    actions.n_on_steer()
    actions.groups(study)
    findings = actions.find(query_of(study, (None, None), None, 0))
    for part in (*OF_A_DIMENSION, *OF_ANNOTATORS):
        draw(part, findings, findings.dimensions[0])
    draw(Part.WANT, findings, None)
    return time.perf_counter() - start, findings


def create(folder: Path, n_items: int) -> str:
    """A database below the folder with a study of so many items, each judged by three annotators; returns its URL."""
    rng = random.Random(0)
    with open_database(f"sqlite:///{folder / 'small.db'}") as database:
        repository, studies = SqlRepository(database), SqlStudies(database)
        blends = [NamedBlend.of({"helpfulness": x, "harmlessness": y}) for x in LEVELS for y in LEVELS]
        questions = tuple(Question(dimension, f"Which is better: {dimension}?") for dimension in DIMENSIONS)
        prompts = ((Message(Role.USER, "Prompt?"),),)
        study = studies.create_study("benchmark", StudySettings(prompts, questions, tuple(blends), overlap=OVERLAP))
        pairs = list(combinations(blends, 2))
        for start in range(0, n_items, N_ITEMS_AT_ONCE):
            numbers = range(start, min(start + N_ITEMS_AT_ONCE, n_items))
            studies.add_items(study.id, [item(study.id, *pairs[number % len(pairs)]) for number in numbers])
        studies.set_state(study.id, StudyState.OPEN)
        people = [repository.annotator(f"key-{number}", f"Annotator {number}").id for number in range(N_ANNOTATORS)]
        given = studies.next_assignment(study.id, people[0])
        assert given is not None
        studies.answer([Answer(given.item.id, people[0], name, Choice.LEFT, new_id()) for name in DIMENSIONS])
        export_archive(database, folder / "archive")
    multiply(folder / "archive", people, rng)
    url = f"sqlite:///{folder / 'large.db'}"
    with open_database(url) as database:
        import_archive(database, folder / "archive")
    return url


def item(study_id: str, a: NamedBlend, b: NamedBlend) -> StudyItem:
    """Two answers of two blends, of lengths that differ."""
    n_tokens = 40 + 20 * len(a.weights)
    left = Generation(
        id=new_id(),
        messages=(Message(Role.USER, "Prompt?"),),
        blend=Blend(),
        exponents={},
        sampling=SamplingSettings(),
        base_id="benchmark",
        base_revision="",
        guides=(),
        prompt_token_ids=(1,),
        token_ids=tuple(range(n_tokens)),
        text="An answer.",
        finish_reason=FinishReason.EOS,
        seconds=1.0,
        kl_per_token=None,
        guide_rewards={},
        created_at=START,
    )
    right = replace(left, id=new_id(), token_ids=tuple(range(n_tokens + random.Random(new_id()).randint(-30, 30))))
    comparison = Comparison(new_id(), ComparisonKind.STUDY, left, right, sides_known=False, created_at=START)
    return StudyItem(new_id(), study_id, comparison, a, b)


def multiply(archive: Path, people: Sequence[str], rng: random.Random) -> None:
    """Put into the archive that every item was judged by three annotators."""
    assignment, judgement = next(rows(archive, "assignments")), next(rows(archive, "judgements"))
    assignments, judgements = [], []
    for number, one in enumerate(rows(archive, "study_items")):
        for place in range(OVERLAP):
            annotator, at = people[(number + place) % len(people)], START + timedelta(seconds=20 * number + place)
            moment = {"utc": at.isoformat()}
            side = rng.choice("ab")
            given = {"item_id": one["id"], "annotator_id": annotator, "position": number, "shown_left": side}
            assignments.append(assignment | given | {"shown_at": moment, "answered_at": moment})
            for dimension in DIMENSIONS:
                choice = rng.choices([choice.value for choice in Choice], (40, 35, 15, 5, 5))[0]
                said = {"id": new_id(), "comparison_id": one["comparison_id"], "annotator_id": annotator}
                said |= {"dimension": dimension, "choice": choice, "client_key": new_id(), "judged_at": moment}
                judgements.append(judgement | said)
    manifest = json.loads((archive / MANIFEST).read_text())
    for table, made in (("assignments", assignments), ("judgements", judgements)):
        (archive / f"{table}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made))
        manifest["n_rows"][table] = len(made)
    (archive / MANIFEST).write_text(json.dumps(manifest))


def rows(archive: Path, table: str) -> Iterator[Row]:
    """The rows of one table of an archive."""
    with (archive / f"{table}.jsonl").open() as file:
        yield from map(json.loads, file)


if __name__ == "__main__":
    main(sys.argv[1:])
