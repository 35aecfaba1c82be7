"""The settings of the slots being decoded, as tensors that a step reads without asking the host."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from steering.errors import BlendError
from steering.noise import seed_keys, token_keys
from steering.types import Blend, SamplingSettings

# Contrastive decoding's own default (Li et al. 2022): without it a negative guide rewards a token for being unlikely.
DEFAULT_PLAUSIBILITY = 0.1


@dataclass(frozen=True)
class Slot:
    """What one answer is decoded with: a blend and its exponents (weight × unit) in the ensemble's order.

    Raises:
        BlendError: a negative exponent with the plausibility mask turned off.
    """

    base_exponent: float
    guide_exponents: tuple[float, ...]
    sampling: SamplingSettings

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


def slot_for(blend: Blend, units: dict[str, float], sampling: SamplingSettings) -> Slot:
    """Return the slot of a blend: exponent a_i = weight_i · unit_i, in the order of ``units``.

    Args:
        blend: weights by dimension.
        units: the unit of every guide of the ensemble by dimension, in the ensemble's order.

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
    return Slot(blend.base_exponent, exponents, sampling)


class Controls:
    """The settings of B slots as tensors on one device.

    Shapes: ``guide_exponents`` (G, Bg) fp32; ``seeds`` (2, B) and ``tokens`` (V,) int32, keys of the noise; the rest
    (B, 1): base_exponents (None: all 1), temperatures, top_p, min_p and log_plausibility fp32, top_k int64; and
    ``positions`` (B,) int64, which each step advances. ``truncates``, ``masks`` and ``samples`` say whether any slot
    needs that work, ``n_likeliest`` how many tokens truncation looks at first.
    """

    def __init__(
        self, slots: Sequence[Slot], position: int, n_guides: int, vocabulary_size: int, device: torch.device
    ) -> None:
        settings = [slot.sampling for slot in slots]
        guided = [slot.guide_exponents for slot in slots if slot.is_guided]

        def reals(values: list[float]) -> Tensor:
            return torch.tensor(values, dtype=torch.float32, device=device)[:, None]

        def whole(values: list[int]) -> Tensor:
            return torch.tensor(values, dtype=torch.int64, device=device)

        base_exponents = [slot.base_exponent for slot in slots]
        self.base_exponents = None if set(base_exponents) == {1.0} else reals(base_exponents)
        exponents = torch.tensor(guided, dtype=torch.float32, device=device)
        self.guide_exponents = exponents.view(len(guided), n_guides).T.contiguous()
        self.log_plausibility = reals([slot.plausibility for slot in slots]).log()
        self.temperatures = reals([s.temperature for s in settings])
        self.top_k, self.top_p = whole([s.top_k for s in settings])[:, None], reals([s.top_p for s in settings])
        self.min_p = reals([s.min_p for s in settings])
        self.seeds, self.positions = seed_keys(whole([s.seed for s in settings])), whole([position] * len(slots))
        self.tokens = token_keys(vocabulary_size, device)
        # a partial sort takes a tenth of the time; all that top-k keeps must be among its tokens
        self.n_likeliest = min(vocabulary_size, max([512, *(s.top_k for s in settings)]))
        self.masks = any(slot.plausibility > 0 for slot in slots)
        self.samples = any(s.temperature > 0 for s in settings)
        # greedy takes the likeliest token, which no truncation removes
        self.truncates = any(s.temperature > 0 and (s.top_k or s.top_p < 1 or s.min_p) for s in settings)
