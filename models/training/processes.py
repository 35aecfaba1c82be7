"""The processes of a run: one, or as many as `accelerate launch` starts, which train one guide and stop as one."""

import os
import threading
import time
from dataclasses import dataclass, replace
from typing import Any

import torch

from models.loading import Placement


class Cancelled(Exception):  # noqa: N818  # nothing is wrong
    """Somebody has asked the run to stop; what was saved last is there to go on from."""


@dataclass
class StopFlag:
    """Whether somebody has asked the run to stop; it also stops when ``parent``, a process's id, is gone."""

    is_set: bool = False
    parent: int | None = None

    def check(self, device: torch.device | None = None) -> None:
        """Stop here if that was asked for.

        Args:
            device: of this process, where all processes of the run are at this point: they stop if any was asked to.
                Alone, one would wait in vain for the others at the next step.

        Raises:
            Cancelled: it was.
        """
        if self.parent is not None and os.getppid() != self.parent:
            self.is_set = True
        if device is not None and _are_several():
            asked = torch.tensor(float(self.is_set), device=device)
            torch.distributed.all_reduce(asked, torch.distributed.ReduceOp.MAX)
            self.is_set = bool(asked.item())
        if self.is_set:
            raise Cancelled


def launcher() -> int | None:
    """The id of the process that launched this one as one of several; None where there is none."""
    return os.getppid() if "TORCHELASTIC_RUN_ID" in os.environ else None


def leave_with(parent: int, grace_seconds: float = 30.0) -> None:
    """End this process so long after ``parent`` is gone, whatever it waits for by then.

    A launcher that is killed cannot stop its children, and a process may be waiting for another that is not there.
    """

    def wait() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        time.sleep(grace_seconds)  # by default as long as torch's launcher gives its children
        os._exit(1)

    threading.Thread(target=wait, name="leave with the launcher", daemon=True).start()


def is_first() -> bool:
    """Whether this process is the one that writes."""
    return os.environ.get("RANK", "0") == "0"


def of_the_first(facts: dict[str, Any]) -> dict[str, Any]:
    """Return what the first process of the run has found, where all of them are at this point."""
    found = [facts]
    if _are_several():
        torch.distributed.broadcast_object_list(found)
    return found[0]


def _are_several() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def is_sharded() -> bool:
    """Whether accelerate was told to spread the model's weights over the processes (FSDP)."""
    return os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true"


def own_place(placement: Placement) -> Placement:
    """Where this process loads the model: on its own GPU of several, or beside them where the model will be sharded."""
    number = os.environ.get("LOCAL_RANK")
    if number is None or placement.device.type != "cuda":
        return placement
    device = torch.device("cpu") if is_sharded() else torch.device("cuda", int(number))
    return replace(placement, device=device)
