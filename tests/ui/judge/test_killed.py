"""What a judge was told is saved is there after the application was killed, again and again, under load."""

import os
import random
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from benchmarks.judges import HttpJudge, NoAnswerError
from steering.types import Choice
from storage.database import open_database
from storage.records_pairs import PairFilter, outcome_of
from storage.sql_results import SqlResults
from storage.sql_studies import SqlStudies
from tests.ui.judge.serving import a_study
from tests.ui.pages import free_port
from ui.judge.item_handles import ItemHandles
from ui.visitors import server_secret

ROOT = Path(__file__).parents[3]
N_KILLS, N_JUDGES, N_ITEMS = 10, 16, 200
CHOICES = ("left", "right", "tie", "both_bad")


@dataclass
class Person:
    """A judge through every restart: what they were told is saved, and the click that they were told nothing of."""

    name: str
    study_id: str
    saved: dict[str, str] = field(default_factory=dict)
    sent: dict[str, tuple[str, str]] = field(default_factory=dict)

    def judge_until_it_fails(self, url: str) -> None:
        judge = HttpJudge(url, self.name, self.study_id)
        try:
            item_id = judge.sit_down()
            # What got no answer is sent again, as the page does: the same click, although it may be stored already.
            for lost_id, (choice, key) in self.sent.items():
                if lost_id not in self.saved:
                    item_id = judge.save(lost_id, choice, key)
                    self.saved[lost_id] = choice
            while item_id is not None:
                self.sent[item_id] = random.choice(CHOICES), secrets.token_hex(16)
                following = judge.save(item_id, *self.sent[item_id])
                self.saved[item_id] = self.sent[item_id][0]
                item_id = following
        except NoAnswerError:
            pass  # it was killed; what the page complains of is another error, and fails the test
        finally:
            judge.close()


@contextmanager
def helper(home: Path) -> "Iterator[subprocess.Popen[str]]":
    command = [sys.executable, "-m", "tests.ui.judge.serve_until_killed", str(home)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            assert process.stdin is not None
            process.stdin.close()


def serve_and_kill(process: "subprocess.Popen[str]", people: list[Person], seconds: float) -> int:
    """Let everybody judge for a while after the first was saved, then kill; how many saves were acknowledged."""
    assert process.stdin is not None
    assert process.stdout is not None
    port, n_before = free_port(), sum(len(person.saved) for person in people)
    process.stdin.write(f"{port}\n")
    process.stdin.flush()
    process_id = int(process.stdout.readline())
    with ThreadPoolExecutor(N_JUDGES) as threads:
        judging = [threads.submit(person.judge_until_it_fails, f"http://127.0.0.1:{port}") for person in people]
        while sum(len(person.saved) for person in people) == n_before and not any(each.done() for each in judging):
            time.sleep(0.002)
        time.sleep(seconds)
        os.kill(process_id, signal.SIGKILL)
        for each in judging:
            each.result()
    assert process.stdout.readline() == f"ended by signal {signal.SIGKILL}\n"
    return sum(len(person.saved) for person in people) - n_before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_no_acknowledged_judgement_is_lost_when_the_application_is_killed_ten_times(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/tiller.db"
    with open_database(url) as database:
        study_id = a_study(SqlStudies(database), N_ITEMS)
    people = [Person(f"Judge {number}", study_id) for number in range(N_JUDGES)]
    moments = random.Random(4)
    with helper(tmp_path) as process:
        n_saved = [serve_and_kill(process, people, moments.uniform(0.0, 1.0)) for _ in range(N_KILLS)]
    assert min(n_saved) > 0
    with open_database(url) as database:
        assert database.integrity_check() == ()
        comparisons = {item.id: item.comparison.id for item in SqlStudies(database).items(study_id, limit=N_ITEMS)}
        pairs = list(SqlResults(database).pairs(PairFilter(), with_texts=False))
        stored = {(pair.comparison_id, pair.annotator_id): pair for pair in pairs}
        counts = SqlResults(database).annotator_counts(PairFilter())
        ids = {count.display_name: count.annotator_id for count in counts}
    assert len(stored) == len(pairs)
    for person in people:
        handles = ItemHandles(server_secret(tmp_path), study_id, ids[person.name])
        for item, choice in person.saved.items():
            pair = stored.pop((comparisons[handles.item_id(item)], ids[person.name]))
            assert pair.outcome == outcome_of(Choice(choice), pair.shown_left)
    # Whoever was told nothing when it was killed last may have one more stored.
    assert set(Counter(annotator_id for _, annotator_id in stored).values()) <= {1}
    print(f"{sum(n_saved)} saves acknowledged, {len(stored)} more stored")
