"""The Guides page, laid out: the versions on top, then trying one, retraining, and the newest training."""

from dataclasses import dataclass, field

import gradio as gr
from gradio.components import Navbar

from ui import wording_guides as wording
from ui import wording_judge
from ui.components import markup
from ui.forms import MAX_WEIGHT, WEIGHT_STEP

TICK_SECONDS = 1.0
LOG_LINES = 12


@dataclass(frozen=True)
class VersionsView:
    """The guides, and what is done with the version that is picked."""

    notes: gr.HTML
    cards: gr.HTML
    version: gr.Dropdown
    other: gr.Dropdown
    publish: gr.Button
    roll_back: gr.Button
    compare: gr.Button
    look_again: gr.Button
    told: gr.HTML
    found: gr.HTML


@dataclass(frozen=True)
class TryView:
    """The same prompt with two versions."""

    prompt: gr.Textbox
    weight: gr.Slider
    seed: gr.Number
    run: gr.Button
    message: gr.HTML
    old: gr.Textbox
    new: gr.Textbox
    old_note: gr.HTML
    new_note: gr.HTML


@dataclass
class RetrainView:
    """What is asked of a retraining; ``inputs`` by name are what `ui.guides.asking.ask_of` reads."""

    inputs: dict[str, gr.components.Component] = field(default_factory=dict)


@dataclass(frozen=True)
class RunView:
    """The newest training; ``drawn`` is what the plots show, so that they are drawn again only when there is more."""

    state: gr.HTML
    plots: gr.Row
    loss: gr.Plot
    accuracy: gr.Plot
    cancel: gr.Button
    go_on: gr.Button
    found: gr.HTML
    log: gr.Textbox
    drawn: gr.State
    timer: gr.Timer


@dataclass(frozen=True)
class GuidesPage:
    """Every component of the page by name; ``token`` is never seen."""

    versions: VersionsView
    tried: TryView
    form: RetrainView
    gate: gr.HTML
    check: gr.Button
    start: gr.Button
    told: gr.HTML
    run: RunView
    token: gr.Textbox


def build_guides(is_private: bool) -> GuidesPage:
    """Lay the page out inside its own route; a page open to everybody shows the guides and nothing that changes one."""
    Navbar(main_page_name=wording_judge.STEER_PAGE)
    gr.HTML(f"<h1>{markup.escape(wording.TITLE)}</h1><p>{markup.escape(wording.TAGLINE)}</p>", elem_id="title")
    if not is_private:
        gr.HTML(markup.status(f"{wording.NOT_PRIVATE} {wording.NOT_PRIVATE_HINT}"), elem_id="guides-closed")
    versions = _build_versions(is_private)
    tried = _build_try(is_private)
    form = RetrainView()
    with gr.Accordion(wording.RETRAIN, open=True, visible=is_private, elem_id="guides-retrain"):
        gr.HTML(markup.note(wording.RETRAIN_INFO))
        with gr.Row(elem_classes="study-form", equal_height=False):
            _build_source(form)
            _build_rules(form)
        gate = gr.HTML(elem_id="retrain-gate")
        with gr.Row(elem_classes="guides-buttons"):
            start = gr.Button(wording.START, variant="primary", elem_id="retrain-start", min_width=140)
            check = gr.Button(wording.CHECK, elem_id="retrain-check", min_width=140)
        told = gr.HTML(elem_id="retrain-told")
    run = _build_run(is_private)
    return GuidesPage(versions, tried, form, gate, check, start, told, run, gr.Textbox(visible=False))


def _build_versions(is_private: bool) -> VersionsView:
    notes = gr.HTML(elem_id="guides-notes")
    gr.HTML(markup.heading(wording.LIST))
    cards = gr.HTML(elem_id="guides-list")
    with gr.Row(equal_height=False, visible=is_private, elem_classes="guides-bar"):
        version = gr.Dropdown(
            [], label=wording.VERSION, info=wording.VERSION_INFO, elem_id="guides-version", min_width=200
        )
        other = gr.Dropdown([], label=wording.OTHER, info=wording.OTHER_INFO, elem_id="guides-other", min_width=200)
    with gr.Row(visible=is_private, elem_classes="guides-buttons"):
        publish = gr.Button(wording.PUBLISH, variant="primary", elem_id="guides-publish", min_width=110)
        roll_back = gr.Button(wording.ROLL_BACK, elem_id="guides-roll-back", min_width=150)
        compare = gr.Button(wording.COMPARE, elem_id="guides-compare", min_width=110)
        look_again = gr.Button(wording.LOOK_AGAIN, elem_id="guides-look-again", min_width=110)
    told = gr.HTML(elem_id="guides-told")
    found = gr.HTML(elem_id="guides-found")
    return VersionsView(notes, cards, version, other, publish, roll_back, compare, look_again, told, found)


