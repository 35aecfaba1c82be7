"""Loading: what cannot be loaded is said in one sentence, with what to do, and nothing foreign escapes."""

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
from huggingface_hub import errors as hub_errors
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, LlamaConfig

from models import loading
from models.loading import Placement, choose_placement, context_length, fetch, load_model, load_tokenizer
from models.presets import Source
from steering.errors import CapacityError, LoadError, TillerError
from tests.models.tiny import save_model

CPU = Placement(torch.device("cpu"), torch.float32, "a test")
LONG_ROPE = {
    "rope_type": "longrope",
    "rope_theta": 1e4,
    "short_factor": [1.0] * 4,
    "long_factor": [2.0] * 4,
    "original_max_position_embeddings": 60,
    "factor": 2.0,
}


@pytest.fixture
def llama(tiny_folder: Callable[[str], Path], tmp_path: Path) -> Path:
    """A copy of a tiny base model, to be spoiled."""
    return shutil.copytree(tiny_folder("llama") / "base", tmp_path / "base")


@pytest.mark.parametrize("preset_dtype", [None, "bfloat16", "float16", "float32", "auto"])
@pytest.mark.parametrize("dtype", ["auto", "float32", "bfloat16", "float16"])
@pytest.mark.parametrize("device", ["auto", "cpu", "cuda"])
@pytest.mark.parametrize("features", [(), ("_is_amx_tile_supported",), ("_is_avx512_bf16_supported",)])
@pytest.mark.parametrize("n_gpus", [0, 2])
def test_device_and_dtype_follow_the_machine_the_preset_and_the_person(
    monkeypatch: pytest.MonkeyPatch,
    n_gpus: int,
    features: tuple[str, ...],
    device: str,
    dtype: str,
    preset_dtype: str | None,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: n_gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: n_gpus)
    for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda name=name: name in features)
    if device == "cuda" and not n_gpus:
        with pytest.raises(LoadError, match="sees no GPU"):
            choose_placement(device, dtype, preset_dtype)
        return
    placement = choose_placement(device, dtype, preset_dtype)
    on_gpu = device == "cuda" or (device == "auto" and n_gpus > 0)
    assert str(placement.device) == (device if device != "auto" else "cuda" if on_gpu else "cpu")
    asked = preset_dtype if preset_dtype != "auto" else None
    if dtype != "auto":
        expected = dtype
    elif on_gpu:
        expected = asked or "bfloat16"
    else:
        expected = "float32" if asked == "float32" or not features else "bfloat16"
    assert str(placement.dtype) == f"torch.{expected}"
    assert placement.reason


@pytest.mark.parametrize(
    ("device", "dtype", "words"),
    [
        ("tpu", "auto", "device 'tpu' is unknown"),
        ("", "auto", "device '' is unknown"),
        ("cuda:x", "auto", "device 'cuda:x' is unknown"),
        ("cpu", "int8", "dtype 'int8' is unknown"),
    ],
)
def test_an_unknown_device_or_dtype_is_refused(device: str, dtype: str, words: str) -> None:
    with pytest.raises(LoadError, match=words) as caught:
        choose_placement(device, dtype)
    assert caught.value.hint


def test_another_gpu_than_the_first_is_chosen_by_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams, events and recordings are those of the current device, which is the first."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(LoadError, match=r"'cuda:1' is unknown.*CUDA_VISIBLE_DEVICES=1"):
        choose_placement("cuda:1")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"There is no folder .*absent") as caught:
        fetch(Source(str(tmp_path / "absent")))
    assert caught.value.hint


def test_weights_that_could_run_code_are_not_loaded(llama: Path) -> None:
    torch.save(load_file(llama / "model.safetensors"), llama / "pytorch_model.bin")
    (llama / "model.safetensors").unlink()
    with pytest.raises(LoadError, match=r"no \.safetensors file") as caught:
        fetch(Source(str(llama)))
    assert "Convert" in caught.value.hint


