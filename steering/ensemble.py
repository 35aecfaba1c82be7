"""What the decoder needs of the language models: an ensemble of members that see the same slots.

A *slot* is one answer being decoded. The *members* are the base model, which sees every slot, and the guides, which
see the *guided* slots only: a guide whose exponent is zero everywhere is left out of a slot, so an unguided answer
beside a guided one costs a single row.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class Logprobs:
    """Log-softmax outputs of every member for the next token, fp32, on one device.

    ``base`` is (B, V); ``guides`` is (G, Bg, V); ``guided`` is (Bg,) int64 and names the slot of each guide column.
    """

    base: Tensor
    guides: Tensor
    guided: Tensor


class Batch(Protocol):
    """Some slots on their way; made by :meth:`Ensemble.prefill`, holds the caches until it is dropped."""

    def step(self, tokens: Tensor) -> Logprobs:
        """Append one token per slot, ``tokens`` (B,) int64, and return what every member expects next.

        Mutates the caches. At most ``max_new_tokens - 1`` steps may be taken.
        """
        ...

    def keep(self, slots: Sequence[int]) -> None:
        """Release every slot not in ``slots``; the kept ones are renumbered 0, 1, … in the order given."""
        ...

    def score(self, response: Sequence[int]) -> Tensor:
        """Return (G, T) fp32: each guide's log-prob of each token of ``response`` after the prompt.

        For an answer the guides did not see; only in a batch prefilled with ``with_guides``.
        """
        ...


class Ensemble(Protocol):
    """A base model and its guides behind one interface."""

    @property
    def dimensions(self) -> tuple[str, ...]:
        """The guides' dimensions; its order is the G axis everywhere."""
        ...

    @property
    def vocabulary_size(self) -> int:
        """V, the same for every member."""
        ...

    @property
    def eos_token_ids(self) -> frozenset[int]:
        """The tokens that end an answer."""
        ...

    @property
    def device(self) -> torch.device:
        """Where log-probs live."""
        ...

    def prefill(
        self, prompts: Sequence[Sequence[int]], guided: Sequence[bool], max_new_tokens: int, *, with_guides: bool
    ) -> tuple[Batch, Logprobs]:
        """Read the prompt once per member and give each of ``len(guided)`` slots a copy of its cache.

        Args:
            prompts: 1 + G token id sequences: the prompt as each member words it, base first.
            guided: for each slot, whether the guides see it.
            max_new_tokens: how many tokens may follow.
            with_guides: whether the guides read the prompt, which they must if a slot is guided or will be scored.
        """
        ...
