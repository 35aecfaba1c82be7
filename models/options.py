"""How an engine is to be run: what a person or a test may choose."""

from dataclasses import dataclass
from enum import StrEnum

from steering.errors import SettingsError


class StepPath(StrEnum):
    """How decoding steps are taken; ``auto`` is ``captured`` on a GPU and ``eager`` elsewhere.

    ``static`` takes them as ``captured`` does, with the same shapes and memory, but without recording them: the way to
    test that on a CPU.
    """

    AUTO = "auto"
    EAGER = "eager"
    STATIC = "static"
    CAPTURED = "captured"


@dataclass(frozen=True)
class EngineOptions:
    """What an engine takes on.

    Args:
        max_slots: answers being decoded together.
        max_waiting: requests that may wait; more are refused.
        max_waiting_tokens: the same in tokens.
        time_limit_seconds: how long the answers of a request may take from when their turn has come.
        memory_fraction: how much of the memory left once the models are loaded keys and values may take.
        chunk_tokens: how much of a prompt is read between two steps of the others; 0: what suits the device.
        remembers: whether prompts that were read are remembered for those that begin the same way.
        in_background: whether all callers are answered together, on a thread of the engine's own.
        path: how decoding steps are taken.

    Raises:
        SettingsError: a value is outside its range.
    """

    max_slots: int = 64
    max_waiting: int = 32
    max_waiting_tokens: int = 262_144
    time_limit_seconds: float = 300.0
    memory_fraction: float = 0.8
    chunk_tokens: int = 0
    remembers: bool = True
    in_background: bool = True
    path: StepPath = StepPath.AUTO

    def __post_init__(self) -> None:
        lowest = {"max_slots": 1, "max_waiting": 1, "max_waiting_tokens": 1, "time_limit_seconds": 1, "chunk_tokens": 0}
        for name, low in lowest.items():
            if getattr(self, name) < low:
                raise SettingsError(f"{name} is {getattr(self, name)}; it must be {low} or more.", hint="Raise it.")
        if not 0 < self.memory_fraction <= 0.95:
            raise SettingsError(
                f"memory_fraction is {self.memory_fraction}; it must be above 0 and up to 0.95.", hint="Use 0.8."
            )
