"""Drawing a token: softmax(score / T) after top-k, top-p and min-p, by Gumbel-max with stateless noise."""

import torch
from torch import Tensor

_N_LIKELIEST = 512


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
    controls = (temperatures, top_k, top_p, min_p)
    # where asking costs nothing, a partial sort does unless the distribution is very flat
    if scores.device.type == "cpu" and scores.shape[-1] > _N_LIKELIEST:
        last_kept, inside = _last_kept(scores, _N_LIKELIEST, *controls)
        if inside.all():
            return scores.masked_fill(scores < last_kept, -torch.inf)
    last_kept, _ = _last_kept(scores, scores.shape[-1], *controls)
    return scores.masked_fill(scores < last_kept, -torch.inf)


def _last_kept(
    scores: Tensor, n_likeliest: int, temperatures: Tensor, top_k: Tensor, top_p: Tensor, min_p: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the score (B, 1) of the last token kept, looking at the ``n_likeliest`` only, and whether (B,) the cut
    lies among them."""
    ordered = scores.topk(n_likeliest, dim=-1).values
    ranks = torch.arange(n_likeliest, device=scores.device)
    kept = (ranks < top_k[:, None]) | (top_k[:, None] == 0)
    inverse = torch.where(temperatures == 0, 1.0, temperatures).reciprocal()[:, None]
    scaled = (ordered * inverse).masked_fill(~kept, -torch.inf)
    # top-p is a share of what top-k left; without top-k that is everything, the tokens not looked at included
    total = torch.where(top_k == 0, (scores * inverse).logsumexp(dim=-1), scaled.logsumexp(dim=-1))
    probs = (scaled - total[:, None]).exp()
    # the mass before a token decides, so the token that reaches p is still inside
    kept &= (probs.cumsum(dim=-1) - probs < top_p[:, None]) | (top_p[:, None] == 1)
    kept &= probs >= min_p[:, None] * probs[:, :1]
    kept[:, 0] = True
    return ordered.gather(-1, kept.sum(dim=-1, keepdim=True) - 1), ~kept[:, -1]


def draw(scores: Tensor, temperatures: Tensor, noise: Tensor) -> Tensor:
    """Return one token id per slot, (B,) int64: argmax of score + T · Gumbel noise, which is softmax(score / T).

    Args:
        scores: (B, V) fp32, already truncated.
        temperatures: (B,) fp32; 0 is greedy.
        noise: (B, V) fp32, see :func:`steering.noise.gumbel_noise`.
    """
    return torch.addcmul(scores, temperatures[:, None], noise).argmax(dim=-1)
