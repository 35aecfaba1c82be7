"""Tiny models and engines, made once per test run."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from models.assembly import load_engine
from models.engine import Engine
from models.options import EngineOptions
from models.presets import GuideSpec, Preset, Source, load_preset
from tests.models.tiny import save_lora, save_model

ON_CALLERS_THREAD = EngineOptions(in_background=False)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Models this small gain nothing from a second thread and wait for it when the machine is busy."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder with ``base``, two LoRA guides ``lora-a`` (r=4, all layers) and ``lora-b`` (r=2, some) of an
    architecture, and ``weak``, a guide that is a model of its own with one row more than the base."""
    made: dict[str, Path] = {}

    def folder(architecture: str) -> Path:
        if architecture not in made:
            root = tmp_path_factory.mktemp(architecture)
            base = save_model(root / "base", architecture, seed=1)
            few = {"gpt2": ["c_attn"], "gpt_neox": ["query_key_value"]}.get(architecture, ["q_proj", "down_proj"])
            save_lora(root / "lora-a", base, seed=2)
            save_lora(root / "lora-b", base, seed=3, rank=2, targets=few)
            save_model(root / "weak", "llama", seed=4, extra_rows=1)
            made[architecture] = root
        return made[architecture]

    return folder


@pytest.fixture(scope="session")
def tiny_engine(tiny_folder: Callable[[str], Path]) -> Callable[..., Engine]:
    """Load tiny models: ``tiny_engine("llama", "lora-a", "weak")``; dimensions are the folders' names.

    Comparisons are answered on the caller's thread unless ``options`` say otherwise.
    """
    loaded: dict[tuple[str | EngineOptions, ...], Engine] = {}

    def engine(architecture: str, *guides: str, options: EngineOptions = ON_CALLERS_THREAD) -> Engine:
        key = (architecture, *guides, options)
        if key not in loaded:
            root = tiny_folder(architecture)
            specs = tuple(GuideSpec(Source(str(root / name)), dimension=name, unit=0.5) for name in guides)
            preset = Preset("tiny", Source(str(root / "base")), specs)
            loaded[key] = load_engine(preset, device="cpu", dtype="float32", options=options)
        return loaded[key]

    return engine


@pytest.fixture(scope="session")
def demo_engine() -> Engine:
    """The embedded model with its two guides, in fp32."""
    return load_engine(load_preset("demo"), device="cpu", dtype="float32")
