"""The Results page's handlers: read components, call one action, return updates by component."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import gradio as gr

from steering.errors import InputError
from ui import wording_results as wording
from ui.components import markup
from ui.components.results import PartView, ResultsPage
from ui.components.view import SteerView, Updates
from ui.handlers import own_session, told_by, words_for
from ui.privacy import is_let_in
from ui.results.actions import STEER, Findings, Query, ResultsActions, blend_from, blend_link, plan_of, query_of
from ui.results.parts import OF_A_DIMENSION, OF_ANNOTATORS, Drawn, Part, draw
from ui.wording import title_of

N_FILTERS = 6


def _told(handlers: "ResultsHandlers", message: str) -> Updates:
    return {handlers.page.message: message}


def _told_of_export(handlers: "ResultsHandlers", message: str) -> Updates:
    export = handlers.page.export
    return {export.note: message, export.file: gr.update(visible=False)}


told_on_page = told_by(_told)


class ResultsHandlers:
    """One method per event; bound to the components in `ui.results.events`."""

    def __init__(self, page: ResultsPage, actions: ResultsActions) -> None:
        self.page = page
        self.actions = actions

    @told_on_page
    def opened(self, request: gr.Request) -> Updates:
        """The page was opened: offer the studies, and show the newest that was judged or the one the address names."""
        own_session(request)
        studies, n_on_steer = self.actions.studies(), self.actions.n_on_steer()
        lines = [
            (wording.STUDY_LINE.format(name=study.name, given=study.n_given, wanted=study.n_wanted), study.id)
            for study in studies
        ]
        judged = [study.id for study in studies if study.n_given]
        if studies:
            lines.append((wording.ALL_STUDIES, ""))
        if n_on_steer:
            lines.append((wording.STEER_LINE.format(count=n_on_steer), STEER))
            judged.append(STEER)
        if not lines:
            return {self.page.message: markup.status(wording.NO_STUDIES)}
        asked, ids = request.query_params.get("study"), [study_id for _, study_id in lines if study_id]
        picked = asked if asked in ids else next(iter(judged), ids[0])
        return {self.page.filters.study: gr.update(choices=lines, value=picked)} | self._picked(request, picked)

    @told_on_page
    def pick(self, request: gr.Request, study_id: object) -> Updates:
        """Another study was picked: it is shown whole."""
        own_session(request)
        return self._picked(request, study_id)

    @told_on_page
    def show(self, request: gr.Request, *filters: Any) -> Updates:
        """A filter was set."""
        own_session(request)
        query = _query(filters)
        dimension, want_of = filters[N_FILTERS:]
        return self._shown(self._find(request, query), query, dimension, want_of)

    @told_on_page
    def show_dimension(self, request: gr.Request, *filters: Any) -> Updates:
        """Another dimension was picked."""
        own_session(request)
        findings = self._find(request, _query(filters))
        dimension = _among(filters[N_FILTERS], findings)
        return self._parts(OF_A_DIMENSION, findings, dimension) | {self.page.message: ""}

    @told_on_page
    def show_want(self, request: gr.Request, *filters: Any) -> Updates:
        """What people want was asked of another dimension, or of all."""
        own_session(request)
        findings = self._find(request, _query(filters))
        return self._want(findings, filters[N_FILTERS + 1]) | {self.page.message: ""}

    def csv_of(self, part: Part) -> Callable[..., Updates]:
        """The handler that hands one part's table to the browser."""
        sent, told = self.page.sent, self.page.parts[part].told

        @told_by(lambda _handlers, message: {told: message, sent: ""})  # else what was sent before is saved again
        def guarded(handlers: ResultsHandlers, request: gr.Request, *filters: Any) -> Updates:
            own_session(request)
            return {told: "", sent: handlers._file(part, handlers._find(request, _query(filters)), filters)}

        def csv(request: gr.Request, *filters: Any) -> Updates:  # Gradio finds the request in a plain function only
            return guarded(self, request, *filters)

        return csv

    @told_by(_told_of_export)
    def export(self, request: gr.Request, format_: str, file_kind: str, percent: float, *filters: Any) -> Updates:
        """The file is asked for; it is offered when it is there."""
        controls = self.page.export
        own_session(request)
        if not is_let_in(self.actions, request):
            raise InputError(wording.EXPORT_REFUSED, hint=wording.EXPORT_REFUSED_HINT)
        query = _query(filters)
        plan = plan_of(format_, file_kind, percent, query)
        export = self.actions.export(query, plan, Path(controls.file.GRADIO_CACHE))
        told = export.manifest
        left_out = ", ".join(f"{reason} {count}" for reason, count in told.left_out.items()) or wording.NOTHING_LEFT_OUT
        rows, used, count = sum(told.n_rows.values()), told.n_used, told.n_judgements
        words = wording.EXPORTED.format(rows=rows, used=used, count=count, left_out=left_out)
        label = wording.DOWNLOAD.format(name=export.path.name)
        return {
            controls.note: markup.status(words),
            controls.file: gr.update(value=str(export.path), label=label, visible=True),
        }

    def _find(self, request: gr.Request, query: Query) -> Findings:
        return self.actions.find(query, named=is_let_in(self.actions, request))

    def _file(self, part: Part, findings: Findings, filters: tuple[Any, ...]) -> str:
        """A part's table for the browser to save; nothing where it has none."""
        wanted = filters[N_FILTERS + 1] if part is Part.WANT else filters[N_FILTERS]
        table = draw(part, findings, _asked(part, wanted, findings)).table
        return json.dumps({"name": f"tiller-{part}.csv", "text": table.to_csv()}) if table else ""

    def _picked(self, request: gr.Request, study_id: object) -> Updates:
        filters = self.page.filters
        query = query_of(study_id, (None, None), None, 0)
        findings = self._find(request, query)
        groups = [(name or wording.NO_GROUP, _keyed(name)) for name in self.actions.groups(str(study_id or ""))]
        return self._shown(findings, query, None, None) | {
            filters.group: gr.update(choices=[(wording.ALL_GROUPS, ""), *groups], value=""),
            filters.since: "",
            filters.until: "",
            filters.reliability: 0,
            filters.by_strength: gr.update(value=False, visible=findings.counts.n_slight > 0),
        }

    def _shown(self, findings: Findings, query: Query, dimension: object, want_of: object) -> Updates:
        is_empty = not findings.counts.n_judgements
        updates: Updates = {
            self.page.message: markup.status(wording.NO_JUDGEMENTS) if is_empty else "",
            self.page.counts: _counted(findings, on_steer=query.wanted.include_steer),
        }
        if is_empty:
            hidden: list[Any] = [view.whole for view in self.page.parts.values()]
            hidden += [self.page.dimension, self.page.want_of, self.page.open_in_steer]
            return updates | {component: gr.update(visible=False) for component in hidden}
        picked = _among(dimension, findings)
        wanted = want_of if want_of in findings.dimensions else ""
        names = [(title_of(name), name) for name in findings.dimensions]
        several = len(names) > 1
        updates |= {
            self.page.dimension: gr.update(choices=names, value=picked, visible=several),
            self.page.want_of: gr.update(choices=[(wording.TOGETHER, ""), *names], value=wanted, visible=several),
        }
        updates |= self._parts(OF_A_DIMENSION, findings, picked) | self._parts(OF_ANNOTATORS, findings, None)
        return updates | self._want(findings, wanted)

    def _want(self, findings: Findings, wanted: object) -> Updates:
        dimension = _asked(Part.WANT, wanted, findings)
        found = findings.dimension(dimension).preference if dimension else findings.together()
        link = blend_link(found)
        button = gr.update(link=link, visible=True) if link else gr.update(visible=False)
        return self._parts((Part.WANT,), findings, dimension) | {self.page.open_in_steer: button}

    def _parts(self, parts: Iterable[Part], findings: Findings, dimension: str | None) -> Updates:
        updates: Updates = {}
        for part in parts:
            updates |= _drawn(self.page.parts[part], draw(part, findings, dimension))
        return updates


