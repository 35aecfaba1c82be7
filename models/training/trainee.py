"""The model that is trained: a base with a LoRA adapter, or a small model as a whole."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from models.loading import Placement, load_model, load_tokenizer, told_as_load_error
from models.prompting import answer_end
from models.training.settings import ALL_LINEAR, AdapterSettings
from steering.errors import LoadError, SettingsError

ADAPTER_NAME = "adapter_config.json"


@dataclass(frozen=True)
class Trainee:
    """A model ready to be trained.

    ``model`` is what is trained, ``inner`` the transformers model in it, ``head`` that one's output head,
    ``dtype`` what products are computed in.
    """

    model: PreTrainedModel | PeftModel
    inner: PreTrainedModel
    head: nn.Module
    tokenizer: PreTrainedTokenizerBase
    eos_token_id: int
    pad_token_id: int
    dtype: torch.dtype

    def save(self, folder: Path, base_id: str, state: dict[str, Tensor]) -> None:
        """Write the guide's files into ``folder``: an adapter, or the model with its tokenizer; ``state`` is whole."""
        if isinstance(self.model, PeftModel):
            config: Any = self.model.peft_config["default"]
            config.base_model_name_or_path = base_id  # the path of this machine says nothing elsewhere
            # a set is written in an order of each process's own, and the card's hash is over the file
            if isinstance(config.target_modules, set):
                config.target_modules = sorted(config.target_modules)
            # looking for new embeddings would ask the Hub for the base
            self.model.save_pretrained(
                str(folder), safe_serialization=True, save_embedding_layers=False, state_dict=state
            )
            (folder / "README.md").unlink(missing_ok=True)  # PEFT's form to fill in; the card says what there is
        else:
            self.model.save_pretrained(folder, safe_serialization=True, state_dict=state)
            self.tokenizer.save_pretrained(folder)


def load_trainee(
    folder: Path, placement: Placement, adapter: AdapterSettings, parent: Path | None = None, seed: int = 0
) -> Trainee:
    """Load what is trained.

    Args:
        folder: the base model's files.
        placement: where, and in which precision frozen weights are kept; what is trained is kept in fp32.
        adapter: what is trained; ignored where ``parent`` is an adapter, whose shape stays.
        parent: the guide that is trained further.
        seed: of the adapter's first weights.

    Raises:
        LoadError: model or parent cannot be loaded.
        SettingsError: a target matches no layer, or the parent is a model of its own and an adapter is asked for.
    """
    tokenizer = load_tokenizer(folder)
    own = parent is not None and not (parent / ADAPTER_NAME).is_file()
    if parent is not None and own == (adapter.rank > 0):
        kinds = ("a model of its own", "rank 0") if own else ("an adapter", "a rank above 0")
        raise SettingsError(f"The guide in {parent} is {kinds[0]}.", hint=f"Train it further with {kinds[1]}.")
    if adapter.rank == 0:
        whole = Placement(placement.device, torch.float32, "weights that are trained are kept in float32")
        inner = load_model(parent or folder, whole)
        model: PreTrainedModel | PeftModel = inner.requires_grad_(True)
    else:
        inner = load_model(folder, placement)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = _with_adapter(inner, adapter, parent)
    head = inner.get_output_embeddings()
    if head is None:
        raise LoadError(f"The model in {folder} has no output head.", hint="Use a causal language model.")
    eos = _eos_token_id(inner, tokenizer, folder)
    pad = tokenizer.pad_token_id
    return Trainee(model, inner, head, tokenizer, eos, eos if pad is None else pad, placement.dtype)


def _with_adapter(inner: PreTrainedModel, adapter: AdapterSettings, parent: Path | None) -> PeftModel:
    if parent is not None:
        with told_as_load_error(f"The adapter in {parent}"):
            model = PeftModel.from_pretrained(inner, parent, is_trainable=True)
        # PEFT looks there when it saves, and the name in a card is none it could find
        model.peft_config["default"].base_model_name_or_path = inner.name_or_path
        return model
    check_targets(inner, adapter.targets)
    targets = ALL_LINEAR if adapter.targets == (ALL_LINEAR,) else list(adapter.targets)
    config = LoraConfig(
        r=adapter.rank,
        lora_alpha=adapter.lora_alpha,  # type: ignore[arg-type]  # PEFT divides by the rank, so a fraction is fine
        target_modules=targets,
        task_type="CAUSAL_LM",
        fan_in_fan_out=inner.config.model_type == "gpt2",  # its layers are transposed
    )
    model = get_peft_model(inner, config)
    assert isinstance(model, PeftModel)
    return model


def check_targets(model: PreTrainedModel, targets: Sequence[str]) -> None:
    """Check that every target names at least one layer.

    PEFT is content if any of them does; the paper's own code adapted only q, k and v that way.

    Raises:
        SettingsError: one matches nothing; the names there are, are listed.
    """
    if tuple(targets) == (ALL_LINEAR,):
        return
    linear = [name for name, module in model.named_modules() if _is_linear(module)]
    for target in targets:
        if not any(name == target or name.endswith(f".{target}") for name in linear):
            names = sorted({name.rpartition(".")[2] for name in linear})
            raise SettingsError(f"No layer of the base model is called {target!r}.", hint=f"It has {', '.join(names)}.")


def _is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"


def _eos_token_id(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> int:
    """What an answer of this model ends with: what the model's generation settings say, else the tokenizer."""
    eos = model.generation_config.eos_token_id if model.generation_config else None
    eos = tokenizer.eos_token_id if eos is None else eos
    choices = [eos] if isinstance(eos, int) else list(eos or [])
    if not choices:
        raise LoadError(f"Neither model nor tokenizer in {folder} says what ends an answer.", hint="Set eos_token.")
    return answer_end(choices, tokenizer)
