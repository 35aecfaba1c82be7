"""Many judges at once on the Judge page over HTTP: how long a save takes, and whether every judgement is stored once.

    python -m benchmarks.judging
    python -m benchmarks.judging --pause 1.5
    python -m benchmarks.judging --database-url postgresql+psycopg://user@host/name

Makes a study of its own in the database (a file that is thrown away, unless a database is named), starts app.py on it
and lets every judge, a thread with one open connection, answer every item. A save is timed from sending it to the whole
next item. Without --pause nobody thinks: so many saves are under way at all times as there are judges, who share the
machine's cores with the application. The last line is one JSON document. The exit code is 1 where a save failed or the
database does not hold every judgement once.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import psutil
import torch

from benchmarks.command_line import at_least, between, tell
from benchmarks.hardware import describe
from benchmarks.judges import HttpJudge, NotSavedError
from benchmarks.served import serving
from benchmarks.timing import percentiles
from steering.errors import TillerError
from steering.types import Blend, Choice, Message, Role
from storage.database import Database, open_database
from storage.records import OVERALL, Comparison, ComparisonKind, GuideRecord, new_id
from storage.records_pairs import NamedBlend, PairFilter
from storage.records_studies import Question, StudyItem, StudySettings, StudyState
from storage.sql_results import SqlResults
from storage.sql_studies import SqlStudies
from storage.written import written_answer

CHOICES = tuple(choice.value for choice in Choice)
_GUIDE = GuideRecord("benchmark/helpful", "helpfulness", 1, 1.0, "a" * 64)
_PLAIN, _GUIDED = NamedBlend.of({}), NamedBlend.of({"helpfulness": 2.0})
_WORDS = ("so", "many", "words", "as", "answers", "that", "people", "get", "to", "judge", "may", "well", "have")
_N_WORDS = 120
_SPREAD = 0.5
SHOWN = (50, 95, 99)


@dataclass(frozen=True)
class Processor:
    """What a save took of the processor, and the share of all cores that other programs took meanwhile."""

    application_seconds_per_save: float
    judges_seconds_per_save: float
    share_of_others: float


@dataclass
class Log:
    """What happened: the seconds of every save, and the words of those that failed."""

    saves: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    seconds: float = 0.0
    processor: Processor | None = None


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit code: 0, 2 for bad input, 1 for every other trouble."""
    arguments = _parser().parse_args(argv)
    try:
        with tempfile.TemporaryDirectory() as home:
            url = arguments.database_url or f"sqlite:///{home}/tiller.db"
            with open_database(url) as database:
                study_id = make_study(database, arguments.items, overlap=arguments.judges)
                with serving(home, ["--database-url", url, *arguments.options]) as served:
                    log = judge(served.url, study_id, arguments.judges, arguments.pause, served.process.pid)
                report = summarise(log, arguments, count(database, study_id))
    except TillerError as error:
        return tell("benchmarks.judging", error)
    print_report(report)
    return 0 if report["is_clean"] else 1


def make_study(database: Database, n_items: int, overlap: int) -> str:
    """An open study of so many items with answers of some length; its id."""
    studies = SqlStudies(database)
    prompts = ((Message(Role.USER, "Prompt?"),),)
    settings = StudySettings(
        prompts, (Question(OVERALL, "Which answer is better?"),), (_PLAIN, _GUIDED), overlap=overlap
    )
    study = studies.create_study(f"benchmark {new_id()}", settings)
    chance = random.Random(0)
    studies.add_items(study.id, [_item(study.id, number, chance) for number in range(n_items)])
    studies.set_state(study.id, StudyState.OPEN)
    return study.id


def _item(study_id: str, number: int, chance: random.Random) -> StudyItem:
    now = datetime.now(UTC)
    messages = (Message(Role.USER, f"Prompt number {number}?"),)

    def answer(blend: NamedBlend) -> Any:
        text = " ".join(chance.choices(_WORDS, k=_N_WORDS))
        written = written_answer(new_id(), messages, text, source="benchmark", created_at=now)
        tokens = tuple(chance.randrange(50_000) for _ in range(_N_WORDS))
        return replace(written, guides=(_GUIDE,), blend=Blend(dict(blend.weights)), token_ids=tokens)

    comparison = Comparison(new_id(), ComparisonKind.STUDY, answer(_PLAIN), answer(_GUIDED), False, now)
    return StudyItem(new_id(), study_id, comparison, _PLAIN, _GUIDED)


