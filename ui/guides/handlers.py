"""The Guides page's handlers: read components, call one action, return updates by component."""

from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from steering.errors import InputError
from ui import wording_guides as wording
from ui.components import guides_markup, markup, retrain_markup
from ui.components.guides import LOG_LINES, GuidesPage
from ui.components.view import Updates
from ui.guides.actions import GuidesActions, GuideView, Tried
from ui.guides.asking import Ask, ask_of
from ui.guides.figures import accuracy_curve, loss_curve
from ui.guides.runs import CAN_GO_ON, UNDER_WAY, Stage
from ui.handlers import Handler, own_session, told_by, words_for
from ui.privacy import is_let_in


def told_at(place: str) -> Callable[[Handler], Handler]:
    """Tell an error at a place of the page."""
    return told_by(lambda handlers, message: {handlers.places[place]: message})


class GuidesHandlers:
    """One method per event; bound to the components in `ui.guides.events`."""

    def __init__(self, page: GuidesPage, actions: GuidesActions) -> None:
        self.page = page
        self.actions = actions
        self.places = {"versions": page.versions.told, "form": page.told, "run": page.run.state}

    @told_at("versions")
    def guides_opened(self, request: gr.Request) -> Updates:
        """The page was opened."""
        session_id = own_session(request)
        if not is_let_in(self.actions, request):
            return self._versions() | self._run(request, "")
        inputs = self.page.form.inputs
        questions, sources = list(self.actions.questions()), self.actions.sources()
        names, first = [(name, one) for one, name in self.actions.annotators().items()], next(iter(questions), "")
        return {
            self.page.token: self.actions.session_token(session_id),
            self.page.versions.notes: "".join(map(markup.message, self.actions.notes)),
            inputs["question"]: gr.update(choices=questions, value=first or None),
            inputs["study"]: gr.update(choices=sources, value=sources[0][1]),
            inputs["without"]: gr.update(choices=names, value=[]),
            self.page.gate: self._gate(lambda: Ask(first, first)),
            **self._versions(),
            **self._run(request, ""),
        }

    @told_at("versions")
    def picked(self, request: gr.Request, token: str, key: str) -> Updates:
        """A version was picked: say what is known of it before it is published."""
        self._private(request, token)
        version = self.actions.version(key)
        assessed, verdict = self.actions.assessed(version)
        guide = self._guide(version.dimension)
        told = guides_markup.advice(version, verdict, assessed.get("old"), is_active=version.number == guide.active)
        found = retrain_markup.assessed(assessed, version.card.metrics)
        return {self.page.versions.told: told, self.page.versions.found: found}

    @told_at("versions")
    def publish(self, request: gr.Request, token: str, key: str) -> Updates:
        """The version picked is to answer."""
        self._private(request, token)
        version = self.actions.publish(key)
        told = markup.status(wording.PUBLISHED.format(name=version.name))
        return self._versions(key) | {self.page.versions.told: told}

    @told_at("versions")
    def roll_back(self, request: gr.Request, token: str, key: str) -> Updates:
        """The version before is to answer again."""
        self._private(request, token)
        version = self.actions.roll_back(key)
        told = wording.ROLLED_BACK.format(name=version.name) if version else wording.ROLLED_BACK_TO_NONE
        return self._versions(key) | {self.page.versions.told: markup.status(told)}

    @told_at("versions")
    def look_again(self, request: gr.Request, token: str) -> Updates:
        """What was published elsewhere is to be taken in."""
        self._private(request, token)
        taken_in = self.actions.refresh().items()
        names = ", ".join(
            version.name if version else wording.NO_GUIDE_FOR.format(name=name) for name, version in taken_in
        )
        told = wording.TAKEN_IN.format(names=names) if names else wording.NOTHING_NEW
        return self._versions() | {self.page.versions.told: markup.status(told)}

    @told_at("versions")
    def compare(self, request: gr.Request, token: str, key: str, other: str) -> Updates:
        """Two versions are to be compared."""
        self._private(request, token)
        if key == other:
            raise InputError(wording.PICK_TWO, hint=wording.PICK_TWO_HINT)
        a, b = self.actions.version(key), self.actions.version(other)
        found = guides_markup.compared(a, b)
        for new, old in ((a, b), (b, a)):
            assessed, _ = self.actions.assessed(new)
            if new.dimension == old.dimension and assessed.get("old") == old.number:
                found += retrain_markup.assessed(assessed, new.card.metrics)
        return {self.page.versions.found: found, self.page.versions.told: ""}

    def try_out(
        self, request: gr.Request, token: str, key: str, prompt: str, weight: float, seed: float
    ) -> Iterator[Updates]:
        """A prompt is to be answered by the active version and the one picked."""
        view = self.page.tried
        try:
            session_id = self._private(request, token)
            yield {view.message: "", view.old: "", view.new: "", view.old_note: "", view.new_note: ""}
            for tried in self.actions.try_out(key, prompt, weight, seed, session_id):
                yield self._tried(tried)
        except Exception as error:  # noqa: BLE001 - the page's boundary: whatever happens is told, not lost
            yield {view.message: markup.message(words_for(error))}

    @told_at("form")
    def check(self, request: gr.Request, token: str, *inputs: Any) -> Updates:
        """The pairs are to be counted."""
        self._private(request, token)
        ask = self._ask(inputs)
        told = retrain_markup.usable(self.actions.usable(ask), self.actions.annotators())
        return {self.page.told: told, self.page.gate: retrain_markup.gate(self.actions.gate(ask))}

    @told_at("form")
    def start(self, request: gr.Request, token: str, *inputs: Any) -> Updates:
        """A training is to begin."""
        self._private(request, token)
        gate = retrain_markup.gate(self.actions.start(self._ask(inputs)).gate)
        return {self.page.told: markup.status(wording.STARTED), self.page.gate: gate, **self._run(request, "")}

    @told_at("form")
    def sources_changed(self, request: gr.Request, token: str, *inputs: Any) -> Updates:
        """Other judgements were picked: say what their studies say of publishing."""
        self._private(request, token)
        return {self.page.gate: self._gate(lambda: self._ask(inputs))}

    @told_at("form")
    def cancel(self, request: gr.Request, token: str) -> Updates:
        """The training under way is to end."""
        self._private(request, token)
        self.actions.retrainer.cancel()
        return {self.page.told: markup.status(wording.CANCELLING)}

    @told_at("form")
    def go_on(self, request: gr.Request, token: str) -> Updates:
        """The training that was cancelled or killed is to go on."""
        self._private(request, token)
        self.actions.retrainer.go_on()
        return {self.page.told: markup.status(wording.GOING_ON), **self._run(request, "")}

    @told_at("run")
    def tick(self, request: gr.Request, drawn: str) -> Updates:
        """A second has passed while something is under way."""
        own_session(request)
        run = self._run(request, drawn)
        is_over = not run[self.page.run.timer]["active"]
        return run | (self._versions() if is_over else {})  # a new version is there

    def _private(self, request: gr.Request, token: object) -> str:
        session_id = own_session(request)
        if not is_let_in(self.actions, request):
            raise InputError(wording.NOT_PRIVATE, hint=wording.NOT_PRIVATE_HINT)
        self.actions.check_token(session_id, token)
        return session_id

    def _ask(self, inputs: tuple[Any, ...]) -> Ask:
        return ask_of(dict(zip(self.page.form.inputs, inputs, strict=True)))

    def _gate(self, asked: Callable[[], Ask]) -> str:
        """What is said of publishing; empty while the form asks for what cannot be: its buttons say what is wrong."""
        try:
            ask = asked()
        except InputError:
            return ""
        return retrain_markup.gate(self.actions.gate(ask))

    def _guide(self, dimension: str) -> GuideView:
        return next(guide for guide in self.actions.guides() if guide.dimension == dimension)

    def _versions(self, key: str | None = None) -> Updates:
        """The cards and the lists of versions; ``key`` is the one to have picked, None leaves it as it is."""
        view, guides = self.page.versions, self.actions.guides()
        choices = [
            (_line(guide, version.number), f"{guide.dimension}/{version.number}")
            for guide in guides
            for version in guide.versions
        ]
        return {
            view.cards: guides_markup.cards(guides, self.actions.sliders),
            view.version: gr.update(choices=choices) if key is None else gr.update(choices=choices, value=key),
            view.other: gr.update(choices=choices),
        }

    def _run(self, request: gr.Request, drawn: str) -> Updates:
        """How far the newest training is; plots where there is more than ``drawn`` of them."""
        may = is_let_in(self.actions, request)
        view, newest = self.page.run, self.actions.retrainer.newest()
        stage = newest.stage() if newest is not None else None
        events = newest.progress() if newest is not None else []
        updates: Updates = {
            view.state: retrain_markup.run(newest, stage, events),
            view.cancel: gr.update(visible=stage is Stage.TRAINING and may),
            view.go_on: gr.update(visible=stage in CAN_GO_ON and may),
            view.timer: gr.update(active=stage in UNDER_WAY or (newest is not None and newest.waits_for_decision)),
        }
        if newest is None:
            return updates
        log = newest.log_tail(LOG_LINES * 4) if may else ""
        shown = [event for event in events if event["event"] in ("step", "held_out", "before")]
        now = f"{newest.path.name} {len(shown)} {stage}"
        if now != drawn:
            updates |= {
                view.drawn: now,
                view.log: log or wording.EMPTY_LOG,
                view.plots: gr.update(visible=bool(shown)),
                view.loss: gr.update(value=loss_curve(events), visible=bool(shown)),
                view.accuracy: gr.update(value=accuracy_curve(events), visible=bool(shown)),
                view.found: self._found(newest.ask.dimension, newest.version),
            }
        return updates

    def _found(self, dimension: str, number: int | None) -> str:
        if number is None:
            return ""
        version = self.actions.version(f"{dimension}/{number}")
        assessed, _ = self.actions.assessed(version)
        return retrain_markup.assessed(assessed, version.card.metrics)

    def _tried(self, tried: Tried) -> Updates:
        view = self.page.tried

        def note(name: str, answer: Any) -> str:
            kl = markup.number(answer.kl_per_token or 0.0)
            return markup.note(wording.TRIED.format(name=name, tokens=len(answer.token_ids), kl=kl))

        return {
            view.old: tried.old.text,
            view.new: tried.new.text,
            view.old_note: note(tried.old_name, tried.old),
            view.new_note: note(tried.new_name, tried.new),
        }


def _line(guide: GuideView, number: int) -> str:
    line = wording.VERSION_LINE_ACTIVE if number == guide.active else wording.VERSION_LINE
    return line.format(dimension=guide.dimension, number=number)
