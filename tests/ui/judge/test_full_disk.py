"""A judge over HTTP on a disk that is really full: a file system in memory, mounted for the test."""

import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from benchmarks.judges import HttpJudge
from storage.records import new_id
from tests.ui.judge.serving import a_study, judging

SIZE_BYTES = 4 * 1024**2
REASON = "r" * 2000  # fills pages


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_BYTES}", "tmpfs", str(folder)]
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no file system can be mounted here: {getattr(error, 'stderr', '') or error}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def save(judge: HttpJudge, item_id: str, key: str) -> str:
    """Answer with a long reason; the page's complaint, empty for none."""
    answers = {"item": item_id, "key": key, "answers": [{"choice": "left", "strength": "clearly", "reason": REASON}]}
    return str(judge.send(answers)["message"])


def test_a_full_disk_is_told_loses_nothing_and_the_same_click_is_stored_when_there_is_space(
    small_disk: Path, tmp_path: Path
) -> None:
    with judging(tmp_path / "home", f"sqlite:///{small_disk}/tiller.db") as served:
        study_id = a_study(served.studies, 100)
        judge = HttpJudge(served.base_url, "Ada", study_id)
        item_id, n_saved, told, key = judge.sit_down(), 0, "", ""
        filler = small_disk / "filler"
        fill(filler, leaving_bytes=200_000)
        while item_id is not None and not told:
            key = new_id()
            told = save(judge, item_id, key)
            if not told:
                n_saved, item_id = n_saved + 1, judge.sit_down()
        assert item_id is not None
        assert n_saved > 0
        assert "no space left on the disk" in told
        assert "Your judgement was not saved." in told
        assert "What you chose is kept here; press Save to try again." in told
        assert served.repository.count_judgements() == n_saved
        assert "no space left" in save(judge, item_id, key)
        filler.unlink()
        assert save(judge, item_id, key) == ""
        assert save(judge, item_id, key) == ""
        assert served.repository.count_judgements() == n_saved + 1
        judge.close()
        (pair, *_) = served.repository.recent_judgements(1)
        assert (pair.client_key, pair.reason) == (f"{key}-0", REASON)
        assert served.database.integrity_check() == ()


def fill(file: Path, leaving_bytes: int) -> None:
    """Write a file until so little is left."""
    with file.open("wb", buffering=0) as written, suppress(OSError):
        while True:
            written.write(b"\0" * 4096)
    with file.open("r+b") as written:
        written.truncate(max(0, file.stat().st_size - leaving_bytes))
