"""Whether a study has guides published without anybody's word."""

import sys
from dataclasses import dataclass

from steering.errors import InputError

DEFAULT_MARGIN_NATS = 0.10


@dataclass(frozen=True)
class Publishing:
    """Whether a guide trained on a study's judgements is published by itself, once it is shown to be better.

    ``margin`` is by how much, in nats per token, the reward of any other dimension may fall for that.

    Raises:
        InputError: ``enabled`` is neither true nor false, or the margin is no finite number, or below 0.
    """

    enabled: bool = False
    margin: float = DEFAULT_MARGIN_NATS

    def __post_init__(self) -> None:
        if not isinstance(self.enabled, bool):
            raise InputError(f"Publishing is enabled: {self.enabled!r}.", hint="It must be true or false.")
        is_number = isinstance(self.margin, int | float) and not isinstance(self.margin, bool)
        if not is_number or not 0 <= self.margin <= sys.float_info.max:
            raise InputError(
                f"The margin for publishing is {self.margin!r}.", hint="Give nats per token, 0 or more, such as 0.1."
            )


OFF = Publishing()
"""What a study says that says nothing of it."""
