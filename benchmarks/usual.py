"""Guided decoding the usual way, to compare with: transformers' generate, dynamic caches, the models in turn."""

import time
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from transformers import DynamicCache, LogitsProcessor, LogitsProcessorList, PreTrainedModel

from benchmarks.hardware import synchronize
from benchmarks.timing import Timing


class GuideProcessor(LogitsProcessor):
    """Adds each guide's log-probs times its exponent to the base's, calling one guide after the other."""

    def __init__(self, guides: Sequence[PreTrainedModel], exponents: Sequence[float]) -> None:
        self.guides = guides
        self.exponents = exponents
        self.caches = [DynamicCache() for _ in guides]
        self.n_seen = 0

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return the mixed log-probs (1, V) after ``input_ids`` (1, T); called once per new token."""
        mixed = scores.float().log_softmax(-1)
        for guide, exponent, cache in zip(self.guides, self.exponents, self.caches, strict=True):
            new = input_ids[:, self.n_seen :]
            # what generate itself asks for: the logits of the last token only
            output = guide(input_ids=new, past_key_values=cache, use_cache=True, logits_to_keep=1)
            mixed = mixed + exponent * output.logits[:, -1, : mixed.shape[-1]].float().log_softmax(-1)
        self.n_seen = input_ids.shape[1]
        return mixed


class _Clock(LogitsProcessor):
    """Notes when the scores of the first and of the last token were there."""

    def __init__(self, n_tokens: int, device: torch.device) -> None:
        self._marked = (1, n_tokens)
        self._device = device
        self._n_calls = 0
        self.times: list[float] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return ``scores`` as they are."""
        self._n_calls += 1
        if self._n_calls in self._marked:
            synchronize(self._device)
            self.times.append(time.perf_counter())
        return scores


class UsualWay:
    """A base model and guides that are models of their own, all of them whole."""

    def __init__(self, base: PreTrainedModel, guides: Sequence[PreTrainedModel]) -> None:
        self.base, self.guides = base, guides

    def unguided(self, prompt: Sequence[int], n_tokens: int) -> Timing:
        """Write ``n_tokens`` (2 or more) with the base alone."""
        return self._generate(prompt, n_tokens, [])

    def guided(self, prompt: Sequence[int], n_tokens: int, exponents: Sequence[float]) -> Timing:
        """Write ``n_tokens`` (2 or more) with base and guides in turn."""
        return self._generate(prompt, n_tokens, [GuideProcessor(self.guides, exponents)])

    @torch.inference_mode()
    def _generate(self, prompt: Sequence[int], n_tokens: int, processors: list[LogitsProcessor]) -> Timing:
        device = self.base.device
        tokens = torch.tensor([prompt], device=device)
        clock = _Clock(n_tokens, device)
        start = time.perf_counter()
        cast(Any, self.base).generate(
            tokens,
            attention_mask=torch.ones_like(tokens),
            logits_processor=LogitsProcessorList([*processors, clock]),
            do_sample=True,
            temperature=0.7,
            top_p=0.95,
            top_k=0,
            max_new_tokens=n_tokens,
            min_new_tokens=n_tokens,
            pad_token_id=0,
        )
        synchronize(device)
        whole = time.perf_counter() - start
        first, last = clock.times
        return Timing((last - first) / (n_tokens - 1), first - start, whole, whole, n_tokens)
