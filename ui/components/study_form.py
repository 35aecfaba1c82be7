"""The form of a new study, laid out: every input by the name `ui.studying.forms` knows it by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from models.answers import GuideInfo
from steering.types import SamplingSettings
from storage.records_publishing import DEFAULT_MARGIN_NATS
from storage.records_studies import MAX_CONSENT_CHARS, Ordering
from ui import wording
from ui import wording_studies as words
from ui.components import markup
from ui.forms import DEFAULT_MAX_NEW_TOKENS, blend_presets
from ui.prompt_files import BUILT_IN
from ui.studying.forms import BUILT_IN_SET, DRAWN, FILE, FIXED, N_BLENDS, N_GOLD, N_QUESTIONS, PASTED, PUBLISHING

N_SHOWN = {"question": 3, "blend": 3, "gold": 1}
N_ROWS = {"question": N_QUESTIONS, "blend": N_BLENDS, "gold": N_GOLD}


@dataclass(frozen=True)
class StudyForm:
    """The inputs by name, in the order in which they are sent; the rows that may be shown, and what shows more.

    ``shown`` says how many rows of a kind are. ``groups`` are shown by what is picked in ``source``, ``compared`` and
    ``publish``.
    """

    inputs: dict[str, gr.components.Component] = field(default_factory=dict)
    rows: dict[str, list[gr.Row]] = field(default_factory=dict)
    add: dict[str, gr.Button] = field(default_factory=dict)
    shown: dict[str, gr.State] = field(default_factory=dict)
    groups: dict[str, gr.Column] = field(default_factory=dict)
    pick_file: dict[str, Any] = field(default_factory=dict)


def build_form(guides: Sequence[GuideInfo], max_new_tokens_limit: int) -> StudyForm:
    """Lay the form out inside the current Blocks."""
    form = StudyForm()
    with gr.Row(elem_classes="study-form", equal_height=False):
        with gr.Column(min_width=320):
            _build_prompts(form)
            _build_questions(form)
            _build_gold(form)
        with gr.Column(min_width=320):
            _build_compared(form, guides)
            _build_judging(form)
            _build_publishing(form)
            _build_sampling(form, max_new_tokens_limit)
    return form


def _build_prompts(form: StudyForm) -> None:
    with gr.Column(elem_classes="study-part"):
        form.inputs["name"] = gr.Textbox(label=words.NAME, info=words.NAME_INFO, max_lines=1, elem_id="study-name")
        gr.HTML(markup.heading(words.PROMPTS))
        form.inputs["source"] = _radio(words.SOURCES, PASTED, words.PROMPTS, "study-source", headed=True)
        with gr.Column(min_width=0) as form.groups[PASTED]:
            form.inputs["pasted"] = gr.Textbox(label=words.PASTED, lines=6, max_lines=14, elem_id="study-pasted")
        with gr.Column(min_width=0, visible=False) as form.groups[FILE]:
            gr.HTML(markup.note(words.FILE_INFO.format(example=words.FILE_EXAMPLE)))
            form.pick_file["button"] = gr.Button(words.PICK_FILE, size="sm", elem_id="study-pick-file")
            form.pick_file["note"] = gr.HTML(elem_id="study-file-note")
            form.inputs["file"] = gr.Textbox(visible=False)
        with gr.Column(min_width=0, visible=False) as form.groups[BUILT_IN_SET]:
            choices = [(words.BUILT_IN_SETS[name], name) for name in BUILT_IN]
            form.inputs["built_in"] = gr.Dropdown(
                choices, value=BUILT_IN[0], label=words.BUILT_IN, elem_id="study-built-in"
            )


def _build_questions(form: StudyForm) -> None:
    with gr.Column(elem_classes="study-part"):
        gr.HTML(markup.heading(words.QUESTIONS) + markup.note(words.QUESTIONS_INFO))
        defaults = [*words.DEFAULT_QUESTIONS.items(), *[("", "")] * N_QUESTIONS]
        for number, row in _rows(form, "question"):
            dimension, text = defaults[number - 1]
            with row:
                for name, label, value, scale in (
                    ("dimension", words.QUESTION_DIMENSION, dimension, 1),
                    ("text", words.QUESTION_TEXT, text, 2),
                ):
                    form.inputs[f"question-{number}-{name}"] = gr.Textbox(
                        value, label=label.format(number=number), max_lines=1, scale=scale, min_width=120
                    )
        _build_add(form, "question")


def _build_compared(form: StudyForm, guides: Sequence[GuideInfo]) -> None:
    presets = blend_presets(guides)
    defaults = [next(iter(presets.items())), list(presets.items())[-1]]
    with gr.Column(elem_classes="study-part"):
        gr.HTML(markup.heading(words.COMPARED))
        form.inputs["compared"] = _radio(words.COMPARED_WAYS, FIXED, words.COMPARED, "study-compared", headed=True)
        with gr.Column(min_width=0) as form.groups[FIXED]:
            gr.HTML(markup.note(words.BLENDS_INFO))
            for number, row in _rows(form, "blend"):
                name, weights = defaults[number - 1] if number <= len(defaults) else ("", {})
                with row:
                    _build_blend(form, number, name.lower(), weights, guides)
            _build_add(form, "blend")
        with gr.Column(min_width=0, visible=False) as form.groups[DRAWN]:
            gr.HTML(markup.note(words.RANGES_INFO))
            for guide in guides:
                title = wording.title_of(guide.dimension)
                with gr.Row():
                    form.inputs[f"low-{guide.dimension}"] = _number(0, words.LOW.format(dimension=title))
                    form.inputs[f"high-{guide.dimension}"] = _number(3, words.HIGH.format(dimension=title))
            form.inputs["pairs_per_prompt"] = _number(1, words.PAIRS_PER_PROMPT)


def _build_blend(
    form: StudyForm, number: int, name: str, weights: Mapping[str, float], guides: Sequence[GuideInfo]
) -> None:
    form.inputs[f"blend-{number}-name"] = gr.Textbox(
        name, label=words.BLEND_NAME.format(number=number), max_lines=1, scale=2, min_width=120
    )
    for guide in guides:
        label = words.BLEND_WEIGHT.format(dimension=wording.title_of(guide.dimension), number=number)
        form.inputs[f"blend-{number}-{guide.dimension}"] = _number(weights.get(guide.dimension, 0), label)


def _build_judging(form: StudyForm) -> None:
    with gr.Column(elem_classes="study-part"):
        gr.HTML(markup.heading(words.JUDGING))
        with gr.Row():
            form.inputs["overlap"] = _number(1, words.OVERLAP, words.OVERLAP_INFO)
            form.inputs["repeat_share"] = _number(0, words.REPEAT_SHARE, words.REPEAT_INFO)
            form.inputs["seed"] = _number(0, words.SEED, words.SEED_INFO)
        form.inputs["order"] = _radio(words.ORDERS, Ordering.FEWEST.value, words.ORDER, "study-order")
        form.inputs["reveal"] = gr.Checkbox(False, label=words.REVEAL, elem_id="study-reveal")
        form.inputs["consent"] = gr.Textbox(
            label=words.CONSENT, info=words.CONSENT_INFO, lines=2, max_lines=8, max_length=MAX_CONSENT_CHARS
        )


def _build_publishing(form: StudyForm) -> None:
    with gr.Column(elem_classes="study-part"):
        gr.HTML(markup.heading(words.PUBLISHING))
        form.inputs["publish"] = gr.Checkbox(
            False, label=words.PUBLISH, info=words.PUBLISH_INFO, elem_id="study-publish"
        )
        with gr.Column(min_width=0, visible=False) as form.groups[PUBLISHING]:
            form.inputs["margin"] = gr.Number(
                DEFAULT_MARGIN_NATS,
                label=words.MARGIN,
                info=words.MARGIN_INFO,
                step=0.01,
                min_width=110,
                elem_id="study-margin",
            )


def _build_sampling(form: StudyForm, max_new_tokens_limit: int) -> None:
    default = SamplingSettings()
    with gr.Accordion(words.SAMPLING, open=False, elem_id="study-sampling"), gr.Row():
        form.inputs["temperature"] = _number(default.temperature, wording.TEMPERATURE, wording.TEMPERATURE_INFO)
        form.inputs["top_p"] = _number(default.top_p, wording.TOP_P)
        form.inputs["top_k"] = _number(default.top_k, wording.TOP_K, wording.TOP_K_INFO)
        form.inputs["min_p"] = _number(default.min_p, wording.MIN_P, wording.MIN_P_INFO)
        n_tokens = min(DEFAULT_MAX_NEW_TOKENS, max_new_tokens_limit)
        form.inputs["max_new_tokens"] = _number(n_tokens, wording.MAX_NEW_TOKENS)
        # Not a number field, which shows and sends 0 where nothing is typed.
        form.inputs["plausibility"] = gr.Textbox(
            label=words.PLAUSIBILITY, info=words.PLAUSIBILITY_INFO, max_lines=1, min_width=110
        )


def _build_gold(form: StudyForm) -> None:
    with gr.Accordion(words.GOLD, open=False, elem_id="study-gold"):
        gr.HTML(markup.note(words.GOLD_INFO))
        form.inputs["gold_share"] = _number(0, words.GOLD_SHARE, words.GOLD_SHARE_INFO)
        for number, row in _rows(form, "gold"):
            with row:
                for name, label in words.GOLD_FIELDS.items():
                    form.inputs[f"gold-{number}-{name}"] = gr.Textbox(
                        label=label.format(number=number), lines=2, max_lines=6, min_width=150
                    )
        _build_add(form, "gold")


def _rows(form: StudyForm, kind: str) -> list[tuple[int, gr.Row]]:
    rows = [
        gr.Row(visible=number <= N_SHOWN[kind], equal_height=False, elem_classes="study-row")
        for number in range(1, N_ROWS[kind] + 1)
    ]
    form.rows[kind] = rows
    return list(enumerate(rows, start=1))


def _build_add(form: StudyForm, kind: str) -> None:
    form.add[kind] = gr.Button(words.ADD[kind], size="sm", elem_id=f"study-add-{kind}")
    form.shown[kind] = gr.State(N_SHOWN[kind])


def _number(value: float, label: str, info: str | None = None) -> gr.Number:
    return gr.Number(value, label=label, info=info, step=0.1 if isinstance(value, float) else 1, min_width=110)


def _radio(choices: Mapping[str, str], value: str, label: str, elem_id: str, *, headed: bool = False) -> gr.Radio:
    """A choice of one; ``headed``: a heading above says its label already, which is then for screen readers only."""
    named = [(text, name) for name, text in choices.items()]
    return gr.Radio(named, value=value, label=label, show_label=not headed, elem_id=elem_id)
