"""A request on its way through the engine: what it asks for, and the letters it is sent."""

import queue
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from models.reading import ModelReading
from steering.controls import Slot
from steering.decoder import SlotStep


@dataclass(frozen=True)
class Waiting:
    """The request is the ``position``-th that waits; 0 when its turn has come."""

    position: int


@dataclass(frozen=True)
class Written:
    """More tokens, each with the index of its answer, ``seconds`` after the request's turn had come."""

    steps: list[tuple[int, SlotStep]]
    seconds: float


@dataclass(frozen=True)
class Ended:
    """The answers still running were ended from outside: because they were stopped, or their time was over."""

    timed_out: bool


@dataclass(frozen=True)
class Scored:
    """What the guides make of an unguided answer: rows of G log-probs for its next tokens."""

    index: int
    rows: list[list[float]]


@dataclass(frozen=True)
class Over:
    """Nothing more comes; ``error`` says why where something failed."""

    error: BaseException | None = None


Letter = Waiting | Written | Ended | Scored | Over


@dataclass(eq=False)
class Job:
    """A request as the scheduler sees it.

    The caller sets ``is_cancelled`` (everything is released, nothing more is sent) and ``is_stopping`` (what is written
    so far is the answer), at which the scheduler looks before every step, and ``looked_at``, when it last looked for
    letters. The rest is the scheduler's.

    Args:
        prompts: 1 + G token id sequences, base first.
        slots: one per answer.
        scores: whether the guides say afterwards what they make of answers they did not see.
        owner: whose request it is; owners take turns.
    """

    prompts: Sequence[Sequence[int]]
    slots: Sequence[Slot]
    scores: bool
    owner: str = ""
    is_cancelled: bool = False
    is_stopping: bool = False
    mailbox: "queue.SimpleQueue[Letter]" = field(default_factory=queue.SimpleQueue)
    number: int = 0
    position: int = -1
    keys: list[int] = field(default_factory=list)
    reading: ModelReading | None = None
    written: list[list[int]] = field(default_factory=list)
    scoring: Iterator[tuple[int, Tensor]] | None = None
    started_at: float = 0.0
    looked_at: float = 0.0

    @property
    def with_guides(self) -> bool:
        """Whether the guides read the prompt."""
        return self.scores or self.n_guided > 0

    @property
    def n_guided(self) -> int:
        """How many answers the guides see while they are written."""
        return sum(slot.is_guided for slot in self.slots)

    @property
    def n_tokens(self) -> int:
        """The most tokens that one of its slots may come to hold."""
        return max(map(len, self.prompts)) + max(slot.sampling.max_new_tokens for slot in self.slots)

    @property
    def seconds(self) -> float:
        """How long ago its turn came."""
        return time.perf_counter() - self.started_at

    def start(self) -> None:
        """Its turn has come."""
        self.started_at = time.perf_counter()
        self.written = [[] for _ in self.slots]
        self.move(0)

    def end_unstarted(self) -> None:
        """It was stopped before its turn came: its answers are empty."""
        self.mailbox.put(Ended(timed_out=False))
        self.mailbox.put(Over())

    def move(self, position: int) -> None:
        """Let the caller know where in the queue it is, if that has changed."""
        if position != self.position:
            self.position = position
            self.mailbox.put(Waiting(position))

    def unscored(self) -> Iterator[tuple[int, Tensor]]:
        """Read the answers no guide saw as the guides see them; yields pieces (G, t) with the answer's index."""
        assert self.reading is not None
        for index, slot in enumerate(self.slots):
            if not slot.is_guided and self.written[index]:
                for piece in self.reading.score(self.written[index]):
                    yield index, piece

    def letters(self, timeout_seconds: float | None) -> list[Letter]:
        """Take what has come; waits for the first up to ``timeout_seconds`` (None: not at all)."""
        letters: list[Letter] = []
        try:
            if timeout_seconds is not None:
                letters.append(self.mailbox.get(timeout=timeout_seconds))
            while True:
                letters.append(self.mailbox.get_nowait())
        except queue.Empty:
            return letters
