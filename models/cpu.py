"""What makes decoding on a CPU fast: the order of the weights in memory, and no more threads than pay."""

import logging
import os
from collections.abc import Sequence

import torch
from torch import nn
from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

# Up to about this size a step is so short that a second thread gains nothing, and it makes every operation wait for
# both cores: beside another busy process the embedded model was ten times slower with two threads than with one.
_ONE_THREAD_BYTES = 64 * 1024**2


def order_weight(module: nn.Module) -> None:
    """Store the weight (out, in) of an fp32 linear layer on a CPU with its ``in`` axis outermost in memory.

    Values and shape stay. A product of a few rows then reads the weight along its rows: with four rows of the embedded
    model, all linear layers of a step took 3.0 ms instead of 4.4 (docs/log.md). Mutates ``module``.
    """
    if isinstance(module, nn.Linear) and module.weight.dtype == torch.float32 and module.weight.device.type == "cpu":
        module.weight.data = module.weight.data.T.contiguous().T


def choose_threads(models: Sequence[PreTrainedModel]) -> None:
    """Decode small models with one thread; OMP_NUM_THREADS, where it is set, wins. Sets torch's global number."""
    n_bytes = sum(weight.nbytes for model in models for weight in model.parameters())
    if n_bytes <= _ONE_THREAD_BYTES and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)
    logger.info("Computing with %d threads.", torch.get_num_threads())
