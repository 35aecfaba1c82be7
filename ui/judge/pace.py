"""How fast somebody judges, from the times of their saves that the page's script keeps."""

from dataclasses import dataclass
from itertools import pairwise

PACE_OVER = 20  # saves; older ones say little of how fast somebody is now
LONG_PAUSE_SECONDS = 600.0


@dataclass(frozen=True)
class Pace:
    """What was saved since the page was opened, and the mean seconds between the last saves where they can be said."""

    n_saved: int = 0
    seconds_each: float | None = None


def read_pace(sent: object) -> Pace:
    """The pace that the page tells of; what cannot be read is none, for it is shown to nobody else."""
    try:
        if isinstance(sent, dict) and isinstance(sent["count"], int):
            return Pace(sent["count"], seconds_each(tuple(map(float, sent["times"][-PACE_OVER - 1 :]))))
    except (KeyError, TypeError, ValueError, OverflowError):
        pass
    return Pace()


def seconds_each(times: tuple[float, ...]) -> float | None:
    """Mean seconds between the last saves, pauses left out; None where there are too few to say."""
    gaps = [later - earlier for earlier, later in pairwise(times[-PACE_OVER - 1 :])]
    working = [gap for gap in gaps if 0 <= gap < LONG_PAUSE_SECONDS]
    return sum(working) / len(working) if working else None
