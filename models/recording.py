"""Taking a step: by running it, or on CUDA by replaying a graph of it, which costs the host one call."""

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Protocol

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

_MAX_GRAPHS = 96
_MOST_REFUSED = 3  # then nothing more is tried


class Recorder(Protocol):
    """Takes a step that may be recorded under ``key`` and replayed whenever the key comes again.

    Everything the step reads and writes besides its result must be tensors that stay where they are for one key.
    """

    def __call__(self, key: Hashable, step: Callable[[], Tensor]) -> Tensor:
        """Return the step's result; it may be overwritten by the next step with the same key."""
        ...


def run_eagerly(key: Hashable, step: Callable[[], Tensor]) -> Tensor:
    """Run every step; on a CPU, and wherever recording is not possible."""
    return step()


class CudaGraphs:
    """Runs a step when its key is new, records it when the key comes again, and replays it from then on.

    Graphs share one memory pool, as only one runs at a time; those used least are dropped.
    """

    def __init__(self) -> None:
        self._seen: set[Hashable] = set()
        self._graphs: OrderedDict[Hashable, tuple[torch.cuda.CUDAGraph, Tensor]] = OrderedDict()
        self._pool = torch.cuda.graph_pool_handle()
        self._n_refused = 0

    def __call__(self, key: Hashable, step: Callable[[], Tensor]) -> Tensor:
        """See :class:`Recorder`."""
        if key in self._graphs:
            graph, result = self._graphs[key]
            self._graphs.move_to_end(key)
        elif self._n_refused >= _MOST_REFUSED or key not in self._seen:
            # the first time is for the libraries, which set themselves up, and must not be recorded
            result = step()
            self._seen.add(key)
            return result
        else:
            recorded = self._record(step)
            if recorded is None:
                return step()
            graph, result = self._graphs[key] = recorded
            if len(self._graphs) > _MAX_GRAPHS:
                self._seen.discard(self._graphs.popitem(last=False)[0])
        graph.replay()
        return result

    def _record(self, step: Callable[[], Tensor]) -> tuple[torch.cuda.CUDAGraph, Tensor] | None:
        graph, here = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        try:
            # other threads may use CUDA meanwhile
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                result = step()
        except RuntimeError as error:
            # a recording that fails at its end leaves its own stream behind
            torch.cuda.set_stream(here)
            lack = next((e for e in (error, error.__context__) if isinstance(e, torch.OutOfMemoryError)), None)
            if lack is not None:
                raise lack from error
            self._n_refused += 1
            logger.warning("A step could not be recorded as a CUDA graph and is run instead: %s", error)
            return None
        return graph, result
