"""Train a reward model that judges whole responses: a number for a response, from the same preference pairs as guides.

It takes no part in steering and in the training of guides. Trained on other pairs than they, it says whether a slider
does what its name says. It is transformers' sequence classification with one output on the base model, trained as a
whole with the Bradley-Terry loss. DATA is what `python -m models.training.train` takes; docs/embedded-model.md has an
example.
"""

import argparse
import json
import logging
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from models.loading import choose_placement, context_length, fetch
from models.presets import PRESET_NAMES, Source, load_preset
from models.training.batches import Example, Layout
from models.training.data import DataSettings, Split
from models.training.encoding import Encoder
from models.training.evaluate import Scored, accuracy
from models.training.order import training_order
from models.training.reward_model import CARD_NAME, RewardModel, load_classifier
from models.training.rows import RowsRead, read_rows
from steering.errors import InputError, SettingsError, TillerError

logger = logging.getLogger("models.training.reward")

# Bradley-Terry knows only differences; this much of the squared sum keeps rewards around 0 (Eisenstein et al. 2023).
_CENTRING = 0.01
_WARMUP_SHARE = 0.1


@dataclass(frozen=True)
class RewardSettings:
    """A training of a reward model.

    Args:
        base: a preset's name, a folder or a Hub id.
        dimension: what it judges.
        data: files or folders of preference pairs.
        out: folder of the reward model, new.
        choice: which pairs are used and how they are split.
        learning_rate: of AdamW at its highest; it rises over a tenth of the steps and falls linearly to 0.
        epochs: how often every pair is seen.
        batch_size: pairs per step.
        seed: of the order and of the output's first weights.

    Raises:
        SettingsError: a value is outside its range.
    """

    base: str
    dimension: str
    data: tuple[Path, ...]
    out: Path
    choice: DataSettings = field(default_factory=DataSettings)
    learning_rate: float = 1e-4
    epochs: float = 2.0
    batch_size: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("learning_rate", "epochs", "batch_size"):
            if not 0 < getattr(self, name) < float("inf"):
                raise SettingsError(f"{name} is {getattr(self, name)}; it must be above 0.", hint="Raise it.")
        if not self.data:
            raise SettingsError("There is no data.", hint="Name files with --data.")


def train_reward(settings: RewardSettings) -> dict[str, Any]:
    """Train a reward model into ``settings.out``, which appears whole; returns its card.

    Raises:
        InputError: settings or data cannot be used.
        LoadError: the base cannot be loaded.
    """
    if settings.out.exists():
        raise SettingsError(f"{settings.out} is there already.", hint="Give another --out.")
    judge = _begin(settings)
    split, (examples, held_out) = _examples(settings, judge)
    order = training_order(examples, settings.epochs, settings.batch_size, settings.seed, Layout.APART)
    before = _accuracy(judge, held_out)
    logger.info("%d pairs to train on, %d to test on; accuracy before %.3f", len(examples), len(held_out), before[0])
    _train(judge, order, settings)
    after = _accuracy(judge, held_out)
    card = {
        "dimension": settings.dimension,
        "base": settings.base if settings.base in PRESET_NAMES else Path(settings.base).name,
        "held_out_accuracy": after[0],
        "interval": after[1:],
        "n_held_out": len(held_out),
        "accuracy_before": before[0],
        "n_pairs": len(examples),
        "learning_rate": settings.learning_rate,
        "epochs": settings.epochs,
        "batch_size": settings.batch_size,
        "seed": settings.seed,
        "choice": asdict(settings.choice),
        "data": split.report.as_json(),
    }
    _save(judge, settings.out, card)
    return card


def _begin(settings: RewardSettings) -> RewardModel:
    if settings.base in PRESET_NAMES:
        preset = load_preset(settings.base)
        source, template = preset.base, preset.chat_template
    else:
        path = Path(settings.base)
        source, template = Source(str(path.resolve()) if path.is_dir() else settings.base), None
    return load_classifier(fetch(source), choose_placement(), template, settings.seed)


def _examples(settings: RewardSettings, judge: RewardModel) -> tuple[Split, tuple[list[Example], list[Example]]]:
    limit = context_length(judge.model)
    encoder = Encoder(judge.tokenizer, judge.eos_token_id, judge.chat_template, limit, settings.choice)
    read = read_rows(settings.data, settings.dimension)
    split = encoder.choose(read, RowsRead(), pairs_only=True)
    return split, (encoder.examples(split.train), encoder.examples(split.held_out))


