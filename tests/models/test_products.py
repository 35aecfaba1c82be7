"""Products with stored weights against torch's own in float64."""

import pytest
import torch

import models.products
from models.products import make_product

# what an fp32 sum of 200 products, and a result rounded to 8 or 11 bits, are off by
TOLERANCES = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 3e-3}


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("packs", [True, False])
@pytest.mark.parametrize("has_bias", [True, False])
@torch.inference_mode()
def test_a_product_is_the_weight_times_every_row(
    dtype: torch.dtype, packs: bool, has_bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not packs:
        monkeypatch.setattr(models.products, "_can_pack", lambda dtype: False)
    generator = torch.Generator().manual_seed(1)
    weight = (torch.randn(37, 200, generator=generator) / 14).to(dtype)
    bias = torch.randn(37, generator=generator).to(dtype) if has_bias else None
    product = make_product(weight.clone(), bias)
    assert product.nbytes == weight.nbytes
    for n_rows in (1, 2, 5, 33):
        x = torch.randn(n_rows, 200, generator=generator).to(dtype)
        residual = torch.randn(n_rows, 37, generator=generator).to(dtype)
        expected = x.double() @ weight.double().T + (0 if bias is None else bias.double())
        assert torch.allclose(product(x).double(), expected, atol=TOLERANCES[dtype], rtol=TOLERANCES[dtype])
        total = product.onto(residual, x).double()
        assert torch.allclose(total, residual.double() + expected, atol=2 * TOLERANCES[dtype], rtol=TOLERANCES[dtype])


@pytest.mark.skipif(not models.products._can_pack(torch.float32), reason="no AVX-512")
@torch.inference_mode()
def test_a_packed_product_gives_a_row_the_same_bits_whatever_stands_beside_it() -> None:
    """Why an answer does not depend on its neighbours even where rounding is coarse."""
    generator = torch.Generator().manual_seed(2)
    for dtype in (torch.float32, torch.bfloat16):
        if models.products._can_pack(dtype):
            product = make_product(torch.randn(120, 256, generator=generator).to(dtype))
            rows = torch.randn(64, 256, generator=generator).to(dtype)
            together = product(rows)
            for n_rows in (1, 2, 3, 7, 16, 40):
                assert torch.equal(product(rows[:n_rows].contiguous()), together[:n_rows])
