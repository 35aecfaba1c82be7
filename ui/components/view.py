"""What the Steer page's components are to show, as updates by component."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from steering.types import Message, Side
from ui import wording
from ui.actions import Restored, SteerActions
from ui.components import markup
from ui.components.controls import exponent_line
from ui.components.steer import SteerPage, page_title
from ui.forms import MAX_WEIGHT, preset_named
from ui.runs import Queued, Report, Withdrawn
from ui.sessions import Response, Result, Session, TokenView
from ui.tokens import first_difference, token_name, token_rows

Updates = dict[gr.components.Component | gr.blocks.Block, Any]


@dataclass(frozen=True)
class SteerView:
    """Draws the page's results; everything a model or a person wrote passes through `markup`."""

    page: SteerPage
    actions: SteerActions

    def report(self, report: Report | None, session: Session, view: TokenView) -> Updates:
        """What a run reports: its place in the queue, answers that grow, or how it ended."""
        match report:
            case Queued(has_moved=False):
                return {self.page.status: gr.skip()}
            case Queued(position):
                return {self.page.status: markup.status(wording.waiting(position))}
            case Result(comparison=None):
                return self.writing(report)
            case Withdrawn(timed_out):
                words = self._timed_out(wording.TIMED_OUT_UNWRITTEN) if timed_out else wording.WITHDRAWN
                return self.settled(session, view) | {self.page.status: markup.status(words)}
        return self.settled(session, view)

    def _timed_out(self, words: str) -> str:
        return words.format(seconds=f"{self.actions.settings.time_limit:g}")

    def writing(self, result: Result) -> Updates:
        """Both answers while they grow: plain text and the numbers known so far."""
        updates: Updates = {self.page.status: markup.status(wording.WRITING), self.page.judgement.comparison_id: ""}
        for side, response in _sides(result):
            pane = self.page.panes[side]
            updates[pane.answer] = markup.plain_answer(response)
            updates[pane.metrics] = markup.metrics(response, self.page.dimensions)
        return updates | {self.page.ask.message: ""}

    def asked(self) -> Updates:
        """A run was asked for: it can be stopped, and what is shown cannot be judged any more."""
        stop = {self.page.ask.stop: gr.update(interactive=True)}
        return self._closed(wording.WAITING) | stop | {self.page.ask.message: ""}

    def _closed(self, status: str) -> Updates:
        """What cannot be used while there are no finished answers."""
        judgement = self.page.judgement
        updates: Updates = {row: gr.update(interactive=False) for row in judgement.rows.values()}
        updates |= {pane.carry_on: gr.update(interactive=False) for pane in self.page.panes.values()}
        return updates | {self.page.status: markup.status(status), judgement.comparison_id: ""}

    def settled(self, session: Session, view: TokenView) -> Updates:
        """What the session shows when nothing runs: the finished answers, or empty panes."""
        with session.lock:
            result = session.result
            updates = self.tokens(result, view) | self.judgement(session) | self.choices(session)
            updates[self.page.ask.stop] = gr.update(interactive=False)
            if result is None or result.comparison is None:
                return updates | self._closed(wording.READY)
            is_stopped = any(response.finish_reason == "stopped" for _, response in _sides(result))
            updates |= {pane.carry_on: gr.update(interactive=True) for pane in self.page.panes.values()}
            words = wording.STOPPED if is_stopped else wording.FINISHED
            words = self._timed_out(wording.TIMED_OUT) if result.timed_out else words
            updates[self.page.status] = markup.status(words)
            updates[self.page.judgement.comparison_id] = result.comparison.id
            return updates

    def tokens(self, result: Result | None, view: TokenView) -> Updates:
        """Both answers, plain or coloured, with their numbers, the first difference, the legend and the tables."""
        if result is None or result.comparison is None:
            return self._emptied(view)
        tokens, pieces = self.page.tokens, {}
        is_spelt = not self.actions.models.made_by_others(result.comparison.right)
        for side, response in _sides(result):
            pieces[side] = self.actions.engine.spell(response.token_ids) if is_spelt else ()
        position = first_difference(result.left.token_ids, result.right.token_ids)
        updates: Updates = {}
        for side, response in _sides(result):
            pane, answer = self.page.panes[side], response.answer
            rows = token_rows(answer, self.actions.engine.spell) if answer and (view.colour or view.show_table) else ()
            coloured = markup.coloured_answer(rows, view.colour, position) if rows and view.colour else ""
            updates[pane.answer] = coloured or markup.plain_answer(response, pieces[side], position)
            updates[pane.metrics] = markup.metrics(response, self.page.dimensions)
            updates[tokens.tables[side]] = gr.update(value=markup.table(rows, side), visible=view.show_table)
        updates[self.page.difference] = markup.note(_difference(result, pieces, position))
        is_stored_only = result.left.answer is None and (view.colour or view.show_table)
        return updates | self._legend(view.colour, wording.COLOURS_AFTER_RUN if is_stored_only else "")

    def _legend(self, colour: str, instead: str = "") -> Updates:
        shown = markup.note(instead) or (markup.legend(colour) if colour else "")
        return {self.page.tokens.legend: gr.update(value=shown, visible=bool(shown))}

    def _emptied(self, view: TokenView) -> Updates:
        updates: Updates = {self.page.difference: markup.note(wording.UNKNOWN)}
        for side, pane in self.page.panes.items():
            updates[pane.answer] = markup.empty_pane(side)
            updates[pane.metrics] = markup.metrics(None, self.page.dimensions)
            updates[self.page.tokens.tables[side]] = gr.update(value=markup.table((), side), visible=view.show_table)
        return updates | self._legend(view.colour)

    def choices(self, session: Session) -> Updates:
        """The choices made of what is shown, open for more where the answers have ended."""
        with session.lock:
            is_open = session.result is not None and session.result.comparison is not None
            return {
                row: gr.update(
                    value=str(session.chosen[dimension].choice) if dimension in session.chosen else None,
                    interactive=is_open,
                )
                for dimension, row in self.page.judgement.rows.items()
            }

    def judgement(self, session: Session) -> Updates:
        """What is saved and what is not, the link, and the session's list."""
        with session.lock:
            judgement, result, log = self.page.judgement, session.result, list(session.log.values())
            is_open = result is not None and result.comparison is not None
            failure = result.failure if result is not None else ""
            is_unsaved = bool(failure) or any(chosen.revision is None for chosen in session.chosen.values())
            saved = markup.choices(session.chosen, list(self.page.judgement.rows))
            if failure and not session.chosen:
                saved = markup.message(wording.COMPARISON_NOT_SAVED.format(reason=failure))
            elif not session.chosen:
                saved = markup.note(wording.JUDGE_NOW if is_open else wording.JUDGE_AFTER)
            is_linked = result is not None and result.comparison is not None and not failure
            link = markup.link(result.comparison.id) if result and result.comparison and is_linked else ""
            return {
                judgement.saved: saved,
                judgement.retry: gr.update(visible=is_unsaved),
                judgement.link: link or markup.note(wording.NO_LINK),
                judgement.copy_link: gr.update(interactive=is_linked),
                judgement.copied: "",
                self.page.session.log: markup.judgements(log),
                self.page.session.accordion: gr.update(label=wording.JUDGEMENTS.format(count=len(log))),
            }

    def conversation(self, messages: Sequence[Message]) -> Updates:
        """The turns so far."""
        shown = gr.update(value=markup.conversation(messages), visible=bool(messages))
        return {self.page.ask.conversation: shown, self.page.ask.n_before: len(messages)}

    def restored(self, restored: Restored) -> Updates:
        """The inputs as they were when a linked comparison was made."""
        other = wording.RESTORED_OTHER_MODELS.format(made=restored.other_models, loaded=self.actions.models.named)
        sampling, drawn = self.page.sampling, restored.sampling
        return (
            self.conversation(restored.conversation)
            | self.blend(restored.weights, restored.base_exponent)
            | {
                self.page.ask.prompt: restored.prompt,
                self.page.ask.message: markup.note(other if restored.other_models else wording.RESTORED),
                sampling.temperature: gr.update(value=drawn.temperature, maximum=max(2, drawn.temperature)),
                sampling.top_p: drawn.top_p,
                sampling.top_k: drawn.top_k,
                sampling.min_p: drawn.min_p,
                sampling.max_new_tokens: drawn.max_new_tokens,
                sampling.seed: str(drawn.seed),
            }
        )

    def opening(self) -> Updates:
        """What other versions of the guides than the page was laid out for change: the title, and exponents."""
        units, blend, engine = self._units, self.page.blend, self.actions.engine
        exponents: Updates = {
            blend.exponents[guide.dimension]: exponent_line(
                blend.sliders[guide.dimension].value, units[guide.dimension]
            )
            for guide in self.page.guides
            if guide.unit != units[guide.dimension]
        }
        return {self.page.title: page_title(engine.base, engine.guides)} | exponents

    @property
    def _units(self) -> dict[str, float]:
        """The units of the guides that answer now; of one that is gone, the one it had."""
        return {guide.dimension: guide.unit for guide in (*self.page.guides, *self.actions.engine.guides)}

    def blend(self, given: Mapping[str, float], base_exponent: float = 1.0) -> Updates:
        """Sliders at the given weights, wide enough for them; guides that are not named are at 0.

        A base exponent other than 1 has no slider, so it is told.
        """
        blend = self.page.blend
        weights = {dimension: given.get(dimension, 0.0) for dimension in blend.sliders}
        is_signed = min(weights.values(), default=0.0) < 0
        widest = max(MAX_WEIGHT, *map(abs, weights.values()), MAX_WEIGHT)
        updates: Updates = {
            slider: gr.update(value=weights[dimension], minimum=-widest if is_signed else 0, maximum=widest)
            for dimension, slider in blend.sliders.items()
        }
        units = self._units
        for dimension, line in blend.exponents.items():
            updates[line] = exponent_line(weights[dimension], units[dimension])
        preset = preset_named(self.page.guides, weights)
        told = markup.note(wording.BASE_EXPONENT.format(exponent=f"{base_exponent:g}")) if base_exponent != 1 else ""
        updates |= {blend.base_exponent: base_exponent, blend.base_note: gr.update(value=told, visible=bool(told))}
        return updates | {blend.preset: preset, blend.allow_negative: is_signed}


def _sides(result: Result) -> tuple[tuple[Side, Response], tuple[Side, Response]]:
    return (Side.LEFT, result.left), (Side.RIGHT, result.right)


def _difference(result: Result, pieces: Mapping[Side, Sequence[str]], position: int | None) -> str:
    if position is None:
        return wording.NO_DIFFERENCE
    names = {}
    for side, response in _sides(result):
        if position >= len(response.token_ids):
            names[side.value] = wording.END_OF_ANSWER
        else:  # tokens of other models cannot be spelt; they are named by their ids
            piece = pieces[side][position] if pieces[side] else ""
            names[side.value] = token_name(piece, response.token_ids[position])
    return wording.FIRST_DIFFERENCE.format(position=position + 1, **names)
