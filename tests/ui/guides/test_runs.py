"""What a retraining's folder says of it, whoever looks, and when."""

from pathlib import Path

import pytest

from models.training.run_folder import RunFolder
from ui.guides import processes
from ui.guides.asking import Ask
from ui.guides.runs import RetrainFolder, Stage, folders, make_folder

ASK = Ask("overall", "wit", without=("a" * 32,))


@pytest.fixture
def folder(tmp_path: Path) -> RetrainFolder:
    made = make_folder(tmp_path, ASK, old=3)
    made.run.mkdir()
    return made


def say(folder: RetrainFolder, *events: str) -> None:
    for event in events:
        RunFolder(folder.run).say(event)


def test_a_folder_is_found_again_with_what_was_asked(tmp_path: Path, folder: RetrainFolder) -> None:
    (tmp_path / "training" / "19990101-000000-aa").mkdir()  # of something that ended before it began
    assert folders(tmp_path) == [folder]
    assert (folder.ask, folder.old, folder.version, folder.assessed) == (ASK, 3, None, {})


@pytest.mark.parametrize(
    ("events", "stage"),
    [
        ((), Stage.KILLED),
        (("started", "data", "step"), Stage.KILLED),
        (("started", "failed"), Stage.FAILED),
        (("started", "step", "cancelled"), Stage.CANCELLED),
        (("started", "cancelled", "resumed", "step"), Stage.KILLED),
        (("started", "cancelled", "resumed", "finished"), Stage.COMPARING),
    ],
)
def test_without_a_process_its_last_word_counts(folder: RetrainFolder, events: tuple[str, ...], stage: Stage) -> None:
    say(folder, *events)
    assert folder.stage() is stage


def test_with_a_process_it_is_under_way_until_the_guide_is_there(folder: RetrainFolder) -> None:
    process = processes.begin(["-c", "import time; time.sleep(60)"], folder.record, folder.log)
    try:
        say(folder, "started", "step")
        assert folder.stage() is Stage.TRAINING
        say(folder, "finished")
        assert folder.stage() is Stage.COMPARING
    finally:
        process.kill()
        process.wait()


def test_it_is_done_when_it_was_compared_or_cannot_be(folder: RetrainFolder) -> None:
    say(folder, "finished")
    folder.note(version=4)
    assert folder.stage() is Stage.COMPARING
    folder.note(failure="no room")
    assert (folder.stage(), folder.version, folder.failure) == (Stage.DONE, 4, "no room")


def test_the_end_of_the_log_is_told_without_the_bars_that_were_overwritten(folder: RetrainFolder) -> None:
    folder.log.write_bytes(b"first\nsecond\n 10%\r 20%\r100%\nl\xc3\xa4st\xff\n")
    assert folder.log_tail(2) == "100%\nläst\ufffd"
