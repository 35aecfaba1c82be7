"""HTML of the page's own making. Every text of a model or a person passes through `escape` on its way in."""

import html
import json
import math
from collections.abc import Iterable, Mapping, Sequence

from steering.types import Message, Side
from ui import wording
from ui.sessions import Chosen, Logged, Response
from ui.tokens import TokenRow

PULL_LIMIT_NATS = 5.0
MOST_OPAQUE = 0.7
# Blue for, orange against: told apart by every kind of colour vision, and readable under dark and light text.
FOR_RGB, AGAINST_RGB = "46, 125, 209", "230, 97, 1"
_TEMPLATE_SYMBOLS = str.maketrans({"$": "&#36;", "{": "&#123;", "}": "&#125;", "`": "&#96;"})


def escape(text: str) -> str:
    """Text as HTML that shows it and does nothing: not as HTML, and not as a JavaScript template either."""
    return html.escape(text, quote=True).translate(_TEMPLATE_SYMBOLS)


def message(text: str) -> str:
    """A complaint, read out at once by screen readers; empty for none."""
    return f'<div class="tiller-message" role="alert">{escape(text)}</div>' if text else ""


def status(text: str) -> str:
    """What is going on, read out when there is a pause."""
    return f'<div class="tiller-status" role="status" aria-live="polite">{escape(text)}</div>'


def conversation(messages: Sequence[Message]) -> str:
    """The turns so far; empty for none."""
    if not messages:
        return ""
    turns = "".join(
        f'<li class="turn-{escape(turn.role)}"><b>{escape(wording.SPEAKERS[turn.role])}</b>'
        f"<p>{escape(turn.content) or escape(wording.EMPTY_ANSWER)}</p></li>"
        for turn in messages
    )
    return f'<ol class="tiller-conversation" aria-label="{escape(wording.CONVERSATION)}">{turns}</ol>'


def empty_pane(side: Side) -> str:
    """What a pane shows before there is an answer."""
    return f'<p class="tiller-empty">{escape(wording.EMPTY_PANES[side])}</p>'


def plain_answer(response: Response, pieces: Sequence[str] = (), difference: int | None = None) -> str:
    """An answer as text; with its ``pieces``, the first token that differs is marked."""
    if difference is None or difference >= len(pieces):
        text = escape(response.text) or f'<span class="tiller-empty">{escape(wording.EMPTY_ANSWER)}</span>'
        return f'<div class="tiller-answer">{text}</div>'
    before, after = escape("".join(pieces[:difference])), escape("".join(pieces[difference + 1 :]))
    mark = _difference_mark(escape(pieces[difference]) or _end_mark())
    return f'<div class="tiller-answer">{before}{mark}{after}</div>'


def _difference_mark(inner: str) -> str:
    return f'<mark class="first-difference" title="{escape(wording.FIRST_DIFFERENCE_MARK)}">{inner}</mark>'


def _end_mark() -> str:
    return f'<span class="end-of-answer">{escape(wording.END_OF_ANSWER)}</span>'


def coloured_answer(rows: Sequence[TokenRow], dimension: str, difference: int | None) -> str:
    """An answer with each token coloured by a guide's pull, and the numbers that hovering shows."""
    spans = []
    for index, row in enumerate(rows):
        pull = row.pulls[dimension].nats if dimension in row.pulls else 0.0
        is_end = not row.piece and index == len(rows) - 1
        inner = escape(row.piece) or (_end_mark() if is_end else "")
        inner = _difference_mark(inner) if index == difference else inner
        spans.append(
            f'<span class="token" data-i="{index}" style="background-color: {pull_colour(pull)}">{inner}</span>'
        )
    details = {"labels": detail_labels(rows), "rows": [detail_values(row) for row in rows]}
    data = escape(json.dumps(details, ensure_ascii=False))
    return f'<div class="tiller-answer tiller-tokens" data-details="{data}">{"".join(spans)}</div>'


def pull_colour(nats: float) -> str:
    """Colour of a pull: transparent at 0, full at ±`PULL_LIMIT_NATS` and beyond."""
    strength = min(abs(nats) / PULL_LIMIT_NATS, 1.0) * MOST_OPAQUE
    return f"rgba({FOR_RGB if nats >= 0 else AGAINST_RGB}, {strength:.3f})"


def legend(dimension: str) -> str:
    """The scale of the colours of one guide."""
    limit = f"{PULL_LIMIT_NATS:g}"
    stops = ", ".join(pull_colour(PULL_LIMIT_NATS * step / 4) for step in range(-4, 5))
    title = wording.LEGEND_TITLE.format(dimension=wording.title_of(dimension))
    return (
        f'<figure class="tiller-legend"><figcaption>{escape(title)}</figcaption>'
        f'<div class="legend-scale" aria-hidden="true" style="background: linear-gradient(to right, {stops})">'
        f"<span>−{limit}</span><span>0</span><span>+{limit}</span></div>"
        f'<div class="legend-ends"><span>{escape(wording.LEGEND_AGAINST.format(limit=limit))}</span>'
        f"<span>{escape(wording.LEGEND_FOR.format(limit=limit))}</span></div>"
        f"<p>{escape(wording.LEGEND_HINT)}</p></figure>"
    )


def detail_labels(rows: Sequence[TokenRow]) -> list[str]:
    """The headings of `detail_values`."""
    guides = [wording.title_of(dimension) for dimension in (rows[0].pulls if rows else ())]
    columns = [template.format(dimension=guide) for guide in guides for template in _GUIDE_COLUMNS]
    return [wording.TABLE_TOKEN, wording.TABLE_BASE, wording.TABLE_MIXED, *columns, wording.TABLE_KL, wording.TABLE_TOP]


