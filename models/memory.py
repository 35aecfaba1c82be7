"""How much memory the engine may take for keys and values, what fits into it, and what to do where it lacks."""

import gc
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from models.batch import BatchLostError, row_bytes
from models.members import Members

logger = logging.getLogger(__name__)

# A container's own limit (cgroup 2), which the machine's free memory says nothing about.
_LIMIT, _USED = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
_REMEMBERED_SHARE = 8
_MOST_REMEMBERED_BYTES = {"cuda": 2**31, "cpu": 2**27}


@dataclass(frozen=True)
class Budget:
    """``cache_bytes`` for the answers being decoded, ``remembered_bytes`` for the prompts read before."""

    cache_bytes: int
    remembered_bytes: int


def plan_memory(members: Members, memory_fraction: float, context_length: int) -> Budget:
    """Divide ``memory_fraction`` of what is free once the models are loaded, and log what fits.

    Prompts read before get an eighth, at most 2 GB on a GPU and 128 MB on a CPU. Where a model is split over GPUs, so
    are its keys and values.
    """
    spread = getattr(members.groups[0].model, "hf_device_map", {}).values()
    devices = {torch.device("cuda", index) for index in spread if isinstance(index, int)} or {members.device}
    free = min(free_bytes(device) for device in devices) * len(devices)
    allowed = int(memory_fraction * free)
    remembered = min(allowed // _REMEMBERED_SHARE, _MOST_REMEMBERED_BYTES[members.device.type])
    budget = Budget(allowed - remembered, remembered)
    per_token = sum(row_bytes(group) * len(group.members(with_guides=True)) for group in members.groups)
    logger.info(
        "Keys and values may take %.1f of %.1f GB free: room for %d guided answers of %d tokens at once.",
        allowed / 2**30,
        free / 2**30,
        budget.cache_bytes // (per_token * context_length),
        context_length,
    )
    return budget


def free_bytes(device: torch.device) -> int:
    """How much memory a device, or this process's container, has left."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        return int(torch.cuda.mem_get_info(device)[0])
    free = int(psutil.virtual_memory().available)
    try:
        return min(free, int(_LIMIT.read_text()) - int(_USED.read_text()))
    except (OSError, ValueError):  # no container, or one without a limit ("max")
        return free


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error says that an allocation failed, or was raised because one did."""
    if isinstance(error, BatchLostError):
        error = error.__cause__
    is_allocation = isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    return is_allocation or isinstance(error, torch.OutOfMemoryError | MemoryError)


def with_room(work: Callable[[], None], make_room: Callable[[], None]) -> None:
    """Do something that may lack memory; where it does, make room and do it once more.

    Raises:
        BatchLostError: of ``work``, which then cannot be repeated.
    """
    try:
        work()
    except BatchLostError:
        raise
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        make_room()
        work()


def give_back() -> None:
    """Let go of what only garbage holds, and give what PyTorch keeps for later back to the GPU."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def forget_frames(error: BaseException | None) -> None:
    """Let go of the frames an error has passed, and so of the batch in them, whose memory the next one takes."""
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
