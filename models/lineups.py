"""Which guides answer: lineups follow one another while the engine runs, each with all requests it began.

A lineup is the base with the guides of one time. A swap puts another in its place between two steps: what was asked
before is answered by the old one, what is asked afterwards by the new one, and the old one is dropped, with its memory,
when its last request has ended. Where both do not fit into memory beside each other, requests wait until the old one
has nothing left to do.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from enum import Enum, auto

import torch

from models.jobs import Job
from models.lineup import Lineup, Loaded
from models.memory import free_bytes
from models.refit import copied_bytes
from models.scheduler import Scheduler
from steering.errors import CapacityError

logger = logging.getLogger(__name__)


class Beside(Enum):
    """What goes on answering beside a new lineup: nothing, so that it may take over its weights; the lineup before it
    until its requests have ended; or, where guides are only tried out, the lineup that answers everybody."""

    NOTHING = auto()
    RETIRING = auto()
    EVERYBODY = auto()


# Makes a lineup of the one that answers now.
Build = Callable[[Loaded, Beside], Loaded]


@dataclass(frozen=True)
class _Errand:
    """Something to be done between two steps; with ``drains`` not before every request has ended."""

    work: Callable[[], Lineup]
    drains: bool
    done: "Future[Lineup]"


class Lineups:
    """The lineup that answers what is asked now, and older ones that still have requests.

    One thread takes turns; everything else may be called from any thread.
    """

    def __init__(self, loaded: Loaded) -> None:
        self.current = Lineup(loaded)
        self._alive: list[Lineup] = []
        self._changed = threading.Condition()
        self._errands: deque[_Errand] = deque()
        self._is_closed = False
        self._enter(self.current)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is left to do, nothing to be dropped either."""
        has_work = any(not lineup.scheduler.is_idle or self._is_done_with(lineup) for lineup in self._alive)
        return not (self._errands or has_work)

    @property
    def n_slots(self) -> int:
        """How many answers are being decoded."""
        return sum(lineup.scheduler.n_slots for lineup in self._alive)

    @property
    def n_alive(self) -> int:
        """How many lineups take up memory."""
        return len(self._alive)

    def submit(self, lineup: Lineup, job: Job) -> bool:
        """Hand a request to the lineup it was worded for; False where that answers no more, or is about to.

        Raises:
            BusyError: too many wait already.
            CapacityError: it would not fit if it were alone, or the engine cannot go on at all.
        """
        with self._changed:
            if not lineup.is_held and (lineup is not self.current or self._is_draining):
                return False
            lineup.scheduler.submit(job)
            return True

    @property
    def _is_draining(self) -> bool:
        return any(errand.drains for errand in self._errands)

    def wait(self, timeout_seconds: float) -> None:
        """Wait for a swap that is under way."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_draining, timeout_seconds)

    def swap(self, build: Build) -> "Future[Lineup]":
        """Have the current lineup replaced between two steps by what ``build`` makes of it; where it raises, it stays.

        Where memory does not suffice for both, that is done when every request has ended, and new ones wait meanwhile.
        """
        drains = not self._has_room_beside()

        def work() -> Lineup:
            old = self.current
            if drains:
                old.scheduler.release()
            new = Lineup(build(old.loaded, Beside.NOTHING if drains else Beside.RETIRING))
            self._enter(new)
            self.current = new
            return new

        return self._ask(work, drains=drains)

    def hold(self, build: Build) -> "Future[Lineup]":
        """Have a lineup made beside the current one, for those who ask it by name; until :meth:`let_go`.

        Raises:
            CapacityError: memory does not suffice for both.
        """
        if not self._has_room_beside(for_trial=True):
            raise CapacityError(
                "There is no memory to hold another set of guides beside the one that answers everybody.",
                hint="Lower --memory-fraction, or compare the versions by their held-out pairs.",
            )

        def work() -> Lineup:
            new = Lineup(build(self.current.loaded, Beside.EVERYBODY), is_held=True)
            self._enter(new)
            return new

        return self._ask(work, drains=False)

    def _has_room_beside(self, *, for_trial: bool = False) -> bool:
        """Whether another lineup fits beside the current one; an arena has taken all memory that caches may take."""
        loaded = self.current.loaded
        if loaded.ensemble.ways.arena_bytes and not for_trial:
            return False
        free = free_bytes(loaded.ensemble.device)
        if not self.current.scheduler.has_arena:
            free -= loaded.limits.cache_bytes
        return free >= copied_bytes(loaded.ensemble.members.groups[0])

    def let_go(self, lineup: Lineup) -> None:
        """Drop a lineup that was held when its requests have ended."""
        with self._changed:
            lineup.is_held = False

    def _ask(self, work: Callable[[], Lineup], *, drains: bool) -> "Future[Lineup]":
        done: Future[Lineup] = Future()
        with self._changed:
            if self._is_closed:
                raise CapacityError("The engine takes no other guides: it is stopping.", hint="Start Tiller again.")
            self._errands.append(_Errand(work, drains, done))
        return done

    def close(self) -> None:
        """Give up what has not been done, and let nobody wait for it; no more turns are taken."""
        with self._changed:
            self._is_closed = True
            while self._errands:
                self._errands.popleft().done.cancel()
            self._changed.notify_all()

    def _enter(self, lineup: Lineup) -> None:
        """Let a lineup take turns; all of them share what the engine may take on."""
        # nothing of the lineup may refer to itself: it would keep its memory until Python looks for cycles
        lineup.scheduler.everybody = self._schedulers
        with self._changed:
            self._alive = [*self._alive, lineup]

    def _schedulers(self) -> list[Scheduler]:
        return [lineup.scheduler for lineup in self._alive]

    def turn(self) -> None:
        """Run what is to be done between steps, and do a little for everybody.

        Trials come first, or they would find no room as long as others ask; then the oldest, which is to end.
        """
        self._run_errands()
        for lineup in sorted(self._alive, key=lambda lineup: not lineup.is_held):
            try:
                lineup.scheduler.turn()
            except Exception as error:
                logger.exception("The engine failed and begins afresh.")
                lineup.scheduler.fail_all(error)
        self._drop()

    def _run_errands(self) -> None:
        while self._errands:
            errand = self._errands[0]
            if errand.drains and not all(lineup.scheduler.is_idle for lineup in self._alive):
                return
            try:
                result: Lineup | BaseException = errand.work()
            except BaseException as error:  # noqa: BLE001 - told to who asked for it
                result = error
            with self._changed:
                self._errands.popleft()
                self._changed.notify_all()
            if isinstance(result, BaseException):
                errand.done.set_exception(result)
            else:
                errand.done.set_result(result)
            self._drop()

    def _is_done_with(self, lineup: Lineup) -> bool:
        return lineup is not self.current and not lineup.is_held and lineup.scheduler.is_idle

    def _drop(self) -> None:
        """Give back what nobody uses any more."""
        with self._changed:
            kept = [lineup for lineup in self._alive if not self._is_done_with(lineup)]
            n_dropped, self._alive = len(self._alive) - len(kept), kept
        if n_dropped and torch.cuda.is_available():
            torch.cuda.empty_cache()
