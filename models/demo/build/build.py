"""The steps of a build, each done once: data, tokenizer, base model, guides, card."""

import json
import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from models.demo.build.card import card_text
from models.demo.build.documents import NAME, prepare_documents
from models.demo.build.pairs import held_out_prompts, prepare_pairs
from models.demo.build.pretraining import Pretraining, make_model, plan_steps, save_base, validation_loss
from models.demo.build.rows import Row, read_rows
from models.demo.build.settings import BASE_ID, DIMENSIONS, BuildSettings
from models.demo.build.split import Part, prompt_key
from models.demo.build.tokens import read_ids, train_tokenizer, write_ids
from models.files import write_whole
from models.guides import CARD_NAME
from models.loading import Placement, choose_placement, context_length, load_model, load_tokenizer
from models.training.run import train
from models.training.run_folder import RunFolder
from models.training.settings import TrainSettings
from steering.errors import InputError

logger = logging.getLogger("models.demo.build")

MOST_BYTES, MOST_FILE_BYTES = 64_000_000, 16_000_000
WORK, CARD = "work", "CARD.md"


def build(settings: BuildSettings, command: str) -> Path:
    """Build the embedded model into ``settings.out``, or go on with what is there; returns its card.

    Raises:
        InputError: settings or data cannot be used, or what is there was begun with others.
        LoadError: the device is not there.
    """
    work = settings.out / WORK
    folder = RunFolder(work)
    with folder.begun({**settings.as_json(), "bytes_of_data": _sizes(settings.data)}, resume=True):
        steps = _Steps(settings, folder, command)
        found: dict[str, Any] = {}
        for name, step in (
            ("pairs", steps.pairs),
            ("documents", steps.documents),
            ("tokenizer", steps.tokenizer),
            ("base", steps.base),
            *((f"guide_{dimension}", lambda each=dimension: steps.guide(each)) for dimension in DIMENSIONS),
        ):
            found[name] = _once(folder, name, step)
        sizes = weight_sizes(settings.out)
        write_whole(settings.out / CARD, card_text(settings, found, sum(sizes.values()), command))
    return settings.out / CARD


def weight_sizes(out: Path) -> dict[str, int]:
    """Return the bytes of every file of weights by its path in the folder of a build.

    Raises:
        InputError: they are too many to be kept with the code.
    """
    folders = [out / "base", *(out / "guides" / dimension for dimension in DIMENSIONS)]
    files = [file for folder in folders for file in sorted(folder.glob("*.safetensors"))]
    sizes = {file.relative_to(out).as_posix(): file.stat().st_size for file in files}
    if sum(sizes.values()) > MOST_BYTES or max(sizes.values()) > MOST_FILE_BYTES:
        raise InputError(
            f"The weights take {sum(sizes.values())} bytes, the largest file {max(sizes.values())}; at most "
            f"{MOST_BYTES} and {MOST_FILE_BYTES} are kept with the code.",
            hint="Use a smaller size.",
        )
    return sizes


