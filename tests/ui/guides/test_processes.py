"""Processes that outlive who began them: found again, told apart from others with their number, and ended."""

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.ui.pages import wait_until
from ui.guides import processes

SLEEP = "import time; print('up', flush=True); time.sleep(60)"
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGTERM")


def test_a_process_is_found_by_its_record_until_it_ends(tmp_path: Path) -> None:
    record, log = tmp_path / "process.json", tmp_path / "log.txt"
    assert not processes.is_alive(record)
    process = processes.begin(["-c", SLEEP], record, log)
    assert processes.is_alive(record)
    assert os.getsid(process.pid) == process.pid, "what ends the server's group does not end it"
    if sys.platform == "linux":
        assert os.getpriority(os.PRIO_PROCESS, process.pid) == processes.NICENESS
    wait_until(lambda: log.read_text() == "up\n")
    processes.cancel(record)
    wait_until(lambda: not processes.is_alive(record))
    assert process.wait() == -signal.SIGTERM


def test_a_process_that_ended_and_was_not_waited_for_is_not_alive(tmp_path: Path) -> None:
    record = tmp_path / "process.json"
    process = processes.begin(["-c", ""], record, tmp_path / "log.txt")
    wait_until(lambda: not processes.is_alive(record))
    assert process.wait() == 0


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="the time of birth is not told")
def test_another_process_with_the_same_number_is_not_taken_for_it(tmp_path: Path) -> None:
    record = tmp_path / "process.json"
    record.write_text(json.dumps({"pid": os.getpid(), "born": "1"}))
    assert not processes.is_alive(record)
    processes.cancel(record)  # or this test would end here


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "x"}'])
def test_a_record_that_says_nothing_is_of_no_process(tmp_path: Path, text: str) -> None:
    record = tmp_path / "process.json"
    record.write_text(text)
    assert not processes.is_alive(record)
    processes.cancel(record)
