"""The embedded model as it is kept with the code: small enough, and with what its cards should say."""

from pathlib import Path

import pytest

from models.demo.build.build import MOST_BYTES, MOST_FILE_BYTES, weight_sizes
from models.guides import read_card
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
def test_nothing_but_weights_configuration_and_card_is_kept(dimension: str) -> None:
    names = {path.name for path in (DEMO / "guides" / dimension).iterdir()}
    assert names == {"adapter_config.json", "adapter_model.safetensors", "guide.json"}


def test_the_examples_are_few_short_and_different() -> None:
    examples = load_preset("demo").examples
    assert 3 <= len(examples) == len(set(examples)) <= 6
    assert max(map(len, examples)) <= 80
