"""What was acknowledged is there after the program was killed."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from sqlalchemy import func, select

from storage.database import open_database
from storage.sql_repository import SqlRepository
from storage.sql_studies import SqlStudies
from storage.study_tables import AssignmentRow, StudyItemRow
from storage.tables import JudgementRow
from tests.storage.study_examples import an_open_study

ROOT = Path(__file__).parents[2]
N_KILLS = 20


def _store_and_kill(helper: "subprocess.Popen[str]", seconds: float) -> list[str]:
    """Let a new process store for a while after its first judgement, kill it; the ids it acknowledged."""
    assert helper.stdin is not None
    assert helper.stdout is not None
    helper.stdin.write("another\n")
    helper.stdin.flush()
    process_id = int(helper.stdout.readline())
    acknowledged = [helper.stdout.readline()]
    time.sleep(seconds)
    os.kill(process_id, signal.SIGKILL)
    while not acknowledged[-1].endswith(f"ended by signal {signal.SIGKILL}\n"):
        acknowledged.append(helper.stdout.readline())
        assert acknowledged[-1], "the helper ended early"
    return [line.strip() for line in acknowledged[:-1]]


def _killed_again_and_again(n_kills: int, *arguments: str) -> list[str]:
    """The ids of the judgements that processes acknowledged before they were killed."""
    acknowledged: list[str] = []
    moments = random.Random(20)
    with subprocess.Popen(
        [sys.executable, "-m", "tests.storage.store_until_killed", *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as helper:
        for _ in range(n_kills):
            acknowledged += _store_and_kill(helper, moments.uniform(0.0, 0.15))
    return acknowledged


def test_no_acknowledged_judgement_is_lost_when_the_program_is_killed_twenty_times(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/tiller.db"
    acknowledged = _killed_again_and_again(N_KILLS, url)
    with open_database(url) as database:
        assert database.integrity_check() == ()
        with database.reading() as session:
            stored = set(session.scalars(select(JudgementRow.id)))
        assert SqlRepository(database).count_judgements() == len(stored)
    assert len(acknowledged) >= N_KILLS
    assert set(acknowledged) <= stored
    # Each process can have committed at most one judgement that it had no time to acknowledge.
    assert len(stored) <= len(acknowledged) + N_KILLS


def test_a_study_judged_by_programs_that_are_killed_loses_no_answer_and_counts_right(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/tiller.db"
    with open_database(url) as database:
        study_id = an_open_study(SqlStudies(database), 20, overlap=1000)
    acknowledged = _killed_again_and_again(10, url, study_id)
    with open_database(url) as database, database.reading() as session:
        assert database.integrity_check() == ()
        stored = set(session.scalars(select(JudgementRow.id)))
        assert set(acknowledged) <= stored
        # Both answers about an item are there, or none; and the counters agree with what they count.
        n_answered = session.scalars(select(func.count(AssignmentRow.answered_at))).one()
        assert len(stored) == 2 * n_answered
        assert session.scalars(select(func.sum(StudyItemRow.n_answered))).one() == n_answered
