"""Which event of the Steer page calls which handler.

A run is asked for and carried out in two events: asking is not queued and makes older runs end within a step; running
is queued and takes whatever is the session's newest request, so a late or repeated event can never bring an old one
back. All runs share one concurrency id, whose limit is above what the engine takes on: they wait in the engine, which
knows their places and refuses at once, and not in Gradio's queue.
"""

import json
from collections.abc import Callable
from typing import Any

import gradio as gr

from steering.types import Side
from ui import wording
from ui.components import markup
from ui.components.controls import exponent_script
from ui.components.steer import SteerPage
from ui.components.view import Updates
from ui.handlers import SteerHandlers
from ui.settings import Settings

MODEL_CONCURRENCY_ID = "model"
BEING_REFUSED = 16  # a refusal takes milliseconds, so few are under way at a time
FOCUS_PROMPT = "() => { document.querySelector('#prompt textarea')?.focus(); }"
AT_ONCE: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
AT_ONCE_SHOWN: dict[str, Any] = AT_ONCE | {"show_progress": "minimal"}


def most_runs(settings: Settings) -> int:
    """How many runs Gradio lets through at once: all that the engine answers or lets wait, and those it refuses."""
    return settings.max_slots // len(Side) + settings.queue_size + BEING_REFUSED


def connect(page: SteerPage, handlers: SteerHandlers, blocks: gr.Blocks) -> None:
    """Bind every event; called inside the Blocks."""
    outputs = everything(page)
    blocks.load(handlers.opened, page.browser_token, outputs, **AT_ONCE)
    connect_runs(page, handlers)
    connect_exponents(page)
    connect_judgement(page, handlers)
    connect_conversation(page, handlers, outputs)


def everything(page: SteerPage) -> list[Any]:
    """Every component a drawing may change."""
    ask = page.ask
    shown = [ask.conversation, ask.n_before, ask.prompt, *page.streamed, *settled_outputs(page)]
    return [*shown, *blend_outputs(page), *page.sampling.inputs, page.browser_token, page.title]


def settled_outputs(page: SteerPage) -> list[Any]:
    """What changes when a run has ended, besides what it streamed."""
    tokens = page.tokens
    buttons = [page.ask.stop, *(pane.carry_on for pane in page.panes.values())]
    shown = [page.difference, tokens.legend, *tokens.tables.values()]
    return [*buttons, *shown, *judgement_outputs(page), *page.judgement.rows.values()]


def blend_outputs(page: SteerPage) -> list[Any]:
    """What setting another blend changes."""
    blend = page.blend
    shown = [*blend.sliders.values(), *blend.exponents.values(), blend.preset, blend.allow_negative]
    return [*shown, blend.base_exponent, blend.base_note]


def judgement_outputs(page: SteerPage) -> list[Any]:
    """What a judgement changes."""
    judgement = page.judgement
    saving = [judgement.saved, judgement.retry, judgement.link, judgement.copy_link, judgement.copied]
    return [*saving, page.session.log, page.session.accordion]


def connect_runs(page: SteerPage, handlers: SteerHandlers) -> None:
    """Run, Stop, examples, and everything that runs again by itself while the page is live."""
    ask, blend, sampling = page.ask, page.blend, page.sampling
    buttons = [pane.carry_on for pane in page.panes.values()]
    closed = [*page.judgement.rows.values(), *buttons, page.judgement.comparison_id]
    asked = [ask.message, page.status, ask.stop, blend.preset, *closed]
    rest = [*settled_outputs(page), page.status]
    settle: dict[str, Any] = {"fn": handlers.settle, "inputs": page.view, "outputs": rest, **AT_ONCE}
    follow: dict[str, Any] = {"fn": handlers.follow, "inputs": [blend.live, *page.form], "outputs": asked, **AT_ONCE}
    run: dict[str, Any] = {
        "fn": handlers.run,
        "inputs": page.view,
        # Gradio makes every other output anew at each report, which cost more than writing the answers
        "outputs": page.streamed,
        "show_progress": "hidden",
        "trigger_mode": "multiple",
        "concurrency_id": MODEL_CONCURRENCY_ID,
        "concurrency_limit": most_runs(handlers.actions.settings),
        "api_visibility": "private",
    }
    # While one such run is in the queue the next waits in the browser, so a moving slider does not fill the queue.
    run_live = run | {"trigger_mode": "always_last"}
    pressed = [ask.run.click, ask.prompt.submit, sampling.seed.submit]
    gr.on(pressed, handlers.ask, page.form, asked, **AT_ONCE).then(**run).then(**settle)
    moving = [*blend.sliders.values(), sampling.temperature, sampling.top_p, sampling.min_p, sampling.max_new_tokens]
    gr.on([slider.input for slider in moving], trigger_mode="always_last", **follow).then(**run_live).then(**settle)
    sliders = list(blend.sliders.values())
    changes = [
        blend.preset.input(handlers.start_from, blend.preset, blend_outputs(page), **AT_ONCE),
        blend.allow_negative.input(handlers.allow_negative, [blend.allow_negative, *sliders], sliders, **AT_ONCE),
        sampling.new_seed.click(handlers.new_seed, None, sampling.seed, **AT_ONCE),
        *(example.click(None, None, ask.prompt, js=_says(example.value)) for example in ask.examples),
    ]
    for change in changes:
        change.then(**follow).then(**run_live).then(**settle)
    ask.stop.click(handlers.stop, None, [ask.message, page.status, ask.stop], **AT_ONCE)


