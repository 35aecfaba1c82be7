"""A running engine takes other guides: each request is answered by one set of them, as if there were no other."""

import gc
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models import lineups
from models.assembly import with_guides
from models.fused import FusedForward
from models.lineups import Beside
from models.options import EngineOptions, StepPath
from models.versions.publishing import GuideVersions
from steering.errors import BlendError, CapacityError
from steering.types import Blend
from tests.models.tiny import ARCHITECTURES
from tests.models.versions.conftest import IN_BACKGROUND, PLAIN, World, answered, ask, texts
from tests.ui.pages import wait_until

Worlds = Callable[[str], World]
STATIC = EngineOptions(in_background=False, memory_fraction=0.004, path=StepPath.STATIC)


def publish(versions: GuideVersions, folder: str) -> int:
    number = versions.add(folder, "wit").number
    versions.publish("wit", number)
    return number


@pytest.mark.parametrize(
    ("architecture", "guide"), [*((name, "other") for name in ARCHITECTURES), ("llama", "third"), ("llama", "weak")]
)
@pytest.mark.parametrize("path", [PLAIN, STATIC], ids=["eager", "static"])
def test_a_swapped_engine_answers_as_one_that_was_started_with_the_new_guide(
    worlds: Worlds, tmp_path: Path, architecture: str, path: EngineOptions, guide: str
) -> None:
    world = worlds(architecture)
    running = world.start(tmp_path, path)
    before = texts(running.engine, ask())
    number = publish(running, world.guide(guide))
    swapped, guides = answered(running.engine, ask())
    fresh, fresh_guides = answered(world.start(tmp_path, path).engine, ask())
    assert guides == fresh_guides
    assert guides[0].version == number
    for one, other in zip(swapped, fresh, strict=True):
        assert one.token_ids == other.token_ids
        assert one.exponents == other.exponents
        for step, same in zip(one.steps, other.steps, strict=True):
            assert step.mixed_logprob == pytest.approx(same.mixed_logprob, abs=1e-5)  # fp32, other shapes
    assert swapped[0].token_ids == before[0]  # the base is what it was
    assert swapped[1].token_ids != before[1]
    versions = running.roll_back("wit")
    assert versions.is_built_in
    assert texts(running.engine, ask()) == before


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_publishing_and_rolling_back_replay_every_text_bit_by_bit(world: World, tmp_path: Path, dtype: str) -> None:
    versions = world.start(tmp_path, dtype=dtype)
    first = answered(versions.engine, ask())[0]
    publish(versions, world.guide("third"))
    second = answered(versions.engine, ask())[0]
    publish(versions, world.guide("other"))
    versions.roll_back("wit")
    assert [answer.steps for answer in answered(versions.engine, ask())[0]] == [answer.steps for answer in second]
    versions.roll_back("wit")
    assert [answer.steps for answer in answered(versions.engine, ask())[0]] == [answer.steps for answer in first]


@pytest.mark.parametrize(("architecture", "guide"), [("llama", "other"), ("llama", "weak"), ("gpt2", "other")])
def test_a_request_under_way_ends_as_if_nothing_had_been_published(
    worlds: Worlds, tmp_path: Path, architecture: str, guide: str
) -> None:
    """Steps of both lineups follow one another here, by hand: the old one half written, the new one begun and ended."""
    world = worlds(architecture)
    versions = world.start(tmp_path, IN_BACKGROUND)
    engine = versions.engine
    request = ask(n_tokens=60)
    alone, old_guides = answered(engine, request)
    under_way = engine.compare(request)
    next(under_way)
    number = publish(versions, world.guide(guide))
    new, new_guides = answered(engine, request)
    *_, last = under_way
    assert [a.token_ids for a in last.answers()] == [a.token_ids for a in alone]
    assert last.guides == old_guides
    assert new_guides[0].version == number
    assert new[1].token_ids != alone[1].token_ids
    engine.close()


