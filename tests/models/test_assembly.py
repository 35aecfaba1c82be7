"""Putting an engine together: models, guides and vocabularies that do not fit each other are refused by name."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from accelerate import dispatch_model
from peft import LoHaConfig, LoKrConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    FalconConfig,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedConfig,
)

import models.loading
from models.answers import ComparisonRequest
from models.assembly import assemble, load_engine
from models.cache import EXACT
from models.engine import Engine
from models.loading import is_split
from models.parts import load_parts
from models.presets import GuideSpec, Preset, Source
from steering.errors import LoadError, VocabularyError
from steering.types import Blend, Message, Role, SamplingSettings
from tests.models.tiny import make_tokenizer, save_lora, save_model

Folder = Callable[[str], Path]


def load(base: Path, *guides: Path, **facts: object) -> Engine:
    """Load ``base`` with ``guides``, whose dimensions are their folders' names unless ``facts`` say otherwise."""
    specs = tuple(GuideSpec(Source(str(guide)), **({"dimension": guide.name} | facts)) for guide in guides)
    return load_engine(Preset("tiny", Source(str(base)), specs), device="cpu", dtype="float32")


@pytest.fixture
def adapter(tiny_folder: Folder, tmp_path: Path) -> Path:
    """A copy of a LoRA guide on the tiny Llama, to be spoiled."""
    return shutil.copytree(tiny_folder("llama") / "lora-b", tmp_path / "spoiled")


def change_config(folder: Path, **changes: object) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    weights = load_file(folder / "adapter_model.safetensors")
    change(weights)
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})


def refused(base: Path, *guides: Path, kind: type[LoadError] = LoadError, **facts: object) -> LoadError:
    """The error with which these do not load: one sentence, with a hint."""
    with pytest.raises(kind) as caught:
        load(base, *guides, **facts)
    assert caught.value.hint
    assert "\n" not in str(caught.value)
    return caught.value


def test_what_is_loaded_is_described_without_paths(tiny_folder: Folder) -> None:
    root = tiny_folder("llama")
    engine = load(root / "base", root / "lora-a", root / "weak")
    assert (engine.base.id, engine.base.dtype, engine.base.device) == ("base", "float32", "cpu")
    assert engine.base.revision.startswith("sha256:")
    assert [(guide.id, guide.kind, guide.unit) for guide in engine.guides] == [
        ("lora-a", "lora", 1.0),
        ("weak", "model", 1.0),
    ]
    assert str(root) not in repr((engine.base, engine.guides))


def test_the_configuration_wins_over_the_card_and_the_card_over_the_defaults(
    tiny_folder: Folder, adapter: Path
) -> None:
    (adapter / "guide.json").write_text('{"id": "wit-7", "dimension": "wit", "unit": 0.25, "n_pairs": 12}')
    base = tiny_folder("llama") / "base"
    (by_card,) = load(base, adapter, dimension=None).guides
    assert (by_card.id, by_card.dimension, by_card.unit, by_card.n_pairs) == ("wit-7", "wit", 0.25, 12)
    (by_spec,) = load(base, adapter, dimension="brevity", unit=2).guides
    assert (by_spec.id, by_spec.dimension, by_spec.unit) == ("wit-7", "brevity", 2.0)


# Vocabulary


def test_extra_rows_at_the_end_of_a_guide_are_cut(tiny_folder: Folder) -> None:
    root = tiny_folder("llama")
    assert load(root / "base", root / "weak").base.vocabulary_size == len(make_tokenizer())


def test_a_guide_with_an_extra_token_at_the_end_is_taken(tiny_folder: Folder, tmp_path: Path) -> None:
    guide = save_model(tmp_path / "more", "llama", seed=5, tokenizer=make_tokenizer(("<extra>",)))
    assert load(tiny_folder("llama") / "base", guide).base.vocabulary_size == len(make_tokenizer())


def test_padding_rows_of_the_base_that_no_token_uses_are_cut_too(tiny_folder: Folder, tmp_path: Path) -> None:
    base = save_model(tmp_path / "padded", "llama", seed=6, extra_rows=7)
    assert load(base, tiny_folder("llama") / "weak").base.vocabulary_size == len(make_tokenizer()) + 1