def judge(url: str, study_id: str, n_judges: int, pause_seconds: float, process_id: int | None = None) -> Log:
    """Let all judges answer everything, all beginning at once; ``process_id`` is the application's, to be watched.

    Raises:
        InputError: what is at ``url`` has no Judge page.
    """
    log = Log()
    judges = [HttpJudge(url, f"Judge {number}", study_id) for number in range(n_judges)]
    seats = [judge.sit_down() for judge in judges]

    def work(number: int) -> None:
        chance, judge, item_id = random.Random(number), judges[number], seats[number]
        while item_id is not None:
            time.sleep(pause_seconds * chance.uniform(1 - _SPREAD, 1 + _SPREAD))
            try:
                item_id = judge.save(item_id, chance.choice(CHOICES))
            except NotSavedError as error:
                log.errors.append(str(error))
                return

    before = _busy_seconds(process_id)
    start = time.perf_counter()
    with ThreadPoolExecutor(n_judges) as threads:
        list(threads.map(work, range(n_judges)))
    log.seconds = time.perf_counter() - start
    after = _busy_seconds(process_id)
    for judge in judges:
        log.saves += judge.saves
        judge.close()
    if process_id is not None and log.saves:
        all_of_them, application, own = (late - early for early, late in zip(before, after, strict=True))
        others = (all_of_them - application - own) / (log.seconds * (os.cpu_count() or 1))
        log.processor = Processor(application / len(log.saves), own / len(log.saves), max(0.0, others))
    return log


def _busy_seconds(process_id: int | None) -> tuple[float, float, float]:
    """Seconds the cores have worked: for everybody, for the application, for this process."""
    times = psutil.cpu_times()
    everybody = sum(times[:7]) - times.idle - getattr(times, "iowait", 0.0)
    return everybody, _seconds_of(process_id) if process_id is not None else 0.0, _seconds_of(os.getpid())


def _seconds_of(process_id: int) -> float:
    times = psutil.Process(process_id).cpu_times()
    return float(times.user + times.system)


def count(database: Database, study_id: str) -> tuple[int, int]:
    """How many judgements of the study hold, and how many of them are one too many of their annotator and item."""
    pairs = list(SqlResults(database).pairs(PairFilter(study_ids=(study_id,)), with_texts=False))
    each = Counter((pair.comparison_id, pair.annotator_id) for pair in pairs)
    return len(pairs), sum(each.values()) - len(each)


def summarise(log: Log, arguments: argparse.Namespace, stored: tuple[int, int]) -> dict[str, Any]:
    """Return the report that is printed."""
    n_rows, n_duplicates = stored
    n_wanted = arguments.judges * arguments.items
    url = arguments.database_url
    return {
        "benchmark": "judging",
        "command": " ".join(["python -m benchmarks.judging", *(["…"] if url else sys.argv[1:])]),
        "hardware": describe(torch.device("cpu")),
        "database": "postgresql" if url and url.startswith("postgresql") else "sqlite",
        "traffic": {"judges": arguments.judges, "items": arguments.items, "pause_seconds": arguments.pause},
        "seconds": log.seconds,
        "saves_per_second": len(log.saves) / log.seconds,
        "seconds_to_save": percentiles(log.saves, SHOWN),
        "processor": vars(log.processor) if log.processor else None,
        "n_rows": n_rows,
        "n_duplicates": n_duplicates,
        "errors": dict(Counter(log.errors)),
        "is_clean": n_rows == n_wanted == len(log.saves) and not n_duplicates and not log.errors,
    }


def print_report(report: dict[str, Any]) -> None:
    """Print hardware, rows, percentiles and, last, the report as one line of JSON."""
    for name, value in report["hardware"].items():
        print(f"{name}: {value}")
    print(f"\n{report['database']}: {report['n_rows']} rows, {report['n_duplicates']} duplicates, ", end="")
    print(f"{sum(report['errors'].values())} errors, {report['saves_per_second']:.0f} saves a second")
    for words, n_times in report["errors"].items():
        print(f"{n_times} times: {words}")
    saves = report["seconds_to_save"]
    told = ", ".join(f"{name} {value:.3f}" for name, value in saves.items() if name != "n")
    print(f"seconds to save, of {saves['n']}: {told}")
    if report["processor"]:
        print("processor: " + ", ".join(f"{name} {value:.4f}" for name, value in report["processor"].items()))
    print(json.dumps(report))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--judges", type=at_least(1), default=16, help="how many at once (default: 16)")
    parser.add_argument("--items", type=at_least(1), default=100, help="how many each judges (default: 100)")
    parser.add_argument(
        "--pause", type=between(0, 3600), default=0.0, help="mean seconds of thinking before a save (default: 0)"
    )
    parser.add_argument("--database-url", help="an existing database to fill, instead of a file that is thrown away")
    parser.add_argument("options", nargs="*", help="after --: options for app.py")
    return parser


if __name__ == "__main__":
    sys.exit(main())
