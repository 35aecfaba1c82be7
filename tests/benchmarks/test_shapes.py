"""Random shapes are the models they are named after, and the usual way decodes what the engine decodes."""

from dataclasses import replace

import pytest
import torch

from benchmarks.shapes import SHAPES, make_guide, make_model, make_parts, make_tokenizer, merge
from models.adapters import check_fit
from models.answers import ComparisonRequest
from models.assembly import assemble
from models.loading import Placement
from models.options import EngineOptions
from steering.types import Blend, Message, Role, SamplingSettings
from tests.benchmarks.conftest import TINY

CPU = Placement(torch.device("cpu"), torch.float32, "for a test")
NOWHERE = Placement(torch.device("meta"), torch.bfloat16, "only the sizes are of interest")


# The numbers are those of the weights on the Hub.
@pytest.mark.parametrize(("name", "n_weights"), [("0.5b", 494_032_768), ("1.5b", 1_543_714_304), ("7b", 6_738_415_616)])
def test_a_shape_has_as_many_weights_as_the_model_it_is_named_after(name: str, n_weights: int) -> None:
    model = make_model(SHAPES[name], NOWHERE)
    assert sum(weight.numel() for weight in model.parameters()) == n_weights
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("name", SHAPES)
def test_a_guide_fits_every_linear_layer_of_its_shape(name: str) -> None:
    shape = replace(SHAPES[name], num_hidden_layers=1)
    guide = make_guide(shape, 0)
    check_fit(make_model(shape, NOWHERE), [guide], ["guide"])
    assert len(guide.factors) == 7
    assert {a.shape[0] for a, _ in guide.factors.values()} == {16}


def test_the_same_shape_is_made_twice_alike_and_guides_differ() -> None:
    first, second = make_model(TINY, CPU), make_model(TINY, CPU)
    assert all(torch.equal(*pair) for pair in zip(first.parameters(), second.parameters(), strict=True))
    (a, _), (other, _) = (make_guide(TINY, index).factors["model.layers.0.mlp.up_proj"] for index in (0, 1))
    assert not torch.equal(a, other)


def test_the_tokenizer_has_every_id_and_gives_text_back() -> None:
    tokenizer = make_tokenizer(300)
    assert len(tokenizer) == 300
    assert tokenizer.decode(tokenizer.encode("How are you? Ä€")) == "How are you? Ä€"
    assert tokenizer.decode([299]).strip()


def test_a_merged_guide_says_what_the_engine_says_of_the_same_guide() -> None:
    """Both are compared in speed, so they must compute the same; fp32 with sums in another order: 1e-3."""
    engine = assemble(make_parts("tiny", TINY, CPU, 2), EngineOptions(in_background=False))
    sampling = SamplingSettings(max_new_tokens=8, stop_at_eos=False)
    blends = (Blend({"dimension 0": 1.0, "dimension 1": 0.5}),)
    *_, last = engine.compare(ComparisonRequest((Message(Role.USER, "How?"),), blends, sampling))
    (answer,) = last.answers()
    tokens = torch.tensor([[*last.prompt_token_ids, *answer.token_ids]])
    for index in (0, 1):
        merged = merge(make_model(TINY, CPU), make_guide(TINY, index))
        with torch.inference_mode():
            logprobs = merged(input_ids=tokens).logits[0, len(last.prompt_token_ids) - 1 : -1].log_softmax(-1)
        theirs = logprobs.gather(-1, torch.tensor(answer.token_ids)[:, None])[:, 0]
        ours = torch.tensor([step.guide_logprobs[f"dimension {index}"] for step in answer.steps])
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)
        base = torch.tensor([step.base_logprob for step in answer.steps])
        assert (ours - base).abs().max() > 0.01  # a guide that changed nothing would prove nothing
