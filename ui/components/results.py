"""The Results page, laid out: filters on top, then one part below the other, each with its plot and its table."""

from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Navbar

from ui import wording_judge
from ui import wording_results as wording
from ui.components import markup
from ui.results.parts import TITLES, WITHOUT_PLOT, Part


@dataclass(frozen=True)
class Filters:
    """What is looked at; None in a list means all."""

    study: gr.Dropdown
    since: gr.Textbox
    until: gr.Textbox
    group: gr.Dropdown
    reliability: gr.Slider
    by_strength: gr.Checkbox
    show: gr.Button

    @property
    def inputs(self) -> list[gr.components.Component]:
        """The values that are sent, in the order of ``query_of``."""
        return [self.study, self.since, self.until, self.group, self.reliability, self.by_strength]


@dataclass(frozen=True)
class PartView:
    """One part: what is said of it, its plot where it has one, and its table, which may be unfolded and downloaded.

    ``told`` is why the table could not be.
    """

    whole: gr.Column
    note: gr.HTML
    plot: gr.Plot | None
    data: gr.Accordion
    table: gr.Dataframe
    csv: gr.Button
    told: gr.HTML


@dataclass(frozen=True)
class ExportControls:
    """What file to make, and where it is offered."""

    whole: gr.Column
    format: gr.Dropdown
    file_kind: gr.Dropdown
    test_share: gr.Slider
    prepare: gr.Button
    note: gr.HTML
    file: gr.DownloadButton


@dataclass(frozen=True)
class ResultsPage:
    """Every component of the page by name. ``sent`` is never seen: it carries a table to the browser's download."""

    filters: Filters
    message: gr.HTML
    counts: gr.HTML
    dimension: gr.Radio
    parts: dict[Part, PartView]
    want_of: gr.Radio
    open_in_steer: gr.Button
    export: ExportControls
    sent: gr.Textbox


def build_results(is_private: bool) -> ResultsPage:
    """Lay the page out inside its own route."""
    Navbar(main_page_name=wording_judge.STEER_PAGE)
    gr.HTML(f"<h1>{markup.escape(wording.TITLE)}</h1><p>{markup.escape(wording.TAGLINE)}</p>", elem_id="title")
    filters = _build_filters()
    message = gr.HTML(elem_id="results-message")
    counts = gr.HTML(elem_id="results-counts")
    dimension = gr.Radio([], label=wording.DIMENSION, elem_id="results-dimension", visible=False)
    parts = {}
    with gr.Row(elem_classes="results-pair", equal_height=False):
        parts[Part.WINS] = _build_part(Part.WINS)
        parts[Part.RATINGS] = _build_part(Part.RATINGS)
    with gr.Row(elem_classes="results-pair", equal_height=False):
        with gr.Column(min_width=320):
            want_of = gr.Radio([], label=wording.PEOPLE_WANT, elem_id="results-want-of", visible=False)
            parts[Part.WANT] = _build_part(Part.WANT)
            open_in_steer = gr.Button(wording.OPEN_IN_STEER, elem_id="results-open", variant="primary", visible=False)
        with gr.Column(min_width=320):
            parts[Part.INFLUENCE] = _build_part(Part.INFLUENCE)
            parts[Part.AGREEMENT] = _build_part(Part.AGREEMENT)
            parts[Part.PAIRS] = _build_part(Part.PAIRS)
    with gr.Row(elem_classes="results-pair", equal_height=False):
        parts[Part.ANNOTATORS] = _build_part(Part.ANNOTATORS)
        parts[Part.PACE] = _build_part(Part.PACE)
    export = _build_export(is_private)
    sent = gr.Textbox(visible=False)
    return ResultsPage(filters, message, counts, dimension, parts, want_of, open_in_steer, export, sent)


def _build_filters() -> Filters:
    with gr.Row(elem_id="results-filters", equal_height=False):
        study = gr.Dropdown([], label=wording.STUDY, elem_id="results-study", scale=2, min_width=220)
        group = gr.Dropdown([], label=wording.GROUP, elem_id="results-group", min_width=140)
        day: dict[str, Any] = {"placeholder": wording.DAY_FORM, "max_lines": 1, "max_length": 10, "min_width": 120}
        since = gr.Textbox(label=wording.SINCE, elem_id="results-since", **day)
        until = gr.Textbox(label=wording.UNTIL, elem_id="results-until", **day)
        reliability = gr.Slider(
            *(0, 100, 0),
            step=5,
            label=f"{wording.RELIABILITY}, %",
            info=wording.RELIABILITY_INFO,
            elem_id="results-reliability",
            min_width=260,
            scale=2,
        )
        show = gr.Button(wording.SHOW, variant="primary", elem_id="results-show", min_width=90, scale=0)
    by_strength = gr.Checkbox(
        False, label=wording.BY_STRENGTH, info=wording.BY_STRENGTH_INFO, elem_id="results-strength", visible=False
    )
    return Filters(study, since, until, group, reliability, by_strength, show)


def _build_part(part: Part) -> PartView:
    with gr.Column(elem_id=f"results-{part}", elem_classes="results-part", min_width=320, visible=False) as whole:
        gr.HTML(markup.heading(TITLES[part]))
        note = gr.HTML(elem_classes="results-note")
        plot = None if part in WITHOUT_PLOT else gr.Plot(label=TITLES[part], show_label=False, container=False)
        with gr.Accordion(wording.TABLE, open=False, visible=False) as data:
            table = gr.Dataframe(
                interactive=False,
                label=TITLES[part],
                show_label=False,
                wrap=False,
                max_height=320,
                buttons=["fullscreen"],
            )
            csv = gr.Button(wording.CSV, size="sm", elem_id=f"results-{part}-csv", min_width=80)
            told = gr.HTML(elem_id=f"results-{part}-told")
    return PartView(whole, note, plot, data, table, csv, told)


def _build_export(is_private: bool) -> ExportControls:
    with gr.Column(elem_id="results-export", elem_classes="results-part") as whole:
        gr.HTML(markup.heading(wording.EXPORT) + markup.note(wording.EXPORT_NOTE if is_private else wording.NOT_PUBLIC))
        with gr.Row(visible=is_private, equal_height=False):
            format_ = gr.Dropdown([(words, one.value) for one, words in wording.FORMATS.items()], label=wording.FORMAT)
            file_kind = gr.Dropdown(
                [(words, one.value) for one, words in wording.FILE_KINDS.items()], label=wording.FILE_KIND
            )
            test_share = gr.Slider(0, 50, 0, step=1, label=f"{wording.TEST_SHARE}, %")
        with gr.Row(visible=is_private):
            prepare = gr.Button(wording.PREPARE, elem_id="results-prepare")
            file = gr.DownloadButton(elem_id="results-download", visible=False)
        note = gr.HTML(elem_id="results-export-note")
    return ExportControls(whole, format_, file_kind, test_share, prepare, note, file)
