"""Dense products: y = x Wᵀ with the weight stored the way that is fastest for a few rows where it lives.

Decoding multiplies one to some dozen rows with every weight, and the layout of the weight decides what that costs:
on a CPU with AVX-512 oneDNN's own blocked layout reads it once whatever the number of rows, and gives a row the same
bits whatever stands beside it; on other CPUs fp32 is fastest along the rows of a transposed copy (docs/log.md).
"""

from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from models.cpu import has_fast_bf16


class Product(Protocol):
    """A weight (out, in), with or without a bias (out,), ready to be multiplied with."""

    nbytes: int

    def __call__(self, x: Tensor) -> Tensor:
        """Return x Wᵀ + bias, (N, out), of ``x`` (N, in), contiguous, in the weight's dtype."""
        ...

    def onto(self, residual: Tensor, x: Tensor) -> Tensor:
        """Return ``residual`` (N, out) + x Wᵀ + bias."""
        ...

    def plain(self) -> Tensor:
        """Return the weight (out, in) as it was given, bit by bit; it may be the one multiplied with."""
        ...


def make_product(weight: Tensor, bias: Tensor | None = None) -> Product:
    """Store ``weight`` (out, in), which may be freed afterwards, for products on its device."""
    if weight.device.type == "cpu" and _can_pack(weight.dtype):
        return _Packed(weight, bias)
    return _Dense(weight, bias)


def _can_pack(dtype: torch.dtype) -> bool:
    if dtype != torch.float32 and not (dtype == torch.bfloat16 and has_fast_bf16()):
        return False
    # torch's own compiler calls these operators; they have no public name
    known = all(hasattr(torch.ops.mkldnn, name) for name in ("_reorder_linear_weight", "_linear_pointwise"))
    return known and torch.backends.mkldnn.is_available() and bool(torch.cpu._is_avx512_supported())


class _Packed:
    """A weight in oneDNN's blocked layout."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.nbytes = weight.nbytes
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous())
        self._bias = bias
        self._operator: Any = torch.ops.mkldnn._linear_pointwise

    def __call__(self, x: Tensor) -> Tensor:
        y: Tensor = self._operator(x, self._weight, self._bias, "none", [], "")
        return y

    def onto(self, residual: Tensor, x: Tensor) -> Tensor:
        y: Tensor = self._operator.binary(x, residual, self._weight, self._bias, "add")
        return y

    def plain(self) -> Tensor:
        weight: Tensor = self._weight.to_dense()
        return weight


class _Dense:
    """A weight as torch's own products want it."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.nbytes = weight.nbytes
        along_rows = weight.device.type == "cpu" and weight.dtype == torch.float32
        self._weight = weight.T.contiguous().T if along_rows else weight.contiguous()
        self._bias = bias

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x, self._weight, self._bias)

    def onto(self, residual: Tensor, x: Tensor) -> Tensor:
        y = torch.addmm(residual, x, self._weight.T)
        return y if self._bias is None else y.add_(self._bias)

    def plain(self) -> Tensor:
        return self._weight
