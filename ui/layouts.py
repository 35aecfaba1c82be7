"""Pages that have something for every guide: laid out anew when there are guides of other dimensions than before.

Gradio serves what was laid out before it started, and asks nobody. So the server looks at the guides before it serves a
page. A page that was opened before goes on with the layout it was given: whatever was laid out once is answered for as
long as the server runs, and comes back where its dimensions do.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any

import gradio as gr
from gradio.blocks import Block
from gradio.context import Context
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Receive, Scope, Send

from models.answers import GuideInfo
from ui.runs import SteerEngine

logger = logging.getLogger(__name__)
Build = Callable[[Sequence[GuideInfo]], None]
"""Lays a page out for the guides there are and binds its events, inside a Blocks."""


@dataclass(frozen=True)
class _Layout:
    """What was laid out once: what stands in the page, and the ids of all components and events."""

    children: list[Block]
    block_ids: frozenset[int]
    event_ids: frozenset[int]


@dataclass(frozen=True)
class _Page:
    """A page by its path, with the layouts it has had by the guides' dimensions."""

    path: str
    build: Build
    layouts: dict[tuple[str, ...], _Layout] = field(default_factory=dict)


class Layouts:
    """The layouts of the pages that have something for every guide; may be used from any thread once they stand.

    Args:
        blocks: the pages.
        engine: whose guides they are for.
    """

    def __init__(self, blocks: gr.Blocks, engine: SteerEngine) -> None:
        self._blocks, self._engine = blocks, engine
        self._guides = engine.guides
        self._pages: list[_Page] = []
        self._one_at_a_time = threading.Lock()

    def add(self, build: Build) -> None:
        """Lay out the page that is being made, for the guides there are; called inside the Blocks or a route of it."""
        page = _Page(self._blocks.current_page, build)
        layout = _laid_out(self._blocks, page, self._guides)
        page.layouts[_dimensions(self._guides)] = layout
        self._pages.append(page)
        self._blocks.children += layout.children

    @property
    def are_behind(self) -> bool:
        """Whether the guides that answer now have other dimensions than those that pages are served for."""
        return _dimensions(self._engine.guides) != _dimensions(self._guides)

    def follow(self) -> None:
        """Have pages that are opened from now on served for the guides that answer now.

        Where a page cannot be laid out for them, which raises whatever its builder does, all is as it was before.
        """
        with self._one_at_a_time:
            if not self.are_behind:
                return
            guides = self._engine.guides
            grown = copy(self._blocks)  # what is served stays whole until the new layouts stand
            grown.default_config = copy(grown.default_config)
            grown.default_config.root_block = grown
            served = [_known_or_laid_out(grown, page, guides) for page in self._pages]
            others = [layout for page in self._pages for layout in page.layouts.values() if layout not in served]
            gone = {id(child) for layout in others for child in layout.children}
            kept = [child for child in grown.children if id(child) not in gone]
            grown.children = kept + [child for layout in served for child in layout.children]
            config = _without(grown.get_config_file(), others)
            grown.default_config.root_block = self._blocks
            # pages opened before find their components and events in the new ones too, so the order is this
            self._blocks.default_config, self._blocks.children = grown.default_config, grown.children
            self._blocks.config = config
            for page, layout in zip(self._pages, served, strict=True):  # not known before it is served
                page.layouts[_dimensions(guides)] = layout
            self._guides = guides
            not_served = frozenset[int]().union(*(layout.block_ids for layout in others))
            if (holder := getattr(self._blocks, "state_holder", None)) is not None:  # none before it is launched
                holder.blocks = _ForNewSessions(self._blocks, not_served)


class FollowingGuides:
    """Looks at the guides before a page is served; where no page can be laid out for them, serves what there is.

    Args:
        app: what serves it.
        layouts: its layouts.
    """

    def __init__(self, app: ASGIApp, layouts: Layouts) -> None:
        self._app, self._layouts = app, layouts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] == "http" and scope["method"] == "GET" and self._layouts.are_behind:
            try:
                await run_in_threadpool(self._layouts.follow)
            except Exception:  # the pages as they were are better than none
                logger.exception("the pages could not be laid out for the guides that answer now")
        await self._app(scope, receive, send)


class _ForNewSessions:
    """The Blocks as Gradio makes a session's state of them: it keeps a description of every component they have.

    It is made without those that no page is served with any more. A page that was opened with them finds them as
    before: Gradio describes one that is missing when it changes.
    """

    def __init__(self, blocks: gr.Blocks, not_served: frozenset[int]) -> None:
        self._blocks = blocks
        self.blocks = {number: block for number, block in blocks.blocks.items() if number not in not_served}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._blocks, name)


def _dimensions(guides: Iterable[GuideInfo]) -> tuple[str, ...]:
    return tuple(guide.dimension for guide in guides)


def _known_or_laid_out(blocks: gr.Blocks, page: _Page, guides: Sequence[GuideInfo]) -> _Layout:
    known = page.layouts.get(_dimensions(guides))
    if known is not None:
        return known
    blocks.current_page = page.path
    Context.root_block = blocks  # as entering the Blocks does, but leaving it would make another application
    try:
        return _laid_out(blocks, page, guides)
    finally:
        Context.root_block = None


def _laid_out(blocks: gr.Blocks, page: _Page, guides: Sequence[GuideInfo]) -> _Layout:
    """Lay a page out inside the Blocks; what stands in it is still to be put there."""
    config = blocks.default_config
    blocks_before, events_before = set(config.blocks), set(config.fns)
    holder = gr.Column(render=False)
    with holder:
        page.build(guides)
    made = config.blocks.keys() - blocks_before, config.fns.keys() - events_before
    return _Layout(holder.children, *map(frozenset, made))


def _without(config: Any, layouts: Sequence[_Layout]) -> Any:
    """What is served to a page, without these layouts."""
    block_ids = frozenset[int]().union(*(layout.block_ids for layout in layouts))
    event_ids = frozenset[int]().union(*(layout.event_ids for layout in layouts))
    config["components"] = [part for part in config["components"] if part["id"] not in block_ids]
    config["dependencies"] = [event for event in config["dependencies"] if event["id"] not in event_ids]
    for page in config["page"].values():
        page["components"] = [part_id for part_id in page["components"] if part_id not in block_ids]
        page["dependencies"] = [event_id for event_id in page["dependencies"] if event_id not in event_ids]
    return config
