"""One case of benchmarks/train.py in a process of its own: CASE BASE DATA STEPS BATCH_SIZE DTYPE."""

import json
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from benchmarks.hardware import held_bytes, peak_memory_bytes
from models.loading import choose_placement, fetch
from models.presets import PRESET_NAMES, Source, load_preset
from models.prompting import prompt_token_ids
from models.training.batches import Example, Layout, choose_layout
from models.training.data import DataSettings
from models.training.encoding import Encoder
from models.training.loss import LossSettings
from models.training.order import training_order
from models.training.processes import StopFlag
from models.training.rows import Preference, read_rows
from models.training.run_folder import RunFolder
from models.training.settings import AdapterSettings, OptimiserSettings
from models.training.trainee import Trainee, load_trainee
from models.training.trainer import Lesson, make_trainer

_WARM_UPS = 2
_DATA = DataSettings(max_prompt_tokens=256, max_response_tokens=256)


class _Clock(TrainerCallback):
    """When each step was done."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.times.append(time.perf_counter())
        control.should_save = control.should_evaluate = False


def main(case: str, base: str, data: str, n_steps: int, batch_size: int, dtype: str) -> dict[str, float]:
    """Train for ``n_steps`` and return tokens per second after the first two, and the peak memory."""
    source = load_preset(base).base if base in PRESET_NAMES else Source(str(Path(base).resolve()))
    placement = choose_placement("auto", dtype)
    trainee = load_trainee(fetch(source), placement, AdapterSettings())
    encoder = Encoder(trainee.tokenizer, trainee.eos_token_id, None, 1024, _DATA)
    fitting = [each for each in read_rows([Path(data)], "any").train if not encoder.why_not(each)]
    preferences = fitting[: n_steps * batch_size]
    examples = encoder.examples(preferences)
    with tempfile.TemporaryDirectory() as folder:
        if case == "ours":
            trainer, order = _ours(trainee, examples, batch_size, dtype, Path(folder))
            counts = [example.n_tokens(Layout.APART) for example in order]
        else:
            trainer = _cpo(trainee, preferences, batch_size, Path(folder))
            rows: Any = trainer.train_dataset
            counts = [len(row["chosen_input_ids"]) + len(row["rejected_input_ids"]) for row in rows]
        clock = _Clock()
        trainer.add_callback(clock)
        held = held_bytes(torch.device("cpu"))
        trainer.train()
    peak = peak_memory_bytes(torch.device("cpu"))
    seconds = clock.times[-1] - clock.times[_WARM_UPS - 1]
    return {
        # CPOTrainer shuffles, so its tokens of the steps that count are known on average only
        "tokens_per_second": sum(counts) * (len(clock.times) - _WARM_UPS) / len(clock.times) / seconds,
        "peak_memory_bytes": peak,
        "training_memory_bytes": peak - held,
        "n_tokens": sum(counts),
    }


def _ours(
    trainee: Trainee, examples: list[Example], batch_size: int, dtype: str, folder: Path
) -> tuple[Trainer, list[Example]]:
    layout = choose_layout(examples, trainee.inner, trainee.pad_token_id)
    order = training_order(examples, 1.0, batch_size, 0, layout)
    optimiser = OptimiserSettings(batch_size=batch_size, patience=0, eval_share=1.0, dtype=dtype)
    lesson = Lesson(order, examples[:1], examples[:1], LossSettings(), layout)
    return make_trainer(trainee, lesson, optimiser, RunFolder(folder), StopFlag()), order


def _cpo(trainee: Trainee, preferences: list[Preference], batch_size: int, folder: Path) -> Trainer:
    """TRL's trainer as its documentation uses it, in the same precision and with as little beside the training."""
    from datasets import Dataset  # type: ignore[import-untyped]
    from trl.experimental.cpo import CPOConfig, CPOTrainer

    tokenizer = trainee.tokenizer
    rows = [
        {
            "prompt": tokenizer.decode(prompt_token_ids(tokenizer, each.messages)),
            "chosen": each.chosen,
            "rejected": each.rejected,
        }
        for each in preferences
    ]
    args = CPOConfig(
        output_dir=str(folder),
        loss_type="sigmoid",
        cpo_alpha=0.0,
        beta=0.1,
        per_device_train_batch_size=batch_size,
        num_train_epochs=1,
        learning_rate=1e-3,
        max_length=1024,
        max_completion_length=512,
        bf16=trainee.dtype == torch.bfloat16,
        gradient_checkpointing=False,
        use_cpu=trainee.inner.device.type == "cpu",
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    trainer: Trainer = CPOTrainer(
        model=trainee.model, args=args, train_dataset=Dataset.from_list(rows), processing_class=tokenizer
    )
    return trainer


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        arguments: list[Any] = sys.argv[1:]
        arguments[3], arguments[4] = int(arguments[3]), int(arguments[4])
        print(json.dumps(main(*arguments)))
