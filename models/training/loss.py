"""The losses of guide training; a response's reward is its summed log-prob, and there is no reference model.

All take fp32 log-probs summed over the tokens of a response, the one that ends it included and the prompt's left out.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import torch
import torch.nn.functional as F
from torch import Tensor

from steering.errors import SettingsError


class LossKind(StrEnum):
    """What is minimised."""

    PAIRWISE = "pairwise"
    """Bradley-Terry on pairs (GenARM, Xu et al. 2025, eq. 6); with label smoothing conservative DPO's."""
    ROBUST = "robust"
    """The same without bias when a known share of the labels is flipped (rDPO, Chowdhury et al. 2024, eq. 11)."""
    UNPAIRED = "unpaired"
    """Good and bad responses on their own (BCO, Jung et al. 2024, eq. 9)."""


@dataclass(frozen=True)
class LossSettings:
    """What is minimised, and with which numbers.

    Args:
        kind: see :class:`LossKind`.
        beta: how much a nat of log-prob counts.
        label_smoothing: the share of labels believed to be flipped, below 0.5; for robust above 0.
        margin: what beta times the difference of log-probs has to exceed; only for pairs.

    Raises:
        SettingsError: a value is outside its range, or has no meaning for this kind.
    """

    kind: LossKind = LossKind.PAIRWISE
    beta: float = 0.1
    label_smoothing: float = 0.0
    margin: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.beta < math.inf:
            raise SettingsError(f"beta is {self.beta}; it must be a number above 0.", hint="Use 0.1.")
        if not 0 <= self.label_smoothing < 0.5:
            raise SettingsError(
                f"label_smoothing is {self.label_smoothing}; it must be from 0 to below 0.5.",
                hint="It is the share of labels believed to be wrong: 0.1, say.",
            )
        if not 0 <= self.margin < math.inf:
            raise SettingsError(f"margin is {self.margin}; it must be 0 or more.", hint="Use 0 if unsure.")
        if self.kind is LossKind.ROBUST and self.label_smoothing == 0:
            raise SettingsError(
                "The robust loss needs to know the share of flipped labels, and label_smoothing is 0.",
                hint="Give it, or use the pairwise loss.",
            )
        if self.kind is LossKind.UNPAIRED and (self.label_smoothing or self.margin):
            raise SettingsError(
                "label_smoothing and margin have no meaning for the unpaired loss.", hint="Leave them out."
            )


def response_logprobs(logits: Tensor, targets: Tensor, places: Tensor, shape: tuple[int, int]) -> Tensor:
    """Sum the log-probs of each response's tokens; returns (R,) fp32.

    Args:
        logits: (K, V) at the positions that predict a response's tokens, any float dtype.
        targets: (K,) int64, the tokens themselves.
        places: (K,) int64, where in (R, L), flattened, each token stands; no place twice.
        shape: R responses of up to L tokens.
    """
    logprobs = -F.cross_entropy(logits.float(), targets, reduction="none")
    # a sum along rows, unlike index_add, has the same order on every device and in every run
    return logprobs.new_zeros(shape[0] * shape[1]).index_put((places,), logprobs).view(shape).sum(dim=1)


def pairwise_losses(chosen: Tensor, rejected: Tensor, settings: LossSettings) -> Tensor:
    """Return each pair's loss (P,) from the summed log-probs (P,) of its responses.

    With ℓ(d) = −log σ(β·d − margin), d the difference of log-probs and ε the label smoothing it is
    (1 − ε)·ℓ(d) + ε·ℓ(−d), or for the robust loss ((1 − ε)·ℓ(d) − ε·ℓ(−d)) / (1 − 2ε), whose expectation over labels
    flipped with probability ε is ℓ(d) of the true ones.
    """
    differences, smoothing = settings.beta * (chosen - rejected), settings.label_smoothing
    as_told = -F.logsigmoid(differences - settings.margin)
    if not smoothing:
        return as_told
    flipped = -F.logsigmoid(-differences - settings.margin)
    if settings.kind is LossKind.ROBUST:
        return ((1 - smoothing) * as_told - smoothing * flipped) / (1 - 2 * smoothing)
    return (1 - smoothing) * as_told + smoothing * flipped


def unpaired_losses(logprobs: Tensor, signs: Tensor, shift: Tensor, beta: float) -> Tensor:
    """Return each response's loss (N,): −log σ(sign·(β·log π − shift)).

    Args:
        logprobs: (N,) summed log-probs.
        signs: (N,) 1 for good responses, −1 for bad ones.
        shift: δ, a scalar without gradient; see :class:`RewardShift`.
        beta: see :class:`LossSettings`.
    """
    return -F.logsigmoid(signs * (beta * logprobs - shift))


class RewardShift:
    """δ of the unpaired loss: halfway between the mean rewards of good and of bad responses.

    Means are exponential over steps, so that they follow a model that is being trained. A step's rewards count for the
    next one: all parts of a step, in whatever process and by turns, have the same δ. A kind of response that has not
    been seen yet does not count.
    """

    def __init__(self, means: tuple[float | None, float | None] = (None, None), decay: float = 0.95) -> None:
        self.means = means
        self._decay = decay
        self._heard: Tensor | None = None

    @property
    def is_new(self) -> bool:
        """Whether no response has been taken in."""
        return self.means == (None, None)

    def hear(self, rewards: Tensor, signs: Tensor) -> None:
        """Note the rewards (N,) of a part of a step with signs (N,)."""
        rewards, kinds = rewards.detach(), (signs > 0, signs < 0)
        sums = torch.stack([part for kind in kinds for part in (rewards[kind].sum(), kind.sum())])
        self._heard = sums if self._heard is None else self._heard + sums

    def follow(self, everywhere: Callable[[Tensor], Tensor] = lambda sums: sums) -> None:
        """Take in a step, all that was heard since the last one.

        ``everywhere`` adds sums up over all processes that have a part of the step; it may change its argument.
        """
        if self._heard is None:
            return
        good, n_good, bad, n_bad = everywhere(self._heard).tolist()
        self.means = (self._follow(self.means[0], good, n_good), self._follow(self.means[1], bad, n_bad))
        self._heard = None

    @property
    def value(self) -> float:
        """δ as it stands; 0 before the first response."""
        known = [mean for mean in self.means if mean is not None]
        return sum(known) / len(known) if known else 0.0

    def _follow(self, mean: float | None, total: float, n: float) -> float | None:
        if not n:
            return mean
        new = total / n
        return new if mean is None else self._decay * mean + (1 - self._decay) * new


def weighted_mean(losses: Tensor, weights: Tensor) -> Tensor:
    """The mean of losses times weights, both (N,).

    Weights have mean 1 over all training data, not over a batch: the gradient of a large batch is then the mean of
    those of its parts.
    """
    return torch.mean(losses * weights)
