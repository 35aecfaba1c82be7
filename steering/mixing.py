"""The mixing formula: distributions multiplied token by token (GenARM, Xu et al. 2025, eq. 8).

    score(v) = a_0 · log π_base(v) + Σ_i a_i · log π_i(v)

Everything is fp32 and over the whole vocabulary. There is no division by 1 + Σa: temperature keeps its usual meaning.
"""

import torch
from torch import Tensor

from steering.ensemble import Logprobs

# A guide may give a token probability 0. Times a negative exponent that would be +inf, and +inf - inf is NaN; a huge
# finite number orders the tokens the same way and stays finite for every exponent a Blend allows.
_LOWEST_LOGPROB = -1e30


def mix(
    logprobs: Logprobs, base_exponents: Tensor | None, guide_exponents: Tensor, *, all_guide: bool = False
) -> Tensor:
    """Return the scores (B, V), fp32, of the mixture before any mask.

    Args:
        logprobs: what the members expect next.
        base_exponents: (B, 1) fp32, a_0 of each slot; None is 1 everywhere.
        guide_exponents: (G, Bg) fp32, a_i of each guide in each guided slot.

    With ``all_guide`` no guide's exponent is 0, which saves looking: an exponent of 0 leaves its member out, for
    0 · (-inf) is NaN, and so is 0 · NaN from a broken guide.
    """
    scores = logprobs.base if base_exponents is None else _weigh(logprobs.base, base_exponents)
    if guide_exponents.numel() == 0:
        return scores
    guides, exponents = logprobs.guides.clamp(min=_LOWEST_LOGPROB), guide_exponents[..., None]
    weighed = guides.mul_(exponents) if all_guide else _weigh(guides, exponents)
    return scores.index_add(0, logprobs.guided, weighed.sum(dim=0))


def _weigh(logprobs: Tensor, exponents: Tensor) -> Tensor:
    return torch.where(exponents == 0, 0.0, exponents * logprobs)


def mask_implausible(scores: Tensor, base_logprobs: Tensor, log_plausibility: Tensor) -> Tensor:
    """Set the score of v to -inf unless π_base(v) ≥ ε · max π_base (Li et al. 2022, contrastive decoding, eq. 2).

    Args:
        scores: (B, V) fp32; a new tensor is returned.
        base_logprobs: (B, V) fp32.
        log_plausibility: (B, 1) fp32, log ε; -inf turns the mask off for a slot.
    """
    floor = base_logprobs.amax(dim=-1, keepdim=True) + log_plausibility
    return scores.masked_fill(base_logprobs < floor, -torch.inf)


def information(mixed: Tensor, base: Tensor) -> tuple[Tensor, Tensor]:
    """Return KL(mixed ‖ base) and the entropy of ``mixed``, each (B, 1) and in nats, from (B, V) log-softmax tensors.

    A token without probability adds nothing to either. Rounding of the KL below zero is cut off.
    """
    probs = mixed.exp()
    # finite logarithms make 0 · log 0 the 0 it should be
    mixed, base = mixed.clamp(min=_LOWEST_LOGPROB), base.clamp(min=_LOWEST_LOGPROB)
    kl = (probs * (mixed - base)).sum(dim=-1, keepdim=True).clamp(min=0.0)
    return kl, -(probs * mixed).sum(dim=-1, keepdim=True)
