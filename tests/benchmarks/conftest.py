"""A shape small enough to load within a second."""

import pytest
import torch

from benchmarks.shapes import Shape

TINY = Shape("qwen2", 32, 48, 2, 4, 2, 300, True, 1e4)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Models this small gain nothing from a second thread and wait for it when the machine is busy."""
    torch.set_num_threads(1)