def _build_try(is_private: bool) -> TryView:
    with gr.Accordion(wording.TRY, open=False, visible=is_private, elem_id="guides-try"):
        gr.HTML(markup.note(wording.TRY_INFO))
        prompt = gr.Textbox(wording.PROMPT_EXAMPLE, label=wording.PROMPT, lines=2, max_lines=6, elem_id="try-prompt")
        with gr.Row(equal_height=False, elem_classes="guides-bar"):
            weight = gr.Slider(0, MAX_WEIGHT, value=1.0, step=WEIGHT_STEP, label=wording.WEIGHT, elem_id="try-weight")
            seed = gr.Number(0, label=wording.SEED, step=1, min_width=110, elem_id="try-seed")
            run = gr.Button(wording.RUN, variant="primary", elem_id="try-run", min_width=120)
        message = gr.HTML(elem_id="try-message")
        panes: list[gr.Textbox] = []
        notes: list[gr.HTML] = []
        with gr.Row(equal_height=False, elem_classes="guides-panes"):
            for name, label in (("old", wording.OLD_PANE), ("new", wording.NEW_PANE)):
                with gr.Column(min_width=260):
                    panes.append(gr.Textbox(label=label, lines=6, interactive=False, elem_id=f"try-{name}"))
                    notes.append(gr.HTML(elem_id=f"try-{name}-note"))
    return TryView(prompt, weight, seed, run, message, panes[0], panes[1], notes[0], notes[1])


def _build_source(form: RetrainView) -> None:
    inputs = form.inputs
    with gr.Column(elem_classes="study-part"):
        with gr.Row():
            inputs["question"] = gr.Dropdown(
                [], label=wording.QUESTION, info=wording.QUESTION_INFO, elem_id="retrain-question", min_width=150
            )
            inputs["dimension"] = gr.Textbox(
                label=wording.DIMENSION,
                info=wording.DIMENSION_INFO,
                max_lines=1,
                elem_id="retrain-dimension",
                min_width=150,
            )
        inputs["study"] = gr.Dropdown(
            [(wording.ALL_STUDIES, "")], value="", label=wording.SOURCE, elem_id="retrain-study", min_width=150
        )
        inputs["without"] = gr.Dropdown(
            [], multiselect=True, label=wording.WITHOUT, info=wording.WITHOUT_INFO, elem_id="retrain-without"
        )
        with gr.Row():
            inputs["since"] = gr.Textbox(label=wording.SINCE, info=wording.DAY_INFO, max_lines=1, min_width=120)
            inputs["until"] = gr.Textbox(label=wording.UNTIL, info=wording.DAY_INFO, max_lines=1, min_width=120)
        inputs["further"] = gr.Checkbox(False, label=wording.FURTHER, elem_id="retrain-further")


def _build_rules(form: RetrainView) -> None:
    inputs = form.inputs
    with gr.Column(elem_classes="study-part"):
        gr.HTML(markup.heading(wording.RULES))
        with gr.Row():
            inputs["reliability"] = _number(0, wording.RELIABILITY, wording.RELIABILITY_INFO)
            inputs["agreement"] = _number(0, wording.AGREEMENT, wording.AGREEMENT_INFO)
        with gr.Row():
            inputs["annotator_cap"] = _number(0, wording.ANNOTATOR_CAP, wording.ANNOTATOR_CAP_INFO)
            inputs["prompt_cap"] = _number(6, wording.PROMPT_CAP, wording.PROMPT_CAP_INFO)
        inputs["held_out"] = _number(20, wording.HELD_OUT, wording.HELD_OUT_INFO)


def _build_run(is_private: bool) -> RunView:
    gr.HTML(markup.heading(wording.RUN_TITLE))
    state = gr.HTML(elem_id="run-state")
    with gr.Row(visible=is_private, elem_classes="guides-buttons"):
        cancel = gr.Button(wording.CANCEL, elem_id="run-cancel", visible=False, min_width=110)
        go_on = gr.Button(wording.GO_ON, elem_id="run-go-on", visible=False, min_width=110)
    with gr.Row(visible=False, equal_height=False, elem_classes="results-pair") as plots:
        with gr.Column(elem_classes="results-part", min_width=260):
            loss = gr.Plot(label=wording.LOSS_PLOT, show_label=False, visible=False, elem_id="run-loss")
        with gr.Column(elem_classes="results-part", min_width=260):
            accuracy = gr.Plot(label=wording.ACCURACY_PLOT, show_label=False, visible=False, elem_id="run-accuracy")
    found = gr.HTML(elem_id="run-found")
    with gr.Accordion(wording.LOG, open=False, visible=is_private, elem_id="run-log"):
        log = gr.Textbox(
            wording.EMPTY_LOG,
            label=wording.LOG,
            show_label=False,
            lines=LOG_LINES,
            max_lines=LOG_LINES,
            interactive=False,
        )
    timer = gr.Timer(TICK_SECONDS, active=False)
    return RunView(state, plots, loss, accuracy, cancel, go_on, found, log, gr.State(""), timer)


def _number(value: float, label: str, info: str) -> gr.Number:
    return gr.Number(value, label=label, info=info, step=1, min_width=130)
