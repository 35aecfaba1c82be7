"""Loading: from a preset to models, tokenizers and guides on a device, with errors a person can act on."""

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub
import torch
from huggingface_hub import errors as hub_errors
from safetensors import SafetensorError
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from models.cpu import has_fast_bf16
from models.presets import DTYPE_NAMES, Source
from steering.errors import CapacityError, LoadError, TillerError, VocabularyError

logger = logging.getLogger(__name__)

# Everything a model needs and nothing that could run: no pickled weights, no code.
_FILES = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt")

# Beside its weights a model needs room for keys, values and what it computes.
_MOST_OF_A_GPU = 0.85


@dataclass(frozen=True)
class Placement:
    """Where the models run and in which precision, and why."""

    device: torch.device
    dtype: torch.dtype
    reason: str


def choose_placement(device: str = "auto", dtype: str = "auto", preset_dtype: str | None = None) -> Placement:
    """Choose device and dtype: CUDA in bf16; a CPU that multiplies bf16 faster in bf16; any other CPU in fp32.

    Args:
        device: "auto", "cpu" or "cuda", which is the first GPU that PyTorch sees.
        dtype: "auto" or one of ``DTYPE_NAMES``; wins over ``preset_dtype``.
        preset_dtype: what the preset asks for. A CPU follows it only to float32: what does not multiply bf16 faster
            would be far slower in the others.

    Raises:
        LoadError: a GPU is asked for and there is none, or the device or dtype is unknown.
    """
    chosen = _choose_device(device)
    for name in (dtype, preset_dtype):
        if name not in (None, "auto", *DTYPE_NAMES):
            raise LoadError(
                f"The dtype {name!r} is unknown; use {', '.join(DTYPE_NAMES)} or auto.", hint="Change --dtype."
            )
    if dtype != "auto":
        return Placement(chosen, _dtype(dtype), "asked for")
    if preset_dtype not in (None, "auto") and (chosen.type == "cuda" or preset_dtype == "float32"):
        return Placement(chosen, _dtype(preset_dtype), "the preset asks for it")
    if chosen.type == "cuda":
        return Placement(chosen, torch.bfloat16, "a GPU computes bf16 at full speed")
    if has_fast_bf16():
        return Placement(chosen, torch.bfloat16, "this processor multiplies bf16 faster")
    return Placement(chosen, torch.float32, "this processor is fast in float32 only")


def _choose_device(name: str) -> torch.device:
    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device("cuda" if n_gpus else "cpu")
    if name not in ("cpu", "cuda"):
        raise LoadError(
            f"The device {name!r} is unknown; use auto, cpu or cuda.",
            hint="Change --device; another GPU than the first is chosen by CUDA_VISIBLE_DEVICES=1.",
        )
    if name == "cuda" and not n_gpus:
        raise LoadError(
            f"The device {name!r} was asked for, but PyTorch sees no GPU.", hint="Use --device cpu or auto."
        )
    return torch.device(name)


def _dtype(name: str | None) -> torch.dtype:
    dtype = getattr(torch, str(name))
    assert isinstance(dtype, torch.dtype)
    return dtype


def fetch(source: Source) -> Path:
    """Return the local folder of a model's files, downloading them from the Hub if the source is a Hub id.

    Raises:
        LoadError: the folder or repository is missing, gated, unreachable, or has no safetensors.
        CapacityError: the disk is full.
    """
    folder = source.folder
    if folder is None:
        folder = _download(source)
    elif not folder.is_dir():
        raise LoadError(f"There is no folder {folder}.", hint="Check the path in the preset or configuration.")
    if not any(folder.glob("*.safetensors")):
        raise LoadError(
            f"{source.id} has no .safetensors file; other formats can run code and are not loaded.",
            hint="Convert it, or name a revision that has them (on the Hub, often refs/pr/…).",
        )
    return folder


