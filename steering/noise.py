"""Stateless Gumbel noise: a counter-based hash of (seed, position, token id).

Because the noise of a token depends on nothing else, a seed replays exactly whatever else is being decoded, and two
blends with one seed see the same noise (common random numbers): they part only where the guides matter.

The hash is the 32-bit finaliser "lowbias32" of Wellons' hash prospector (2018), applied to the token id, then keyed
twice with words made from seed and position. It uses int32 tensor operations only, which wrap the same way on every
device.
"""

import torch
from torch import Tensor

_MULTIPLIER_1 = 0x7FEB352D
_MULTIPLIER_2 = 0x846CA68B - 2**32  # as a signed 32-bit number
_KEY_A = 0x3C6EF372
_KEY_B = 0x1B873593


def seed_keys(seeds: Tensor) -> Tensor:
    """Return the two key words of each seed, (2, B) int32, from (B,) int64 seeds of 0 to 2**63 - 1."""
    constants = torch.tensor([[_KEY_A], [_KEY_B]], dtype=torch.int32, device=seeds.device)
    return _hash(_hash(seeds.to(torch.int32) ^ constants) ^ (seeds >> 32).to(torch.int32))


def token_keys(vocabulary_size: int, device: torch.device) -> Tensor:
    """Return the word of each token id, (V,) int32."""
    return _hash(torch.arange(vocabulary_size, dtype=torch.int32, device=device))


def gumbel_noise(seeds: Tensor, positions: Tensor, tokens: Tensor) -> Tensor:
    """Return standard Gumbel noise of shape (B, V), fp32, on the device of its arguments.

    Args:
        seeds: (2, B) int32 of :func:`seed_keys`.
        positions: (B,) int64, the position in the sequence of the token to be drawn.
        tokens: (V,) int32 of :func:`token_keys`.

    The uniform behind each value has 32 bits; both logarithms are taken in fp64 so that rounding to fp32 gives the
    same number on CPU and GPU. Values lie in [-3.14, 22.88].
    """
    first, second = _hash(seeds + positions.to(torch.int32))[..., None]
    bits = _hash(_hash(tokens ^ first) ^ second)
    uniform = bits.double().add_(2.0**31 + 0.5).mul_(2.0**-32)  # strictly inside (0, 1)
    return uniform.log_().neg_().log_().neg_().float()


def _hash(x: Tensor) -> Tensor:
    """The lowbias32 bijection on int32 words; the masks make each right shift a logical one."""
    x = ((x >> 16) & 0xFFFF).bitwise_xor_(x).mul_(_MULTIPLIER_1)
    x = ((x >> 15) & 0x1FFFF).bitwise_xor_(x).mul_(_MULTIPLIER_2)
    return ((x >> 16) & 0xFFFF).bitwise_xor_(x)
