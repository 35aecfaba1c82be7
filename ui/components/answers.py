"""The right of the Steer page: both answers with their numbers, the colours of their tokens, and the judgement."""

from collections.abc import Sequence
from dataclasses import dataclass

import gradio as gr

from models.answers import GuideInfo
from steering.types import Choice, Side
from storage.records import OVERALL
from ui import wording
from ui.components import markup

PANE_HEIGHT = 300


@dataclass(frozen=True)
class PaneControls:
    """One answer and the numbers under it."""

    answer: gr.HTML
    metrics: gr.HTML
    carry_on: gr.Button


@dataclass(frozen=True)
class TokenControls:
    """How the tokens are shown, and the tables by side."""

    colour: gr.Radio
    show_table: gr.Checkbox
    legend: gr.HTML
    tables: dict[Side, gr.HTML]


@dataclass(frozen=True)
class JudgementControls:
    """A row of choices per dimension, what is saved of them, and the link. ``comparison_id`` is never seen."""

    rows: dict[str, gr.Radio]
    saved: gr.HTML
    retry: gr.Button
    link: gr.HTML
    copy_link: gr.Button
    copied: gr.HTML
    comparison_id: gr.Textbox


@dataclass(frozen=True)
class SessionControls:
    """The session's own judgements, folded away; the count is in the title."""

    accordion: gr.Accordion
    log: gr.HTML


def build_panes(guides: Sequence[GuideInfo]) -> dict[Side, PaneControls]:
    """Both panes beside each other, under each other on a narrow screen; their height never changes."""
    panes = {}
    with gr.Row(elem_id="panes"):
        for side in Side:
            with gr.Column(min_width=300, elem_classes="pane-column"):
                with gr.Row(elem_classes="pane-head"):
                    gr.HTML(markup.heading(wording.PANES[side]))
                    carry_on = gr.Button(
                        wording.CONTINUE[side], size="sm", scale=0, interactive=False, elem_id=f"continue-{side}"
                    )
                answer = gr.HTML(
                    markup.empty_pane(side),
                    min_height=PANE_HEIGHT,
                    max_height=PANE_HEIGHT,
                    autoscroll=True,
                    elem_id=f"pane-{side}",
                )
                metrics = gr.HTML(
                    markup.metrics(None, [guide.dimension for guide in guides]), elem_id=f"metrics-{side}"
                )
            panes[side] = PaneControls(answer, metrics, carry_on)
    return panes


def build_tokens(guides: Sequence[GuideInfo]) -> TokenControls:
    """The choice of the guide that colours the tokens, its legend, and the tables."""
    options = [(wording.COLOUR_OFF, ""), *((wording.title_of(guide.dimension), guide.dimension) for guide in guides)]
    with gr.Row(elem_id="token-controls"):
        colour = gr.Radio(options, value="", label=wording.COLOUR, elem_id="colour", scale=3)
        show_table = gr.Checkbox(False, label=wording.SHOW_TABLE, elem_id="show-table", scale=2)
    legend = gr.HTML(visible=False, elem_id="legend")
    with gr.Row(elem_id="tables"):
        tables = {side: gr.HTML(visible=False, elem_id=f"table-{side}") for side in Side}
    return TokenControls(colour, show_table, legend, tables)


def build_judgement(dimensions: Sequence[str], offered: Sequence[Choice]) -> JudgementControls:
    """`Which is better?`: closed until both answers have ended."""
    options = [(wording.CHOICES[choice], str(choice)) for choice in offered]
    with gr.Column(elem_id="judgement"):
        gr.HTML(markup.heading(wording.WHICH_IS_BETTER))
        with gr.Row(elem_id="judgement-rows"):
            rows = {
                dimension: gr.Radio(
                    options,
                    label=wording.OVERALL if dimension == OVERALL else wording.title_of(dimension),
                    interactive=False,
                    elem_id=f"judge-{position}",
                    elem_classes="judge",
                    min_width=300,
                )
                for position, dimension in enumerate(dimensions)
            }
        saved = gr.HTML(markup.note(wording.JUDGE_AFTER), elem_id="saved")
        retry = gr.Button(wording.RETRY, size="sm", visible=False, elem_id="retry")
    with gr.Row(elem_id="link-row"):
        link = gr.HTML(markup.note(wording.NO_LINK), elem_id="link")
        copy_link = gr.Button(wording.COPY_LINK, size="sm", scale=0, interactive=False, elem_id="copy-link")
        copied = gr.HTML(elem_id="copied")
    comparison_id = gr.Textbox(visible=False, elem_id="comparison-id")
    return JudgementControls(rows, saved, retry, link, copy_link, copied, comparison_id)


def build_session_log() -> SessionControls:
    """The list of this session's judgements."""
    accordion = gr.Accordion(wording.JUDGEMENTS.format(count=0), open=False, elem_id="session-judgements")
    with accordion:
        log = gr.HTML(markup.judgements(()), elem_id="judgement-log")
    return SessionControls(accordion, log)
