"""HTML of the Judge page; every text of a model or a person passes through `markup.escape` on its way in.

An item's HTML is made of its texts alone: the same two answers the other way round give the same HTML the other way
round, so nothing in it can tell which answer is whose. Its handle tells nothing either (`ui.judge.item_handles`).
"""

from collections.abc import Sequence
from typing import Any

from steering.types import Message
from storage.records_seen import Seen
from ui import wording_judge as wording
from ui.components.markup import escape, message
from ui.judge.actions import Desk
from ui.judge.pace import Pace


def laid_out(desk: Desk, pace: Pace) -> dict[str, Any]:
    """What the page shows of a desk, by component; ``can_undo`` says whether its button can be pressed."""
    return {
        "item": item(desk.handle, desk.shown, desk.questions) if desk.shown is not None else nothing_left(),
        "progress": progress(desk, pace),
        "revealed": revealed(desk.revealed),
        "can_undo": desk.can_undo,
    }


def item(handle: str, shown: Seen, asked: Sequence[str]) -> str:
    """Prompt, both answers and the questions; `judge.js` makes the buttons work."""
    turns = "".join(_turn(message) for message in shown.messages)
    answers = _answer("left", wording.LEFT, shown.left) + _answer("right", wording.RIGHT, shown.right)
    questions = "".join(_question(number, text) for number, text in enumerate(asked))
    done = (
        f'<div class="judge-done"><button type="button" data-skip>{_keyed(*wording.SKIP)}</button>'
        f'<button type="button" data-save disabled>{_keyed(*wording.SAVE)}</button>'
        f'<p class="judge-note">{escape(wording.SAVES_ITSELF)}</p></div>'
    )
    return (
        f'<article class="judge-item" data-item="{escape(handle)}">'
        f'<div class="judge-prompt" tabindex="0" role="region" aria-label="{escape(wording.PROMPT)}">{turns}</div>'
        f'<div class="judge-answers">{answers}</div>{questions}{done}</article>'
    )


def _turn(turn: Message) -> str:
    return f"<h2>{escape(wording.SPEAKERS[turn.role])}</h2><p>{escape(turn.content)}</p>"


def _answer(side: str, title: str, text: str) -> str:
    shown = escape(text) or f'<span class="tiller-empty">{escape(wording.EMPTY_ANSWER)}</span>'
    return (
        f'<section class="judge-answer" id="judge-{side}" tabindex="0" aria-label="{escape(title)}">'
        f'<h2>{escape(title)}</h2><div class="tiller-answer">{shown}</div></section>'
    )


def _question(number: int, text: str) -> str:
    choices = "".join(
        f'<button type="button" data-choice="{choice}" aria-pressed="false">{_keyed(key, name)}</button>'
        for choice, (key, name) in wording.CHOICES.items()
    )
    strengths = "".join(
        f'<button type="button" data-strength="{strength}" aria-pressed="false">{escape(name)}</button>'
        for strength, name in wording.STRENGTHS.items()
    )
    return (
        f'<div class="judge-question" role="group" aria-labelledby="judge-question-{number}">'
        f'<h2 id="judge-question-{number}">{escape(text)}</h2><div class="judge-choices">{choices}</div>'
        f"<details><summary>{escape(wording.MORE)}</summary>"
        f'<div class="judge-choices" role="group" aria-label="{escape(wording.HOW_MUCH)}">'
        f"<span>{escape(wording.HOW_MUCH)}</span>{strengths}</div>"
        f'<label>{escape(wording.WHY)}<textarea rows="2" maxlength="2000"></textarea></label></details></div>'
    )


def _keyed(key: str, name: str) -> str:
    return f"<kbd>{escape(key)}</kbd> {escape(name)}"


def nothing_left() -> str:
    """What lies on the desk when all is judged."""
    return f'<p class="judge-finished" role="status">{escape(wording.NOTHING_LEFT)}</p>'


def progress(desk: Desk, pace: Pace) -> str:
    """How far the judge is, as a bar and in words, with this session's count and pace."""
    done, left = desk.progress.n_answered, desk.progress.n_left
    words = [wording.PROGRESS.format(done=done, left=left), wording.SESSION.format(count=pace.n_saved)]
    if pace.seconds_each is not None:
        words.append(wording.PACE.format(seconds=f"{max(1, round(pace.seconds_each))}"))
    line = escape(" · ".join(words))
    return (
        f'<div class="judge-progress"><b>{escape(desk.study)}</b>'
        f'<progress max="{max(1, done + left)}" value="{done}" aria-label="{line}"></progress>'
        f'<span role="status" aria-live="polite">{line}</span></div>'
    )


def consent(text: str) -> str:
    """The text to agree to; empty for none."""
    if not text:
        return ""
    return (
        f'<section class="judge-consent" tabindex="0" aria-label="{escape(wording.CONSENT)}">'
        f"<h2>{escape(wording.CONSENT)}</h2><p>{escape(text)}</p></section>"
    )


def keys() -> str:
    """What each key does, unfolded by `?`."""
    rows = "".join(f"<dt><kbd>{escape(key)}</kbd></dt><dd>{escape(what)}</dd>" for key, what in wording.KEYS)
    return (
        f'<details id="judge-keys"><summary>{escape(wording.HELP)}</summary>'
        f'<dl>{rows}</dl><p class="judge-note">{escape(wording.KEYS_NOTE)}</p></details>'
    )


def unreachable() -> str:
    """What `judge.js` shows where the server does not answer, kept in the page for that time."""
    return f'<template id="judge-unreachable">{message(wording.NOT_DONE.format(reason=wording.UNREACHABLE))}</template>'


def revealed(names: Sequence[str] | None) -> str:
    """Whose the answers judged last were; empty where that is not told."""
    if names is None:
        return ""
    left, right = names
    return f'<p class="judge-note">{escape(wording.REVEALED.format(left=left, right=right))}</p>'