def test_a_guide_with_another_token_is_refused_and_the_first_is_named(tiny_folder: Folder, tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    own = tokenizer.convert_ids_to_tokens(7)
    folder = save_model(tmp_path / "other", "llama", seed=5)
    path = folder / "tokenizer.json"
    state = json.loads(path.read_text())
    vocab = state["model"]["vocab"]
    a, b = (next(name for name, index in vocab.items() if index == place) for place in (7, 8))
    vocab[a], vocab[b] = 8, 7
    path.write_text(json.dumps(state))
    error = refused(tiny_folder("llama") / "base", folder, kind=VocabularyError)
    assert f"The guide 'other' has {b!r} as token 7; the base base has {own!r}" in error.message


def test_a_guide_with_too_few_rows_is_refused_with_both_numbers(tiny_folder: Folder, tmp_path: Path) -> None:
    n_tokens = len(make_tokenizer())
    guide = save_model(tmp_path / "few", "llama", seed=5, extra_rows=-3)
    error = refused(tiny_folder("llama") / "base", guide, kind=VocabularyError)
    assert f"'few' has {n_tokens - 3} token ids; the base base uses {n_tokens}" in error.message


def test_a_guide_whose_tokenizer_ends_early_is_refused_with_the_token_it_lacks(tmp_path: Path) -> None:
    base = save_model(tmp_path / "base", "llama", seed=5, tokenizer=make_tokenizer(("<extra>",)))
    guide = save_model(tmp_path / "short", "llama", seed=6, extra_rows=1)
    error = refused(base, guide, kind=VocabularyError)
    assert f"'short' has no token {len(make_tokenizer())}; the base base has '<extra>'" in error.message


# Dimensions


def test_two_guides_of_one_dimension_are_refused(tiny_folder: Folder) -> None:
    root = tiny_folder("llama")
    error = refused(root / "base", root / "lora-a", root / "lora-b", dimension="wit")
    assert "Two guides have the dimension 'wit'" in error.message


def test_a_guide_that_does_not_say_its_dimension_is_refused(tiny_folder: Folder) -> None:
    root = tiny_folder("llama")
    error = refused(root / "base", root / "lora-a", dimension=None)
    assert "The guide 'lora-a' does not say its dimension" in error.message


@pytest.mark.parametrize("dimension", ["overall", "  ", "a=b"])
def test_a_dimension_that_cannot_be_a_slider_is_refused(tiny_folder: Folder, dimension: str) -> None:
    root = tiny_folder("llama")
    assert repr(dimension) in refused(root / "base", root / "lora-a", dimension=dimension).message


@pytest.mark.parametrize("unit", [0.0, -1.0, float("nan"), float("inf")])
def test_a_unit_that_cannot_scale_a_weight_is_refused(tiny_folder: Folder, unit: float) -> None:
    root = tiny_folder("llama")
    assert f"unit of the guide 'lora-a' is {unit!r}" in refused(root / "base", root / "lora-a", unit=unit).message


# Adapters


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights='pissa'"),
        ({"bias": "all"}, "bias='all'"),
        ({"lora_bias": True}, "lora_bias"),
        ({"layer_replication": [[0, 2]]}, "layer_replication"),
        ({"peft_type": "UNHEARD_OF"}, "The adapter"),
        ({"lora_alpha": "eight"}, "The adapter"),
    ],
)
def test_an_adapter_that_rows_cannot_reproduce_is_refused(
    tiny_folder: Folder, adapter: Path, changes: dict[str, object], words: str
) -> None:
    change_config(adapter, **changes)
    error = refused(tiny_folder("llama") / "base", adapter)
    assert words in error.message
    assert str(adapter) in error.message


def test_an_adapter_trained_with_dora_is_refused(tiny_folder: Folder, tmp_path: Path) -> None:
    base = tiny_folder("llama") / "base"
    assert "use_dora" in refused(base, save_lora(tmp_path / "dora", base, seed=1, use_dora=True)).message


def test_an_adapter_that_saves_whole_modules_is_refused(tiny_folder: Folder, tmp_path: Path) -> None:
    base = tiny_folder("llama") / "base"
    guide = save_lora(tmp_path / "whole", base, seed=1, modules_to_save=["lm_head"])
    assert "lm_head" in refused(base, guide).message


@pytest.mark.parametrize("config", [LoKrConfig, LoHaConfig])
def test_an_adapter_of_another_kind_is_refused(tiny_folder: Folder, tmp_path: Path, config: type) -> None:
    base = tiny_folder("llama") / "base"
    model = AutoModelForCausalLM.from_pretrained(base)
    get_peft_model(model, config(r=2, target_modules=["q_proj"])).save_pretrained(tmp_path / "other")
    assert "only LoRA is supported" in refused(base, tmp_path / "other").message.replace("LORA", "LoRA")


def test_half_an_adapter_is_refused(tiny_folder: Folder, adapter: Path) -> None:
    change_weights(adapter, lambda weights: weights.pop(next(key for key in weights if "lora_B" in key)))
    assert "has only lora_A for" in refused(tiny_folder("llama") / "base", adapter).message


def test_an_adapter_without_weights_is_refused(tiny_folder: Folder, adapter: Path) -> None:
    change_weights(adapter, lambda weights: weights.clear())
    assert "has no weights" in refused(tiny_folder("llama") / "base", adapter).message


