"""Requests handed to an engine's scheduler by hand, turn by turn, so that a test decides what happens when."""

from dataclasses import dataclass, field

from models.answers import Answer, ComparisonRequest
from models.engine import Engine
from models.jobs import Job, Letter, Over, Scored, Waiting, Written
from models.runs import Run


@dataclass
class Visit:
    """A request on its way and what its caller has been told."""

    job: Job
    run: Run
    letters: list[Letter] = field(default_factory=list)
    error: BaseException | None = None

    @property
    def answers(self) -> tuple[Answer, ...]:
        return self.run.snapshot()

    @property
    def token_ids(self) -> list[tuple[int, ...]]:
        return [answer.token_ids for answer in self.answers]

    @property
    def n_written(self) -> int:
        return sum(isinstance(letter, Written) for letter in self.letters)

    @property
    def positions(self) -> list[int]:
        return [letter.position for letter in self.letters if isinstance(letter, Waiting)]

    @property
    def is_scored(self) -> bool:
        return any(isinstance(letter, Scored) for letter in self.letters)

    def collect(self) -> None:
        for letter in self.job.letters(None):
            self.letters.append(letter)
            if isinstance(letter, Over) and letter.error is not None:
                self.run.is_over, self.error = True, letter.error
            else:
                self.run.add(letter)


class Desk:
    """Takes the turns of an engine that nobody else asks anything."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.scheduler = engine, engine._scheduler
        self.visits: list[Visit] = []

    def submit(self, request: ComparisonRequest, owner: str = "") -> Visit:
        job, run = self.engine._lineups.current.begin(request, owner)
        self.scheduler.submit(job)
        self.visits.append(visit := Visit(job, run))
        return visit

    def turn(self, n_turns: int = 1) -> None:
        for _ in range(n_turns):
            self.scheduler.turn()
            for visit in self.visits:
                visit.collect()

    def finish(self) -> None:
        """Take turns until nothing is left to do."""
        for _ in range(5000):
            if self.scheduler.is_idle:
                break
            self.turn()
        assert self.scheduler.is_idle
        self.turn()
        assert self.scheduler.n_slots == 0
        assert not self.scheduler._decoder.batch._n_tokens
