"""A short run on a tiny base: its settings, its command line, what it leaves, and how it is hit while it runs."""

import json
import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType
from safetensors.torch import load_file

from models.training.processes import is_sharded
from models.training.run_folder import RunFolder
from models.training.settings import TrainSettings
from models.training.train import main
from models.training.watch import Watch

# where each of these trainings is a process of its own, what they import is imported once
_ASIDE = multiprocessing.get_context("forkserver")
_ASIDE.set_forkserver_preload(["models.training.train"])
_END_SECONDS = 30


def command(settings: TrainSettings, *more: str) -> list[str]:
    """The command line of the same run."""
    optimiser = settings.optimiser
    given = {
        "--base": settings.base,
        "--base-id": "tiny",
        "--data": settings.data[0],
        "--dimension": "cats",
        "--out": settings.out,
        "--held-out-share": 0.3,
        "--rank": 2,
        "--lora-alpha": 4,
        "--loss": settings.loss.kind,
        "--batch-size": optimiser.batch_size,
        "--micro-batch-size": optimiser.micro_batch_size,
        "--epochs": optimiser.epochs,
        "--eval-share": optimiser.eval_share,
        "--dtype": "float32",
        "--patience": 0,
        "--n-prompts": settings.calibration.n_prompts,
        "--n-tokens": 8,
    }
    return [*(str(word) for pair in given.items() for word in pair), *more]


def run_aside(
    arguments: list[str],
    moment: str = "",
    number: signal.Signals = signal.SIGKILL,
    *,
    n_processes: int = 1,
    environment: Mapping[str, str] = MappingProxyType({}),
    program: Callable[[list[str]], int] = main,
) -> list[int]:
    """Run a command in processes of their own; returns their exit codes.

    Args:
        arguments: of the command.
        moment: when the first process is sent a signal: ``"step 8"`` or another event with its step, ``"stage …"``, or
            ``"saving 12"``, where the checkpoint of that step is written and not yet said to be complete, or
            ``"guide in place"``, where that is not yet told of.
        number: the signal.
        n_processes: how many train the guide together.
        environment: what else a launcher tells them.
        program: what they run.
    """
    told = dict(environment)
    if n_processes > 1:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            told |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    processes = []
    for rank in map(str, range(n_processes)):
        if n_processes > 1:
            told |= {"WORLD_SIZE": str(n_processes), "RANK": rank, "LOCAL_RANK": rank}
        processes.append(_ASIDE.Process(target=_run, args=(program, arguments, moment, number, dict(told))))
        processes[-1].start()
    try:
        for process in processes:
            process.join()
    finally:  # a test that timed out leaves none behind, for which the worker would wait when it ends
        for process in processes:
            if process.is_alive():
                process.kill()
                process.join(timeout=_END_SECONDS)
    return [process.exitcode for process in processes if process.exitcode is not None]


def _run(
    program: Callable[[list[str]], int],
    arguments: list[str],
    moment: str,
    number: signal.Signals,
    environment: dict[str, str],
) -> None:
    os.environ |= environment | {"OMP_NUM_THREADS": "1"}
    torch.set_num_threads(1)
    _hit_at(moment, number)
    if is_sharded():
        _shard_on_a_cpu()
    sys.exit(program(arguments))


def _hit_at(moment: str, number: signal.Signals) -> None:
    def hit(now: str) -> None:
        if now == moment:
            os.kill(os.getpid(), number)

    hear(hit)
    save = Watch.on_save

    def on_save(watch: Watch, args: Any, state: Any, control: Any, **more: Any) -> None:
        hit(f"saving {state.global_step}")
        save(watch, args, state, control, **more)

    Watch.on_save = on_save  # type: ignore[method-assign]
    rename = Path.rename

    def rename_and_tell(path: Path, target: Path) -> Path:
        renamed = rename(path, target)
        hit(f"{target.name} in place")
        return renamed

    Path.rename = rename_and_tell  # type: ignore[method-assign,assignment]


def _shard_on_a_cpu() -> None:
    """Let accelerate shard here, too: its state takes FSDP up only where every process has an accelerator."""
    begin = AcceleratorState.__init__

    def begin_sharded(state: AcceleratorState, *args: Any, fsdp_plugin: Any = None, **more: Any) -> None:
        begin(state, *args, fsdp_plugin=fsdp_plugin, **more)
        if fsdp_plugin is not None:
            state.fsdp_plugin = fsdp_plugin
            state.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP

    AcceleratorState.__init__ = begin_sharded  # type: ignore[method-assign]


def hear(hear_of: Callable[[str], None]) -> None:
    """Call this in the process that writes, behind every event, with its name and step or stage."""
    say = RunFolder.say

    def say_and_tell(folder: RunFolder, event: str, **values: Any) -> None:
        say(folder, event, **values)
        if folder.writes:
            hear_of(f"{event} {values.get('step', values.get('stage', ''))}".strip())

    RunFolder.say = say_and_tell  # type: ignore[method-assign]


def weights(guide: Path) -> dict[str, torch.Tensor]:
    """The adapter's weights by name."""
    return load_file(guide / "adapter_model.safetensors")


def pair_lines(guide: Path) -> list[dict[str, str]]:
    """What is said of the pairs beside the guide."""
    return [json.loads(line) for line in (guide / "pairs.jsonl").read_text().splitlines()]
