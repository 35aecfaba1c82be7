"""A tiny base model, pairs of its size, and a short run."""

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from models.loading import load_tokenizer
from models.training.batches import Example
from models.training.data import DataSettings
from models.training.settings import AdapterSettings, CalibrationSettings, OptimiserSettings, TrainSettings

WORDS = ("cat", "dog", "mat", "door", "sat", "ran", "the", "on", "to", "and")

OPTIMISER = OptimiserSettings(
    batch_size=4, micro_batch_size=2, epochs=2.0, eval_share=0.25, dtype="float32", patience=0
)
"""Of 60 rows 46 are trained on: 23 steps, with a checkpoint every 6."""

SHORT = replace(OPTIMISER, epochs=0.5)


@pytest.fixture(scope="session")
def base(tiny_folder: Callable[[str], Path]) -> Path:
    """The folder of a tiny Llama."""
    return tiny_folder("llama") / "base"


@pytest.fixture
def settings(base: Path, tmp_path: Path) -> TrainSettings:
    """A run that has not begun."""
    return some_settings(base, tmp_path)


def some_examples(folder: Path, n: int, seed: int = 0) -> list[Example]:
    """Pairs of random words, of different lengths, as the tokenizer in ``folder`` reads them."""
    tokenizer, draw = load_tokenizer(folder), random.Random(seed)

    def words(most: int) -> list[int]:
        return tokenizer.encode(" ".join(draw.choices(WORDS, k=draw.randint(1, most))), add_special_tokens=False)

    return [
        Example(str(index), (0, 2, *words(6), 4, 3), ((*words(8), 4), (*words(8), 4)), (1, -1)) for index in range(n)
    ]


def some_rows(n: int, seed: int = 0) -> list[dict[str, object]]:
    """TRL rows whose chosen response has more cats."""
    draw = random.Random(seed)
    rows = []
    for index in range(n):
        texts = [" ".join(draw.choices(WORDS, k=draw.randint(2, 6))) for _ in range(2)]
        texts.sort(key=lambda text: text.count("cat"), reverse=True)
        chat = [{"role": "user", "content": f"{index % (n // 2)} the {draw.choice(WORDS)}"}]
        answers = [[{"role": "assistant", "content": f"{text} {index}"}] for text in texts]
        rows.append({"prompt": chat, "chosen": answers[0], "rejected": answers[1], "source": f"s{index % 2}"})
    return rows


def write_rows(path: Path, rows: list[dict[str, object]]) -> Path:
    """Write a .jsonl file."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def some_settings(base: Path, folder: Path, n_rows: int = 60) -> TrainSettings:
    """A run in ``folder / "run"``, whose data is beside it."""
    return TrainSettings(
        base=str(base),
        dimension="cats",
        data=(write_rows(folder / "rows.jsonl", some_rows(n_rows)),),
        out=folder / "run",
        base_id="tiny",
        choice=DataSettings(held_out_share=0.3),
        adapter=AdapterSettings(rank=2, lora_alpha=4),
        optimiser=OPTIMISER,
        calibration=CalibrationSettings(n_prompts=2, n_tokens=8),
    )
