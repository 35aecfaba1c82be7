"""After something failed at the worst moment: nobody waits for ever, no slot is lost, and the next request works."""

import threading
import weakref
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from models.batch import BatchLostError, ModelBatch
from models.cache import RowCache
from models.engine import Engine
from models.members import Group
from models.options import EngineOptions, StepPath
from models.scheduler import Scheduler
from steering.decoder import Decoder
from steering.errors import CapacityError
from steering.types import Blend
from tests.models.desk import Desk
from tests.models.test_scheduler import Failing, ask

Engines = Callable[..., Engine]
OUT_OF_MEMORY = torch.OutOfMemoryError("CUDA out of memory")
STATIC = EngineOptions(path=StepPath.STATIC, memory_fraction=0.0042, in_background=False)


def next_works(desk: Desk) -> None:
    visit = desk.submit(ask(n_tokens=4))
    desk.finish()
    assert visit.error is None
    assert [len(ids) for ids in visit.token_ids] == [4, 4]


def fail(
    monkeypatch: pytest.MonkeyPatch, owner: type, name: str, error: Exception, after: int = 0, times: int = 1
) -> list[int]:
    """Let so many calls of a method raise, behind ``after`` calls from now; the list's number counts all calls."""
    whole, n_calls = getattr(owner, name), [0]

    def failing(self: object, *rest: object, **named: object) -> object:
        n_calls[0] += 1
        if after < n_calls[0] <= after + times:
            raise error
        return whole(self, *rest, **named)

    monkeypatch.setattr(owner, name, failing)
    return n_calls


