"""Which event of the Guides page calls which handler; only trying out takes its turn with the runs of the others."""

from typing import Any

import gradio as gr

from ui import wording_guides as wording
from ui.components.guides import GuidesPage, build_guides
from ui.events import AT_ONCE, AT_ONCE_SHOWN, MODEL_CONCURRENCY_ID
from ui.guides.actions import GuidesActions
from ui.guides.handlers import GuidesHandlers

PATH = "/guides"


def add_guides_page(blocks: gr.Blocks, actions: GuidesActions) -> None:
    """Build the page in a route of its own and bind its events; called outside the Blocks."""
    with blocks.route(wording.PAGE, PATH):
        page = build_guides(actions.is_private)
        connect(page, GuidesHandlers(page, actions), blocks)


def connect(page: GuidesPage, handlers: GuidesHandlers, blocks: gr.Blocks) -> None:
    """Bind every event; called inside the route."""
    view, run, inputs = page.versions, page.run, page.form.inputs
    listed = [view.cards, view.version, view.other]
    drawn = [
        run.state,
        run.cancel,
        run.go_on,
        run.timer,
        run.drawn,
        run.log,
        run.plots,
        run.loss,
        run.accuracy,
        run.found,
    ]
    offered = [page.token, view.notes, inputs["question"], inputs["study"], inputs["without"]]
    blocks.load(handlers.guides_opened, None, [*offered, page.gate, *listed, *drawn, view.told], **AT_ONCE)
    run.timer.tick(handlers.tick, run.drawn, [*drawn, *listed], **AT_ONCE)
    told = [view.told, view.found]
    view.version.input(handlers.picked, [page.token, view.version], told, **AT_ONCE)
    view.publish.click(handlers.publish, [page.token, view.version], [*listed, *told], **AT_ONCE_SHOWN)
    view.roll_back.click(handlers.roll_back, [page.token, view.version], [*listed, *told], **AT_ONCE_SHOWN)
    view.look_again.click(handlers.look_again, page.token, [*listed, *told], **AT_ONCE_SHOWN)
    view.compare.click(handlers.compare, [page.token, view.version, view.other], told, **AT_ONCE_SHOWN)
    asked = [page.token, *inputs.values()]
    page.check.click(handlers.check, asked, [page.told, page.gate], **AT_ONCE_SHOWN)
    page.start.click(handlers.start, asked, [page.told, page.gate, *drawn], **AT_ONCE_SHOWN)
    gr.on(_sources_changed(page), handlers.sources_changed, asked, [page.told, page.gate], **AT_ONCE)
    run.cancel.click(handlers.cancel, page.token, page.told, **AT_ONCE_SHOWN)
    run.go_on.click(handlers.go_on, page.token, [page.told, *drawn], **AT_ONCE_SHOWN)
    _connect_try(page, handlers)


def _sources_changed(page: GuidesPage) -> list[Any]:
    """The events after which a training may take its judgements from other studies."""
    inputs: dict[str, Any] = dict(page.form.inputs)
    picked = [inputs[name].input for name in ("question", "study", "without", "further")]
    return picked + [inputs[name].blur for name in ("dimension", "since", "until")]


def _connect_try(page: GuidesPage, handlers: GuidesHandlers) -> None:
    tried = page.tried
    tried.run.click(
        handlers.try_out,
        [page.token, page.versions.version, tried.prompt, tried.weight, tried.seed],
        [tried.message, tried.old, tried.new, tried.old_note, tried.new_note],
        concurrency_id=MODEL_CONCURRENCY_ID,
        show_progress="hidden",
        api_visibility="private",
        trigger_mode="once",
    )
