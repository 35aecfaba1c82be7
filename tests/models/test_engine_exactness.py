"""The engine against transformers.generate, PEFT's forward and recomputation from scratch."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from models.answers import Answer, ComparisonRequest
from models.assembly import load_engine
from models.engine import Engine
from models.presets import GuideSpec, Preset, Source
from steering.types import Blend, Message, Role, SamplingSettings
from tests.models.oracle import Oracle, mixed_logprobs
from tests.models.tiny import ARCHITECTURES, TEMPLATE

Engines = Callable[..., Engine]
Folders = Callable[[str], Path]

# fp32 forward passes of one row and of several round differently; tiny models have logits of about 10
TOLERANCE = 1e-4
GREEDY = SamplingSettings(temperature=0.0, max_new_tokens=40)


def ask(text: str = "the cat sat on the door") -> tuple[Message, ...]:
    return (Message(Role.USER, text),)


def answer(
    engine: Engine, blends: Sequence[Blend], sampling: SamplingSettings, text: str = "the cat"
) -> tuple[Answer, ...]:
    *_, last = engine.compare(ComparisonRequest(ask(text), tuple(blends), sampling, n_top=3))
    assert last.finished
    return last.answers()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_blend_of_zeros_is_generate_token_for_token(
    architecture: str, tiny_engine: Engines, tiny_folder: Folders
) -> None:
    engine = tiny_engine(architecture, "lora-a", "lora-b")
    model = AutoModelForCausalLM.from_pretrained(tiny_folder(architecture) / "base")
    for text in ("the cat", "a much longer prompt, with the dog and the mat", "x"):
        prompt = engine.prompt_token_ids(ask(text))
        expected = model.generate(torch.tensor([prompt]), max_new_tokens=40, do_sample=False)[0, len(prompt) :].tolist()
        blends = [Blend(), Blend({"lora-a": 0.0}), Blend({"lora-a": 2.0})]
        unguided, zero, guided = answer(engine, blends, GREEDY, text)
        assert list(unguided.token_ids) == expected
        assert list(zero.token_ids) == expected
        assert list(guided.token_ids) != expected


def test_the_embedded_model_with_a_blend_of_zeros_is_generate_token_for_token(demo_engine: Engine) -> None:
    folder = Path(__file__).parents[2] / "models" / "demo" / "base"
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    for text in ("What should I eat for breakfast?", "Tell me a story about a fox."):
        prompt = demo_engine.prompt_token_ids(ask(text))
        expected = model.generate(torch.tensor([prompt]), max_new_tokens=40, do_sample=False)[0, len(prompt) :].tolist()
        unguided, _ = answer(demo_engine, [Blend(), Blend({"helpfulness": 2.0})], GREEDY, text)
        assert list(unguided.token_ids) == expected


def test_sampled_answers_with_weights_of_zero_equal_the_unguided_one(demo_engine: Engine) -> None:
    for seed in range(4):
        sampling = SamplingSettings(max_new_tokens=40, seed=seed)
        unguided, zero = answer(demo_engine, [Blend(), Blend({"helpfulness": 0.0, "harmlessness": 0.0})], sampling)
        assert unguided.token_ids == zero.token_ids


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("guides", [("lora-a",), ("lora-a", "lora-b"), ("weak",), ("lora-b", "weak", "lora-a")])
def test_every_step_equals_recomputing_from_scratch_with_peft(
    architecture: str, guides: tuple[str, ...], tiny_engine: Engines, tiny_folder: Folders
) -> None:
    """Ranks 4 and 2, other target modules, a separate model, one unguided and two guided answers: one batch."""
    engine, root = tiny_engine(architecture, *guides), tiny_folder(architecture)
    oracle = Oracle(root / "base", [root / name for name in guides])
    blends = [Blend(), Blend({guides[0]: 2.0}), Blend(dict.fromkeys(guides, 1.0), base_exponent=0.7)]
    sampling = SamplingSettings(temperature=1.0, max_new_tokens=20, seed=3)
    prompt = engine.prompt_token_ids(ask("the cat"))
    for reply in answer(engine, blends, sampling):
        members = oracle.members([prompt] * (1 + len(guides)), reply.token_ids, engine.base.vocabulary_size)
        mixed = mixed_logprobs(members, list(reply.exponents.values()), reply.blend.base_exponent)
        for index, step in enumerate(reply.steps):
            token = step.token_id
            assert step.base_logprob == pytest.approx(members[0, index, token].item(), abs=TOLERANCE)
            assert step.mixed_logprob == pytest.approx(mixed[index, token].item(), abs=TOLERANCE)
            own = dict(zip(guides, members[1:, index, token].tolist(), strict=True))
            assert step.guide_logprobs == pytest.approx(own, abs=TOLERANCE)
            kl = (mixed[index].exp() * (mixed[index] - members[0, index])).sum().item()
            assert step.kl == pytest.approx(kl, abs=TOLERANCE)
            best = mixed[index].exp().topk(3)
            assert [top.mixed_prob for top in step.top] == pytest.approx(best.values.tolist(), abs=TOLERANCE)


def test_mixed_distributions_of_the_embedded_model_equal_the_whole_computation_in_float64(demo_engine: Engine) -> None:
    """Mixing alone is good to 1e-6 (tests/steering/test_mixing.py); eight fp32 layers before it add a few more."""
    root = Path(__file__).parents[2] / "models" / "demo"
    oracle = Oracle(root / "base", [root / "guides" / name for name in ("helpfulness", "harmlessness")], torch.float64)
    sampling = SamplingSettings(temperature=1.0, max_new_tokens=12, seed=2)
    (reply,) = answer(demo_engine, [Blend({"helpfulness": 2.0, "harmlessness": 1.0})], sampling)
    prompt = demo_engine.prompt_token_ids(ask("the cat"))
    members = oracle.members([prompt] * 3, reply.token_ids, 4096)
    mixed = mixed_logprobs(members, list(reply.exponents.values()))
    for index, step in enumerate(reply.steps):
        for top in step.top:
            assert top.mixed_prob == pytest.approx(mixed[index, top.token_id].exp().item(), abs=5e-6)
            assert top.base_prob == pytest.approx(members[0, index, top.token_id].exp().item(), abs=5e-6)


def test_an_answer_does_not_depend_on_what_else_is_in_the_batch(tiny_engine: Engines) -> None:
    engine = tiny_engine("llama", "lora-a", "lora-b", "weak")
    blends = [Blend(), Blend({"lora-a": 1.0}), Blend({"lora-b": -1.0, "weak": 0.5}), Blend({"weak": 2.0}), Blend()]
    sampling = SamplingSettings(max_new_tokens=30, seed=11, plausibility=0.01)
    together = answer(engine, blends, sampling)
    for blend, reply in zip(blends, together, strict=True):
        (alone,) = answer(engine, [blend], sampling)
        assert alone.token_ids == reply.token_ids
        assert alone.text == reply.text


def test_the_order_of_guides_does_not_matter(tiny_engine: Engines) -> None:
    blends = [Blend({"lora-a": 1.0, "lora-b": 0.5, "weak": 1.5})]
    one = answer(tiny_engine("qwen2", "lora-a", "lora-b", "weak"), blends, GREEDY)
    other = answer(tiny_engine("qwen2", "weak", "lora-b", "lora-a"), blends, GREEDY)
    assert one[0].token_ids == other[0].token_ids
    for ours, theirs in zip(one[0].steps, other[0].steps, strict=True):
        assert ours.guide_logprobs == pytest.approx(dict(theirs.guide_logprobs), abs=TOLERANCE)


def test_a_guide_with_its_own_prompt_template_sees_its_own_prompt(tiny_folder: Folders) -> None:
    root = tiny_folder("llama")
    shouting = TEMPLATE.replace("m['content']", "m['content'] + ' please, please do'")
    specs = [
        GuideSpec(Source(str(root / "lora-a")), "lora", 0.5, shouting),
        GuideSpec(Source(str(root / "lora-b")), "short", 0.5),
        GuideSpec(Source(str(root / "weak")), "weak", 0.5, shouting),
    ]
    engine = load_engine(Preset("tiny", Source(str(root / "base")), tuple(specs)), device="cpu", dtype="float32")
    own = engine.prompt_token_ids(ask("the cat please, please do"))
    short = engine.prompt_token_ids(ask("the cat"))
    oracle = Oracle(root / "base", [root / "lora-a", root / "lora-b", root / "weak"])
    sampling = SamplingSettings(temperature=1.0, max_new_tokens=15, seed=1)
    for reply in answer(engine, [Blend(), Blend({"lora": 1.0, "short": 1.0, "weak": 1.0})], sampling):
        members = oracle.members([short, own, short, own], reply.token_ids, engine.base.vocabulary_size)
        for index, step in enumerate(reply.steps):
            expected = dict(zip(("lora", "short", "weak"), members[1:, index, step.token_id].tolist(), strict=True))
            assert step.guide_logprobs == pytest.approx(expected, abs=TOLERANCE)
            assert step.base_logprob == pytest.approx(members[0, index, step.token_id].item(), abs=TOLERANCE)


def test_answers_that_end_early_leave_the_others_as_they_are(tiny_engine: Engines) -> None:
    """Rows are released one by one as answers reach EOS; the rest must go on exactly as alone."""
    engine = tiny_engine("qwen3", "lora-a", "weak")
    blends = [Blend({"lora-a": w, "weak": v}) for w, v in [(0, 0), (0.5, 0), (1, 1), (0, 2), (2, 0.5), (0, 0)]]
    lengths = set()
    for seed in range(5):
        sampling = SamplingSettings(temperature=1.3, top_p=1.0, max_new_tokens=60, seed=seed)
        together = answer(engine, blends, sampling)
        lengths |= {len(reply.token_ids) for reply in together}
        for blend, reply in zip(blends, together, strict=True):
            assert answer(engine, [blend], sampling)[0].token_ids == reply.token_ids
    assert len(lengths) > 3, "no answer ended early, so this tested nothing"


def test_a_prompt_longer_than_a_cache_bucket_is_decoded_as_exactly(tiny_engine: Engines, tiny_folder: Folders) -> None:
    engine, root = tiny_engine("llama", "lora-a"), tiny_folder("llama")
    text = "the cat sat on the mat and " * 9
    prompt = engine.prompt_token_ids(ask(text))
    assert len(prompt) > 64
    oracle = Oracle(root / "base", [root / "lora-a"])
    sampling = replace(GREEDY, max_new_tokens=128 - len(prompt))
    (reply,) = answer(engine, [Blend({"lora-a": 1.0})], sampling, text)
    members = oracle.members([prompt, prompt], reply.token_ids, engine.base.vocabulary_size)
    mixed = mixed_logprobs(members, [0.5])
    got = [step.mixed_logprob for step in reply.steps]
    expected = [mixed[index, token].item() for index, token in enumerate(reply.token_ids)]
    assert got == pytest.approx(expected, abs=TOLERANCE)
