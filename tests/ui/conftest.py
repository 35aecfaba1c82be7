"""The page's handlers over a scripted engine, and the embedded model with room for one comparison."""

from pathlib import Path

import gradio as gr
import pytest

from models.engine import Engine
from tests.storage.fakes import InMemoryRepository
from tests.ui.fakes import ScriptedEngine
from tests.ui.pages import made
from ui.actions import SteerActions
from ui.components.steer import build_steer
from ui.forms import starting_weights
from ui.handlers import SteerHandlers
from ui.settings import Settings


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
def repository() -> InMemoryRepository:
    return InMemoryRepository()


@pytest.fixture
def handlers(engine: ScriptedEngine, repository: InMemoryRepository, tmp_path: Path) -> SteerHandlers:
    actions = SteerActions(engine, repository, Settings(home=tmp_path))
    pages = []

    def laid_out(*_: object) -> gr.Blocks:
        with gr.Blocks() as blocks:
            guides = actions.engine.guides
            pages.append(build_steer(actions, guides, starting_weights(guides), live=False))
        return blocks

    made(laid_out, tmp_path)
    return SteerHandlers(pages[0], actions)


@pytest.fixture(scope="session")
def narrow_engine() -> Engine:
    """The embedded model with room for one comparison at a time and two that wait."""
    from models.assembly import load_engine
    from models.options import EngineOptions
    from models.presets import load_preset

    options = EngineOptions(max_slots=2, max_waiting=2)
    return load_engine(load_preset("demo"), device="cpu", dtype="float32", options=options)
