"""Answering on Hugging Face's ZeroGPU, which lends a GPU to one call at a time, in a worker process of its own.

What that process gets and gives is pickled and what it changes is lost, so only the engine's part runs there: the
page's sessions and the database stay here. It tells of an error nothing but the kind, so errors come back as values.
"""

import importlib
import math
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, Protocol

from models.answers import Answer, BaseInfo, ComparisonRequest, GuideInfo, Progress
from steering.errors import SettingsError, TillerError
from steering.types import FinishReason
from ui.runs import UPDATE_SECONDS, SteerEngine

STARTING_SECONDS = 10.0  # for the worker process to start and the weights to reach its GPU


class Spaces(Protocol):
    """What is used of the package `spaces`."""

    def GPU(self, task: None = None, *, duration: int) -> Callable[[Any], Any]:  # noqa: N802 - its name
        """A decorator that lends a generator function a GPU for up to ``duration`` seconds a call."""


def import_spaces() -> Spaces:
    """Import `spaces`; call it before anything imports torch.

    Raises:
        SettingsError: it is not installed.
    """
    try:
        return importlib.import_module("spaces")
    except ImportError as error:
        raise SettingsError(
            f"--zero-gpu (TILLER_ZERO_GPU) needs the package spaces, which cannot be imported: {error}.",
            hint="It is there on ZeroGPU Spaces; use --no-zero-gpu elsewhere.",
        ) from error


@dataclass(frozen=True)
class Snapshot:
    """Answers that can be sent between processes."""

    answers: tuple[Answer, ...]

    def __call__(self) -> tuple[Answer, ...]:
        """Return them, as `Progress.answers` does."""
        return self.answers


def on_zero_gpu(spaces: Spaces, engine: SteerEngine, time_limit_seconds: float) -> "ZeroGpuEngine":
    """Have an engine's comparisons answered in workers with a GPU, each for as long as its time limit and the start."""

    def compare(request: ComparisonRequest, owner: str) -> Iterator[Progress | TillerError]:
        try:
            yield from _portable(engine.compare(request, lambda: False, owner))
        except TillerError as error:
            yield error

    duration = math.ceil(time_limit_seconds + STARTING_SECONDS)
    return ZeroGpuEngine(engine, spaces.GPU(duration=duration)(compare))


def _portable(reports: Iterator[Progress]) -> Iterator[Progress]:
    """Reports that can be pickled, as many as a page can draw and always the last."""
    sent_at = -math.inf
    for progress in reports:
        if progress.finished or time.monotonic() - sent_at >= UPDATE_SECONDS:
            sent_at = time.monotonic()
            yield replace(progress, answers=Snapshot(progress.answers()))


class ZeroGpuEngine:
    """An engine whose comparisons run elsewhere.

    Args:
        engine: the engine that is copied there; here it only tells what it is and spells tokens.
        compare: its comparisons there.
    """

    def __init__(
        self,
        engine: SteerEngine,
        compare: Callable[[ComparisonRequest, str], Generator[Progress | TillerError, None, None]],
    ) -> None:
        self.examples = engine.examples
        self._engine, self._compare = engine, compare

    @property
    def base(self) -> BaseInfo:
        """The base model."""
        return self._engine.base

    @property
    def guides(self) -> tuple[GuideInfo, ...]:
        """The guides that a worker started now answers with."""
        return self._engine.guides

    def spell(self, token_ids: Sequence[int]) -> tuple[str, ...]:
        """One visible piece of text per token."""
        return self._engine.spell(token_ids)

    def check_room(self, n_coming: int) -> None:
        """ZeroGPU lets everybody wait."""

    def compare(
        self, request: ComparisonRequest, stop: Callable[[], bool] = lambda: False, owner: str = ""
    ) -> Generator[Progress, None, None]:
        """Answer every blend together, like `models.engine.Engine.compare`.

        A stop cannot be told to the worker, so it is left and what had come of the answers is what they are.

        Raises:
            TillerError: as the engine does.
        """
        with closing(self._compare(request, owner)) as reports:
            for progress in reports:
                if isinstance(progress, TillerError):
                    raise progress
                if stop() and not progress.finished:
                    break
                yield progress
            else:
                return
        yield replace(progress, finished=True, position=0, answers=Snapshot(tuple(map(_stopped, progress.answers()))))


def _stopped(answer: Answer) -> Answer:
    return replace(answer, finish_reason=answer.finish_reason or FinishReason.STOPPED)