def blend_from_link(view: SteerView) -> Callable[..., Updates]:
    """The Steer page's handler that sets the sliders when a link names a blend."""

    def opened(request: gr.Request) -> Updates:
        message = view.page.ask.message
        if (text := request.query_params.get("blend")) is None:
            return {message: gr.skip()}
        try:
            own_session(request)
            weights = blend_from(text)
        except Exception as error:  # noqa: BLE001 - the page's boundary: whatever happens is told, not lost
            return {message: markup.message(words_for(error))}
        strangers = [name for name in weights if name not in view.page.blend.sliders]
        words = wording.UNKNOWN_GUIDES.format(names=", ".join(strangers)) if strangers else wording.BLEND_OPENED
        return view.blend(weights) | {message: markup.status(words)}

    return opened


def _query(filters: tuple[Any, ...]) -> Query:
    study_id, since, until, group, percent, by_strength = filters[:N_FILTERS]
    return query_of(study_id, (since, until), _unkeyed(group), percent, by_strength)


def _keyed(group: str) -> str:
    """A group as a value of the list, in which nothing stands for all."""
    return f"={group}"


def _unkeyed(value: object) -> object:
    return value[1:] if isinstance(value, str) and value else None


def _among(dimension: object, findings: Findings) -> str | None:
    names = findings.dimensions
    return str(dimension) if dimension in names else next(iter(names), None)


def _asked(part: Part, wanted: object, findings: Findings) -> str | None:
    if part is Part.WANT:
        only = len(findings.dimensions) == 1
        return str(wanted) if wanted in findings.dimensions else findings.dimensions[0] if only else None
    return _among(wanted, findings)


def _counted(findings: Findings, *, on_steer: bool) -> str:
    counts = findings.counts
    words = wording.COUNTS.format(
        judgements=counts.n_judgements,
        comparisons=counts.n_comparisons,
        annotators=counts.n_annotators,
        gold=counts.n_gold,
        repeats=counts.n_repeats,
        decided=counts.n_decided,
        ties=counts.n_ties,
        bad=counts.n_both_bad,
        skips=counts.n_skips,
    )
    told = [words] if counts.n_judgements else []
    if counts.n_clear or counts.n_slight:
        told.append(wording.STRENGTHS.format(clear=counts.n_clear, slight=counts.n_slight))
    if findings.plan.by_strength:
        told.append(wording.BY_STRENGTH_NOTE)
    if counts.n_judgements:
        told.append(wording.STEER_NOTE if on_steer else "")
        told.append(wording.INTERVALS)
    if findings.n_left_out:
        told.append(wording.LEFT_OUT.format(count=findings.n_left_out))
    return markup.status(" ".join(filter(None, told))) if told else ""


def _drawn(view: PartView, drawn: Drawn) -> Updates:
    updates: Updates = {view.whole: gr.update(visible=True), view.note: markup.note(drawn.note), view.told: ""}
    if view.plot is not None:
        updates[view.plot] = gr.update(value=drawn.figure, visible=drawn.figure is not None)
    table = drawn.table
    updates[view.data] = gr.update(visible=table is not None)
    if table is not None:
        updates[view.table] = {"headers": list(table.headers), "data": table.rows}
    return updates