def hub_error(kind: type[Exception]) -> Exception:
    return kind("401 Client Error\nmany lines", response=SimpleNamespace(headers={}, request=None))


@pytest.mark.parametrize(
    ("error", "words", "hint"),
    [
        (hub_error(hub_errors.GatedRepoError), "org/model is gated", "https://huggingface.co/org/model"),
        (hub_error(hub_errors.RevisionNotFoundError), "org/model has no revision 'abc'", "revision"),
        (hub_error(hub_errors.RepositoryNotFoundError), "There is no model 'org/model'", "hf auth login"),
        (hub_error(hub_errors.HfHubHTTPError), "cannot be reached", "demo"),
        (hub_errors.LocalEntryNotFoundError("x"), "cannot be reached", "local folder"),
        (hub_errors.OfflineModeIsEnabled("x"), "cannot be reached", "local folder"),
        (ConnectionResetError("x"), "cannot be reached", "local folder"),
        (Exception("an HTTP library's own"), "cannot be reached", "local folder"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk is full", "room"),
    ],
)
def test_trouble_with_the_hub_is_told_apart(
    monkeypatch: pytest.MonkeyPatch, error: Exception, words: str, hint: str
) -> None:
    def fail(*args: object, **kwargs: object) -> str:
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises((LoadError, CapacityError), match=words) as caught:
        fetch(Source("org/model", "abc"))
    assert hint in caught.value.hint
    assert caught.value.__cause__ is error


def test_without_a_network_the_hub_is_said_to_be_out_of_reach(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(LoadError, match="org/model is not in the local cache and the Hub cannot be reached"):
        fetch(Source("org/model"))


@pytest.mark.parametrize("name", ["a/b/c", "what is this?", "org/..model"])
def test_a_name_that_can_be_no_hub_id_is_no_model(name: str) -> None:
    with pytest.raises(LoadError, match="There is no model"):
        fetch(Source(name))


def test_a_hub_download_is_pinned_to_the_revision_and_leaves_out_what_could_run(
    monkeypatch: pytest.MonkeyPatch, llama: Path
) -> None:
    asked = {}

    def download(repo: str, **options: object) -> str:
        asked.update(options, repo=repo)
        return str(llama)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert fetch(Source("org/model", "abc")) == llama
    assert (asked["repo"], asked["revision"]) == ("org/model", "abc")
    assert not any("bin" in pattern or "py" in pattern or pattern == "*" for pattern in asked["allow_patterns"])


def spoil_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def lose_weights(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def change_config(**changes: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | changes))

    return change


def replace_file(name: str, content: str | None) -> Callable[[Path], None]:
    def replace(folder: Path) -> None:
        (folder / name).unlink() if content is None else (folder / name).write_text(content)

    return replace


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (spoil_weights, "is damaged"),
        (lose_weights, r"lacks 1 weights, such as 'model.layers.1.mlp.up_proj.weight'"),
        (replace_file("model.safetensors", ""), "is damaged"),
        (replace_file("config.json", None), "has no config.json"),
        (replace_file("config.json", "{"), "cannot be loaded"),
        (replace_file("config.json", "[]"), "cannot be loaded"),
        (change_config(model_type="notamodel"), "cannot be loaded"),
        (change_config(model_type=None), "cannot be loaded"),
        (change_config(hidden_size="wide"), "cannot be loaded"),
        (change_config(hidden_size=64), "cannot be loaded"),
        (change_config(num_attention_heads=0), "cannot be loaded"),
        (change_config(model_type="bert", is_decoder=True), "lacks"),
    ],
)
def test_a_spoiled_model_is_refused_in_one_sentence_with_its_folder(
    llama: Path, spoil: Callable[[Path], None], words: str
) -> None:
    spoil(llama)
    with pytest.raises(LoadError, match=words) as caught:
        load_model(llama, CPU)
    assert str(llama) in caught.value.message
    assert "\n" not in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(
    "content", [None, "", "{", "{}", '{"version": "1.0"}', "[1]", '{"model": {"type": "Unheard-of"}}'], ids=repr
)
def test_a_missing_or_spoiled_tokenizer_is_refused_in_one_sentence_with_its_folder(
    llama: Path, content: str | None
) -> None:
    replace_file("tokenizer.json", content)(llama)
    with pytest.raises(LoadError, match="tokenizer") as caught:
        load_tokenizer(llama)
    assert str(llama) in caught.value.message
    assert "\n" not in str(caught.value)
    assert caught.value.hint


