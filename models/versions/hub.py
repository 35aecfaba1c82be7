"""Pushing a version to the Hugging Face Hub, with a model card."""

import json
import tempfile
from pathlib import Path

import huggingface_hub
from huggingface_hub import errors as hub_errors

from models.guides import CARD_NAME, is_model_file
from models.training.ancestry import TRAINED_PROMPTS
from models.versions.files import copy_synced
from models.versions.registry import Version
from steering.errors import InputError, LoadError

# What a card says of the machine and the people a guide comes from stays here.
_PRIVATE = ("command", "data_ids", TRAINED_PROMPTS)

_PUBLIC_METRICS = (
    "accuracy", "low", "high", "n_pairs", "before", "by_length", "longer_wins", "calibration_error", "mean_loss",
    "reward_length_correlation", "margin_length_correlation", "n_steps", "n_steps_planned", "best_step", "layout",
    "calibration", "seconds",
)  # fmt: skip

_CARD = """---
{license}base_model: {base}
library_name: {library}
tags: [tiller, genarm, autoregressive-reward-model]
---

# {name}

A guide for {dimension}: an autoregressive reward model (GenARM, Xu et al., ICLR 2025,
[arXiv 2410.08193](https://arxiv.org/abs/2410.08193)) that steers `{base}` while
it decodes. It is no chat model by itself.

{facts}

Mixed with the base token by token, log-probability by log-probability: weight 1 stands for the exponent {unit:g}.
"""


def push(version: Version, repo_id: str, *, private: bool = False) -> str:
    """Upload a version's files to the Hub repository ``repo_id``, which is made if there is none; returns its address.

    Raises:
        InputError: the version is on the Hub already, or ``repo_id`` is no name.
        LoadError: the Hub refuses or cannot be reached.
    """
    if version.folder is None:
        raise InputError(f"{version.name} is on the Hub: {version.spec.source.id}.", hint="Push another version.")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file in sorted(filter(is_model_file, version.folder.iterdir())):
            copy_synced(file, folder / file.name)
        path = version.folder / CARD_NAME
        card = json.loads(path.read_text("utf-8")) if path.exists() else {}
        public = {key: value for key, value in card.items() if key not in _PRIVATE}
        metrics = card.get("metrics") or {}
        public["metrics"] = {name: metrics[name] for name in _PUBLIC_METRICS if name in metrics}
        (folder / CARD_NAME).write_text(json.dumps(public, ensure_ascii=False, indent=1), "utf-8")
        (folder / "README.md").write_text(model_card(version), "utf-8")
        try:
            made = huggingface_hub.create_repo(repo_id, private=private, exist_ok=True)
            huggingface_hub.upload_folder(
                repo_id=repo_id, folder_path=folder, commit_message=f"{version.name} ({card.get('hash', '')[:12]})"
            )
        except hub_errors.HFValidationError as error:
            raise InputError(
                f"{repo_id!r} is no name of a repository: {error}.", hint="Write, say, me/guide."
            ) from error
        except Exception as error:  # every version of huggingface_hub has another HTTP library, with errors of its own
            raise LoadError(
                f"{version.name} could not be pushed to {repo_id}: {error}.",
                hint="Log in with `hf auth login` as somebody who may write there.",
            ) from error
    return str(made)


def model_card(version: Version) -> str:
    """The README of a pushed version: what it is, what is known of it, and how to use it."""
    card = version.card
    facts = {
        "preference pairs it was trained on": card.n_pairs,
        "held-out pair accuracy": card.held_out_accuracy,
        "beta of the training loss": card.beta,
        "trained from version": card.parent_version,
        "made": card.created_at,
        "sha256 of its files": card.hash,
    }
    lines = [f"- {name}: {value}" for name, value in facts.items() if value is not None]
    is_lora = version.folder is not None and (version.folder / "adapter_config.json").exists()
    return _CARD.format(
        license=f"license: {card.licence.lower()}\n" if card.licence else "",
        base=card.base_id,
        library="peft" if is_lora else "transformers",
        name=card.id or version.name,
        dimension=version.dimension,
        facts="\n".join(lines),
        unit=card.unit or 1.0,
    )
