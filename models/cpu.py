"""What the machine's processor decides: whether bf16 pays, and how many threads."""

import logging
import os
from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

# Up to about this size a step is so short that a second thread gains nothing, and it makes every operation wait for
# both cores: beside another busy process the embedded model was ten times slower with two threads than with one.
_ONE_THREAD_BYTES = 64 * 1024**2


def has_fast_bf16() -> bool:
    """Whether this processor multiplies bf16 faster than fp32: AMX tiles, or AVX-512 with its bf16 instructions.

    With AVX-512 bf16 a product of four rows of the embedded model took 17 µs against 25 in fp32; without either, bf16
    is hundreds of times slower (docs/log.md).
    """
    # torch has these questions only under these names
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def choose_threads(models: Sequence[PreTrainedModel]) -> None:
    """Decode small models with one thread; OMP_NUM_THREADS, where it is set, wins. Sets torch's global number."""
    n_bytes = sum(weight.nbytes for model in models for weight in model.parameters())
    if n_bytes <= _ONE_THREAD_BYTES and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)
    logger.info("Computing with %d threads.", torch.get_num_threads())
