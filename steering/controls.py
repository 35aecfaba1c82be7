"""The settings of the slots being decoded, as tensors that a step reads without asking the host."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from steering.errors import BlendError
from steering.noise import seed_keys
from steering.types import Blend, SamplingSettings

# Contrastive decoding's own default (Li et al. 2022): without it a negative guide rewards a token for being unlikely.
DEFAULT_PLAUSIBILITY = 0.1


@dataclass(frozen=True)
class Slot:
    """What one answer is decoded with: a blend and its exponents (weight × unit) in the ensemble's order.

    ``n_top`` is how many of the likeliest tokens each of its steps reports.

    Raises:
        BlendError: a negative exponent with the plausibility mask turned off.
    """

    base_exponent: float
    guide_exponents: tuple[float, ...]
    sampling: SamplingSettings
    n_top: int = 0

    def __post_init__(self) -> None:
        if any(a < 0 for a in self.guide_exponents) and self.sampling.plausibility == 0:
            raise BlendError(
                "A guide has a negative weight and the plausibility mask is off (0).",
                hint="Leave plausibility unset (0.1 is used) or give a value above 0.",
            )

    @property
    def is_guided(self) -> bool:
        """Whether any guide has an exponent other than 0."""
        return any(self.guide_exponents)

    @property
    def plausibility(self) -> float:
        """ε of the mask for this slot; 0 is off. An unguided answer is never masked: it is the base model's own."""
        if not self.is_guided:
            return 0.0
        if self.sampling.plausibility is not None:
            return self.sampling.plausibility
        return DEFAULT_PLAUSIBILITY if any(a < 0 for a in self.guide_exponents) else 0.0


def slot_for(blend: Blend, units: Mapping[str, float], sampling: SamplingSettings, n_top: int = 0) -> Slot:
    """Return the slot of a blend: exponent a_i = weight_i · unit_i, in the order of ``units``.

    Args:
        blend: weights by dimension.
        units: the unit of every guide of the ensemble by dimension, in the ensemble's order.
        sampling: how tokens are drawn.
        n_top: how many of the likeliest tokens to report per step.

    Raises:
        BlendError: the blend names a dimension no guide has, or needs a mask that is off.
    """
    unknown = sorted(set(blend.weights) - set(units))
    if unknown:
        raise BlendError(
            f"There is no guide for {', '.join(map(repr, unknown))}.",
            hint=f"The guides loaded are: {', '.join(units) or 'none'}.",
        )
    exponents = tuple(blend.weights.get(dimension, 0.0) * unit for dimension, unit in units.items())
    return Slot(blend.base_exponent, exponents, sampling, n_top)


@dataclass(frozen=True)
class Place:
    """A slot on its way: the position of the next token to be drawn, its last token, and how many may follow."""

    slot: Slot
    position: int
    last_token: int
    n_left: int

    def after(self, token_id: int) -> "Place":
        """The place once a token has been drawn."""
        return Place(self.slot, self.position + 1, token_id, self.n_left - 1)


class Controls:
    """The settings of B slots and Bg guide columns as tensors on one device, which stay where they are when reloaded.

    Shapes: ``last_tokens`` and ``positions`` (B,) int64, which each step advances; ``guide_exponents`` (G, Bg) fp32;
    ``seeds`` (2, B) and ``tokens`` (V,) int32, keys of the noise; the rest (B, 1): base_exponents, temperatures, top_p,
    min_p and log_plausibility fp32, top_k int64. ``weighs``, ``truncates``, ``picks`` (top-k), ``masks`` and
    ``samples`` say whether any slot needs that work, ``all_guide`` whether no guide sits out in its column,
    ``n_likeliest`` how many tokens truncation looks at first, ``n_top`` how many to report.
    """

    def __init__(self, n_slots: int, n_columns: int, n_guides: int, tokens: Tensor) -> None:
        """Make room; ``tokens`` (V,) are the :func:`steering.noise.token_keys`, whose device is everything's."""
        device, self.tokens = tokens.device, tokens

        def whole(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.int64, device=device)

        def reals(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.float32, device=device)

        self.last_tokens, self.positions, self.top_k = whole(n_slots), whole(n_slots), whole(n_slots, 1)
        self.seeds = torch.zeros(2, n_slots, dtype=torch.int32, device=device)
        self.base_exponents, self.log_plausibility = reals(n_slots, 1), reals(n_slots, 1)
        self.temperatures, self.top_p, self.min_p = reals(n_slots, 1), reals(n_slots, 1), reals(n_slots, 1)
        self.guide_exponents = reals(n_guides, n_columns)
        self.weighs = self.all_guide = self.masks = self.samples = self.truncates = self.picks = False
        self.n_likeliest = self.n_top = 0

    @property
    def variant(self) -> tuple[bool | int, ...]:
        """What a recorded step depends on besides the tensors."""
        flags = (self.weighs, self.all_guide, self.masks, self.samples, self.truncates, self.picks)
        return (*flags, self.n_likeliest, self.n_top)

    def load(self, places: Sequence[Place | None], columns: Sequence[Place | None]) -> None:
        """Fill in the settings of every slot and guide column; an empty one decodes greedily and unguided."""
        slots = [place.slot if place else _EMPTY for place in places]
        settings = [slot.sampling for slot in slots]
        device = self.tokens.device

        def fill(target: Tensor, values: Sequence[object]) -> None:
            target.copy_(torch.tensor(values, dtype=target.dtype).view_as(target))

        fill(self.last_tokens, [place.last_token if place else 0 for place in places])
        fill(self.positions, [place.position if place else 0 for place in places])
        fill(self.base_exponents, [slot.base_exponent for slot in slots])
        fill(self.log_plausibility, [math.log(slot.plausibility) if slot.plausibility else -math.inf for slot in slots])
        fill(self.temperatures, [s.temperature for s in settings])
        fill(self.top_k, [s.top_k for s in settings])
        fill(self.top_p, [s.top_p for s in settings])
        fill(self.min_p, [s.min_p for s in settings])
        self.seeds.copy_(seed_keys(torch.tensor([s.seed for s in settings], device=device)))
        if self.guide_exponents.numel():
            none = (0.0,) * self.guide_exponents.shape[0]
            rows = [place.slot.guide_exponents if place else none for place in columns]
            self.guide_exponents.copy_(torch.tensor(rows, dtype=torch.float32).T)
            self.all_guide = all(map(all, rows))
        self.weighs = any(slot.base_exponent != 1 for slot in slots)
        self.masks = any(slot.plausibility > 0 for slot in slots)
        self.samples = any(s.temperature > 0 for s in settings)
        # greedy takes the likeliest token, which no truncation removes
        self.truncates = any(s.temperature > 0 and (s.top_k or s.top_p < 1 or s.min_p) for s in settings)
        self.picks = any(s.top_k for s in settings)
        # a partial sort takes a tenth of the time; all that top-k keeps must be among its tokens
        size = self.tokens.shape[0]
        self.n_likeliest = min(size, max([512, *(s.top_k for s in settings)])) if device.type == "cpu" else size
        self.n_top = max(slot.n_top for slot in slots)


_EMPTY = Slot(1.0, (), SamplingSettings(temperature=0.0))