def save_as(media_type: str) -> str:
    """JavaScript that has the browser save the file it is given: a name and a text as JSON, or nothing at all."""
    return f"(sent) => window.tiller.saveAs(sent, {json.dumps(media_type)})"


def _says(text: str) -> str:
    """JavaScript that returns a text."""
    return f"() => {json.dumps(text)}"


def connect_exponents(page: SteerPage) -> None:
    """Each slider tells its exponent in the browser, without asking the server."""
    for dimension, slider in page.blend.sliders.items():
        line = page.blend.exponents[dimension]
        slider.change(None, [slider, line], line, js=exponent_script())


def connect_judgement(page: SteerPage, handlers: SteerHandlers) -> None:
    """A row of choices per dimension, the retry, the link, and how the tokens are shown."""
    judgement, tokens, ask = page.judgement, page.tokens, page.ask
    saved = [*judgement_outputs(page), ask.message]
    for dimension, row in judgement.rows.items():
        row.input(
            judged_row(handlers, dimension),
            [page.browser_token, judgement.comparison_id, row],
            [*saved, row],
            trigger_mode="multiple",
            **AT_ONCE,
        )
    judgement.retry.click(handlers.retry, page.browser_token, saved, **AT_ONCE)
    words = json.dumps([markup.note(wording.LINK_COPIED), markup.note(wording.LINK_NOT_COPIED)])
    judgement.copy_link.click(
        None, judgement.comparison_id, judgement.copied, js=f"(id) => window.tiller.copyLink(id, ...{words})"
    )
    drawn = [part for pane in page.panes.values() for part in (pane.answer, pane.metrics)]
    drawn += [page.difference, tokens.legend, *tokens.tables.values(), ask.message]
    gr.on([tokens.colour.input, tokens.show_table.input], handlers.show_tokens, page.view, drawn, **AT_ONCE)


def judged_row(handlers: SteerHandlers, dimension: str) -> Callable[..., Updates]:
    """The handler of one row; Gradio finds the request only in a plain function's signature."""

    def judged(request: gr.Request, token: str, comparison_id: str, choice: str) -> Updates:
        return handlers.judge(dimension, request, token, comparison_id, choice)

    return judged


def carried_on(handlers: SteerHandlers, side: Side) -> Callable[..., Updates]:
    """The handler of one pane's button."""

    def carried(request: gr.Request, comparison_id: str, colour: str, show_table: bool) -> Updates:
        return handlers.carry_on(side, request, comparison_id, colour, show_table)

    return carried


def connect_conversation(page: SteerPage, handlers: SteerHandlers, outputs: list[Any]) -> None:
    """Going on from a picked answer, and beginning anew."""
    for side, pane in page.panes.items():
        pane.carry_on.click(
            carried_on(handlers, side),
            [page.judgement.comparison_id, *page.view],
            outputs,
            **AT_ONCE,
        ).then(None, None, None, js=FOCUS_PROMPT)
    page.ask.new_conversation.click(handlers.reset, page.view, outputs, **AT_ONCE).then(
        None, None, None, js=FOCUS_PROMPT
    )