def test_remote_code_is_never_run(llama: Path, tmp_path: Path) -> None:
    change_config(model_type="evil", auto_map={"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"})(llama)
    (llama / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()")
    with pytest.raises(LoadError):
        load_model(llama, CPU)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), CapacityError),
        (MemoryError(), CapacityError),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), CapacityError),
        (RuntimeError("shape mismatch"), LoadError),
        (AttributeError("'list' has no 'items'"), LoadError),
        (Exception("data did not match any variant"), LoadError),
        (CapacityError("already said"), CapacityError),
    ],
)
def test_what_libraries_raise_becomes_an_error_for_a_person(error: Exception, kind: type[TillerError]) -> None:
    with pytest.raises(kind) as caught, loading.told_as_load_error("The model"):
        raise error
    assert caught.value is error or caught.value.hint


def test_being_interrupted_is_no_load_error() -> None:
    with pytest.raises(KeyboardInterrupt), loading.told_as_load_error("The model"):
        raise KeyboardInterrupt


def test_a_loaded_model_is_frozen_and_in_the_asked_precision(llama: Path) -> None:
    model = load_model(llama, Placement(CPU.device, torch.bfloat16, "a test"))
    assert model.dtype == torch.bfloat16
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert isinstance(load_tokenizer(llama).backend_tokenizer, Tokenizer)


@pytest.mark.parametrize(
    ("architecture", "changes", "length"),
    [
        ("llama", {}, 128),
        ("gpt2", {}, 128),
        ("gpt_neox", {}, 128),
        ("mistral", {"sliding_window": 40}, 40),
        ("mistral", {"sliding_window": None}, 128),
        ("qwen2", {"sliding_window": 40, "use_sliding_window": False}, 128),
        ("qwen2", {"sliding_window": 40, "use_sliding_window": True, "max_window_layers": 1}, 40),
        ("llama", {"rope_parameters": LONG_ROPE}, 60),
        ("phi3", {"rope_scaling": LONG_ROPE, "original_max_position_embeddings": 60}, 60),
    ],
)
def test_the_context_ends_where_the_positions_a_sliding_window_or_the_first_rope_ends(
    architecture: str, changes: dict[str, object], length: int
) -> None:
    """With LongRoPE one visitor beyond the first length turned everybody's positions otherwise."""
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 16, "vocab_size": 20}
    if architecture == "mistral":
        sizes |= {"num_key_value_heads": 2}
    names = {"n_positions": 128} if architecture == "gpt2" else {"max_position_embeddings": 128}
    config = CONFIG_MAPPING[architecture](**sizes, **names, **changes)
    assert context_length(SimpleNamespace(config=config)) == length


def test_layers_that_are_no_attention_are_refused_by_name() -> None:
    config = LlamaConfig()
    config.layer_types = ["linear_attention", "full_attention"]
    with pytest.raises(LoadError, match=r"'llama' has layers of the kind full_attention, linear_attention"):
        context_length(SimpleNamespace(config=config))


def test_a_model_of_each_tiny_architecture_lacks_nothing(tmp_path: Path) -> None:
    for architecture in ("llama", "gpt2"):
        folder = save_model(tmp_path / architecture, architecture, seed=1)
        plain = AutoModelForCausalLM.from_pretrained(folder)
        ours = load_model(folder, CPU)
        assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), ours.parameters(), strict=True))
