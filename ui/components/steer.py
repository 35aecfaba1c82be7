"""The Steer page, laid out: message on top, blend on the left, both answers on the right."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import gradio as gr

from models.answers import BaseInfo, GuideInfo
from steering.types import Side
from ui import wording
from ui.actions import OFFERED_CHOICES, SteerActions, judged
from ui.components import markup
from ui.components.answers import (
    JudgementControls,
    PaneControls,
    SessionControls,
    TokenControls,
    build_judgement,
    build_panes,
    build_session_log,
    build_tokens,
)
from ui.components.controls import (
    BlendControls,
    PromptControls,
    SamplingControls,
    build_blend,
    build_prompt,
    build_sampling,
)

BROWSER_TOKEN_KEY = "tiller-annotator"
# Gradio encrypts what it keeps in the browser with a key every page load is told, so this is no secret; it is fixed
# because a key of each start's own would lose every annotator with the next one.
BROWSER_STATE_KEY = "tiller-browser-state"


@dataclass(frozen=True)
class SteerPage:
    """Every component of the page by name; ``guides`` are those it was laid out for."""

    guides: tuple[GuideInfo, ...]
    title: gr.HTML
    ask: PromptControls
    blend: BlendControls
    sampling: SamplingControls
    panes: dict[Side, PaneControls]
    tokens: TokenControls
    judgement: JudgementControls
    session: SessionControls
    status: gr.HTML
    difference: gr.HTML
    browser_token: gr.BrowserState

    @property
    def dimensions(self) -> tuple[str, ...]:
        """What has a slider."""
        return tuple(self.blend.sliders)

    @property
    def form(self) -> list[gr.components.Component]:
        """What a run is made from: the message, the weights, the sampling settings, then what is never seen."""
        unseen = [self.ask.n_before, self.blend.base_exponent]
        return [self.ask.prompt, *self.blend.sliders.values(), *self.sampling.inputs, *unseen]

    @property
    def streamed(self) -> list[gr.components.Component]:
        """What changes while answers are written; everything else is drawn before or after."""
        panes = [part for pane in self.panes.values() for part in (pane.answer, pane.metrics)]
        return [self.ask.message, self.status, self.judgement.comparison_id, *panes]

    @property
    def view(self) -> list[gr.components.Component]:
        """How the tokens are to be shown."""
        return [self.tokens.colour, self.tokens.show_table]


def build_steer(
    actions: SteerActions, guides: Sequence[GuideInfo], weights: Mapping[str, float], live: bool
) -> SteerPage:
    """Lay the page out for these guides inside the current Blocks, the sliders at ``weights``."""
    title = gr.HTML(page_title(actions.engine.base, guides), elem_id="title")
    browser_token = gr.BrowserState("", storage_key=BROWSER_TOKEN_KEY, secret=BROWSER_STATE_KEY)
    ask = build_prompt(actions.engine.examples)
    with gr.Row(elem_id="steer", equal_height=False):
        with gr.Column(scale=0, min_width=300, elem_id="controls"):
            with gr.Column(elem_id="blend", min_width=0):
                blend = build_blend(guides, weights, live)
            sampling = build_sampling(actions.settings.max_new_tokens_limit)
        with gr.Column(scale=1, min_width=300, elem_id="answers"):
            status = gr.HTML(markup.status(wording.READY), elem_id="status")
            panes = build_panes(guides)
            difference = gr.HTML(markup.note(wording.UNKNOWN), elem_id="difference")
            judgement = build_judgement(judged(guides), OFFERED_CHOICES)
            tokens = build_tokens(guides)
            session = build_session_log()
    return SteerPage(
        tuple(guides), title, ask, blend, sampling, panes, tokens, judgement, session, status, difference, browser_token
    )


def page_title(base: BaseInfo, guides: Sequence[GuideInfo]) -> str:
    """The page's name with a line of what is loaded, as HTML."""
    names: Sequence[str] = [guide.id for guide in guides] or [wording.NO_GUIDES]
    line = wording.MODEL_LINE.format(base=base.id, device=base.device, dtype=base.dtype, guides=", ".join(names))
    return (
        f"<h1>{markup.escape(wording.TITLE)}</h1><p>{markup.escape(wording.TAGLINE)}</p>"
        f'<p class="tiller-model">{markup.escape(line)}</p>'
    )
