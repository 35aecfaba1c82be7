"""The ensemble over transformers models: members that share base weights are rows of one forward pass."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from transformers import PreTrainedModel

from models.cache import RowCache
from steering.ensemble import Logprobs

_SCORED_TOGETHER = 128


class ForwardPass(Protocol):
    """Reads the tokens (R, T) placed in ``cache`` and returns logits (R, K, ≥V); the first ``n_base`` rows get no LoRA.

    ``keep`` names the K positions as transformers' ``logits_to_keep`` does: the last so many, or int64 indices into T.
    """

    def __call__(self, tokens: Tensor, cache: RowCache, n_base: int, keep: Tensor | int) -> Tensor:
        """Mutates the layers of ``cache``, which is told of the new lengths by the caller."""
        ...


@dataclass(frozen=True)
class Group:
    """One model and the members that are rows of its forward pass.

    ``guides`` are the G-axis indices of its guides, in row order. With ``has_base`` the first rows are the base model's
    own; a guide that is a model of its own is a group without.
    """

    model: PreTrainedModel
    guides: tuple[int, ...]
    has_base: bool
    forward_pass: ForwardPass

    def members(self) -> list[int]:
        """Return the members in row order: 0 is the base, 1 + i guide i."""
        return [0] * self.has_base + [1 + index for index in self.guides]

    def new_cache(self, n_rows: int, capacity: int) -> RowCache:
        """Return an empty cache for ``n_rows`` rows of ``capacity`` tokens."""
        n_layers = self.model.config.get_text_config().num_hidden_layers
        return RowCache(n_layers, n_rows, capacity, self.model.device)

    def forward(self, tokens: Tensor, cache: RowCache, n_base: int, keep: Tensor | int) -> Tensor:
        """Read T tokens per row and return logits (R, K, V rows of the head) at the K positions ``keep`` names.

        Args:
            tokens: (R, T) int64, rows in member order.
            cache: mutated; rows grow by T.
            n_base: how many leading rows are the base's.
            keep: see :class:`ForwardPass`.
        """
        cache.rows.place(tokens.shape[1])
        logits = self.forward_pass(tokens, cache, n_base, keep)
        cache.rows.lengths = [length + tokens.shape[1] for length in cache.rows.lengths]
        return logits


class ModelEnsemble:
    """Implements :class:`steering.ensemble.Ensemble`; the base's group comes first in ``groups``."""

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

    @torch.inference_mode()
    def prefill(
        self, prompts: Sequence[Sequence[int]], guided: Sequence[bool], max_new_tokens: int, *, with_guides: bool
    ) -> tuple["ModelBatch", Logprobs]:
        """See :meth:`steering.ensemble.Ensemble.prefill`."""
        slots = [slot for slot, is_guided in enumerate(guided) if is_guided]
        assert with_guides or not slots
        read: list[Prefilled] = []
        caches: list[RowCache | None] = []
        outputs = []
        for group in self.groups:
            members = group.members() if with_guides else group.members()[: int(group.has_base)]
            if not members:
                caches.append(None)
                continue
            prefilled = self._read(group, [prompts[member] for member in members])
            read.append(prefilled)
            # member-major: the member's row, once per slot that it sees
            counts = [len(guided) if member == 0 else len(slots) for member in members]
            index = [row for row, count in enumerate(counts) for _ in range(count)]
            capacity = max(prefilled.cache.rows.lengths) + max_new_tokens
            caches.append(prefilled.cache.copy_rows(index, capacity) if index else None)
            outputs.append(prefilled.logits[index])
        batch = ModelBatch(self, read, caches, len(guided), slots)
        return batch, self.logprobs(outputs, len(guided), batch.guided)

    def _read(self, group: Group, prompts: Sequence[Sequence[int]]) -> "Prefilled":
        """Read one prompt per row, padded on the right."""
        lengths = [len(prompt) for prompt in prompts]
        cache = group.new_cache(len(prompts), max(lengths))
        tokens = _pad(prompts, self.device)
        ends = sorted(set(lengths))
        keep = torch.tensor(ends, device=self.device) - 1
        logits = group.forward(tokens, cache, n_base=int(group.has_base), keep=keep)
        # what was written after a shorter prompt's end is never seen: its next tokens overwrite it one by one
        cache.rows.lengths = lengths
        rows = torch.arange(len(prompts), device=self.device)
        return Prefilled(cache, logits[rows, [ends.index(length) for length in lengths]])

    def logprobs(self, outputs: Sequence[Tensor], n_slots: int, guided: Tensor) -> Logprobs:
        """Turn each group's last logits (R, ≥V) into log-softmax outputs by member; the cut to V comes first."""
        size = self.vocabulary_size
        rows = [logits[..., :size].float().log_softmax(dim=-1).to(self.device) for logits in outputs]
        own = rows[0][n_slots:]
        guides = (torch.cat([own, *rows[1:]]) if len(rows) > 1 else own).view(
            len(self.dimensions), guided.shape[0], size
        )
        if self._to_dimension_order and guided.shape[0]:
            guides = guides[self._to_dimension_order]
        return Logprobs(rows[0][:n_slots], guides, guided)


