"""Files that several write at once."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from models.files import write_whole


def test_a_file_that_threads_write_at_once_is_always_one_of_theirs(tmp_path: Path) -> None:
    """One of two took away what the other was about to put in place, and that failed."""
    path = tmp_path / "facts.json"
    texts = [json.dumps({"writer": number, "padding": "x" * 5000 * number}) for number in range(4)]

    def write_often(text: str) -> None:
        for _ in range(50):
            write_whole(path, text)
            assert path.read_text(encoding="utf-8") in texts

    with ThreadPoolExecutor(len(texts)) as pool:
        list(pool.map(write_often, texts))
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_what_cannot_be_written_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    path.mkdir()
    with pytest.raises(OSError, match="directory"):
        write_whole(path, "{}")
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
