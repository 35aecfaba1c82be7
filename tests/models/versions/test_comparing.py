"""Two versions read the same pairs."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from models.loading import choose_placement, load_tokenizer
from models.parts import load_base, load_guide
from models.presets import GuideSpec, Preset, Source, load_preset
from models.versions.comparing import Pair, PairTest, compare_on_pairs
from steering.errors import InputError
from steering.types import Message, Role
from tests.models.odd_tokenizers import metaspace
from tests.models.oracle import Oracle
from tests.models.tiny import save_lora, save_model
from tests.models.versions.conftest import World


def test_two_versions_are_compared_on_pairs_by_what_each_says_of_them(world: World) -> None:
    """The oracle is the unguided answers' scores: a guide's reward of a text, summed without its end by other code."""
    placement = choose_placement("cpu", "float32")
    a, b = (load_guide(world.preset.guides[index], placement) for index in (0, 1))
    words = ["the cat sat", "the dog ran to the door", "on the mat", "mat mat mat", "a door", "and the dog"]
    prompt = (Message(Role.USER, "the cat"),)
    pairs = [Pair(prompt, one, other) for one in words for other in words if one < other]
    found = compare_on_pairs(load_base(world.preset, placement), a, b, pairs)
    turned = [Pair(pair.messages, pair.rejected, pair.chosen) for pair in pairs]
    a, b = (load_guide(world.preset.guides[index], placement) for index in (0, 1))
    back = compare_on_pairs(load_base(world.preset, placement), b, a, turned)
    assert found.n_pairs == back.n_pairs == 15
    assert found.accuracy_a == pytest.approx(1 - back.accuracy_b)
    assert found.accuracy_b == pytest.approx(1 - back.accuracy_a)
    assert (found.n_only_a, found.n_only_b) == (back.n_only_a, back.n_only_b)
    assert found.n_only_a - found.n_only_b == round(15 * (found.accuracy_a - found.accuracy_b))
    with pytest.raises(InputError, match="no pair"):
        compare_on_pairs(load_base(world.preset, placement), a, b, [])


def test_pairs_longer_than_the_context_are_left_out_and_counted(world: World) -> None:
    """They read beyond the table of positions: an error on a CPU, and the end of the process on a GPU."""
    placement = choose_placement("cpu", "float32")
    prompt, short, long = (Message(Role.USER, "the cat"),), "the cat sat", "mat " * 5000

    def found(*pairs: Pair) -> PairTest:
        guides = (load_guide(spec, placement) for spec in world.preset.guides)
        return compare_on_pairs(load_base(world.preset, placement), *guides, pairs)

    some = found(Pair(prompt, short, "a door"), Pair(prompt, short, long))
    assert (some.n_pairs, some.n_too_long) == (1, 1)
    with pytest.raises(InputError, match="None of the 1 pairs fits"):
        found(Pair(prompt, long, short))


def test_responses_end_in_a_comparison_as_they_do_in_training_where_the_model_knows_several_ends(world: World) -> None:
    placement = choose_placement("cpu", "float32")
    words = ["cat", "dog ran", "on the mat", "mat mat", "a door", "and the dog", "the", "to", "ran on"]
    pairs = [Pair((Message(Role.USER, "a"),), one, other) for one in words for other in words if one < other]

    def found(ends: int | list[int]) -> PairTest:
        base = load_base(world.preset, placement)
        base.model.generation_config.eos_token_id = ends
        return compare_on_pairs(base, *(load_guide(spec, placement) for spec in world.preset.guides), pairs)

    own = found(4)  # which is the tokenizer's
    assert found(2) != own, "the pairs cannot tell what they end with"
    assert found([2, 4]) == own


def test_responses_are_read_behind_their_prompt_by_a_tokenizer_that_puts_a_space_before_a_text(tmp_path: Path) -> None:
    """The oracle reads the whole as the tokenizer makes it of the whole, with other code."""
    folder = save_model(tmp_path / "base", "llama", seed=1, tokenizer=metaspace(legacy=True))
    guides = [save_lora(tmp_path / name, folder, seed=seed) for seed, name in enumerate("ab", start=2)]
    template = load_preset("tulu2-7b").chat_template
    preset = Preset(
        "tiny",
        Source(str(folder)),
        tuple(GuideSpec(Source(str(guide)), dimension=guide.name) for guide in guides),
        chat_template=template,
    )
    words = ["cat", "dog ran", "on the mat", "mat mat", "a door", "and the dog", "the", "to", "ran on", "the cat"]
    prompt = (Message(Role.USER, "a"),)
    pairs = [Pair(prompt, one, other) for one in words for other in words if one < other]
    placement = choose_placement("cpu", "float32")
    found = compare_on_pairs(
        load_base(preset, placement), *(load_guide(each, placement) for each in preset.guides), pairs
    )
    oracle, tokenizer = Oracle(folder, guides), load_tokenizer(folder)
    text_before = "<s><|user|>\na\n<|assistant|>\n"
    before = tokenizer.encode(text_before, add_special_tokens=False)

    def accuracy(read: Callable[[str], list[int]]) -> list[float]:
        rewards = {}
        for text in words:
            response = [*read(text), 4]  # which ends an answer of the tiny models
            members = oracle.members([before] * 3, response, len(tokenizer))[1:]
            rewards[text] = members[:, range(len(response)), response].sum(-1)
        right = torch.stack([rewards[pair.chosen] > rewards[pair.rejected] for pair in pairs])
        return right.double().mean(0).tolist()

    whole = accuracy(lambda text: tokenizer.encode(text_before + text, add_special_tokens=False)[len(before) :])
    alone = accuracy(lambda text: tokenizer.encode(text, add_special_tokens=False))
    assert whole != alone, "the pairs cannot tell how they are read"
    assert [found.accuracy_a, found.accuracy_b] == pytest.approx(whole)


@pytest.mark.parametrize(
    ("only_a", "only_b", "p_value"),
    [(0, 0, 1.0), (5, 5, 1.0), (0, 5, 0.0625), (1, 9, 22 / 1024), (9, 1, 22 / 1024)],
)
def test_the_paired_test_is_the_exact_one(only_a: int, only_b: int, p_value: float) -> None:
    """By hand: 2·(1 + 10) / 2¹⁰ for one of ten, 2 / 2⁵ for none of five."""
    assert PairTest(100, 0.5, 0.5, only_a, only_b).p_value == pytest.approx(p_value)
