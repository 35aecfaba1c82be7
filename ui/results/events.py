"""Which event of the Results page calls which handler; none is queued, so nobody waits behind a run."""

from typing import Any

import gradio as gr

from ui import wording_results as wording
from ui.components.results import ResultsPage, build_results
from ui.components.steer import SteerPage
from ui.components.view import SteerView
from ui.events import AT_ONCE, AT_ONCE_SHOWN, blend_outputs, save_as
from ui.results.actions import ResultsActions
from ui.results.handlers import ResultsHandlers, blend_from_link

PATH = "/results"
SAVE_AS = save_as("text/csv")


def add_results_page(blocks: gr.Blocks, actions: ResultsActions) -> None:
    """Build the page in a route of its own and bind its events; called outside the Blocks."""
    with blocks.route(wording.PAGE, PATH):
        page = build_results(actions.is_private)
        connect(page, ResultsHandlers(page, actions), blocks)


def connect_blend_link(blocks: gr.Blocks, page: SteerPage, view: SteerView) -> None:
    """Let a link open the Steer page with a blend; called inside the Blocks."""
    blocks.load(blend_from_link(view), None, [*blend_outputs(page), page.ask.message], **AT_ONCE)


def connect(page: ResultsPage, handlers: ResultsHandlers, blocks: gr.Blocks) -> None:
    """Bind every event; called inside the route."""
    filters, outputs = page.filters, everything(page)
    asked = [*filters.inputs, page.dimension, page.want_of]
    blocks.load(handlers.opened, None, [*outputs, *filters.inputs], **AT_ONCE_SHOWN)
    filters.study.input(handlers.pick, filters.study, [*outputs, *filters.inputs[1:]], **AT_ONCE_SHOWN)
    changes = [filters.show.click, filters.since.submit, filters.until.submit, filters.group.input]
    gr.on(
        [*changes, filters.reliability.release, filters.by_strength.input],
        handlers.show,
        asked,
        outputs,
        **AT_ONCE_SHOWN,
    )
    page.dimension.input(handlers.show_dimension, asked, outputs, **AT_ONCE_SHOWN)
    page.want_of.input(handlers.show_want, asked, outputs, **AT_ONCE_SHOWN)
    for part, view in page.parts.items():
        csv = view.csv.click(handlers.csv_of(part), asked, [page.sent, view.told], **AT_ONCE)
        csv.then(None, page.sent, None, js=SAVE_AS)
    export = page.export
    export.prepare.click(
        handlers.export,
        [export.format, export.file_kind, export.test_share, *filters.inputs],
        [export.note, export.file],
        **AT_ONCE_SHOWN,
    )


def everything(page: ResultsPage) -> list[Any]:
    """Every component that showing results may change, but the filters."""
    drawn: list[Any] = [page.message, page.counts, page.dimension, page.want_of, page.open_in_steer]
    for view in page.parts.values():
        drawn += [view.whole, view.note, view.data, view.table, view.told]
        drawn += [view.plot] if view.plot is not None else []
    return drawn
