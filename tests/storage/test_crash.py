"""What was acknowledged is there after the program was killed."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from storage.database import open_database
from storage.sql_repository import SqlRepository
from storage.tables import JudgementRow

ROOT = Path(__file__).parents[2]
N_KILLS = 20


def _start(url: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "tests.storage.store_until_killed", url],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _store_for(process: "subprocess.Popen[str]", seconds: float) -> list[str]:
    """Let a process that is ready store for a while after its first judgement, kill it; the ids it acknowledged."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    acknowledged = [process.stdout.readline()]
    assert acknowledged[0], "the process stored nothing"
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    rest, _ = process.communicate()
    assert process.returncode == -signal.SIGKILL
    # A line that was cut short was not acknowledged.
    return [line.strip() for line in (*acknowledged, *rest.splitlines(keepends=True)) if line.endswith("\n")]


def test_no_acknowledged_judgement_is_lost_when_the_program_is_killed_twenty_times(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/tiller.db"
    acknowledged: list[str] = []
    moments = random.Random(20)
    process = _start(url)
    for kill in range(N_KILLS):
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        following = _start(url) if kill < N_KILLS - 1 else None
        try:
            acknowledged += _store_for(process, moments.uniform(0.0, 0.15))
        finally:
            process.kill()
        process = following or process
    with open_database(url) as database:
        assert database.integrity_check() == ()
        with database.reading() as session:
            stored = {row.id for row in session.query(JudgementRow)}
        assert SqlRepository(database).count_judgements() == len(stored)
    assert len(acknowledged) >= N_KILLS
    assert set(acknowledged) <= stored
    # Each process can have committed at most one judgement that it had no time to acknowledge.
    assert len(stored) <= len(acknowledged) + N_KILLS
