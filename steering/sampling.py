"""Drawing a token: softmax(score / T) after top-k, top-p and min-p, by Gumbel-max with stateless noise."""

import torch
from torch import Tensor

from steering.controls import Controls
from steering.noise import gumbel_noise


def draw(scores: Tensor, controls: Controls) -> tuple[Tensor, Tensor | None]:
    """Return one token id per slot, (B, 1) int64, and the likeliest tokens' ids in falling order where they are known.

    They are (B, n) int64, n at least ``controls.n_top``; None where nothing had to be sorted.

    The token is the argmax of score + T · Gumbel noise over what truncation keeps, which draws from softmax(score / T);
    temperature 0 is greedy.

    Args:
        scores: (B, V) fp32, unnormalised log-probabilities, masked tokens -inf.
        controls: of the B slots.
    """
    if not controls.samples:
        return scores.argmax(dim=-1, keepdim=True), None
    if not controls.truncates:
        noise = gumbel_noise(controls.seeds, controls.positions, controls.tokens)
        return torch.addcmul(scores, controls.temperatures, noise).argmax(dim=-1, keepdim=True), None
    kept, token_ids = truncate(scores, controls)
    # the noise of a token depends on its id alone, so only the tokens still in the draw need theirs
    noise = gumbel_noise(controls.seeds, controls.positions, controls.tokens[token_ids])
    drawn = torch.addcmul(kept, controls.temperatures, noise).argmax(dim=-1, keepdim=True)
    return token_ids.gather(-1, drawn), token_ids


def truncate(scores: Tensor, controls: Controls) -> tuple[Tensor, Tensor]:
    """Apply top-k, then top-p, then min-p to softmax(score / T); the likeliest token always stays.

    Top-p keeps the smallest set of likeliest tokens whose mass reaches p (Holtzman et al. 2020), min-p those with at
    least p of the top probability (Nguyen et al. 2024); the order is transformers'. Tokens that tie with the last one
    kept are kept too, so the result does not depend on how a device sorts. Temperature 0 is treated as 1.

    Returns:
        Scores (B, n) fp32 in falling order, -inf where a token was cut, and the tokens' ids (B, n) int64; n ≤ V, and
        every token that is kept is among them.
    """
    size = scores.shape[-1]
    # where asking the device costs nothing, a partial sort does unless the distribution is very flat
    asking_is_free = scores.device.type == "cpu"
    for n_likeliest in (controls.n_likeliest, size) if asking_is_free else (size,):
        if n_likeliest == size:
            ordered, token_ids = scores.sort(dim=-1, descending=True)
        else:
            ordered, token_ids = scores.topk(n_likeliest, dim=-1)
        last_kept = _last_kept(scores, (ordered, token_ids), controls)
        if n_likeliest == size or bool((ordered[:, -1:] < last_kept).all()):
            break
    return ordered.masked_fill(ordered < last_kept, -torch.inf), token_ids


def _last_kept(scores: Tensor, likeliest: tuple[Tensor, Tensor], controls: Controls) -> Tensor:
    """Return the score (B, 1) of the last token kept among the likeliest ones: their scores and ids, (B, n) each."""
    ordered, token_ids = likeliest
    inverse = torch.where(controls.temperatures == 0, 1.0, controls.temperatures).reciprocal()
    # on a CPU log_softmax takes a third of logsumexp's time
    logprobs = (scores * inverse).log_softmax(dim=-1).gather(-1, token_ids)
    cut = torch.zeros_like(logprobs, dtype=torch.bool)
    if controls.picks:
        top_k = controls.top_k
        cut = (torch.arange(ordered.shape[-1], device=scores.device) >= top_k) & (top_k > 0)
        # top-p is a share of what top-k left; without top-k that is everything, the tokens not looked at included
        left = logprobs.masked_fill(cut, -torch.inf)
        logprobs = torch.where(top_k > 0, left.log_softmax(dim=-1), left)
    probs = logprobs.exp()
    # the mass before a token decides, so the token that reaches p is still inside
    cut |= (probs.cumsum(dim=-1) - probs >= controls.top_p) & (controls.top_p < 1)
    cut |= probs < controls.min_p * probs[:, :1]
    cut[:, 0] = False
    return ordered.gather(-1, (~cut).sum(dim=-1, keepdim=True) - 1)
