"""How long one run took, told so that a slow reader or a merged report cannot make it look faster or slower."""

import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from models.answers import Progress


@dataclass(frozen=True)
class Timing:
    """One run, in seconds.

    ``per_token`` is the time from one token of an answer to its next. ``to_first`` and ``to_last`` run from the start
    to where the caller had the first and the last token of all answers, ``whole`` to where nothing more came: the
    guides' scores of the unguided answer are in it. ``n_tokens`` is of all answers together.
    """

    per_token: float
    to_first: float
    to_last: float
    whole: float
    n_tokens: int

    def then(self, other: "Timing") -> "Timing":
        """This run and then ``other``, for a page that shows an answer of each."""
        return Timing(
            self.per_token + other.per_token,
            self.to_first,
            self.to_last + other.to_last,
            self.whole + other.whole,
            self.n_tokens + other.n_tokens,
        )


def time_run(compare: Callable[[], Iterator[Progress]]) -> Timing:
    """Run one comparison to its end.

    The time per token is the engine's own: what its clock said of the first token reported and of the last, divided by
    the tokens between them. Reports may be merged where the reader is slow; no token is lost by that.
    """
    start = time.perf_counter()
    n_seen, to_first, to_last = 0, 0.0, 0.0
    first: tuple[int, float] | None = None
    progress: Progress | None = None
    for progress in compare():
        now = time.perf_counter() - start
        if progress.n_tokens > n_seen:
            n_seen, to_last = progress.n_tokens, now
            if first is None:
                first, to_first = _stand(progress), now
    whole = time.perf_counter() - start
    assert progress is not None
    assert first is not None
    last = _stand(progress)
    # where everything came in one report the time to the first token is in it: slower than it was, never faster
    n_between, seconds = (last[0] - first[0], last[1] - first[1]) if last[0] > first[0] else last
    n_tokens = sum(len(answer.token_ids) for answer in progress.answers())
    return Timing(seconds / n_between, to_first, to_last, whole, n_tokens)


def _stand(progress: Progress) -> tuple[int, float]:
    """How many tokens the longest answer has, and the engine's seconds at its last."""
    return max((len(answer.token_ids), answer.seconds) for answer in progress.answers())


def time_together(runs: Sequence[Callable[[], Timing]]) -> Timing:
    """Do all runs at once, a thread each; medians per token and to the first token, the last to end counts."""
    gate = threading.Barrier(len(runs))

    def begin(run: Callable[[], Timing]) -> tuple[float, Timing]:
        gate.wait()
        return time.perf_counter(), run()

    with ThreadPoolExecutor(len(runs)) as pool:
        ended = list(pool.map(begin, runs))
    start = min(began for began, _ in ended)
    return Timing(
        per_token=statistics.median(timing.per_token for _, timing in ended),
        to_first=statistics.median(timing.to_first for _, timing in ended),
        to_last=max(began - start + timing.to_last for began, timing in ended),
        whole=max(began - start + timing.whole for began, timing in ended),
        n_tokens=sum(timing.n_tokens for _, timing in ended),
    )


def percentiles(seconds: Sequence[float | None], per_cents: Sequence[int]) -> dict[str, float]:
    """Return how many are known, the percentiles asked for (inclusive method) and the largest; no more than 0 of none.

    None is a time that was not taken. ``per_cents`` are from 1 to 99; the 50th is "p50".
    """
    known = sorted(value for value in seconds if value is not None)
    if not known:
        return {"n": 0}
    cuts = statistics.quantiles(known, n=100, method="inclusive") if len(known) > 1 else known * 99
    return {"n": len(known), **{f"p{per_cent}": cuts[per_cent - 1] for per_cent in per_cents}, "max": known[-1]}