def _download(source: Source) -> Path:
    try:
        return Path(huggingface_hub.snapshot_download(source.id, revision=source.revision, allow_patterns=list(_FILES)))
    except hub_errors.GatedRepoError as error:
        raise LoadError(
            f"{source.id} is gated on the Hub and this account may not read it.",
            hint=f"Ask for access at https://huggingface.co/{source.id}, then log in with `hf auth login`.",
        ) from error
    except hub_errors.RevisionNotFoundError as error:
        raise LoadError(f"{source.id} has no revision {source.revision!r}.", hint="Check the revision.") from error
    except (hub_errors.RepositoryNotFoundError, hub_errors.HFValidationError) as error:
        raise LoadError(
            f"There is no model {source.id!r}, neither as a folder nor on the Hub.",
            hint="Check the name; private models need `hf auth login`.",
        ) from error
    except Exception as error:  # every version of huggingface_hub has another HTTP library, with errors of its own
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise CapacityError(f"The disk is full; {source.id} cannot be stored.", hint="Make room.") from error
        raise LoadError(
            f"{source.id} is not in the local cache and the Hub cannot be reached.",
            hint="Connect once to download it, or use a local folder. The embedded preset `demo` needs no network.",
        ) from error


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load the tokenizer in ``folder``.

    Raises:
        LoadError: there is none, it cannot be read, or it is not a fast tokenizer (streaming needs one).
    """
    with told_as_load_error(f"The tokenizer in {folder}"):
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    if not tokenizer.is_fast:
        raise LoadError(f"The tokenizer in {folder} is not a fast one.", hint="Convert it to a tokenizer.json.")
    return tokenizer


def load_model(folder: Path, placement: Placement) -> PreTrainedModel:
    """Load a causal LM from ``folder`` onto the placement's device, in eval mode, without gradients.

    Raises:
        LoadError: the files are missing, incomplete, damaged or of an architecture this transformers does not know.
        CapacityError: the memory does not suffice.
    """
    if not (folder / "config.json").is_file():  # transformers would look for an adapter's own base model instead
        raise LoadError(f"The model in {folder} has no config.json.", hint="A LoRA adapter is a guide, not a model.")
    with told_as_load_error(f"The model in {folder}"):
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=placement.dtype,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            attn_implementation="sdpa",
            output_loading_info=True,
            device_map=_device_map(folder, placement.device),
        )
    model: PreTrainedModel
    model, report = loaded
    if missing := sorted(report["missing_keys"]):  # transformers would fill them with random numbers
        raise LoadError(
            f"The model in {folder} lacks {len(missing)} weights, such as {missing[0]!r}.",
            hint="Is it a causal language model, and are all its files there?",
        )
    return model.eval().requires_grad_(False)


def _device_map(folder: Path, device: torch.device) -> str | dict[str, torch.device] | None:
    """Where a model's layers go: together, or by accelerate over all GPUs where one is too small for its weights."""
    if device.type == "cpu":
        return None
    if str(device) == "cuda" and torch.cuda.device_count() > 1:
        n_bytes = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
        free = torch.cuda.mem_get_info(device)[0]
        if n_bytes > _MOST_OF_A_GPU * free:
            logger.info(
                "The weights in %s take %.0f GB and one GPU has %.0f free: they are split over %d GPUs.",
                folder,
                n_bytes / 2**30,
                free / 2**30,
                torch.cuda.device_count(),
            )
            return "auto"
    return {"": device}


def is_split(model: PreTrainedModel) -> bool:
    """Whether accelerate has spread a model's layers over several devices and moves what they pass on."""
    return len(set(getattr(model, "hf_device_map", {}).values())) > 1