def test_sixteen_requests_around_five_swaps_each_have_the_text_of_the_version_they_record(
    world: World, tmp_path: Path
) -> None:
    versions = world.start(tmp_path, IN_BACKGROUND)
    engine = versions.engine
    numbers = [versions.add(world.guide(name), "wit").number for name in ("third", "other", "fourth")]
    found: list[tuple[int, int | None, list[tuple[int, ...]]]] = []
    errors: list[BaseException] = []

    def visit(seed: int) -> None:
        try:
            answers, guides = answered(engine, ask(seed, n_tokens=40))
            found.append((seed, guides[0].version, [answer.token_ids for answer in answers]))
        except BaseException as error:  # noqa: BLE001 - a thread's error is the test's
            errors.append(error)

    visitors = [threading.Thread(target=visit, args=(seed,)) for seed in range(16)]
    swaps: list[Callable[[], object]] = [
        *(lambda n=number: versions.publish("wit", n) for number in (*numbers, numbers[0])),
        lambda: versions.roll_back("wit"),
    ]
    for index, visitor in enumerate(visitors):
        visitor.start()
        if index % 3 == 2:
            swaps[index // 3]()
    for visitor in visitors:
        visitor.join()
    assert errors == []
    assert len(found) == 16
    assert len({version for _, version, _ in found}) > 2
    for seed, version, answers in found:
        if version != versions.answering("wit"):
            versions.publish("wit", version or 0)
        assert texts(engine, ask(seed, n_tokens=40)) == answers
    engine.close()


def test_the_old_guides_memory_is_given_back_when_their_last_request_has_ended(world: World, tmp_path: Path) -> None:
    versions = world.start(tmp_path, IN_BACKGROUND)
    engine = versions.engine
    publish(versions, world.guide("weak"))
    old = engine.parts.guides[0].model
    assert old is not None
    model = weakref.ref(old)
    forward = weakref.ref(engine._loaded.ensemble.members)
    del old
    under_way = engine.compare(ask(n_tokens=100))
    next(under_way)
    publish(versions, world.guide("third"))
    assert engine._lineups.n_alive == 2
    assert model() is not None
    assert [last.finished for last in under_way][-1]
    wait_until(lambda: engine._lineups.n_alive == 1)
    wait_until(lambda: forward() is None)  # the engine's thread may still be in the step that lets go of it
    gc.collect()  # transformers' models have cycles of their own
    assert model() is None
    engine.close()


def test_every_lineup_after_the_first_is_given_back_without_looking_for_cycles(world: World, tmp_path: Path) -> None:
    """Each kept a copy of all weights until Python happened to look."""
    versions = world.start(tmp_path, IN_BACKGROUND)
    engine = versions.engine
    number = publish(versions, world.guide("third"))
    gc.collect()
    gc.disable()
    try:
        with versions.try_out("wit", number) as tried:
            assert [last.finished for last in tried.trial.compare(ask())][-1]
            held = weakref.ref(engine._lineups._alive[-1].loaded.ensemble.members)
            del tried
        retired = weakref.ref(engine._loaded.ensemble.members)
        versions.publish("wit", 0)
        wait_until(lambda: engine._lineups.n_alive == 1)
        wait_until(lambda: held() is None and retired() is None)
    finally:
        gc.enable()
        engine.close()


def test_a_trial_and_everybody_else_share_what_the_engine_takes_on(world: World, tmp_path: Path) -> None:
    versions = world.start(tmp_path, replace(IN_BACKGROUND, max_slots=4))
    engine = versions.engine
    number = publish(versions, world.guide("third"))
    most = 0
    with versions.try_out("wit", number) as tried:
        runs = [
            compare(ask(seed, n_tokens=40)) for seed in range(3) for compare in (engine.compare, tried.trial.compare)
        ]
        with ThreadPoolExecutor(len(runs)) as threads:
            ended = [threads.submit(lambda run=run: list(run)[-1].finished) for run in runs]  # type: ignore[misc]
            while not all(each.done() for each in ended):
                most = max(most, engine.n_slots)
        assert all(each.result() for each in ended)
    assert 2 <= most <= 4
    engine.close()


def test_guides_that_are_tried_stay_what_they_are_when_others_take_over_weights_in_place(
    world: World, tmp_path: Path
) -> None:
    versions = world.start(tmp_path, STATIC)
    loaded = versions.engine._loaded
    tried = with_guides(loaded, loaded.parts.guides, Beside.EVERYBODY).ensemble.members.groups[0].forward_pass
    assert isinstance(tried, FusedForward)
    layers = list(tried.layers)
    publish(versions, world.guide("third"))
    published = versions.engine._loaded.ensemble.members.groups[0].forward_pass
    assert isinstance(published, FusedForward)
    assert all(one is other for one, other in zip(tried.layers, layers, strict=True))
    assert published.layers[0] is not layers[0]


def test_an_arena_that_has_its_memory_leaves_the_rest_to_trials(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = world.start(tmp_path, STATIC)
    engine = versions.engine
    number = publish(versions, world.guide("third"))
    texts(engine, ask())
    assert engine._scheduler.has_arena
    monkeypatch.setattr(lineups, "free_bytes", lambda device: engine._loaded.limits.cache_bytes // 2)
    with versions.try_out("wit", number) as tried:
        assert [last.finished for last in tried.trial.compare(ask())][-1]


def test_weights_are_shared_with_the_lineup_before_and_not_doubled_in_place(world: World, tmp_path: Path) -> None:
    """Without memory for both, the new products take the old ones' place, layer by layer, in the same object."""
    versions = world.start(tmp_path, STATIC)
    before = versions.engine._loaded.ensemble.members.groups[0].forward_pass
    publish(versions, world.guide("third"))
    after = versions.engine._loaded.ensemble.members.groups[0].forward_pass
    assert before.layers is after.layers
    assert before.head is after.head


def test_while_a_swap_waits_for_room_requests_wait_and_are_answered_by_the_new_guide(
    world: World, tmp_path: Path
) -> None:
    """A static path has one arena, which two lineups cannot have at once."""
    versions = world.start(tmp_path, replace(STATIC, in_background=True))
    engine = versions.engine
    number = versions.add(world.guide("third"), "wit").number
    alone = texts(engine, ask(n_tokens=100))
    under_way = engine.compare(ask(n_tokens=100))
    next(under_way)
    publisher = threading.Thread(target=versions.publish, args=("wit", number))
    publisher.start()
    while not engine._lineups._is_draining:
        time.sleep(0.001)
    late = engine.compare(ask())
    reports = [next(late)]
    *_, last = under_way
    reports += list(late)
    publisher.join()
    assert [answer.token_ids for answer in last.answers()] == alone
    assert last.guides[0].version is None
    assert reports[-1].guides[0].version == number
    assert [answer.token_ids for answer in reports[-1].answers()] == texts(engine, ask())
    engine.close()


def test_a_request_that_waits_for_a_swap_can_be_stopped(world: World, tmp_path: Path) -> None:
    versions = world.start(tmp_path, replace(STATIC, in_background=True))
    engine = versions.engine
    number = versions.add(world.guide("third"), "wit").number
    under_way = engine.compare(ask(n_tokens=110))
    next(under_way)
    publisher = threading.Thread(target=versions.publish, args=("wit", number))
    publisher.start()
    while not engine._lineups._is_draining:
        time.sleep(0.001)
    *_, stopped = engine.compare(ask(), stop=lambda: True)
    assert stopped.finished
    assert [answer.token_ids for answer in stopped.answers()] == [(), ()]
    list(under_way)
    publisher.join()
    assert versions.answering("wit") == number
    engine.close()


def test_a_version_can_be_tried_beside_the_active_ones_which_everybody_else_goes_on_with(
    world: World, tmp_path: Path
) -> None:
    versions = world.start(tmp_path, IN_BACKGROUND)
    engine = versions.engine
    number = versions.add(world.guide("other"), "wit").number
    old = texts(engine, ask())
    with versions.try_out("wit", number) as tried:
        request = ask()
        new_blend = Blend({tried.dimension: 3.0, "kind": 1.0})
        *_, last = tried.trial.compare(replace(request, blends=(request.blends[1], new_blend)))
        both = [answer.token_ids for answer in last.answers()]
        assert texts(engine, ask()) == old
        with pytest.raises(BlendError):
            list(engine.compare(replace(request, blends=(new_blend,))))
    assert both[0] == old[1]
    versions.publish("wit", number)
    assert both[1] == texts(engine, ask())[1]
    assert versions.history("wit")[-1].version == number
    engine.close()


def test_a_swap_that_fails_half_way_leaves_the_guides_that_answered(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In place, the first layer has its new factors already when memory runs out at the second."""
    versions = world.start(tmp_path, STATIC)
    number = versions.add(world.guide("third"), "wit").number
    before = texts(versions.engine, ask())
    joined = type(versions.engine._loaded.ensemble.members.groups[0].forward_pass).joined
    calls = []

    def lacking(self: object, index: int, *rest: object) -> object:
        calls.append(index)
        if calls == [0, 1]:
            raise torch.OutOfMemoryError
        return joined(self, index, *rest)

    with monkeypatch.context() as patch:
        patch.setattr("models.fused.FusedForward.joined", lacking)
        with pytest.raises(CapacityError, match="those that answered go on"):
            versions.publish("wit", number)
    assert calls == [0, 1, 0]
    assert versions.answering("wit") is None
    assert versions.active("wit").is_built_in
    assert texts(versions.engine, ask()) == before
    versions.publish("wit", number)
    assert texts(versions.engine, ask()) != before


def test_an_engine_that_is_closing_refuses_other_guides_and_keeps_nobody_waiting(world: World, tmp_path: Path) -> None:
    versions = world.start(tmp_path, IN_BACKGROUND)
    number = versions.add(world.guide("third"), "wit").number
    versions.engine.close()
    with pytest.raises(CapacityError, match="it is stopping"):
        versions.publish("wit", number)
    assert versions.active("wit").is_built_in
