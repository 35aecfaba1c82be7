"""The requests that wait: bounded, and fair among those who made them."""

import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from models.jobs import Job
from steering.errors import BusyError


class Waitlist:
    """Requests whose turn has not come; may be used from any thread.

    Owners take turns: whoever has the fewest requests running or waiting ahead goes first, and among equals whoever
    came first. Who is at the head is not overtaken, however much room it needs.

    Args:
        max_requests: how many may wait.
        max_tokens: the same in tokens, prompts and longest possible answers together; one request may always wait.
    """

    def __init__(self, max_requests: int, max_tokens: int) -> None:
        self._max_requests, self._max_tokens = max_requests, max_tokens
        self._lock = threading.Lock()
        self._waiting: list[Job] = []
        self._n_jobs = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def check(self, n_free_slots: int, n_coming: int, n_answers: int) -> None:
        """Say now that a request for ``n_answers`` would be refused, with ``n_coming`` such on their way already.

        Raises:
            BusyError: too many wait.
        """
        with self._lock:
            coming = [job for job in self._waiting if not job.is_cancelled]
            n_slots = [*(len(job.slots) for job in coming), *[n_answers] * (n_coming + 1)]
            if _n_behind(n_slots, n_free_slots) > self._max_requests:
                raise _busy(self._max_requests)

    def add(self, job: Job, n_free_slots: int) -> None:
        """Let a request wait; those that find room in ``n_free_slots`` wait for the next turn only and are not counted.

        Raises:
            BusyError: too many do.
        """
        with self._lock:
            # whoever asks again withdraws what they asked before, and must not be refused because of it
            self._waiting = [other for other in self._waiting if not other.is_cancelled]
            waiting = [*self._waiting, job]
            n_tokens = sum(len(other.slots) * other.n_tokens for other in waiting)
            n_behind = _n_behind([len(other.slots) for other in waiting], n_free_slots)
            if n_behind > self._max_requests or (n_behind > 1 and n_tokens > self._max_tokens):
                raise _busy(n_behind - 1)
            self._n_jobs += 1
            job.number = self._n_jobs
            self._waiting.append(job)

    def admit(self, running: Iterable[Job], fit: Callable[[Sequence[Job]], bool]) -> list[Job]:
        """Take out, in order, the requests that fit, and let the others know their places; drops those that are
        cancelled or stopped.

        Args:
            running: the requests whose turn has come already.
            fit: whether these can be taken on beside those that are running.
        """
        if not self._waiting:
            return []
        with self._lock:
            for job in self._waiting:
                if job.is_stopping and not job.is_cancelled:
                    job.end_unstarted()
            self._waiting = [job for job in self._waiting if not (job.is_cancelled or job.is_stopping)]
            n_ahead = Counter(job.owner for job in running)
            ranks = {}
            for job in self._waiting:
                ranks[job] = (n_ahead[job.owner], job.number)
                n_ahead[job.owner] += 1
            self._waiting.sort(key=lambda job: ranks[job])
            admitted: list[Job] = []
            while self._waiting and fit([*admitted, self._waiting[0]]):
                admitted.append(self._waiting.pop(0))
                admitted[-1].start()
            for position, job in enumerate(self._waiting, start=1):
                job.move(position)
            return admitted

    def clear(self) -> list[Job]:
        """Take out all."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
            return waiting


def _n_behind(n_slots: Sequence[int], n_free: int) -> int:
    """How many of requests for so many slots are left when those at the head have taken what is free."""
    return sum(taken > n_free for taken in itertools.accumulate(n_slots))


def _busy(n_waiting: int) -> BusyError:
    return BusyError(
        f"{n_waiting} requests are waiting already, as many as are let wait.", hint="Try again in a moment."
    )
