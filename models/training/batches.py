"""Batches: token ids of prompts and responses laid out as rows, and how a model's log-probs are read from them.

Two layouts give the same log-probs:

- APART: a row per response, prompt and response one after the other, padded on the right. Causal attention never looks
  at what stands to the right, so no mask is needed.
- TOGETHER: a row per prompt, all its responses behind it, each of which sees the prompt and itself at the positions it
  would have on its own. The prompt is computed once; a mask (N, 1, T, T) says who sees whom.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from models.training.loss import response_logprobs


class Layout(StrEnum):
    """How prompts and responses share rows."""

    APART = "apart"
    TOGETHER = "together"


@dataclass(frozen=True)
class Example:
    """A prompt with one or two responses as token ids.

    ``responses`` end with the token that ends an answer. ``signs`` has 1 for a good and −1 for a bad response; a pair
    has the chosen one first. ``weight`` is how much it counts, 1 on average.
    """

    id: str
    prompt: tuple[int, ...]
    responses: tuple[tuple[int, ...], ...]
    signs: tuple[int, ...]
    weight: float = 1.0
    source: str = ""

    def n_tokens(self, layout: Layout) -> int:
        """The tokens that its rows hold, without padding."""
        n_prompts = len(self.responses) if layout is Layout.APART else 1
        return n_prompts * len(self.prompt) + sum(map(len, self.responses))


Batch = dict[str, Tensor]


def collate(examples: Sequence[Example], layout: Layout, pad_token_id: int) -> Batch:
    """Lay out examples as rows.

    Returns ``input_ids``, ``position_ids`` and ``segments`` (N, T), which is 0 in prompts, 1, 2, … in responses and −1
    in padding; ``keep`` (K,), the flat positions that predict response tokens; ``targets`` (K,), those tokens;
    ``places`` (K,), response · L + position; and by response ``signs``, ``weights`` and ``lengths`` (R,).
    """
    if layout is Layout.TOGETHER:
        rows = [(example.prompt, example.responses) for example in examples]
    else:
        rows = [(example.prompt, (response,)) for example in examples for response in example.responses]
    n_longest = max(len(prompt) + sum(map(len, responses)) for prompt, responses in rows)
    n_response = max(len(response) for _, responses in rows for response in responses)
    tokens, positions, segments = list[list[int]](), list[list[int]](), list[list[int]]()
    keep, targets, places = list[int](), list[int](), list[int]()
    n_responses = 0
    for row, (prompt, responses) in enumerate(rows):
        ids, at, segment = list(prompt), list(range(len(prompt))), [0] * len(prompt)
        for number, response in enumerate(responses, start=1):
            start = row * n_longest + len(ids)
            # the prompt's last token predicts the first of every response
            keep += [row * n_longest + len(prompt) - 1, *range(start, start + len(response) - 1)]
            targets += response
            places += range(n_responses * n_response, n_responses * n_response + len(response))
            n_responses += 1
            ids += response
            at += range(len(prompt), len(prompt) + len(response))
            segment += [number] * len(response)
        n_padding = n_longest - len(ids)
        tokens.append([*ids, *[pad_token_id] * n_padding])
        positions.append([*at, *[0] * n_padding])
        segments.append([*segment, *[-1] * n_padding])
    lengths = [len(response) for _, responses in rows for response in responses]
    signs = [sign for example in examples for sign in example.signs]
    weights = [example.weight for example in examples for _ in example.signs]
    return {
        "input_ids": torch.tensor(tokens),
        "position_ids": torch.tensor(positions),
        "segments": torch.tensor(segments),
        "keep": torch.tensor(keep),
        "targets": torch.tensor(targets),
        "places": torch.tensor(places),
        "signs": torch.tensor(signs, dtype=torch.float32),
        "weights": torch.tensor(weights, dtype=torch.float32),
        "lengths": torch.tensor(lengths),
    }


def batch_logprobs(model: nn.Module, head: nn.Module, batch: Batch, layout: Layout) -> Tensor:
    """Return the summed log-prob (R,) fp32 of every response of a batch.

    Args:
        model: a causal LM, perhaps wrapped for training.
        head: its output head, which computes logits only where a response token is predicted.
        batch: of :func:`collate`, on the model's device.
        layout: the one it was collated with.
    """
    inputs: dict[str, Any] = {"input_ids": batch["input_ids"], "use_cache": False}
    if layout is Layout.TOGETHER:
        inputs["attention_mask"] = _mask(batch["segments"])
        inputs["position_ids"] = batch["position_ids"]
    with _kept(head, batch["keep"]):
        logits = model(**inputs).logits[0]
    lengths = batch["lengths"]
    return response_logprobs(logits, batch["targets"], batch["places"], (len(lengths), int(lengths.max())))


def _mask(segments: Tensor) -> Tensor:
    """Return (N, 1, T, T), True where a token sees another: its prompt and its own response up to itself.

    Padding sees itself, for a row that sees nothing would be NaN.
    """
    n = segments.shape[1]
    own, other = segments[:, :, None], segments[:, None, :]
    causal = torch.ones(n, n, dtype=torch.bool, device=segments.device).tril()
    return (causal & ((other == own) | (other == 0)))[:, None]


@contextmanager
def _kept(head: nn.Module, keep: Tensor) -> Iterator[None]:
    """Let ``head`` see only the flat positions ``keep`` of its input (N, T, H), as (1, K, H)."""

    def select(_: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        hidden, *others = arguments
        return (hidden.flatten(0, 1).index_select(0, keep)[None], *others)

    handle = head.register_forward_pre_hook(select)
    try:
        yield
    finally:
        handle.remove()


def choose_layout(examples: Sequence[Example], model: PreTrainedModel, pad_token_id: int) -> Layout:
    """Choose the layout that computes fewer tokens, provided that this architecture gives the same log-probs in both.

    An architecture that ignores explicit masks or positions would train nonsense without an error, and one with a
    sliding window would see too far.
    """
    pairs = [example for example in examples if len(example.responses) > 1]
    apart = sum(example.n_tokens(Layout.APART) for example in pairs)
    together = sum(example.n_tokens(Layout.TOGETHER) for example in pairs)
    if not pairs or together > LEAST_SAVED * apart or _has_window(model):
        return Layout.APART
    sample = sorted(pairs, key=lambda pair: pair.n_tokens(Layout.APART))[:2]
    head = model.get_output_embeddings()
    found = []
    with torch.no_grad():
        for layout in Layout:
            batch = {name: value.to(model.device) for name, value in collate(sample, layout, pad_token_id).items()}
            found.append(batch_logprobs(model, head, batch, layout))
    tolerance = 1e-4 if model.dtype == torch.float32 else 0.02
    return Layout.TOGETHER if torch.allclose(found[0], found[1], rtol=tolerance, atol=tolerance) else Layout.APART


LEAST_SAVED = 0.9
"""A mask makes attention slower, so the prompt is shared only where that saves this much (docs/log.md)."""


def _has_window(model: PreTrainedModel) -> bool:
    config = model.config.get_text_config()
    return bool(getattr(config, "sliding_window", None)) and getattr(config, "use_sliding_window", True)
