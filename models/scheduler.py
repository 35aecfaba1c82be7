"""Who is answered when: requests wait, are read piece by piece, decoded together, and leave as they end.

One turn admits who fits, reads one piece of one prompt, decodes one token of every answer, and lets the guides score
one piece of one unguided answer. Only one thread at a time may take turns; requests are handed in from any thread.
"""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

from models.batch import BatchLostError, ModelBatch, bytes_for
from models.ensemble import ModelEnsemble
from models.jobs import Ended, Job, Over, Scored, Written
from models.limits import Limits
from models.memory import forget_frames, give_back, is_out_of_memory, with_room
from models.waitlist import Waitlist
from steering.decoder import Decoder, SlotStep
from steering.errors import CapacityError

logger = logging.getLogger(__name__)


class Scheduler:
    """Runs jobs on an ensemble, each as if it were alone; ``everybody`` are all that share the machine, itself too."""

    def __init__(self, ensemble: ModelEnsemble, limits: Limits) -> None:
        self.limits, self._ensemble = limits, ensemble
        self.everybody: Callable[[], Sequence[Scheduler]] | None = None
        self._decoder = Decoder(ensemble, is_ahead=ensemble.ways.is_ahead)
        self._waitlist = Waitlist(limits.max_waiting, limits.max_waiting_tokens)
        self._reading: deque[Job] = deque()
        self._decoding: dict[int, tuple[Job, int]] = {}  # the job and the index of the answer, by the slot's key
        self._scoring: deque[Job] = deque()
        self._running: dict[Job, None] = {}  # everybody whose turn has come, until told that it is over
        self._n_keys, self._is_second_try = 0, False
        self._failure: Exception | None = None

    def submit(self, job: Job) -> None:
        """Take on a request; may be called from any thread.

        Raises:
            BusyError: too many wait already.
            CapacityError: it would not fit if it were alone, or the engine cannot go on at all.
        """
        if self._failure is not None:
            raise CapacityError("The engine has failed for good.", hint="Start Tiller again.") from self._failure
        ensemble = self._ensemble
        n_bytes = bytes_for(ensemble.members, ensemble.ways, len(job.slots), job.n_guided, job.n_tokens)
        if not self.limits.allow(len(job.slots), n_bytes):
            raise CapacityError(
                f"{len(job.slots)} answers of up to {job.n_tokens} tokens need {n_bytes / 2**20:,.0f} MB; there are "
                f"{self.limits.cache_bytes / 2**20:,.0f} MB for up to {self.limits.max_slots} answers.",
                hint="Shorten the prompt or the answer, or compare fewer blends.",
            )
        self._waitlist.add(job, self._n_free_slots)

    def check_room(self, n_coming: int, n_answers: int) -> None:
        """Say now that a request for ``n_answers`` would be refused; may be called from any thread.

        ``n_coming`` such requests are on their way already. Where this is silent, :meth:`submit` may still refuse.

        Raises:
            BusyError: too many wait.
        """
        self._waitlist.check(self._n_free_slots, n_coming, n_answers)

    @property
    def _n_free_slots(self) -> int:
        return self.limits.max_slots - sum(len(job.slots) for each in (self, *self._others) for job in each.jobs)

    @property
    def _others(self) -> "list[Scheduler]":
        return [] if self.everybody is None else [other for other in self.everybody() if other is not self]

    @property
    def jobs(self) -> list[Job]:
        """The requests whose turn has come, each once."""
        return list(self._running)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is left to do."""
        return not (len(self._waitlist) or self._running)

    @property
    def n_slots(self) -> int:
        """How many answers are being decoded."""
        return sum(key is not None for key in self._decoder.batch.slots)

    @property
    def has_arena(self) -> bool:
        """Whether all memory that its answers may take has been taken already."""
        return cast(ModelBatch, self._decoder.batch).has_arena

    def turn(self) -> None:
        """Do a little for everybody."""
        self._end_from_outside()
        for job in self._waitlist.admit(self.jobs, self._fit):
            self._running[job] = None
            self._reading.append(job)
        self._read()
        self._decode()
        self._score()

    def fail_all(self, error: BaseException) -> None:
        """End every request with an error and begin afresh: for errors that are nobody's own."""
        jobs = [*self.jobs, *self._waitlist.clear()]
        for held in (self._running, self._reading, self._decoding, self._scoring):
            held.clear()
        forget_frames(error)
        try:
            self.release()
        except Exception as failure:
            logger.critical("The engine cannot go on.", exc_info=failure)
            self._failure = failure
        for job in jobs:
            job.mailbox.put(Over(error))

    def release(self) -> None:
        """Give back all memory of answers and recordings; there must be no answer any more."""
        self._decoder = Decoder(self._ensemble, is_ahead=self._ensemble.ways.is_ahead)
        self._make_room()

    def _end_from_outside(self) -> None:
        for job in self.jobs:
            timed_out = job.seconds > self.limits.time_limit_seconds
            if job.is_cancelled:
                self._leave(job)
                self._over(job)
            elif (job.is_stopping or timed_out) and job not in self._scoring:
                self._leave(job)
                job.mailbox.put(Ended(timed_out and not job.is_stopping))
                self._written(job)

    def _fit(self, jobs: Sequence[Job]) -> bool:
        """Whether there is room for these beside those that run or are being read, here and in all schedulers."""
        own, others = self.load(jobs), self._others
        together = [sum(numbers) for numbers in zip(own, *(other.load() for other in others), strict=True)]
        return self.limits.allow(*own) and any(each.limits.allow(*together) for each in (self, *others))

    def load(self, jobs: Sequence[Job] = ()) -> tuple[int, int]:
        """How many slots and bytes those that run or are being read take, and ``jobs`` beside them."""
        unseated = [*self._reading, *jobs]
        n_slots = sum(len(job.slots) for job in unseated)
        n_guided, n_tokens = sum(job.n_guided for job in unseated), max((job.n_tokens for job in unseated), default=0)
        n_bytes = cast(ModelBatch, self._decoder.batch).bytes_with(n_slots, n_guided, n_tokens)
        # prompts that were read take memory of their own until nobody needs them
        n_bytes += sum(reading.nbytes for reading in {job.reading for job in self.jobs if job.reading is not None})
        return self.n_slots + n_slots, n_bytes

    def _read(self) -> None:
        """Read one piece of one prompt, in turn, and let those that are read join."""
        for _ in range(len(self._reading)):
            job = self._reading.popleft()
            try:
                is_piece = self._advance(job)
                if job.reading is not None and not job.reading.n_left:
                    with_room(partial(self._seat, job), self._make_room)
                else:
                    self._reading.append(job)
            except BatchLostError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, it is this request's alone
                self._fail(job, error)
                continue
            if is_piece:
                return

    def _advance(self, job: Job) -> bool:
        """Read a piece of a prompt; whether there was anything left to read."""
        if job.reading is None:
            job.reading = self._ensemble.read(job.prompts, with_guides=job.with_guides)
        if not job.reading.n_left:
            return False
        reading = job.reading
        with_room(lambda: reading.advance(self.limits.chunk_tokens), self._make_room)
        if not job.reading.n_left:
            self._ensemble.remember(job.reading)
        return True

    def _seat(self, job: Job) -> None:
        """Give a job's answers keys that nobody had, and let them join."""
        assert job.reading is not None
        keys = list(range(self._n_keys, self._n_keys + len(job.slots)))
        self._n_keys += len(keys)
        self._decoder.join(job.reading, dict(zip(keys, job.slots, strict=True)))
        job.keys = keys
        self._decoding |= {key: (job, index) for index, key in enumerate(keys)}
        if not job.scores:
            job.reading = None

    def _decode(self) -> None:
        if not self._decoding and not self.n_slots:
            return
        try:
            steps = self._decoder.step()
        except BatchLostError:
            raise
        except Exception as error:  # noqa: BLE001 - whose it is has to be found out
            self._blame(error)
            return
        self._is_second_try = False
        by_job: dict[Job, list[tuple[int, SlotStep]]] = {}
        for step in steps:
            job, index = self._decoding[step.slot]
            by_job.setdefault(job, []).append((index, step))
        for job, own in by_job.items():
            if any(step.is_broken for _, step in own):
                self._fail(job, FloatingPointError("a model returned NaN log-probabilities"))
                continue
            job.mailbox.put(Written(own, job.seconds))
            for index, step in own:
                job.written[index].append(step.token_id)
                if step.finish_reason:
                    del self._decoding[step.slot]
            if not any(key in self._decoding for key in job.keys):
                self._written(job)

    def _blame(self, error: Exception) -> None:
        """Find whose fault a failed step was, and let the others go on: nothing of theirs is lost."""
        jobs = list(dict.fromkeys(job for job, _ in self._decoding.values()))
        if not jobs:
            raise error
        newest = max(jobs, key=lambda job: job.number)
        culprits: list[tuple[Job, Exception]] = []
        if is_out_of_memory(error):
            self._make_room()
            if not self._is_second_try:
                self._is_second_try = True
                return
            culprits = [(newest, error)]
        for job in [] if culprits else jobs:
            try:
                self._decoder.try_alone([key for key in job.keys if key in self._decoding])
            except Exception as its_own:  # noqa: BLE001 - told to whose it is
                culprits.append((job, its_own))
        # where each can go on alone it is too much for all together: who came last goes
        for job, own in culprits or [(newest, error)]:
            self._fail(job, own)

    def _written(self, job: Job) -> None:
        """All answers of a job have ended: score them or be done."""
        if job.scores and any(not slot.is_guided for slot in job.slots) and any(job.written):
            job.scoring = job.unscored()
            self._scoring.append(job)
        else:
            self._over(job)

    def _score(self) -> None:
        if not self._scoring:
            return
        job = self._scoring.popleft()
        assert job.scoring is not None
        try:
            index, piece = next(job.scoring)
        except StopIteration:
            self._over(job)
            return
        except Exception as error:  # noqa: BLE001 - the answers are there; only what the guides make of them is not
            if not is_out_of_memory(error):
                self._fail(job, error)
                return
            logger.warning("No memory was left for the guides to score the unguided answers.")
            self._over(job)
            return
        job.mailbox.put(Scored(index, piece.T.tolist()))
        self._scoring.append(job)

    def _leave(self, job: Job) -> None:
        """Release what a job has of the batch, and take it off every list but that of those to be told."""
        keys = [key for key in job.keys if key in self._decoding]
        self._decoding = {key: its for key, its in self._decoding.items() if key not in keys}
        self._reading = deque(other for other in self._reading if other is not job)
        self._scoring = deque(other for other in self._scoring if other is not job)
        if not keys:
            return
        try:
            with_room(partial(self._decoder.leave, keys), self._make_room)
        except (RuntimeError, MemoryError) as error:
            if isinstance(error, BatchLostError) or not is_out_of_memory(error):
                raise
            logger.warning("No memory was left to make the batch smaller; that is done after its next step.")

    def _over(self, job: Job, error: BaseException | None = None) -> None:
        """Nothing more is done for a job."""
        self._running.pop(job, None)
        job.reading = job.scoring = None
        job.mailbox.put(Over(error))

    def _fail(self, job: Job, error: BaseException) -> None:
        logger.debug("A request failed.", exc_info=error)
        self._leave(job)
        self._over(job, error)

    def _make_room(self) -> None:
        """Give back all memory that is not needed at once."""
        self._ensemble.forget()
        give_back()
