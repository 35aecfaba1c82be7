"""Guide cards, and the hash that says which files a guide was."""

import json
from pathlib import Path

import pytest

from models.guides import CARD_NAME, GuideCard, hash_files, read_card
from models.presets import load_preset
from steering.errors import LoadError


def with_card(folder: Path, card: object) -> Path:
    (folder / CARD_NAME).write_text(json.dumps(card), encoding="utf-8")
    return folder


@pytest.fixture
def guide(tmp_path: Path) -> Path:
    """A folder with the files of an adapter."""
    (tmp_path / "adapter_model.safetensors").write_bytes(b"weights")
    (tmp_path / "adapter_config.json").write_text('{"r": 8}')
    return with_card(tmp_path, {"id": "mine"})


def test_without_a_card_nothing_is_known(tmp_path: Path) -> None:
    assert read_card(tmp_path) == GuideCard()


def test_a_partial_card_gives_what_it_says_and_leaves_the_rest_open(tmp_path: Path) -> None:
    card = {"dimension": "wit", "unit": 2, "colour": "red", "beta": None, "n_pairs": 10, "held_out_accuracy": 1}
    assert read_card(with_card(tmp_path, card)) == GuideCard(dimension="wit", unit=2, n_pairs=10, held_out_accuracy=1)


def test_a_card_tells_where_a_trained_guide_comes_from(tmp_path: Path) -> None:
    card = {
        "parent_version": 2,
        "parent_hash": "ab",
        "data_ids": ["j1", 7],
        "command": "python -m models.training.train --out x",
        "metrics": {"held_out": {"accuracy": 0.7, "interval": [0.6, 0.8]}},
        "versions": {"torch": "2.13.0"},
        "hash": "cd",
    }
    read = read_card(with_card(tmp_path, card))
    assert (read.parent_version, read.parent_hash, read.hash) == (2, "ab", "cd")
    assert read.data_ids == ("j1", "7")
    assert (read.command, read.metrics, read.versions) == (card["command"], card["metrics"], card["versions"])


@pytest.mark.parametrize("index", [0, 1])
def test_the_cards_of_the_embedded_guides_are_complete(index: int) -> None:
    card = read_card(load_preset("demo").guides[index].source.folder)
    assert card.id == f"tiller-demo-{card.dimension}-v1"
    assert (card.base_id, card.version, card.licence) == ("tiller-demo", 1, "Apache-2.0")
    assert card.unit > 0
    assert card.beta > 0
    assert card.n_pairs > 1000
    assert 0.5 < card.held_out_accuracy < 1


@pytest.mark.parametrize(
    ("card", "words"),
    [
        ({"id": 7}, "'id' .* is 7"),
        ({"dimension": ["wit"]}, "'dimension' .* is \\['wit'\\]"),
        ({"unit": "1"}, "'unit' .* is '1'"),
        ({"unit": True}, "'unit' .* is True"),
        ({"unit": 0}, "'unit' .* is 0; it must be above 0"),
        ({"unit": -1}, "'unit' .* is -1; it must be above 0"),
        ({"unit": float("nan")}, "'unit' .* is nan"),
        ({"unit": float("inf")}, "'unit' .* is inf"),
        ({"beta": 0}, "'beta' .* is 0; it must be above 0"),
        ({"version": 1.5}, "'version' .* is 1.5"),
        ({"data_ids": "j1"}, "'data_ids' .* is 'j1'"),
        ({"metrics": [1]}, "'metrics' .* is \\[1\\]"),
        ({"n_pairs": "many"}, "'n_pairs' .* is 'many'"),
        ({"held_out_accuracy": 66.7}, "'held_out_accuracy' .* is 66.7; it must be from 0 to 1"),
        ({"held_out_accuracy": float("nan")}, "'held_out_accuracy' .* is nan"),
        ([1], "no JSON object"),
        ("words", "no JSON object"),
        (None, "no JSON object"),
    ],
)
def test_a_wrong_value_is_refused_with_the_key_the_file_and_the_value(tmp_path: Path, card: object, words: str) -> None:
    with pytest.raises(LoadError, match=words) as caught:
        read_card(with_card(tmp_path, card))
    assert str(tmp_path / CARD_NAME) in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("content", [b"{", b"\xff\xff", b"", b"[" * 100_000])
def test_a_card_that_is_no_json_is_refused_with_its_path(tmp_path: Path, content: bytes) -> None:
    (tmp_path / CARD_NAME).write_bytes(content)
    with pytest.raises(LoadError, match="cannot be read") as caught:
        read_card(tmp_path)
    assert str(tmp_path / CARD_NAME) in caught.value.message


@pytest.mark.parametrize(
    "name", ["adapter_model.safetensors", "adapter_config.json", "chat_template.jinja", "tokenizer.model", "merges.txt"]
)
def test_the_hash_changes_with_every_file_that_changes_the_answers(guide: Path, name: str) -> None:
    before = hash_files(guide)
    (guide / name).write_bytes(b"different")
    assert hash_files(guide) != before


@pytest.mark.parametrize("name", [CARD_NAME, "README.md", "LICENSE.txt", ".gitattributes"])
def test_the_hash_does_not_change_with_the_card_or_prose(guide: Path, name: str) -> None:
    before = hash_files(guide)
    (guide / name).write_text('{"id": "other"}')
    assert hash_files(guide) == before


def test_the_hash_does_not_depend_on_where_the_folder_is_but_on_what_the_files_are_called(
    guide: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    moved = guide.rename(tmp_path_factory.mktemp("other") / "moved")
    before = hash_files(moved)
    (moved / "adapter_config.json").rename(moved / "config.json")
    assert len(before) == 64
    assert hash_files(moved) != before
    (moved / "config.json").rename(moved / "adapter_config.json")
    assert hash_files(moved) == before


def test_where_one_file_ends_and_the_next_begins_counts(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"12")
    (tmp_path / "b.json").write_bytes(b"3")
    before = hash_files(tmp_path)
    (tmp_path / "a.json").write_bytes(b"1")
    (tmp_path / "b.json").write_bytes(b"23")
    assert hash_files(tmp_path) != before
