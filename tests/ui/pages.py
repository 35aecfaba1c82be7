"""Pages made and served in tests, and waiting for what other threads do."""

import asyncio
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import gradio as gr
from starlette.requests import Request

from storage.records import new_id
from tests.storage.fakes import InMemoryRepository
from tests.ui.fakes import ScriptedEngine
from ui.page import Backing
from ui.settings import Settings

T = TypeVar("T")


def made(
    make: Callable[[Backing], gr.Blocks], home: Path, engine: ScriptedEngine | None = None, **options: Any
) -> gr.Blocks:
    """Make the page of a scripted engine that keeps nothing on disk, as :func:`in_a_loop` does."""
    backing = Backing(engine or ScriptedEngine(), InMemoryRepository(), Settings(home=home, **options))
    return in_a_loop(lambda: make(backing))


def apart(run: Callable[[], T]) -> T:
    """Run on a thread of its own: this one may have the browser tests' event loop still running."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(run).result()


def in_a_loop(make: Callable[[], gr.Blocks]) -> gr.Blocks:
    """Make a page inside an event loop; without one Gradio makes loops of its own and never closes them."""

    async def making() -> gr.Blocks:
        return make()

    return apart(lambda: asyncio.run(making()))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(is_so: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for what another thread does."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.02)


def a_request(host: str, **headers: str) -> gr.Request:
    """A page's request as a server gets it for this host."""
    sent = {"Host": host, **headers}
    raw = [(name.lower().encode(), value.encode()) for name, value in sent.items()]
    scope = {"type": "http", "headers": raw, "query_string": b"", "root_path": ""}
    return gr.Request(Request(scope), session_hash=new_id())


def in_a_page(build: Callable[[], T]) -> T:
    """Lay out a part of a page by itself."""

    async def making() -> T:
        with gr.Blocks():
            return build()

    return apart(lambda: asyncio.run(making()))