def test_a_nan_left_in_shared_memory_spoils_nobody_after_it(
    tiny_engine: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Masked positions are multiplied by 0, and 0 · NaN once made NaN of every later answer."""
    desk = Desk(tiny_engine("llama", "lora-a", "weak", options=STATIC))
    expected = [desk.submit(ask(blends=blends, seed=3)) for blends in [(Blend(),), (Blend({"weak": 1.0}),)]]
    desk.finish()
    whole = Group.forward

    def poisoned(self: Group, tokens: torch.Tensor, cache: RowCache, *rest: object, **named: object) -> torch.Tensor:
        logits = whole(self, tokens, cache, *rest, **named)
        if tokens.shape[1] == 1:
            for layer in cache.row_layers:
                layer.values[:, :, cache.rows.lengths[0]] = torch.nan
        return logits * torch.nan if tokens.shape[1] == 1 else logits

    with monkeypatch.context() as patched:
        patched.setattr(Group, "forward", poisoned)
        broken = desk.submit(ask("the dog and the mat", blends=(Blend({"lora-a": 1.0}), Blend({"weak": 1.0}))))
        desk.finish()
    assert isinstance(broken.error, FloatingPointError)
    again = [desk.submit(ask(blends=blends, seed=3)) for blends in [(Blend(),), (Blend({"weak": 1.0}),)]]
    desk.finish()
    assert [visit.error for visit in again] == [None, None]
    assert [visit.token_ids for visit in again] == [visit.token_ids for visit in expected]


def test_answers_whose_memory_was_half_moved_are_ended_and_not_continued_wrongly(
    tiny_engine: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(tiny_engine("llama", "lora-a", "weak", options=STATIC))
    desk.engine._loaded.ensemble.forget()
    running = desk.submit(ask(n_tokens=30))
    desk.turn(4)
    desk.engine._loaded.ensemble.forget()
    with monkeypatch.context() as patched:
        fail(patched, RowCache, "fill", OUT_OF_MEMORY, after=1)
        joining = desk.submit(ask("the dog"))
        with pytest.raises(BatchLostError) as lost:
            desk.turn(2)
    desk.scheduler.fail_all(lost.value)
    desk.finish()
    assert isinstance(running.error, BatchLostError)
    assert isinstance(joining.error, BatchLostError)
    next_works(desk)


@pytest.mark.parametrize("in_background", [True, False])
def test_the_engine_tells_everybody_when_their_answers_are_lost_and_goes_on(
    tiny_engine: Engines, monkeypatch: pytest.MonkeyPatch, in_background: bool
) -> None:
    engine = tiny_engine("llama", "lora-a", options=replace(STATIC, in_background=in_background))
    with monkeypatch.context() as patched:
        fail(patched, RowCache, "fill", OUT_OF_MEMORY)
        with pytest.raises(CapacityError, match="Memory ran out"):
            list(engine.compare(ask()))
    *_, last = engine.compare(ask(n_tokens=3))
    assert last.finished
    assert engine.n_slots == 0


def test_a_lack_of_memory_while_a_slot_leaves_is_overcome(
    tiny_engine: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(tiny_engine("llama", "lora-a", "weak"))
    long_one = desk.submit(ask(n_tokens=12))
    desk.turn(2)
    short = desk.submit(ask("x", n_tokens=3))
    with monkeypatch.context() as patched:
        desk.turn()
        fail(patched, ModelBatch, "_arrange", OUT_OF_MEMORY)
        desk.finish()
    assert (long_one.error, short.error) == (None, None)
    assert [len(ids) for ids in long_one.token_ids] == [12, 12]
    assert [len(ids) for ids in short.token_ids] == [3, 3]
    next_works(desk)


@pytest.mark.parametrize("n_failures", [1, 3])
def test_a_lack_of_memory_while_a_cancelled_request_leaves_ends_nobody_elses(
    tiny_engine: Engines, monkeypatch: pytest.MonkeyPatch, n_failures: int
) -> None:
    desk = Desk(tiny_engine("llama", "lora-a", "weak"))
    staying, leaving = desk.submit(ask(n_tokens=12)), desk.submit(ask("x", n_tokens=12))
    while not leaving.n_written:
        desk.turn()
    with monkeypatch.context() as patched:
        n_calls = fail(patched, ModelBatch, "_arrange", OUT_OF_MEMORY, times=n_failures)
        leaving.job.is_cancelled = True
        desk.finish()
    assert n_calls[0] > n_failures
    assert staying.error is None
    assert [len(ids) for ids in staying.token_ids] == [12, 12]
    next_works(desk)


def test_the_memory_of_a_lost_batch_is_free_before_the_next_one_takes_its_own(
    tiny_engine: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error kept the frames it had passed, and they the batch with its arena, which takes most of a GPU."""
    desk = Desk(tiny_engine("llama", "lora-a", options=STATIC))
    lost = weakref.ref(desk.scheduler._decoder.batch)
    was_alive = []

    def look(scheduler: Scheduler) -> None:
        make_room(scheduler)
        was_alive.append(lost() is not None)

    make_room = Scheduler._make_room
    with monkeypatch.context() as patched:
        fail(patched, RowCache, "fill", OUT_OF_MEMORY)
        patched.setattr(Scheduler, "_make_room", look)
        visit = desk.submit(ask())
        try:
            desk.turn(3)
        except BatchLostError as error:
            desk.scheduler.fail_all(error)
    assert was_alive[-1] is False
    desk.finish()
    assert isinstance(visit.error, BatchLostError)
    next_works(desk)


def test_a_lack_of_memory_after_joining_seats_nobody_twice(
    tiny_engine: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(tiny_engine("llama", "lora-a", "weak"))
    with monkeypatch.context() as patched:
        fail(patched, Decoder, "_settle", OUT_OF_MEMORY)
        visit = desk.submit(ask(n_tokens=1))
        desk.finish()
    assert visit.error is None
    assert [len(ids) for ids in visit.token_ids] == [1, 1]
    next_works(desk)


def test_a_step_begun_ahead_of_the_last_tokens_that_fails_leaves_no_slot(
    tiny_engine: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = tiny_engine("llama", "lora-a", options=STATIC)
    desk = Desk(engine)
    limits, engine._scheduler.limits = engine._scheduler.limits, replace(engine._scheduler.limits, max_slots=2)
    failing = Failing(monkeypatch, RuntimeError("broken"))
    first = desk.submit(ask(n_tokens=6))
    waiting = desk.submit(ask(n_tokens=4))
    while first.n_written < 4:
        desk.turn()
    failing.times = 1
    desk.finish()
    engine._scheduler.limits = limits
    assert waiting.run.is_over
    next_works(desk)


def test_what_fits_into_the_account_fits_into_the_arenas(tiny_engine: Engines) -> None:
    """Arenas are divided among base and guide models once; unguided answers need the base's share alone."""
    engine = tiny_engine("llama", "weak", options=STATIC)
    desk = Desk(engine)
    n_blends = 1
    while True:
        try:
            visit = desk.submit(ask(blends=(Blend(),) * n_blends, n_tokens=3))
        except CapacityError:
            break
        desk.finish()
        assert visit.error is None
        n_blends *= 2
    assert n_blends >= 8


def test_a_caller_is_told_even_where_releasing_its_slots_fails(
    tiny_engine: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = tiny_engine("llama", "lora-a", options=EngineOptions())
    outcome: list[object] = []

    def visit() -> None:
        stopping = threading.Event()
        try:
            for progress in engine.compare(ask(n_tokens=60), stop=stopping.is_set):
                if progress.n_tokens > 3:
                    stopping.set()
            outcome.append("over")
        except RuntimeError as error:
            outcome.append(error)

    with monkeypatch.context() as patched:
        fail(patched, Decoder, "leave", RuntimeError("cannot leave"))
        caller = threading.Thread(target=visit)
        caller.start()
        caller.join(timeout=30)
    assert not caller.is_alive()
    assert str(outcome[0]) == "cannot leave"
    *_, last = engine.compare(ask(n_tokens=3))
    assert last.finished


def test_an_engine_that_cannot_begin_afresh_says_so_instead_of_letting_callers_wait(
    tiny_engine: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = tiny_engine("llama", "lora-b", options=EngineOptions())
    with monkeypatch.context() as patched:
        patched.setattr(ModelBatch, "__init__", lambda self, *rest: 1 / 0)
        patched.setattr(type(engine._scheduler), "_decode", lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            list(engine.compare(ask(blends=(Blend(),))))
    with pytest.raises(CapacityError, match="failed for good"):
        list(engine.compare(ask(blends=(Blend(),))))


def test_an_engine_that_is_closed_computes_nothing_any_more(tiny_engine: Engines) -> None:
    """A thread that computed while Python ended once aborted the process."""
    engine = tiny_engine("llama", "weak", options=EngineOptions())
    steps = engine.compare(ask(n_tokens=60, blends=(Blend(),)))
    next(steps)
    engine.close()
    assert engine._thread is None
    for abandoned in (steps, engine.compare(ask(blends=(Blend(),)))):
        with pytest.raises(CapacityError, match="closed"):
            list(abandoned)
