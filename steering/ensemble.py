"""What the decoder needs of the language models: an ensemble of members that see the same slots.

A *slot* is one answer being decoded. The *members* are the base model, which sees every slot, and the guides, which
see the *guided* slots only: a guide whose exponent is zero everywhere is left out of a slot, so an unguided answer
beside a guided one costs a single row.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
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


# Mixes, draws and reports one step: tensor operations only, so that an ensemble may record them once and replay them.
Decide = Callable[[Logprobs], Tensor]


class Reading(Protocol):
    """A prompt that every member reads, in as many pieces as the caller likes; unchanged once it is read."""

    @property
    def n_left(self) -> int:
        """How many tokens the longest wording of the prompt still has; 0 when it is read."""
        ...

    @property
    def n_prompt(self) -> int:
        """The tokens of the prompt as the base model reads it."""
        ...

    def advance(self, n_tokens: int) -> None:
        """Read up to ``n_tokens`` more tokens of every member's prompt."""
        ...

    def logprobs(self, guided: Sequence[bool]) -> Logprobs:
        """What the members expect as the first token of each slot; ``guided`` says which slots the guides see."""
        ...

    def score(self, response: Sequence[int]) -> Iterator[Tensor]:
        """Yield (G, T) fp32 pieces along T: each guide's log-prob of each token of ``response`` after the prompt.

        For an answer the guides did not see; only of a prompt that was read with guides.
        """
        ...


class Batch(Protocol):
    """The slots being decoded together. They have keys, and join and leave between steps.

    ``slots`` has a key for each of the B places, None where a place is empty: it is computed and means nothing.
    ``columns`` has the key of the guided slot of each of the Bg guide columns, likewise.
    """

    @property
    def slots(self) -> Sequence[int | None]:
        """The slot of each place."""
        ...

    @property
    def columns(self) -> Sequence[int | None]:
        """The guided slot of each guide column."""
        ...

    def join(self, reading: Reading, keys: Sequence[int], guided: Sequence[bool], n_tokens: int) -> None:
        """Give new slots a copy each of what was read, and room for ``n_tokens`` more. Others may change places."""
        ...

    def leave(self, keys: Sequence[int]) -> None:
        """Release slots. Others may change places."""
        ...

    def step(self, tokens: Tensor, decide: Decide, variant: Hashable) -> Tensor:
        """Append one token per slot, ``tokens`` (B,) int64; return what ``decide`` makes of what every member expects.

        Mutates the caches. ``decide`` may be recorded: whatever it reads must stay where it is, and ``variant`` must
        tell apart all that it does differently for the same number of slots and columns.
        """
        ...

    def restore(self) -> None:
        """After a step that failed: forget what it had done, so that it can be taken again."""
        ...

    def copy(self, keys: Sequence[int]) -> "Batch":
        """Return a batch of its own with copies of some slots."""
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

    def read(self, prompts: Sequence[Sequence[int]], *, with_guides: bool) -> Reading:
        """Begin to read a prompt; nothing is computed yet.

        Args:
            prompts: 1 + G token id sequences: the prompt as each member words it, base first.
            with_guides: whether the guides read it, which they must if a slot is guided or will be scored.
        """
        ...

    def batch(self) -> Batch:
        """Return a batch without slots."""
        ...
