"""One training run from data to a guide's folder."""

import gc
import hashlib
import json
import logging
import platform
import shutil
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from models.assembly import load_engine
from models.files import write_whole
from models.guides import CARD_NAME, GuideCard, hash_files, read_card
from models.loading import choose_placement, context_length, fetch
from models.presets import PRESET_NAMES, GuideSpec, Preset, Source, load_preset
from models.training.ancestry import TRAINED_PROMPTS, seen_by
from models.training.batches import choose_layout
from models.training.calibrate import ENGINE_OPTIONS, calibrate
from models.training.data import Split
from models.training.encoding import Encoder
from models.training.evaluate import accuracy, metrics
from models.training.loss import LossKind
from models.training.order import training_order
from models.training.processes import StopFlag, is_first, own_place
from models.training.rows import Preference, read_rows
from models.training.run_folder import RunFolder, read_progress
from models.training.settings import TrainSettings
from models.training.trainee import Trainee, load_trainee
from models.training.trainer import GuideTrainer, Lesson, make_trainer
from steering.errors import SettingsError
from steering.types import Message

logger = logging.getLogger(__name__)

_NOT_CHOSEN = (
    "Only one prompt is held out, so nothing chose a checkpoint: the training went to its end as with patience 0."
)
_LIBRARIES = ("torch", "transformers", "peft", "accelerate", "tokenizers", "safetensors")


@dataclass(frozen=True)
class Base:
    """The model that is trained on, and what records call it."""

    source: Source
    folder: Path
    chat_template: str | None


def train(settings: TrainSettings, command: str, *, resume: bool = False, stop: StopFlag | None = None) -> Path:
    """Train a guide; returns its folder ``settings.out / "guide"``, which appears whole.

    Args:
        settings: the run.
        command: the command line, for the card.
        resume: go on with a run that was killed or cancelled, to the result it would have had.
        stop: set by somebody else to cancel.

    Raises:
        Cancelled: ``stop`` was set; the run can be resumed.
        InputError: settings or data cannot be used.
        LoadError: a model cannot be loaded.
    """
    stop = stop or StopFlag()
    folder = RunFolder(settings.out, writes=is_first())
    asked = {**settings.as_json(), "out": settings.out.name, "sha256_of_data": _hash_data(settings)}
    with folder.begun(asked, resume=resume) as is_made:
        if is_made:
            _say_finished(folder)
            return folder.guide
        with folder.last_word():
            folder.say("resumed" if resume else "started", command=command)
            return _train(settings, command, folder, stop)


def _train(settings: TrainSettings, command: str, folder: RunFolder, stop: StopFlag) -> Path:
    began = time.monotonic()
    base = _base(settings)
    placement = own_place(choose_placement("auto", settings.optimiser.dtype))
    trainee = load_trainee(base.folder, placement, settings.adapter, settings.parent, settings.optimiser.seed)
    split, lesson = _lesson(settings, base, trainee)
    folder.say("data", **split.report.as_json(), layout=lesson.layout.value)
    stop.check()
    trainer = make_trainer(trainee, lesson, settings.optimiser, folder, stop)
    before = _run(trainer, folder)
    folder.say("stage", stage="evaluating")
    found = {
        **metrics(trainer.score(lesson.held_out), settings.loss.beta),
        "before": before,
        "n_choosing": len(lesson.choosing),
        **_note(settings, lesson),
        "n_steps": trainer.state.global_step,
        "n_steps_planned": trainer.state.max_steps,
        "best_step": trainer.kept_step,
        "data": split.report.as_json(),
        "layout": lesson.layout.value,
    }
    stop.check(trainer.args.device)
    aside = folder.path / "guide.new"
    # where the model is sharded every process has to help to put it together
    state = trainer.accelerator.get_state_dict(trainer.model)
    if folder.writes:
        shutil.rmtree(aside, ignore_errors=True)
        trainee.save(aside, base.source.label, state)
    del state, trainer, trainee, lesson
    gc.collect()
    if folder.writes:
        _finish(settings, base, split, aside, found, folder, stop, command, began)
    return folder.guide