@pytest.mark.parametrize(
    ("name", "content"),
    [("adapter_model.safetensors", b"half"), ("adapter_config.json", b"{"), ("adapter_config.json", b"[]")],
)
def test_a_damaged_adapter_is_refused_with_its_folder(
    tiny_folder: Folder, adapter: Path, name: str, content: bytes
) -> None:
    (adapter / name).write_bytes(content)
    assert str(adapter) in refused(tiny_folder("llama") / "base", adapter).message


def test_an_adapter_for_another_architecture_is_refused_with_the_module_it_names(tiny_folder: Folder) -> None:
    error = refused(tiny_folder("llama") / "base", tiny_folder("gpt2") / "lora-b")
    assert "'lora-b' changes 'transformer.h.0.attn.c_attn', which the base model lacks" in error.message


def test_an_adapter_for_another_size_is_refused_with_both_shapes(tiny_folder: Folder, tmp_path: Path) -> None:
    config = LlamaConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, vocab_size=300
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path / "small")
    guide = save_lora(tmp_path / "guide", tmp_path / "small", seed=1)
    error = refused(tiny_folder("llama") / "base", guide)
    assert "'guide' maps 48 to 16 in 'model.layers.0.mlp.down_proj'; the base model maps 48 to 32" in error.message


def test_an_adapter_given_as_the_base_is_refused(tiny_folder: Folder) -> None:
    error = refused(tiny_folder("llama") / "lora-a")
    assert "has no config.json" in error.message


# Architectures


@pytest.mark.parametrize(
    "config",
    [
        BloomConfig(hidden_size=32, n_layer=2, n_head=4),
        FalconConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, alibi=True),
    ],
    ids=["bloom", "falcon"],
)
def test_an_architecture_with_positions_of_its_own_is_refused_by_name(tmp_path: Path, config: PreTrainedConfig) -> None:
    tokenizer = make_tokenizer()
    config.vocab_size = len(tokenizer)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    assert config.model_type in refused(tmp_path / "base").message.lower()


def test_a_model_that_ignores_its_cache_is_found_out(tiny_folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = GPT2LMHeadModel.forward

    def forgetful(self: GPT2LMHeadModel, *args: object, **kwargs: object) -> object:
        return whole(self, *args, **kwargs | {"past_key_values": None, "attention_mask": None})

    monkeypatch.setattr(GPT2LMHeadModel, "forward", forgetful)
    assert "does not decode correctly" in refused(tiny_folder("gpt2") / "base").message


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gpt2"])
def test_a_model_whose_layers_are_spread_gives_the_same_answers(
    architecture: str, tiny_folder: Folder, tmp_path: Path
) -> None:
    """As over several GPUs, of which there are none here: accelerate's hooks move what the layers pass on, and one
    layer's weights are kept on disk until they are needed."""
    root = tiny_folder(architecture)
    guides = tuple(GuideSpec(Source(str(root / name)), dimension=name) for name in ("lora-a", "lora-b", "weak"))
    preset = Preset("tiny", Source(str(root / "base")), guides)
    parts = load_parts(preset, device="cpu", dtype="float32")
    inner = parts.model.base_model_prefix
    names = [f"{inner}.{name}" for name, _ in getattr(parts.model, inner).named_children()]
    layers = next(name for name in names if name.endswith((".layers", ".h")))
    places = {name: "cpu" for name in [*names, "lm_head"] if name != layers}
    dispatch_model(
        parts.model, places | {f"{layers}.0": "cpu", f"{layers}.1": "disk"}, main_device="cpu", offload_dir=tmp_path
    )
    assert is_split(parts.model)
    blends = (Blend(), Blend({"lora-a": 1.0, "lora-b": 0.5}), Blend({"weak": 1.0}))
    request = ComparisonRequest((Message(Role.USER, "the cat"),), blends, SamplingSettings(max_new_tokens=12, seed=2))
    split, whole = assemble(parts), load_engine(preset, device="cpu", dtype="float32")
    assert split._loaded.ensemble.ways.rounding is EXACT
    *_, got = split.compare(request)
    *_, expected = whole.compare(request)
    assert [answer.token_ids for answer in got.answers()] == [answer.token_ids for answer in expected.answers()]


def test_a_model_too_large_for_one_gpu_is_split_over_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"x" * 1000)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for free, expected in [(2000, {"": torch.device("cuda")}), (1100, "auto")]:
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, free))
        assert models.loading._device_map(tmp_path, torch.device("cuda")) == expected
    assert models.loading._device_map(tmp_path, torch.device("cuda:1")) == {"": torch.device("cuda:1")}
    assert models.loading._device_map(tmp_path, torch.device("cpu")) is None
