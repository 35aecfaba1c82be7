"""Drawing a token: softmax(score / T) after top-k, top-p and min-p, by Gumbel-max with stateless noise."""

import torch
from torch import Tensor

from steering.noise import gumbel_noise


def truncate(scores: Tensor, temperatures: Tensor, top_k: Tensor, top_p: Tensor, min_p: Tensor) -> Tensor:
    """Set the scores outside top-k, then top-p, then min-p to -inf; the likeliest token always stays.

    The three are applied in transformers' order to softmax(score / T); top-p keeps the smallest set of likeliest
    tokens whose mass reaches p (Holtzman et al. 2020), min-p those with at least p of the top probability (Nguyen et
    al. 2024). Tokens that tie with the last one kept are kept too, so the result does not depend on how a device sorts.

    Args:
        scores: (B, V) fp32, unnormalised log-probabilities; a new tensor is returned.
        temperatures: (B,) fp32; 0 (greedy) is treated as 1, which does not change the likeliest token.
        top_k: (B,) int64, 0 is off. top_p: (B,) fp32, 1 is off. min_p: (B,) fp32, 0 is off.
    """
    ordered = scores.sort(dim=-1, descending=True).values
    ranks = torch.arange(scores.shape[-1], device=scores.device)
    kept = (ranks < top_k[:, None]) | (top_k[:, None] == 0)
    scaled = ordered / torch.where(temperatures == 0, 1.0, temperatures)[:, None]
    probs = scaled.masked_fill(~kept, -torch.inf).softmax(dim=-1)
    # the mass before a token decides, so the token that reaches p is still inside
    kept &= (probs.cumsum(dim=-1) - probs < top_p[:, None]) | (top_p[:, None] == 1)
    kept &= probs >= min_p[:, None] * probs[:, :1]
    kept[:, 0] = True
    last_kept = ordered.gather(-1, kept.sum(dim=-1, keepdim=True) - 1)
    return scores.masked_fill(scores < last_kept, -torch.inf)


def draw(scores: Tensor, temperatures: Tensor, seeds: Tensor, positions: Tensor) -> Tensor:
    """Return one token id per slot, (B,) int64: argmax of score + T · Gumbel noise, which is softmax(score / T).

    Args:
        scores: (B, V) fp32, already truncated.
        temperatures: (B,) fp32; 0 is greedy.
        seeds, positions: (B,) int64, see :func:`steering.noise.gumbel_noise`.
    """
    noise = gumbel_noise(seeds, positions, scores.shape[-1])
    return (scores + temperatures[:, None] * noise).argmax(dim=-1)