def _rows(pairs: Sequence[Example]) -> list[tuple[int, ...]]:
    """Chosen and rejected of each pair in turn, behind their prompts."""
    return [(*pair.prompt, *response) for pair in pairs for response in pair.responses]


def _accuracy(judge: RewardModel, pairs: Sequence[Example]) -> tuple[float, float, float]:
    """Return the share of pairs whose chosen response gets the higher reward, with its interval."""
    rewards = judge.score_rows(_rows(pairs))
    scored = [
        Scored(pair.source, chosen, rejected, *map(len, pair.responses))
        for pair, chosen, rejected in zip(pairs, rewards[0::2], rewards[1::2], strict=True)
    ]
    found = accuracy(scored)
    return found["accuracy"], found["low"], found["high"]


def _train(judge: RewardModel, order: Sequence[Example], settings: RewardSettings) -> None:
    starts = range(0, len(order), settings.batch_size)
    n_steps, n_warmup = len(starts), max(1, round(_WARMUP_SHARE * len(starts)))
    optimiser = torch.optim.AdamW(judge.model.parameters(), lr=settings.learning_rate, weight_decay=0.01)

    def share(step: int) -> float:
        return min((step + 1) / n_warmup, (n_steps - step) / max(1, n_steps - n_warmup))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, share)
    judge.model.train()
    for step, start in enumerate(starts):
        rewards = judge.rewards(_rows(order[start : start + settings.batch_size]))
        chosen, rejected = rewards[0::2], rewards[1::2]
        loss = (-F.logsigmoid(chosen - rejected) + _CENTRING * (chosen + rejected).square()).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(judge.model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        schedule.step()
        if step % max(1, n_steps // 10) == 0:
            logger.info("step %d of %d, loss %.3f", step + 1, n_steps, float(loss.detach()))
    judge.model.eval()


def _save(judge: RewardModel, out: Path, card: dict[str, Any]) -> None:
    aside = out.with_name(f"{out.name}.new")
    shutil.rmtree(aside, ignore_errors=True)
    judge.model.save_pretrained(aside)
    if judge.chat_template is not None:
        judge.tokenizer.chat_template = judge.chat_template
    judge.tokenizer.save_pretrained(aside)
    (aside / CARD_NAME).write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    aside.rename(out)


def main(argv: Sequence[str] | None = None) -> int:
    """Train a reward model and print its card as JSON; returns 0, 2 for bad input, 1 for every other trouble."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    given = vars(arguments)
    names = [name for name in _HELP if hasattr(DataSettings, name)]
    try:
        choice = DataSettings(**{name: given.pop(name) for name in names}, seed=given["seed"])
        card = train_reward(RewardSettings(**{**given, "data": tuple(given["data"])}, choice=choice))
    except TillerError as error:
        logger.error("%s", error)
        return 2 if isinstance(error, InputError) else 1
    sys.stdout.write(json.dumps(card) + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m models.training.reward",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--base", required=True, help="the base model: a preset's name, a folder or a Hub id")
    add("--data", required=True, nargs="+", type=Path, metavar="DATA", help="files or export folders of preferences")
    add("--dimension", required=True, help="what it shall judge; rows that name another are left out")
    add("--out", required=True, type=Path, help="folder of the reward model, new")
    for name, text in _HELP.items():
        default = getattr(RewardSettings, name, None) or getattr(DataSettings, name)
        option = f"--{name.replace('_', '-')}"
        add(option, type=type(default), default=default, help=f"{text} (default: %(default)s)")
    add("--seed", type=int, default=0, help="of the order, the split and the first weights (default: 0)")
    return parser


_HELP = {
    "max_prompt_tokens": "longer prompts are left out",
    "max_response_tokens": "pairs with a longer response are left out",
    "max_per_prompt": "at most so many per prompt to train on; 0: all",
    "held_out_share": "share of the prompts to test on, where an export has no test.*",
    "max_held_out": "at most so many pairs to test on",
    "max_held_out_per_prompt": "and so many of them per prompt; 0: all",
    "learning_rate": "at its highest",
    "epochs": "how often every pair is seen",
    "batch_size": "pairs per step",
}


if __name__ == "__main__":
    sys.exit(main())