def context_length(model: PreTrainedModel) -> int:
    """Return how many tokens prompt and answer may have together.

    A sliding window bounds it as well, and so does LongRoPE (Ding et al. 2024, arXiv 2402.13753), which turns all
    positions otherwise once one of a batch's is beyond those the model was first trained on.

    Raises:
        LoadError: some layers are not attention (state spaces and the like), which row caches cannot hold.
    """
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if not kinds <= {"full_attention", "sliding_attention"}:
        raise LoadError(
            f"The architecture {config.model_type!r} has layers of the kind {', '.join(sorted(kinds))}.",
            hint="Use a model whose layers are all attention.",
        )
    length = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None) or 2048
    uses_window = "sliding_attention" in kinds or (
        getattr(config, "sliding_window", None) and not hasattr(config, "layer_types")
    )
    rope = getattr(config, "rope_parameters", None) or {}
    ropes = [rope, *(each for each in rope.values() if isinstance(each, dict))]  # or one of each kind of layer
    lengths = [each["original_max_position_embeddings"] for each in ropes if each.get("rope_type") == "longrope"]
    return min([length, *lengths, *([config.sliding_window] if uses_window else [])])


@contextmanager
def told_as_load_error(what: str) -> Iterator[None]:
    """Translate the errors of transformers, peft, safetensors and torch, once, into errors for a person."""
    try:
        yield
    except TillerError:
        raise
    except torch.OutOfMemoryError as error:
        raise CapacityError(
            f"{what} does not fit into the GPU's memory.",
            hint="Use a smaller model, or a CPU: --device cpu, or CUDA_VISIBLE_DEVICES= in front.",
        ) from error
    except MemoryError as error:
        raise CapacityError(f"{what} does not fit into memory.", hint="Use a smaller model.") from error
    except SafetensorError as error:
        raise LoadError(f"{what} is damaged: {error}.", hint="Download or copy it again.") from error
    except Exception as error:  # tokenizers raises the bare class, transformers nearly every kind there is
        if isinstance(error, RuntimeError) and "alloc" in str(error):
            raise CapacityError(f"{what} does not fit into memory.", hint="Use a smaller model.") from error
        raise LoadError(f"{what} cannot be loaded: {_first_line(error)}", hint="Is the folder complete?") from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def shared_vocabulary(
    base_id: str,
    base: tuple[PreTrainedModel, PreTrainedTokenizerBase],
    guides: list[tuple[str, PreTrainedModel, PreTrainedTokenizerBase]],
) -> int:
    """Return V, the number of token ids that every model has a logit for and that mean the same to all.

    Extra trailing ids of one side are cut (the published Tulu 2 guide has one row more than its base), but never an id
    the base's tokenizer uses.

    Raises:
        VocabularyError: a guide lacks ids the base uses, or an id means another token; the first is named.
    """
    model, tokenizer = base
    used = len(tokenizer)
    size = _n_rows(model)
    for name, guide, guide_tokenizer in guides:
        size = min(size, _n_rows(guide))
        if _n_rows(guide) < min(used, _n_rows(model)):
            raise VocabularyError(
                f"The guide {name!r} has {_n_rows(guide)} token ids; the base {base_id} uses {used}.",
                hint="A guide needs the base's vocabulary.",
            )
        ids = list(range(min(used, len(guide_tokenizer), size)))
        pairs = zip(tokenizer.convert_ids_to_tokens(ids), guide_tokenizer.convert_ids_to_tokens(ids), strict=True)
        for index, (ours, theirs) in enumerate(pairs):
            if ours != theirs:
                raise VocabularyError(
                    f"The guide {name!r} has {theirs!r} as token {index}; the base {base_id} has {ours!r}.",
                    hint="A guide needs the base's vocabulary; only extra ids at its end are allowed.",
                )
        if len(ids) < min(used, size):
            raise VocabularyError(
                f"The guide {name!r} has no token {len(ids)}; the base {base_id} has "
                f"{tokenizer.convert_ids_to_tokens(len(ids))!r}.",
                hint="A guide needs the base's vocabulary; only extra ids at its end are allowed.",
            )
    return size


def _n_rows(model: PreTrainedModel) -> int:
    embeddings = model.get_output_embeddings()
    # a head whose weight was taken over by a joined forward pass still knows its size
    return int(embeddings.out_features if isinstance(embeddings, nn.Linear) else embeddings.weight.shape[0])