_GUIDE_COLUMNS = (wording.TABLE_PULL, wording.TABLE_SHARE)


def detail_values(row: TokenRow) -> list[str]:
    """One token's numbers in words, as hovering and the table show them; the likeliest tokens a line each."""
    pulls = [signed(value) for pull in row.pulls.values() for value in (pull.nats, pull.share)]
    top = [
        wording.TOP_ENTRY.format(token=top.name, base=percent(top.base_prob), mixed=percent(top.mixed_prob))
        for top in row.alternatives
    ]
    return [row.name, percent(row.base_prob), percent(row.mixed_prob), *pulls, number(row.kl), "\n".join(top)]


def table(rows: Sequence[TokenRow], side: Side) -> str:
    """The numbers of every token as a table that can be scrolled and read by keyboard."""
    caption = escape(wording.TABLE_CAPTION.format(pane=wording.PANES[side]))
    if not rows:
        return f'<p class="tiller-empty">{escape(wording.TABLE_WAITING)}</p>'
    heads = "".join(f'<th scope="col">{escape(label)}</th>' for label in (wording.TABLE_NUMBER, *detail_labels(rows)))
    body = "".join(_table_row(position, detail_values(row)) for position, row in enumerate(rows, start=1))
    return (
        f'<div class="tiller-table" role="region" tabindex="0" aria-label="{caption}">'
        f"<table><caption>{caption}</caption><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _table_row(position: int, values: Sequence[str]) -> str:
    name, *numbers = map(escape, (*values[:-1], values[-1].replace("\n", ";  ")))
    cells = "".join(f"<td>{value}</td>" for value in numbers)
    return f'<tr><td>{position}</td><th scope="row">{name}</th>{cells}</tr>'


def metrics(response: Response | None, dimensions: Iterable[str]) -> str:
    """The numbers under a pane; the same rows with dashes where nothing is known, so that nothing jumps."""
    speed = length = kl = ended = wording.UNKNOWN
    rewards: Mapping[str, float] = {}
    if response is not None:
        speed = wording.SPEED_VALUE.format(speed=f"{response.tokens_per_second:.0f}")
        length = wording.LENGTH_VALUE.format(count=len(response.token_ids))
        ended = wording.FINISH[response.finish_reason]
        rewards = response.guide_rewards
        kl = kl if response.kl_per_token is None else wording.KL_VALUE.format(kl=number(response.kl_per_token))
    pairs = [(wording.SPEED, speed), (wording.LENGTH, length), (wording.KL, kl)]
    for dimension in dimensions:
        reward = rewards.get(dimension)
        value = wording.UNKNOWN if reward is None else wording.REWARD_VALUE.format(reward=number(reward))
        pairs.append((wording.REWARD.format(dimension=wording.title_of(dimension)), value))
    pairs.append((wording.ENDED, ended))
    items = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in pairs)
    return f'<dl class="tiller-metrics">{items}</dl>'


def choices(chosen: Mapping[str, Chosen], order: Sequence[str]) -> str:
    """What is saved of the choices, and what is not and why."""
    items, reasons = [], {}
    for dimension in order:
        held = chosen.get(dimension)
        if held is None:
            continue
        words = {"dimension": wording.title_of(dimension), "choice": wording.CHOICES[held.choice]}
        if held.revision is None:
            items.append(f'<li class="unsaved">{escape(wording.UNSAVED.format(**words))}</li>')
            reasons[held.failure] = wording.SAVE_FAILED.format(reason=held.failure)
        else:
            saved = wording.SAVED.format(**words)
            if held.revision > 1:
                saved = wording.SAVED_AGAIN.format(**words, times=wording.times(held.revision - 1))
            items.append(f'<li class="saved">{escape(saved)}</li>')
    return f'<ul class="tiller-choices">{"".join(items)}</ul>' + "".join(map(message, reasons.values()))


def judgements(log: Sequence[Logged]) -> str:
    """The session's judgements, newest first."""
    if not log:
        return f'<p class="tiller-empty">{escape(wording.NO_JUDGEMENTS)}</p>'
    items = "".join(
        f"<li><b>{escape(_judgement_line(entry))}</b> <span>“{escape(entry.prompt)}”</span></li>"
        for entry in reversed(log)
    )
    return f'<ul class="tiller-judgements">{items}</ul>'


def _judgement_line(entry: Logged) -> str:
    dimension = wording.title_of(entry.dimension)
    return wording.JUDGEMENT_LINE.format(dimension=dimension, choice=wording.CHOICES[entry.choice])


def link(comparison_id: str) -> str:
    """The permalink of a stored comparison, relative to wherever the page is served."""
    return f'<a class="tiller-link" href="?c={escape(comparison_id)}">{escape(wording.LINK)}</a>'


def note(text: str) -> str:
    """A line of small print."""
    return f'<p class="tiller-note">{escape(text)}</p>' if text else ""


def heading(text: str) -> str:
    """The heading of a part of the page."""
    return f"<h2>{escape(text)}</h2>"


def number(value: float) -> str:
    """Two decimals with a real minus sign."""
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{value:.2f}".replace("-", "−").replace("−0.00", "0.00")


def signed(value: float) -> str:
    """Like `number`, with the sign always there."""
    text = number(value)
    return text if text.startswith("−") or text == "0.00" else f"+{text}"


def percent(probability: float) -> str:
    """A probability to two digits that say something: 43 %, 0.21 %, < 0.01 %."""
    value = 100 * probability
    if 0 < value < 0.01:
        return "< 0.01 %"
    return f"{value:.2g} %" if value < 10 else f"{value:.0f} %"
