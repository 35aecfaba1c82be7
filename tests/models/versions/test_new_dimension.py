"""A running engine takes in a guide for a dimension that had none, and gives it up again."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from models.answers import ComparisonRequest
from models.engine import Engine
from models.options import EngineOptions, StepPath
from models.versions.publishing import GuideVersions
from models.versions.registry import ROLLED_BACK
from steering.errors import BlendError, InputError
from steering.types import Blend
from tests.models.versions.conftest import IN_BACKGROUND, PLAIN, World, answered, ask, texts

Worlds = Callable[[str], World]
STATIC = EngineOptions(in_background=False, memory_fraction=0.004, path=StepPath.STATIC)
OF_THREE = {"wit": 3.0, "kind": 1.0, "calm": 2.0}


def publish_calm(versions: GuideVersions, folder: str) -> None:
    versions.publish("calm", versions.add(folder, "calm").number)


def of_three(engine: Engine) -> list[tuple[int, ...]]:
    return texts(engine, ask(**OF_THREE))


@pytest.mark.parametrize(
    ("architecture", "guide", "path"),
    [
        ("llama", "third", PLAIN),
        ("llama", "other", STATIC),
        ("llama", "weak", IN_BACKGROUND),
        ("gpt2", "third", PLAIN),
    ],
    ids=["eager", "static, of another rank", "a model of its own", "another architecture"],
)
def test_a_third_guide_taken_in_answers_as_one_of_three_that_an_engine_was_started_with(
    worlds: Worlds, tmp_path: Path, architecture: str, guide: str, path: EngineOptions
) -> None:
    world = worlds(architecture)
    running = world.start(tmp_path, path)
    of_two = texts(running.engine, ask())
    publish_calm(running, world.guide(guide))
    fresh = world.start(tmp_path, path).engine
    assert running.engine.guides == fresh.guides
    assert [guide.dimension for guide in fresh.guides] == ["wit", "kind", "calm"]
    swapped, started = (answered(engine, ask(**OF_THREE))[0] for engine in (running.engine, fresh))
    for one, other in zip(swapped, started, strict=True):
        assert one.token_ids == other.token_ids
        assert one.exponents == other.exponents
        for step, same in zip(one.steps, other.steps, strict=True):
            assert step.mixed_logprob == pytest.approx(same.mixed_logprob, abs=1e-5)  # fp32, other shapes
            assert step.guide_logprobs == pytest.approx(same.guide_logprobs, abs=1e-5)
    assert swapped[1].token_ids != of_two[1]
    assert texts(running.engine, ask()) == of_two, "at 0 a guide says nothing"
    running.engine.close()
    fresh.close()


def test_answers_under_way_end_with_the_guides_they_began_with(world: World, tmp_path: Path) -> None:
    versions = world.start(tmp_path, IN_BACKGROUND)
    request = ask(n_tokens=100)
    expected = texts(versions.engine, request)
    under_way = versions.engine.compare(request)
    next(under_way)
    publish_calm(versions, world.guide("third"))
    *_, last = under_way
    assert [answer.token_ids for answer in last.answers()] == expected
    assert [guide.dimension for guide in last.guides] == ["wit", "kind"]
    assert set(last.answers()[0].steps[0].guide_logprobs) == {"wit", "kind"}
    versions.engine.close()


def test_there_is_as_much_room_with_a_third_guide_and_it_is_as_limited(world: World, tmp_path: Path) -> None:
    versions = world.start(tmp_path, replace(IN_BACKGROUND, max_slots=4))
    publish_calm(versions, world.guide("third"))
    versions.engine.check_room()
    *_, last = versions.engine.compare(replace(ask(), blends=(Blend(), *(Blend({"calm": w}) for w in (1.0, 2.0, 3.0)))))
    assert all(len(answer.token_ids) == 24 for answer in last.answers())
    versions.engine.close()


def test_rolling_the_first_one_back_leaves_the_guides_there_were(world: World, tmp_path: Path) -> None:
    versions = world.start(tmp_path)
    before = texts(versions.engine, ask())
    publish_calm(versions, world.guide("third"))
    mixed = of_three(versions.engine)
    assert versions.roll_back("calm") is None
    assert texts(versions.engine, ask()) == before
    with pytest.raises(BlendError, match="no guide for 'calm'"):
        of_three(versions.engine)
    assert versions.active("calm") is None
    assert [guide.dimension for guide in world.start(tmp_path).engine.guides] == ["wit", "kind"]
    with pytest.raises(InputError, match="No other guide for 'calm'"):
        versions.roll_back("calm")
    versions.publish("calm", 1)
    assert of_three(versions.engine) == mixed
    assert [(entry.version, entry.why) for entry in versions.history("calm")] == [
        (1, "published"),
        (None, "rolled back"),
        (1, "published"),
    ]


def test_the_presets_own_guide_cannot_be_rolled_back_to_nothing(world: World, tmp_path: Path) -> None:
    versions = world.start(tmp_path)
    with pytest.raises(InputError, match="No other guide for 'wit'"):
        versions.roll_back("wit")
    with pytest.raises(InputError, match="No other guide for 'wit'"):
        versions.registry.activate("wit", None, why=ROLLED_BACK)


def test_another_process_takes_a_new_guide_in_and_gives_it_up(world: World, tmp_path: Path) -> None:
    one, other = world.start(tmp_path), world.start(tmp_path)
    publish_calm(one, world.guide("third"))
    (taken_in,) = other.refresh().values()
    assert taken_in is not None
    assert taken_in.name == "calm version 1"
    assert of_three(other.engine) == of_three(one.engine)
    one.roll_back("calm")
    assert other.refresh() == {"calm": None}
    assert other.engine.guides == one.engine.guides
    assert other.refresh() == {}


def test_guides_of_several_new_dimensions_stand_in_the_order_of_a_start(world: World, tmp_path: Path) -> None:
    versions = world.start(tmp_path)
    for dimension, folder in (("zeal", "third"), ("calm", "fourth")):
        versions.publish(dimension, versions.add(world.guide(folder), dimension).number)
    assert versions.engine.guides == world.start(tmp_path).engine.guides


def test_a_base_without_guides_takes_its_first_one_in_and_gives_it_up(world: World, tmp_path: Path) -> None:
    class Bare(World):
        @property
        def preset(self):  # type: ignore[no-untyped-def]
            return replace(super().preset, guides=())

    versions = Bare(world.root).start(tmp_path)
    unguided = ComparisonRequest(ask().messages, (Blend(),), ask().sampling)
    before = texts(versions.engine, unguided)
    publish_calm(versions, world.guide("third"))
    guided = texts(versions.engine, ask(calm=3.0))
    assert guided[0] == before[0]
    assert guided[1] != before[0]
    versions.roll_back("calm")
    assert versions.engine.guides == ()
    assert texts(versions.engine, unguided) == before