@dataclass(frozen=True)
class Prefilled:
    """The prompt as read by the members of one group: a row each, and the logits (R, ≥V) after it."""

    cache: RowCache
    logits: Tensor


class ModelBatch:
    """Implements :class:`steering.ensemble.Batch`: one cache per group."""

    def __init__(
        self,
        ensemble: ModelEnsemble,
        prefilled: Sequence[Prefilled],
        caches: Sequence[RowCache | None],
        n_slots: int,
        guided: Sequence[int],
    ) -> None:
        self.ensemble = ensemble
        self.prefilled = prefilled
        self.caches = list(caches)
        self.n_slots = n_slots
        self.guided = torch.tensor(guided, dtype=torch.int64, device=ensemble.device)

    @torch.inference_mode()
    def step(self, tokens: Tensor) -> Logprobs:
        """See :meth:`steering.ensemble.Batch.step`."""
        outputs = []
        for group, cache in zip(self.ensemble.groups, self.caches, strict=True):
            if cache is None:
                continue
            guide_tokens = tokens[self.guided].repeat(len(group.guides))
            rows = torch.cat([tokens, guide_tokens]) if group.has_base else guide_tokens
            n_base = self.n_slots if group.has_base else 0
            outputs.append(group.forward(rows[:, None], cache, n_base, keep=1)[:, -1])
        return self.ensemble.logprobs(outputs, self.n_slots, self.guided)

    @torch.inference_mode()
    def keep(self, slots: Sequence[int]) -> None:
        """See :meth:`steering.ensemble.Batch.keep`."""
        old_guided = self.guided.tolist()
        guided = [(new, old_guided.index(old)) for new, old in enumerate(slots) if old in old_guided]
        columns = [column for _, column in guided]
        for index, (group, cache) in enumerate(zip(self.ensemble.groups, self.caches, strict=True)):
            if cache is None:
                continue
            n_base = self.n_slots if group.has_base else 0
            rows = list(slots) if group.has_base else []
            rows += [n_base + member * len(old_guided) + c for member in range(len(group.guides)) for c in columns]
            self.caches[index] = cache.copy_rows(rows, cache.rows.capacity) if rows else None
        self.n_slots = len(slots)
        self.guided = torch.tensor([new for new, _ in guided], dtype=torch.int64, device=self.ensemble.device)

    @torch.inference_mode()
    def score(self, response: Sequence[int]) -> Tensor:
        """See :meth:`steering.ensemble.Batch.score`."""
        tokens = torch.tensor(response, device=self.guided.device)
        scores = tokens.new_zeros(len(self.ensemble.dimensions), len(response), dtype=torch.float32)
        for group, prefilled in zip(self.ensemble.groups, self.prefilled, strict=True):
            rows = list(range(int(group.has_base), int(group.has_base) + len(group.guides)))
            if not rows:
                continue
            cache = prefilled.cache.copy_rows(rows, max(prefilled.cache.rows.lengths) + len(response))
            own = [self._logprobs_of(prefilled.logits[rows][:, None], tokens[:1])]
            # in pieces, so that a long answer over a large vocabulary needs no more memory than a short one
            for start in range(1, len(response), _SCORED_TOGETHER):
                following = tokens[start : start + _SCORED_TOGETHER]
                read = tokens[start - 1 : start - 1 + len(following)]
                logits = group.forward(read.expand(len(rows), -1), cache, 0, keep=len(read))
                own.append(self._logprobs_of(logits, following))
            scores[list(group.guides)] = torch.cat(own, dim=1).to(scores.device)
        return scores

    def _logprobs_of(self, logits: Tensor, tokens: Tensor) -> Tensor:
        """Return (R, T) fp32: the log-probs that logits (R, T, ≥V) give to ``tokens`` (T,)."""
        logprobs = logits[..., : self.ensemble.vocabulary_size].float().log_softmax(dim=-1)
        return logprobs.gather(-1, tokens.expand(len(logits), -1)[..., None])[..., 0]


def _pad(rows: Sequence[Sequence[int]], device: torch.device) -> Tensor:
    """Return (R, T) int64, shorter rows padded on the right with token 0, which no later token sees."""
    longest = max(map(len, rows))
    return torch.tensor([list(row) + [0] * (longest - len(row)) for row in rows], device=device)
