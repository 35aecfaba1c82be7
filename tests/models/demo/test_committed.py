"""The embedded model as it is kept with the code: small enough, and with what its cards should say."""

import json
from pathlib import Path

import pytest

from models.demo.build.build import MOST_BYTES, MOST_FILE_BYTES, weight_sizes
from models.guides import check_hash, read_card
from models.presets import load_preset

DEMO = Path(__file__).parents[3] / "models" / "demo"
DIMENSIONS = ("helpfulness", "harmlessness")


def test_the_weights_are_small_enough_to_be_cloned() -> None:
    sizes = weight_sizes(DEMO)
    assert sum(sizes.values()) <= MOST_BYTES == 64_000_000
    assert max(sizes.values()) <= MOST_FILE_BYTES == 16_000_000
    assert {Path(name).parts[0] for name in sizes} == {"base", "guides"}


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_each_guides_card_gives_its_accuracy_with_interval(dimension: str) -> None:
    folder = DEMO / "guides" / dimension
    card = read_card(folder)
    assert card.dimension == dimension
    low, high = card.metrics["low"], card.metrics["high"]
    assert 0.5 < low < card.held_out_accuracy < high  # better than chance
    assert card.metrics["n_pairs"] >= 300


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_the_builds_card_is_that_of_these_guides(dimension: str) -> None:
    card = read_card(DEMO / "guides" / dimension)
    rows = (DEMO / "CARD.md").read_text(encoding="utf-8").splitlines()
    told = next(row for row in rows if row.startswith(f"| {dimension} |")).split(" | ")
    assert told[1:3] == [f"{card.n_pairs:,}", f"{card.held_out_accuracy:.3f}"]
    assert told[-1] == f"{card.unit:.3f} |"


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_nothing_but_weights_configuration_card_and_ids_is_kept(dimension: str) -> None:
    folder = DEMO / "guides" / dimension
    names = {path.name for path in folder.iterdir()}
    assert names == {"adapter_config.json", "adapter_model.safetensors", "guide.json", "pairs.jsonl"}
    rows = [json.loads(line) for line in (folder / "pairs.jsonl").read_text().splitlines()]
    assert all(row.keys() == {"id", "half", "source"} and len(row["id"]) == 16 for row in rows)  # nobody's words


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_each_guides_card_names_the_files_beside_it_and_what_it_was_trained_on(dimension: str) -> None:
    card = read_card(DEMO / "guides" / dimension)
    assert check_hash(DEMO / "guides" / dimension) == card.hash
    assert len(set(card.data_ids)) == card.n_pairs > 1000
    written = json.loads((DEMO / "guides" / dimension / "guide.json").read_text())
    assert len(set(written["trained_prompts"])) > 100


def test_the_examples_are_few_short_and_different() -> None:
    examples = load_preset("demo").examples
    assert 3 <= len(examples) == len(set(examples)) <= 6
    assert max(map(len, examples)) <= 80
