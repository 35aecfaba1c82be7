"""What was acknowledged is there after the program was killed."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from sqlalchemy import select

from storage.database import open_database
from storage.sql_repository import SqlRepository
from storage.tables import JudgementRow

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


def test_no_acknowledged_judgement_is_lost_when_the_program_is_killed_twenty_times(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/tiller.db"
    acknowledged: list[str] = []
    moments = random.Random(20)
    with subprocess.Popen(
        [sys.executable, "-m", "tests.storage.store_until_killed", url],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as helper:
        for _ in range(N_KILLS):
            acknowledged += _store_and_kill(helper, moments.uniform(0.0, 0.15))
    with open_database(url) as database:
        assert database.integrity_check() == ()
        with database.reading() as session:
            stored = set(session.scalars(select(JudgementRow.id)))
        assert SqlRepository(database).count_judgements() == len(stored)
    assert len(acknowledged) >= N_KILLS
    assert set(acknowledged) <= stored
    # Each process can have committed at most one judgement that it had no time to acknowledge.
    assert len(stored) <= len(acknowledged) + N_KILLS
