"""What an engine takes on at once."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What an engine takes on at once.

    Args:
        max_slots: answers being decoded together.
        max_waiting: requests that wait; more are refused.
        max_waiting_tokens: the same in tokens, prompts and longest possible answers together.
        time_limit_seconds: a request's answers end as they are when its turn came that long ago.
        chunk_tokens: how much of a prompt is read between two steps of the others.
        cache_bytes: how much memory keys and values of the answers being decoded may take.
    """

    max_slots: int
    max_waiting: int
    max_waiting_tokens: int
    time_limit_seconds: float
    chunk_tokens: int
    cache_bytes: int

    def allow(self, n_slots: int, n_bytes: int) -> bool:
        """Whether so many answers may be decoded together in so much memory."""
        return n_slots <= self.max_slots and n_bytes <= self.cache_bytes
