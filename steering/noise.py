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


def gumbel_noise(seeds: Tensor, positions: Tensor, vocabulary_size: int) -> Tensor:
    """Return standard Gumbel noise of shape (B, V), fp32, on the device of ``seeds``.

    Args:
        seeds: (B,) int64, from 0 to 2**63 - 1.
        positions: (B,) int64, the position in the sequence of the token to be drawn.
        vocabulary_size: V.

    The uniform behind each value has 32 bits; both logarithms are taken in fp64 so that rounding to fp32 gives the
    same number on CPU and GPU. Values lie in [-3.14, 22.88].
    """
    tokens = _hash(torch.arange(vocabulary_size, dtype=torch.int32, device=seeds.device))
    key_a, key_b = _key(seeds, positions, _KEY_A), _key(seeds, positions, _KEY_B)
    bits = _hash(_hash(tokens ^ key_a[:, None]) ^ key_b[:, None])
    uniform = bits.double().add_(2.0**31 + 0.5).mul_(2.0**-32)  # strictly inside (0, 1)
    return uniform.log_().neg_().log_().neg_().float()


def _key(seeds: Tensor, positions: Tensor, constant: int) -> Tensor:
    """Hash (B,) seeds and positions into one int32 word each; ``constant`` makes the words independent."""
    low, high = seeds.to(torch.int32), (seeds >> 32).to(torch.int32)
    return _hash(_hash(_hash(low ^ constant) ^ high) + positions.to(torch.int32))


def _hash(x: Tensor) -> Tensor:
    """The lowbias32 bijection on int32 words; the masks make each right shift a logical one."""
    x = (x ^ ((x >> 16) & 0xFFFF)) * _MULTIPLIER_1
    x = (x ^ ((x >> 15) & 0x1FFFF)) * _MULTIPLIER_2
    return x ^ ((x >> 16) & 0xFFFF)