class _Steps:
    """What each step does; all return what the card says of it."""

    def __init__(self, settings: BuildSettings, folder: RunFolder, command: str) -> None:
        self._settings, self._folder, self._command = settings, folder, command
        self._size, self._seed = settings.shape, settings.seed
        self._work, self._base = folder.path, settings.out / "base"

    def pairs(self) -> dict[str, Any]:
        return prepare_pairs(self._settings.data, self._work / "pairs", self._seed)

    def documents(self) -> dict[str, Any]:
        prompts = held_out_prompts(self._work / "pairs")
        tested = {prompt_key(row["prompt"]) for rows in prompts.values() for row in rows}
        return prepare_documents(self._settings.data, self._work / "documents", tested, self._seed)

    def tokenizer(self) -> dict[str, Any]:
        size = self._size
        if self._settings.base:
            shutil.copytree(self._settings.base, self._base, dirs_exist_ok=True)
        else:
            train_tokenizer(self._documents("train"), size.vocabulary_size, self._base, size.context_length)
        tokenizer = load_tokenizer(self._base)
        counts = {
            f"n_{half}_tokens": write_ids(tokenizer, self._documents(half), self._ids(half))
            for half in ("train", "validation")
        }
        return {"n_vocabulary": len(tokenizer), **counts}

    def base(self) -> dict[str, Any]:
        placement = choose_placement(self._settings.device)
        if self._settings.base:
            return self._described(load_model(self._base, placement), placement)
        ids = read_ids(self._ids("train"))
        steps = plan_steps(len(ids), self._size, self._settings.tokens_to_read, self._seed)
        model = make_model(self._size, len(load_tokenizer(self._base)), self._seed)
        training = Pretraining(self._size, model, steps, placement, self._work / "base.checkpoint")
        training.run(ids, self._folder.say)
        found = self._described(training.model, placement)
        save_base(training.model, self._base)
        n_tokens = sum(step.length * len(step.starts) for step in steps)
        return {**found, "n_tokens_read": n_tokens, "n_steps": len(steps)}

    def _described(self, model: PreTrainedModel, placement: Placement) -> dict[str, Any]:
        length = self._size.lengths[-1][1]
        loss = validation_loss(model, read_ids(self._ids("validation")), length, placement)
        return {
            "n_parameters": sum(weight.numel() for weight in model.parameters()),
            "n_layers": model.config.num_hidden_layers,
            "width": model.config.hidden_size,
            "context_length": context_length(model),
            "validation_loss": round(loss, 4),
            "device": placement.device.type,
            "dtype": str(placement.dtype).removeprefix("torch."),
        }

    def guide(self, dimension: str) -> dict[str, Any]:
        out, run = self._settings.out / "guides" / dimension, self._work / "runs" / dimension
        size = self._size
        if not (run / "guide").exists():
            settings = TrainSettings(
                base=str(self._base),
                dimension=dimension,
                data=(self._work / "pairs" / dimension / Part.GUIDES,),
                out=run,
                base_id=BASE_ID,
                licence="Apache-2.0",
                choice=size.choice,
                loss=size.loss,
                adapter=size.adapter,
                optimiser=replace(size.optimiser, epochs=size.epochs[dimension]),
                calibration=size.calibration,
            )
            train(settings, self._command, resume=True)
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(run / "guide", out)
        card = json.loads((out / CARD_NAME).read_text(encoding="utf-8"))
        metrics = card["metrics"]
        return {
            "accuracy": card["held_out_accuracy"],
            "interval": [metrics["low"], metrics["high"]],
            "n_held_out": metrics["n_pairs"],
            "before": metrics["before"]["accuracy"],
            "longer_wins": metrics["longer_wins"],
            "n_pairs": card["n_pairs"],
            "unit": card["unit"],
        }

    def _documents(self, half: str) -> list[Row]:
        return list(read_rows(self._work / "documents", f"{half}.jsonl"))

    def _ids(self, half: str) -> Path:
        return self._work / f"{half}.safetensors"


def _sizes(data: Path) -> dict[str, int]:
    """The bytes of the data's files, which tell one state of the data from another."""
    names = [NAME, *(f"pairs_{dimension}.jsonl" for dimension in DIMENSIONS)]
    files = [path for name in names for path in (data / name, data / f"{name}.xz") if path.exists()]
    return {file.name: file.stat().st_size for file in files}


def _once(folder: RunFolder, name: str, step: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Do a step, or read what it found when it was done."""
    marker = folder.path / f"{name}.json"
    if not marker.exists():
        logger.info("Step %s begins.", name)
        began = time.monotonic()
        found = step()
        found["seconds"] = round(time.monotonic() - began, 1)
        write_whole(marker, json.dumps(found, indent=1) + "\n")
        folder.say("done", what=name, **found)
        logger.info("Step %s is done: %s", name, json.dumps(found)[:600])
    done: dict[str, Any] = json.loads(marker.read_text(encoding="utf-8"))
    return done
