"""Rows of token ids: both layouts give every response the log-prob it has on its own, and see nothing else."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from models.training.batches import Example, Layout, batch_logprobs, choose_layout, collate
from tests.models.tiny import ARCHITECTURES
from tests.models.training.conftest import some_examples


def alone(model: torch.nn.Module, prompt: tuple[int, ...], response: tuple[int, ...]) -> float:
    """The sum of a response's log-probs, from one unpadded row."""
    with torch.no_grad():
        logprobs = model(torch.tensor([[*prompt, *response]])).logits[0].double().log_softmax(-1)
    return sum(logprobs[len(prompt) - 1 + step, token].item() for step, token in enumerate(response))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("layout", Layout)
def test_every_response_has_the_log_prob_it_has_on_its_own(
    tiny_folder: Callable[[str], Path], architecture: str, layout: Layout
) -> None:
    folder = tiny_folder(architecture) / "base"
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    examples = some_examples(folder, 4)
    examples[1] = Example("single", examples[1].prompt, examples[1].responses[:1], (-1,))
    with torch.no_grad():
        found = batch_logprobs(model, model.get_output_embeddings(), collate(examples, layout, 5), layout)
    expected = [alone(model, example.prompt, response) for example in examples for response in example.responses]
    assert found.tolist() == pytest.approx(expected, abs=2e-4)  # fp32 over up to twenty tokens


def test_after_reading_a_batch_the_head_computes_all_positions_again(base: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(base).eval()
    batch = collate(some_examples(base, 2), Layout.APART, 5)
    batch_logprobs(model, model.get_output_embeddings(), batch, Layout.APART)
    assert model(batch["input_ids"]).logits.shape[:2] == batch["input_ids"].shape


def test_the_end_of_an_answer_counts_and_the_prompt_does_not() -> None:
    batch = collate([Example("x", (7, 8), ((9, 4), (4,)), (1, -1))], Layout.APART, pad_token_id=5)
    assert batch["input_ids"].tolist() == [[7, 8, 9, 4], [7, 8, 4, 5]]
    assert batch["targets"].tolist() == [9, 4, 4]
    assert batch["keep"].tolist() == [1, 2, 5]
    assert batch["lengths"].tolist() == [2, 1]


def test_together_the_second_response_stands_where_it_would_stand_alone_and_the_prompt_is_there_once() -> None:
    batch = collate([Example("x", (7, 8), ((9, 4), (6, 4)), (1, -1))], Layout.TOGETHER, pad_token_id=5)
    assert batch["input_ids"].tolist() == [[7, 8, 9, 4, 6, 4]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 2, 3]]
    assert batch["segments"].tolist() == [[0, 0, 1, 1, 2, 2]]
    assert batch["keep"].tolist() == [1, 2, 1, 4]


def test_the_layout_that_computes_fewer_tokens_is_chosen(base: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(base).eval()
    long_prompts = [Example("x", tuple(range(10, 40)), ((9, 4), (6, 4)), (1, -1))]
    long_answers = [Example("x", (7,), (tuple(range(10, 40)), tuple(range(20, 40))), (1, -1))]
    singles = [Example("x", tuple(range(10, 40)), ((9, 4),), (1,))]
    assert choose_layout(long_prompts, model, 5) is Layout.TOGETHER
    assert choose_layout(long_answers, model, 5) is Layout.APART
    assert choose_layout(singles, model, 5) is Layout.APART


def test_a_model_that_ignores_the_mask_is_trained_apart(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = AutoModelForCausalLM.from_pretrained(base).eval()
    whole = model.forward
    monkeypatch.setattr(model, "forward", lambda *a, attention_mask=None, **k: whole(*a, **k))
    examples = [Example("x", tuple(range(10, 40)), ((9, 4), (6, 4)), (1, -1))]
    assert choose_layout(examples, model, 5) is Layout.APART


def test_a_model_with_a_sliding_window_is_trained_apart(base: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(base).eval()
    model.config.sliding_window = 16
    examples = [Example("x", tuple(range(10, 40)), ((9, 4), (6, 4)), (1, -1))]
    assert choose_layout(examples, model, 5) is Layout.APART
