"""Train a guide from preference pairs, on a base model that stays as it is.

DATA are .jsonl or .parquet files of TRL's preference rows (prompt, chosen, rejected; as texts or as messages), of its
unpaired ones (prompt, completion, label), or folders that `python -m ui.cli export` wrote. The run's folder OUT has
progress.jsonl from the start and guide/ when all is done; --resume goes on after a kill. docs/training.md says more.
"""

import argparse
import logging
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from models.training.data import DataSettings
from models.training.loss import LossKind, LossSettings
from models.training.processes import Cancelled, StopFlag, is_first, launcher, leave_with
from models.training.run import train
from models.training.settings import (
    DTYPES,
    AdapterSettings,
    CalibrationSettings,
    OptimiserSettings,
    TrainSettings,
)
from steering.errors import InputError, SettingsError, TillerError

logger = logging.getLogger("models.training")

_CANCELLED = 128 + signal.SIGTERM


def main(argv: Sequence[str] | None = None) -> int:
    """Run a training; returns the exit code: 0, 2 for bad input, 1 for other trouble, 143 when cancelled by SIGTERM."""
    given = list(sys.argv[1:] if argv is None else argv)
    arguments = _parser().parse_args(given)
    level = logging.INFO if is_first() else logging.WARNING
    logging.basicConfig(level=level, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    stop = StopFlag(parent=launcher())
    if stop.parent is not None:
        leave_with(stop.parent)

    def set_stop(*_: object) -> None:
        stop.is_set = True

    signal.signal(signal.SIGTERM, set_stop)
    _leave_cores()
    command = shlex.join(["python", "-m", "models.training.train", *given])
    try:
        guide = train(_settings(arguments), command, resume=arguments.resume, stop=stop)
    except Cancelled:
        logger.info("Cancelled; --resume goes on.")
        return _CANCELLED
    except TillerError as error:
        logger.error("%s", error)
        return 2 if isinstance(error, InputError) else 1
    logger.info("The guide is in %s.", guide)
    return 0


def _leave_cores() -> None:
    """Compute with half of the cores unless OMP_NUM_THREADS says otherwise: the application answers on the others.

    Threads wait for each other at every operation, so beside another busy process two on two cores were ten times
    slower than one (docs/log.md). Sets torch's global number; this process does nothing else.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() // 2))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m models.training.train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument_group("what").add_argument
    add("--base", required=True, help="the base model: a preset's name, a folder or a Hub id")
    add(
        "--base-id",
        help="what records call the base (default: the preset's name for it, the Hub id, the folder's name)",
    )
    add("--data", required=True, nargs="+", type=Path, metavar="DATA", help="files or export folders of preferences")
    add("--dimension", required=True, help="what the guide shall prefer; rows that name another are left out")
    add("--judged-as", help="use rows of this dimension, such as overall (default: the guide's)")
    add("--out", required=True, type=Path, help="folder of this run, new")
    add("--resume", action="store_true", help="go on with the run in OUT, to the result it would have had")
    add("--parent", type=Path, help="folder of a guide to train further")
    add("--replay", nargs="+", type=Path, default=[], metavar="DATA", help="the parent's data, mixed in")
    add("--version", type=int, default=0, help="number of the guide (default: the parent's and one more)")
    add("--licence", help="licence of the guide, for its card")
    add("--chat-template", type=Path, help="file with a Jinja chat template in place of the tokenizer's own")
    _add_all(parser.add_argument_group("data"), DataSettings(), _DATA_HELP)
    group = parser.add_argument_group("loss")
    group.add_argument(
        "--loss",
        choices=[kind.value for kind in LossKind],
        default=LossKind.PAIRWISE.value,
        help="pairwise; robust against a known share of flipped labels; unpaired (BCO) (default: %(default)s)",
    )
    _add_all(group, LossSettings(), _LOSS_HELP)
    group = parser.add_argument_group("model")
    _add_all(group, AdapterSettings(), _ADAPTER_HELP)
    default = ",".join(AdapterSettings().targets)
    group.add_argument("--targets", default=default, help="layers to adapt, by comma (default: %(default)s)")
    group = parser.add_argument_group("optimiser")
    _add_all(group, OptimiserSettings(), _OPTIMISER_HELP)
    group.add_argument("--gradient-checkpointing", action="store_true", help="compute more, remember less")
    group.add_argument("--dtype", choices=DTYPES, default="auto", help="of products and frozen weights (default: auto)")
    _add_all(parser.add_argument_group("calibration"), CalibrationSettings(), _CALIBRATION_HELP)
    return parser


_DATA_HELP = {
    "max_prompt_tokens": "longer prompts are left out",
    "max_response_tokens": "pairs with a longer response are left out",
    "max_per_prompt": "at most so many per prompt to train on; 0: all",
    "max_per_annotator": "at most so many per annotator; 0: all",
    "min_reliability": "annotators with a lower share of right gold answers are left out; 0: none",
    "held_out_share": "share of the prompts to test on, where an export has no test.*",
    "max_held_out": "at most so many pairs to test on",
    "max_held_out_per_prompt": "and so many of them per prompt; 0: all",
    "replay_share": "pairs of --replay per new pair",
}
_LOSS_HELP = {
    "beta": "how much a nat of log-prob counts",
    "label_smoothing": "share of labels believed to be flipped",
    "margin": "what beta times the difference has to exceed",
}
_ADAPTER_HELP = {"rank": "of the adapter; 0: train the whole model", "lora_alpha": "scaling is this over the rank"}
_OPTIMISER_HELP = {
    "learning_rate": "at its highest",
    "epochs": "how often every pair is seen",
    "batch_size": "pairs per step",
    "micro_batch_size": "pairs computed at a time; 0: all of a step's",
    "warmup_share": "share of the steps over which the learning rate rises",
    "weight_decay": "of AdamW",
    "max_grad_norm": "gradients are cut to this length",
    "eval_share": "share of the training between two evaluations and checkpoints",
    "patience": "evaluations without a better accuracy before it ends; 0: it goes to its end",
    "seed": "of the order, the split and the first weights",
}
_CALIBRATION_HELP = {
    "target_nats": "KL per token that weight 1 shall cost",
    "n_prompts": "held-out prompts to measure on; 0: no calibration",
    "n_tokens": "tokens per prompt",
}


def _add_all(group: Any, defaults: object, helps: dict[str, str]) -> None:
    """Add an option for each of these fields, of its type and with its default."""
    for name, text in helps.items():
        value = getattr(defaults, name)
        group.add_argument(
            f"--{name.replace('_', '-')}", type=type(value), default=value, help=f"{text} (default: %(default)s)"
        )


def _settings(arguments: argparse.Namespace) -> TrainSettings:
    def taken(settings: type, /, **more: Any) -> Any:
        names = {field.name for field in fields(settings)} & vars(arguments).keys()
        return settings(**{**{name: getattr(arguments, name) for name in names}, **more})

    try:
        template = arguments.chat_template.read_text(encoding="utf-8") if arguments.chat_template else None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"The chat template cannot be read: {error}.", hint="Check the path.") from error
    made: TrainSettings = taken(
        TrainSettings,
        data=tuple(arguments.data),
        replay=tuple(arguments.replay),
        chat_template=template,
        choice=taken(DataSettings),
        loss=taken(LossSettings, kind=LossKind(arguments.loss)),
        adapter=taken(AdapterSettings, targets=tuple(arguments.targets.split(","))),
        optimiser=taken(OptimiserSettings),
        calibration=taken(CalibrationSettings),
    )
    return made


if __name__ == "__main__":
    sys.exit(main())