def _hash_data(settings: TrainSettings) -> str:
    """The hash over all data, by which a run knows that it goes on with what it began with."""
    digest = hashlib.sha256()
    for path in (*settings.data, *settings.replay):
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        for file in files:
            try:
                digest.update(f"{file.name}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
            except OSError as error:
                raise SettingsError(f"{file} cannot be read: {error}.", hint="Check --data and --replay.") from error
    return digest.hexdigest()


def _base(settings: TrainSettings) -> Base:
    if settings.base in PRESET_NAMES:
        preset = load_preset(settings.base)
        source, template = preset.base, settings.chat_template or preset.chat_template
    else:
        path = Path(settings.base)
        source = Source(str(path.resolve()) if path.is_dir() else settings.base, name=settings.base_id)
        template = settings.chat_template
    if settings.base_id:
        source = Source(source.id, source.revision, settings.base_id)
    return Base(source, fetch(source), template)


def _lesson(settings: TrainSettings, base: Base, trainee: Trainee) -> tuple[Split, Lesson]:
    limits = (context_length(trainee.inner), settings.choice)
    encoder = Encoder(trainee.tokenizer, trainee.eos_token_id, base.chat_template, *limits)
    judged_as = settings.judged_as or settings.dimension
    read, earlier = (read_rows(paths, judged_as) for paths in (settings.data, settings.replay))
    pairs_only = settings.loss.kind is not LossKind.UNPAIRED
    seen = seen_by(settings.parent)
    split = encoder.choose(read, earlier, pairs_only=pairs_only, seen=seen)
    examples = encoder.examples([*split.train, *split.replayed])
    optimiser = settings.optimiser
    layout = choose_layout(examples, trainee.inner, trainee.pad_token_id)
    order = training_order(examples, optimiser.epochs, optimiser.batch_size, optimiser.seed, layout)
    choosing, reporting = map(encoder.examples, _halves(settings, split))
    return split, Lesson(order, choosing, reporting, settings.loss, layout)


def _halves(settings: TrainSettings, split: Split) -> tuple[list[Preference], list[Preference]]:
    """The held-out pairs that choose a checkpoint, none where nothing is chosen, and those that report on it."""
    return split.halves(settings.choice.seed) if settings.optimiser.patience else ([], split.held_out)


def _note(settings: TrainSettings, lesson: Lesson) -> dict[str, str]:
    """What the card says where a checkpoint was to be chosen and could not."""
    if lesson.choosing or not settings.optimiser.patience:
        return {}
    logger.warning(_NOT_CHOSEN)
    return {"note": _NOT_CHOSEN}


class _Before(TrainerCallback):
    """Measures what base or parent say of the held-out pairs before the first step, when a sharded model is sharded."""

    def __init__(self, trainer: GuideTrainer, folder: RunFolder) -> None:
        self._trainer, self._folder = trainer, folder
        told = (event for event in read_progress(folder.path) if event["event"] == "before")
        self.found: dict[str, Any] = {
            name: event[name] for event in told for name in ("accuracy", "low", "high", "n_pairs")
        }

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """The model is ready, and its weights are the first or those of a checkpoint."""
        if state.global_step:
            return
        found = accuracy(self._trainer.score(self._trainer.lesson.held_out))
        if not self.found:
            self._folder.say("before", **found)
            logger.info("Held-out accuracy before: %.3f.", found["accuracy"])
        self.found = found


def _run(trainer: GuideTrainer, folder: RunFolder) -> dict[str, Any]:
    """Train; returns what base or parent said of the held-out pairs when the run began."""
    before = _Before(trainer, folder)
    trainer.add_callback(before)
    checkpoint = folder.newest_checkpoint()
    if checkpoint is None:
        trainer.train()
    elif not trainer.begin_again(checkpoint):
        trainer.train(resume_from_checkpoint=str(checkpoint))
    return before.found


def _finish(
    settings: TrainSettings,
    base: Base,
    split: Split,
    aside: Path,
    found: dict[str, Any],
    folder: RunFolder,
    stop: StopFlag,
    command: str,
    began: float,
) -> None:
    """Calibrate the guide in ``aside``, write its card, and rename it into place."""
    unit = 1.0
    if settings.calibration.n_prompts:
        folder.say("stage", stage="calibrating")
        unit, found["calibration"] = _calibrate(settings, base, aside, split, stop)
    found["seconds"] = round(time.monotonic() - began, 1)
    card = _card(settings, base, split, found, unit, command)
    lines = [json.dumps(line) for line in _pair_lines(split, *_halves(settings, split))]
    (aside / "pairs.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_whole(aside / CARD_NAME, json.dumps({**card, "hash": hash_files(aside)}, indent=1) + "\n")
    stop.check()
    aside.rename(folder.guide)
    _say_finished(folder)


def _say_finished(folder: RunFolder) -> None:
    """Tell of the guide that is in place; what the training went on from is no longer needed."""
    if not folder.writes:
        return
    card = read_card(folder.guide)
    figures = {name: card.metrics[name] for name in ("accuracy", "low", "high")}
    folder.say("finished", guide=str(folder.guide), unit=card.unit, **figures)
    shutil.rmtree(folder.checkpoints, ignore_errors=True)


def _calibrate(
    settings: TrainSettings, base: Base, guide: Path, split: Split, stop: StopFlag
) -> tuple[float, dict[str, Any]]:
    spec = GuideSpec(Source(str(guide.resolve())), dimension=settings.dimension, unit=1.0)
    preset = Preset("calibration", base.source, (spec,), None, base.chat_template)
    prompts: dict[str, tuple[Message, ...]] = {each.prompt_key: each.messages for each in split.held_out}
    stop.check()
    engine = load_engine(preset, dtype=settings.optimiser.dtype, options=ENGINE_OPTIONS)
    try:
        longest = engine.base.context_length - settings.calibration.n_tokens
        fitting = (each for each in prompts.values() if len(engine.prompt_token_ids(each)) <= longest)
        chosen = list(islice(fitting, settings.calibration.n_prompts))
        if not chosen:
            note = f"No held-out prompt leaves room for {settings.calibration.n_tokens} tokens; the unit is 1."
            logger.warning(note)
            return 1.0, {**asdict(settings.calibration), "n_prompts": 0, "note": note}
        calibration = calibrate(engine, chosen, settings.calibration, stop.check)
    finally:
        engine.close()
    return calibration.unit, {**asdict(calibration), **asdict(settings.calibration), "n_prompts": len(chosen)}


def _card(
    settings: TrainSettings, base: Base, split: Split, found: dict[str, Any], unit: float, command: str
) -> dict[str, Any]:
    parent = read_card(settings.parent) if settings.parent else GuideCard()
    number = settings.version or (parent.version or 0) + 1
    trained = [*split.train, *split.replayed]
    libraries = {name: version(name) for name in _LIBRARIES}
    return {
        "id": f"{base.source.label}-{settings.dimension}-v{number}",
        "dimension": settings.dimension,
        "version": number,
        "base_id": base.source.label,
        "beta": settings.loss.beta,
        "unit": unit,
        "parent_version": parent.version if settings.parent else None,
        "parent_hash": hash_files(settings.parent) if settings.parent else None,
        "n_pairs": len(trained),
        "held_out_accuracy": found["accuracy"],
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "licence": settings.licence,
        "data_ids": [each.id for each in trained],
        TRAINED_PROMPTS: seen_by(settings.parent).with_prompts_of(trained),
        "command": command,
        "metrics": found,
        "versions": libraries | {"python": platform.python_version()},
    }


def _pair_lines(split: Split, choosing: list[Preference], reporting: list[Preference]) -> list[dict[str, Any]]:
    """Which preference was trained on and which tested on, without anybody's words."""
    halves = (("train", split.train), ("replayed", split.replayed), ("choosing", choosing), ("held_out", reporting))
    return [{"id": each.id, "half": name, "source": each.source} for name, half in halves for each in half]
