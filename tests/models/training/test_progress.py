"""The file of events: read while it is written, and gone on with after a kill in the middle of a line."""

from pathlib import Path

import pytest

from models.training.run_folder import PROGRESS, RunFolder, read_progress


def events(folder: Path) -> list[str]:
    return [each["event"] for each in read_progress(folder)]


@pytest.fixture
def written(tmp_path: Path) -> bytes:
    """Three events as they stand in the file."""
    folder = RunFolder(tmp_path / "whole")
    folder.path.mkdir()
    folder.say("started", command="python -m models.training.train")
    folder.say("step", step=1, loss=0.5)
    folder.say("data", quarantined=[f"Zoë {n}" for n in range(3)])
    return (folder.path / PROGRESS).read_bytes()


def test_a_file_cut_anywhere_has_the_events_whose_lines_are_whole(tmp_path: Path, written: bytes) -> None:
    for n_bytes in range(len(written) + 1):
        (tmp_path / PROGRESS).write_bytes(written[:n_bytes])
        assert events(tmp_path) == ["started", "step", "data"][: written[:n_bytes].count(b"\n")]


def test_what_is_said_after_a_kill_is_not_glued_to_the_half_line_it_left(tmp_path: Path, written: bytes) -> None:
    """The two made one line that nobody could read, so the run's page failed for good."""
    for n_bytes in range(len(written) + 1):
        (tmp_path / PROGRESS).write_bytes(written[:n_bytes])
        RunFolder(tmp_path).say("resumed", command="python -m models.training.train --resume")
        RunFolder(tmp_path).say("step", step=1, loss=0.5)
        whole = ["started", "step", "data"][: written[:n_bytes].count(b"\n")]
        assert events(tmp_path) == [*whole, "resumed", "step"]


def test_a_broken_line_before_the_last_is_an_error(tmp_path: Path, written: bytes) -> None:
    first, second, third = written.splitlines(keepends=True)
    (tmp_path / PROGRESS).write_bytes(first + second[:7] + b"\n" + third)
    with pytest.raises(ValueError, match="line 1 column"):
        read_progress(tmp_path)


def test_a_run_that_has_said_nothing_has_no_events(tmp_path: Path) -> None:
    assert read_progress(tmp_path) == []
    RunFolder(tmp_path, writes=False).say("started")
    assert read_progress(tmp_path) == []
