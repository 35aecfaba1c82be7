"""The members of an ensemble of transformers models: those that share base weights are rows of one forward pass."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from transformers import PreTrainedModel

from models.adapters import Owners
from models.cache import EXACT, Rounding, RowCache, Rows
from steering.ensemble import Logprobs


class ForwardPass(Protocol):
    """Reads the tokens (R, T) placed in ``cache`` and returns logits (R, K, ≥V); each row gets its owner's LoRA.

    ``keep`` names the K positions as transformers' ``logits_to_keep`` does: the last so many, or int64 indices into T.
    """

    @property
    def nbytes(self) -> int:
        """The bytes of weights that a step reads."""
        ...

    def __call__(self, tokens: Tensor, cache: RowCache, owners: Owners, keep: Tensor | int) -> Tensor:
        """Mutates the layers of ``cache``, which is told of the new lengths by the caller."""
        ...


@dataclass(frozen=True)
class Group:
    """One model and the members that are rows of its forward pass.

    ``guides`` are the G-axis indices of its guides, in row order. With ``has_base`` the first rows are the base model's
    own; a guide that is a model of its own is a group without, whose rows get no LoRA.
    """

    model: PreTrainedModel
    guides: tuple[int, ...]
    has_base: bool
    forward_pass: ForwardPass

    def members(self, *, with_guides: bool) -> list[int]:
        """Return the members in row order: 0 is the base, 1 + i guide i."""
        return [0] * self.has_base + [1 + index for index in self.guides] * with_guides

    def owners(self, members: Sequence[int]) -> Owners:
        """Say whose LoRA each row gets, by the rows' members."""
        guides = [self.guides.index(member - 1) if self.has_base and member else None for member in members]
        return Owners(guides, len(self.guides) * self.has_base, self.model.device)

    def new_cache(self, n_rows: int, capacity: int, rounding: Rounding = EXACT) -> RowCache:
        """Return an empty cache for ``n_rows`` rows of ``capacity`` tokens."""
        n_layers = self.model.config.get_text_config().num_hidden_layers
        return RowCache(n_layers, Rows(n_rows, capacity, self.model.device, rounding))

    def forward(self, tokens: Tensor, cache: RowCache, owners: Owners, keep: Tensor | int) -> Tensor:
        """Read T tokens per row and return logits (R, K, V rows of the head) at the K positions ``keep`` names.

        Args:
            tokens: (R, T) int64.
            cache: mutated; rows grow by T on the device, of which the host is told by ``cache.rows.count``.
            owners: whose LoRA each row gets.
            keep: see :class:`ForwardPass`.
        """
        cache.rows.place(tokens.shape[1])
        logits = self.forward_pass(tokens, cache, owners, keep)
        cache.rows.grow(tokens.shape[1])
        return logits

    def read(self, tokens: Tensor, cache: RowCache, owners: Owners, keep: Tensor | int) -> Tensor:
        """Read T tokens per row like :meth:`forward`, and let the host's side of ``cache`` follow."""
        cache.rows.look(tokens.shape[1])
        logits = self.forward(tokens, cache, owners, keep)
        cache.rows.count(tokens.shape[1])
        return logits


class Members:
    """The base model and all guides, by the groups that share a forward pass; the base's group comes first."""

    def __init__(
        self, groups: Sequence[Group], dimensions: tuple[str, ...], vocabulary_size: int, eos_token_ids: frozenset[int]
    ) -> None:
        assert [group.has_base for group in groups] == [True] + [False] * (len(groups) - 1)
        self.groups = tuple(groups)
        self.dimensions = dimensions
        self.vocabulary_size = vocabulary_size
        self.eos_token_ids = eos_token_ids
        order = [index for group in self.groups for index in group.guides]
        assert sorted(order) == list(range(len(dimensions)))
        self._to_dimension_order = None if order == sorted(order) else [order.index(i) for i in range(len(order))]

    @property
    def device(self) -> torch.device:
        """Where the base model's outputs live."""
        return self.groups[0].model.device

    @property
    def nbytes(self) -> int:
        """The bytes of all weights, which every decoding step reads at least once."""
        return sum(group.forward_pass.nbytes for group in self.groups)

    def logprobs(self, outputs: Sequence[Tensor], n_slots: int, guided: Tensor) -> Logprobs:
        """Turn each group's last logits (R, ≥V) into log-softmax outputs by member; the cut to V comes first."""
        size = self.vocabulary_size
        rows = [logits[..., :size].float().log_softmax(dim=-1).to(self.device) for logits in outputs]
        own = rows[0][n_slots:]
        guides = (torch.cat([own, *rows[1:]]) if len(rows) > 1 else own).view(
            len(self.dimensions), guided.shape[0], size
        )
        if self._to_dimension_order and guided.shape[0]:
            # indexing with a list would wait for the device, which a step being recorded must not
            guides = torch.stack([guides[index] for index in self._to_dimension_order])
        return Logprobs(rows[0][:n_slots], guides, guided)
