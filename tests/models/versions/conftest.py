"""A tiny base with one guide, other guides to publish in its place, and engines that answer with versions of them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from models.answers import Answer, ComparisonRequest, GuideInfo
from models.engine import Engine
from models.options import EngineOptions
from models.presets import GuideSpec, Preset, Source
from models.versions.publishing import GuideVersions
from models.versions.starting import load_published
from steering.types import Blend, Message, Role, SamplingSettings
from tests.models.tiny import save_lora, save_model

PLAIN = EngineOptions(in_background=False, memory_fraction=0.05)
IN_BACKGROUND = EngineOptions(memory_fraction=0.05)


@dataclass(frozen=True)
class World:
    """Folders: a base, its preset's guide ``wit`` and others that are trained for the same dimension."""

    root: Path

    @property
    def preset(self) -> Preset:
        guide = GuideSpec(Source(str(self.root / "wit")), dimension="wit", unit=0.5)
        kind = GuideSpec(Source(str(self.root / "kind")), dimension="kind", unit=0.5)
        return Preset("tiny", Source(str(self.root / "base"), name="tiny"), (guide, kind))

    def guide(self, name: str) -> str:
        return str(self.root / name)

    def start(self, home: Path, options: EngineOptions = PLAIN, dtype: str = "float32") -> GuideVersions:
        return load_published(self.preset, home, device="cpu", dtype=dtype, options=options)


@pytest.fixture(scope="session")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], World]:
    """The world of an architecture: ``other`` has another rank and other targets, ``weak`` is a model of its own."""
    made: dict[str, World] = {}

    def world(architecture: str) -> World:
        if architecture not in made:
            root = tmp_path_factory.mktemp(f"world-{architecture}")
            base = save_model(root / "base", architecture, seed=1)
            few = {"gpt2": ["c_attn"], "gpt_neox": ["query_key_value"]}.get(architecture, ["q_proj", "down_proj"])
            for seed, name in enumerate(("wit", "kind", "third", "fourth"), start=2):
                save_lora(root / name, base, seed=seed)
            save_lora(root / "other", base, seed=9, rank=7, targets=few)
            save_model(root / "weak", "llama", seed=4, extra_rows=1)
            save_model(root / "weak-2", "llama", seed=5)
            made[architecture] = World(root)
        return made[architecture]

    return world


@pytest.fixture
def world(worlds: Callable[[str], World]) -> World:
    return worlds("llama")


def ask(seed: int = 1, n_tokens: int = 24, **weights: float) -> ComparisonRequest:
    """Unguided and guided by wit (and what else is said), long enough to tell guides apart."""
    sampling = SamplingSettings(max_new_tokens=n_tokens, seed=seed, temperature=1.1, stop_at_eos=False)
    blends = (Blend(), Blend(weights or {"wit": 3.0, "kind": 1.0}))
    return ComparisonRequest((Message(Role.USER, "the cat"),), blends, sampling)


def answered(engine: Engine, request: ComparisonRequest) -> tuple[tuple[Answer, ...], tuple[GuideInfo, ...]]:
    """The answers, and the guides they say wrote them."""
    *_, last = engine.compare(request)
    return last.answers(), last.guides


def texts(engine: Engine, request: ComparisonRequest) -> list[tuple[int, ...]]:
    return [answer.token_ids for answer in answered(engine, request)[0]]
