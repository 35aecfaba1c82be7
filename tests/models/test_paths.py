"""Every way of taking steps gives the same answers: run or recorded, one visitor or many, read whole or in pieces."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from models.answers import Answer, ComparisonRequest
from models.assembly import load_engine
from models.cache import STATIC
from models.cpu import has_fast_bf16
from models.engine import Engine
from models.options import EngineOptions, StepPath
from models.presets import GuideSpec, Preset, Source, load_preset
from steering.types import Blend, Message, Role, SamplingSettings
from tests.models.desk import Desk
from tests.models.tiny import ARCHITECTURES

Engines = Callable[..., Engine]
Folders = Callable[[str], Path]

# log-probs of fp32 passes over batches of other shapes; tiny models have logits of about 10
TOLERANCE = 1e-4
GUIDES = ("lora-a", "lora-b", "weak")
SMALL = 0.004  # of the memory: a static path takes all it may have at once

PATHS = {
    "static": EngineOptions(path=StepPath.STATIC, memory_fraction=SMALL, in_background=False),
    "in the background": EngineOptions(),
    "static in the background": EngineOptions(path=StepPath.STATIC, memory_fraction=SMALL),
    "read in pieces of 1": EngineOptions(chunk_tokens=1, in_background=False),
    "read in pieces of 7": EngineOptions(chunk_tokens=7, in_background=False),
    "nothing remembered": EngineOptions(remembers=False, in_background=False),
    "static, in pieces of 5": EngineOptions(path=StepPath.STATIC, memory_fraction=SMALL, chunk_tokens=5),
}


def requests() -> list[ComparisonRequest]:
    blends = (Blend(), Blend({"lora-a": 1.0, "weak": 0.5}), Blend({"lora-b": -1.0}), Blend({"weak": 2.0}), Blend())
    chat = (Message(Role.USER, "the cat sat"), Message(Role.ASSISTANT, "on the mat"), Message(Role.USER, "and the dog"))
    greedy = SamplingSettings(temperature=0.0, max_new_tokens=25)
    sampled = SamplingSettings(temperature=1.1, top_p=0.9, max_new_tokens=30, seed=4, plausibility=0.01)
    return [
        ComparisonRequest((Message(Role.USER, "the cat"),), blends, greedy, n_top=3),
        ComparisonRequest(chat[:1], blends[:2], sampled, n_top=2),
        ComparisonRequest(chat, blends, sampled),
        ComparisonRequest(chat, (Blend(), Blend({"lora-a": 3.0})), sampled, n_top=5),
        ComparisonRequest((Message(Role.USER, "the cat sat on the mat and " * 7),), blends[:3], greedy),
    ]


def answers(engine: Engine) -> list[tuple[Answer, ...]]:
    return [[*engine.compare(request)][-1].answers() for request in requests()]


def check_same(got: list[tuple[Answer, ...]], expected: list[tuple[Answer, ...]]) -> None:
    for ours, theirs in zip(got, expected, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            assert one.token_ids == other.token_ids
            assert (one.text, one.finish_reason) == (other.text, other.finish_reason)
            for step, same in zip(one.steps, other.steps, strict=True):
                assert step.mixed_logprob == pytest.approx(same.mixed_logprob, abs=TOLERANCE)
                assert step.base_logprob == pytest.approx(same.base_logprob, abs=TOLERANCE)
                assert step.kl == pytest.approx(same.kl, abs=TOLERANCE)
                assert step.guide_logprobs == pytest.approx(dict(same.guide_logprobs), abs=TOLERANCE)
                assert len(step.top) == len(same.top)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("name", PATHS)
def test_every_path_gives_the_answers_of_the_plain_one(name: str, architecture: str, tiny_engine: Engines) -> None:
    plain = answers(tiny_engine(architecture, *GUIDES))
    engine = tiny_engine(architecture, *GUIDES, options=PATHS[name])
    check_same(answers(engine), plain)
    check_same(answers(engine), plain)  # once more, from what is remembered and from the same memory


def test_the_order_of_guides_does_not_matter_to_a_static_path(tiny_engine: Engines) -> None:
    reordered = tiny_engine("llama", "weak", "lora-b", "lora-a", options=PATHS["static"])
    plain = answers(tiny_engine("llama", *GUIDES))
    check_same(answers(reordered), plain)


def test_a_static_path_runs_the_shapes_that_would_be_recorded(tiny_engine: Engines) -> None:
    """Places, lengths and memory are those of a recorded step, or the tests of this path would test another."""
    engine = tiny_engine("llama", *GUIDES, options=PATHS["static"])
    ensemble = engine._loaded.ensemble
    assert ensemble.ways.rounding is STATIC
    assert ensemble.ways.is_ahead
    steps = engine.compare(requests()[0])
    next(steps), next(steps)
    batch = engine._scheduler._decoder.batch
    assert (len(batch.slots), len(batch.columns)) == (8, 4)
    caches = [run.cache for run in batch._runs]
    addresses = [layer.keys.data_ptr() for cache in caches for layer in cache.row_layers]
    next(steps)
    assert addresses == [layer.keys.data_ptr() for cache in caches for layer in cache.row_layers]
    assert all(cache.rows.capacity == 128 for cache in caches)
    steps.close()


def test_the_embedded_models_answers_do_not_depend_on_neighbours(demo_engine: Engine) -> None:
    sampling = SamplingSettings(max_new_tokens=40, seed=3)
    prompts = ["How do I boil an egg?", "Tell me about the moon.", "Why is the sky blue?"]
    together = [Blend(), *(Blend({"helpfulness": 0.3 * n}) for n in range(1, 15))]
    for prompt in prompts:
        messages = (Message(Role.USER, prompt),)
        *_, last = demo_engine.compare(ComparisonRequest(messages, tuple(together), sampling))
        for blend, answer in list(zip(together, last.answers(), strict=True))[::5]:
            *_, alone = demo_engine.compare(ComparisonRequest(messages, (blend,), sampling))
            assert alone.answers()[0].text == answer.text


@pytest.mark.skipif(not has_fast_bf16(), reason="this processor is slow in bf16, which is not used on it")
def test_in_bf16_sixteen_visitors_at_once_get_what_each_gets_alone() -> None:
    """A row of oneDNN's products has the same bits whatever stands beside it."""
    engine = load_engine(load_preset("demo"), device="cpu", dtype="bfloat16")
    prompts = ("How do I boil an egg?", "Tell me about the moon.", "What is a good breakfast?")
    asked = [
        ComparisonRequest(
            (Message(Role.USER, prompts[n % 3]),),
            (Blend(), Blend({"helpfulness": 1 + n / 8, "harmlessness": 0.5})),
            SamplingSettings(max_new_tokens=20 + 2 * n, seed=n),
        )
        for n in range(16)
    ]
    got: dict[int, list[str]] = {}

    def visit(n: int) -> None:
        got[n] = [answer.text for answer in [*engine.compare(asked[n], owner=str(n))][-1].answers()]

    threads = [threading.Thread(target=visit, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    for n, request in enumerate(asked):
        assert got[n] == [answer.text for answer in [*engine.compare(request)][-1].answers()]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
@pytest.mark.parametrize("path", [StepPath.EAGER, StepPath.STATIC, StepPath.CAPTURED])
def test_on_a_gpu_every_path_gives_the_answers_of_the_cpu(
    path: StepPath, architecture: str, tiny_engine: Engines, tiny_folder: Folders
) -> None:
    root = tiny_folder(architecture)
    # a model of its own first: its outputs have to be put into the dimensions' order within the step
    specs = tuple(GuideSpec(Source(str(root / name)), dimension=name, unit=0.5) for name in reversed(GUIDES))
    preset = Preset("tiny", Source(str(root / "base")), specs)
    options = EngineOptions(path=path, memory_fraction=SMALL)
    engine = load_engine(preset, device="cuda", dtype="float32", options=options)
    plain = answers(tiny_engine(architecture, *GUIDES))
    for _ in range(3):  # run, recorded, replayed
        check_same(answers(engine), plain)


class AddressBook:
    """A recorder that runs every step, and checks that a key comes back only with everything where it was.

    A CUDA graph knows tensors by their addresses: what had moved since it was recorded, it would read at the old place.
    """

    def __init__(self, engine: Engine) -> None:
        self.batch = engine._scheduler._decoder.batch
        self.decoder = engine._scheduler._decoder
        self.known: dict[object, list[tuple[str, int]]] = {}
        self.n_again = 0

    def __call__(self, key: object, step: Callable[[], torch.Tensor]) -> torch.Tensor:
        addresses = list(self.addresses())
        if self.known.setdefault(key, addresses) is not addresses:
            assert self.known[key] == addresses, key
            self.n_again += 1
        return step()

    def addresses(self) -> Iterator[tuple[str, int]]:
        batch, controls = self.batch, self.decoder._controls
        yield "guided", batch.guided.data_ptr()
        for name, value in vars(controls).items():
            if isinstance(value, torch.Tensor):
                yield name, value.data_ptr()
        for index, run in enumerate(batch._runs):
            if run.cache is None:
                yield f"{index}: none", 0
                continue
            rows = run.cache.rows
            for name in ("next", "growth", "index"):
                yield f"{index}: {name}", getattr(rows, name).data_ptr()
            yield f"{index}: owners", id(run.owners)
            yield f"{index}: positions", rows.capacity
            for number, layer in enumerate(run.cache.row_layers):
                yield f"{index}: keys {number}", layer.keys.data_ptr()
                yield f"{index}: values {number}", layer.values.data_ptr()


def test_everything_a_recorded_step_reads_stays_where_it_is(tiny_engine: Engines) -> None:
    options = EngineOptions(path=StepPath.STATIC, memory_fraction=0.0041, in_background=False)
    engine = tiny_engine("llama", *GUIDES, options=options)
    book = AddressBook(engine)
    book.batch._recorder = book
    desk = Desk(engine)
    for round_ in range(3):
        for request in requests():
            desk.submit(request)
            desk.turn(3 + round_)
        desk.finish()
    assert book.n_again > 100
    assert len(book.known) < 40
