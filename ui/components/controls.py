"""The left of the Steer page: the message, the blend and the sampling settings."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import gradio as gr

from models.answers import GuideInfo
from steering.types import SamplingSettings
from ui import wording
from ui.components import markup
from ui.forms import DEFAULT_MAX_NEW_TOKENS, MAX_WEIGHT, WEIGHT_STEP, blend_presets, preset_named


@dataclass(frozen=True)
class PromptControls:
    """Where the conversation is shown and the next message is typed. ``n_before``, its length, is never seen."""

    conversation: gr.HTML
    n_before: gr.Number
    prompt: gr.Textbox
    examples: tuple[gr.Button, ...]
    run: gr.Button
    stop: gr.Button
    new_conversation: gr.Button
    message: gr.HTML


@dataclass(frozen=True)
class BlendControls:
    """The sliders by dimension, each with the line that tells its exponent.

    ``base_exponent`` is never seen; where it is not 1, ``base_note`` tells it.
    """

    preset: gr.Radio
    sliders: dict[str, gr.Slider]
    exponents: dict[str, gr.HTML]
    base_exponent: gr.Number
    base_note: gr.HTML
    live: gr.Checkbox
    allow_negative: gr.Checkbox


@dataclass(frozen=True)
class SamplingControls:
    """How tokens are drawn, in the order of `SteerForm`'s fields."""

    temperature: gr.Slider
    top_p: gr.Slider
    top_k: gr.Number
    min_p: gr.Slider
    max_new_tokens: gr.Slider
    seed: gr.Textbox
    new_seed: gr.Button

    @property
    def inputs(self) -> list[gr.components.Component]:
        """The values that are sent, in that order."""
        return [self.temperature, self.top_p, self.top_k, self.min_p, self.max_new_tokens, self.seed]


def build_prompt(examples: Sequence[str]) -> PromptControls:
    """The conversation, the message box with its buttons, examples, and the place for complaints."""
    conversation = gr.HTML(elem_id="conversation", visible=False)
    with gr.Row(elem_id="ask-row", equal_height=False):
        prompt = gr.Textbox(
            label=wording.PROMPT,
            placeholder=wording.PROMPT_PLACEHOLDER,
            lines=1,
            max_lines=8,
            scale=1,
            min_width=280,
            elem_id="prompt",
        )
        run = gr.Button(wording.RUN, variant="primary", elem_id="run", scale=0, min_width=96)
        stop = gr.Button(wording.STOP, variant="stop", elem_id="stop", scale=0, min_width=96, interactive=False)
    with gr.Row(elem_id="examples"):
        if examples:
            gr.HTML(markup.note(wording.EXAMPLES))
        buttons = tuple(gr.Button(text, size="sm", scale=0, elem_classes="example") for text in examples)
        new_conversation = gr.Button(wording.NEW_CONVERSATION, size="sm", scale=0, elem_id="new-conversation")
    message = gr.HTML(elem_id="message")
    n_before = gr.Number(0, precision=0, visible=False)
    return PromptControls(conversation, n_before, prompt, buttons, run, stop, new_conversation, message)


def build_blend(guides: Sequence[GuideInfo], weights: Mapping[str, float], live: bool) -> BlendControls:
    """Presets, a slider per guide with its exponent, and the two switches."""
    gr.HTML(markup.heading(wording.BLEND))
    preset = gr.Radio(
        list(blend_presets(guides)),
        value=preset_named(guides, weights),
        label=wording.BLEND_PRESET,
        elem_id="blend-preset",
    )
    sliders, exponents = {}, {}
    for guide in guides:
        with gr.Column(elem_classes="guide", min_width=0):
            sliders[guide.dimension] = gr.Slider(
                0,
                MAX_WEIGHT,
                value=weights[guide.dimension],
                step=WEIGHT_STEP,
                label=wording.WEIGHT_OF.format(dimension=wording.title_of(guide.dimension)),
                elem_classes="weight",
            )
            exponents[guide.dimension] = gr.HTML(exponent_line(weights[guide.dimension], guide.unit))
    return BlendControls(
        preset,
        sliders,
        exponents,
        base_exponent=gr.Number(1.0, visible=False),
        base_note=gr.HTML(visible=False, elem_id="base-exponent"),
        live=gr.Checkbox(live, label=wording.LIVE, elem_id="live"),
        allow_negative=gr.Checkbox(
            False, label=wording.ALLOW_NEGATIVE, info=wording.ALLOW_NEGATIVE_INFO, elem_id="allow-negative"
        ),
    )


def exponent_line(weight: float, unit: float) -> str:
    """The exponent a weight comes to; `exponent_script` says the same while a slider moves."""
    return _exponent_line(f"{weight * unit:.2f}", f"{unit:.3g}", repr(unit))


def exponent_script() -> str:
    """JavaScript that makes the line of a weight from the line before it, which has the guide's unit."""
    line = json.dumps(_exponent_line("%exponent", "%shown", "%unit"))
    return f"""(weight, before) => {{
      const unit = Number(before.match(/data-unit="([^"]+)"/)[1]);
      const values = {{exponent: (weight * unit).toFixed(2), shown: Number(unit.toPrecision(3)), unit}};
      return {line}.replace(/%(\\w+)/g, (_, name) => values[name]);
    }}"""


def _exponent_line(exponent: str, shown: str, unit: str) -> str:
    return f'<div data-unit="{unit}">{markup.note(wording.EXPONENT.format(exponent=exponent, unit=shown))}</div>'


def build_sampling(max_new_tokens_limit: int) -> SamplingControls:
    """Temperature and the like, folded away."""
    default = SamplingSettings()
    with gr.Accordion(wording.SAMPLING, open=False, elem_id="sampling"):
        temperature = gr.Slider(
            0, 2, default.temperature, step=0.05, label=wording.TEMPERATURE, info=wording.TEMPERATURE_INFO
        )
        top_p = gr.Slider(0.01, 1, default.top_p, step=0.01, label=wording.TOP_P)
        top_k = gr.Number(default.top_k, precision=0, minimum=0, label=wording.TOP_K, info=wording.TOP_K_INFO)
        min_p = gr.Slider(0, 1, default.min_p, step=0.01, label=wording.MIN_P, info=wording.MIN_P_INFO)
        max_new_tokens = gr.Slider(
            1,
            max_new_tokens_limit,
            min(DEFAULT_MAX_NEW_TOKENS, max_new_tokens_limit),
            step=1,
            label=wording.MAX_NEW_TOKENS,
        )
        seed = gr.Textbox(str(default.seed), label=wording.SEED, info=wording.SEED_INFO, max_lines=1, elem_id="seed")
        new_seed = gr.Button(wording.NEW_SEED, size="sm", elem_id="new-seed")
    return SamplingControls(temperature, top_p, top_k, min_p, max_new_tokens, seed, new_seed)
