"""HTML of the Guides page's versions; every text of a person or a card passes through `markup.escape` on its way in."""

from collections.abc import Iterable, Sequence

from models.guides import GuideCard
from models.versions.registry import Version
from ui import wording_guides as wording
from ui.components.markup import escape, message, note, number, status
from ui.guides.actions import GuideView
from ui.guides.verdict import Verdict
from ui.wording import title_of
from ui.wording_studies import nats

HASH_CHARS = 12
DAY_CHARS = 10
NOT_NUMBERED = 0  # the preset's own guide where its card has no number, so that the engine knows none either


def cards(guides: Sequence[GuideView], sliders: Iterable[str]) -> str:
    """A card per guide with all its versions; guides without one of the ``sliders`` say so."""
    if not guides:
        return note(wording.NO_GUIDES)
    known = set(sliders)
    return f'<ul class="studies guides">{"".join(_card(guide, guide.dimension in known) for guide in guides)}</ul>'


def _card(guide: GuideView, has_slider: bool) -> str:
    name = title_of(guide.dimension)
    told = "".join(f"<p>{escape(line)}</p>" for line in _told(guide, has_slider))
    rows = [_row(version, guide) for version in guide.versions]
    versions = table(wording.CAPTION.format(dimension=name), wording.HEADERS, rows)
    return f"<li><h3>{escape(name)}</h3>{told}{versions}</li>"


def _told(guide: GuideView, has_slider: bool) -> list[str]:
    answering = guide.answering
    if answering is None and guide.active == NOT_NUMBERED:
        answering = NOT_NUMBERED
    told = [wording.NOBODY_ANSWERS if answering is None else wording.ANSWERS.format(number=answering)]
    if answering != guide.active:
        told.append(wording.BEHIND_TO_NONE if guide.active is None else wording.BEHIND.format(number=guide.active))
    if answering is not None and not has_slider:
        told.append(wording.NO_SLIDER)
    return told


def _row(version: Version, guide: GuideView) -> tuple[str, ...]:
    state = wording.BUILT_IN if version.is_built_in else wording.KEPT
    if version.number == guide.active:
        state = wording.ACTIVE
    card = version.card
    made = (card.created_at or "")[:DAY_CHARS]
    return (str(version.number), state, _origin(version), *_figures(card), made or wording.UNKNOWN)


def _origin(version: Version) -> str:
    card = version.card
    if card.parent_version is not None:
        return wording.FROM_VERSION.format(number=card.parent_version)
    if card.parent_hash is not None:
        return wording.FROM_OTHER
    return wording.AFRESH


def _figures(card: GuideCard) -> tuple[str, str, str]:
    pairs = wording.UNKNOWN if card.n_pairs is None else f"{card.n_pairs:,}".replace(",", " ")
    return pairs, accuracy_of(card), number(1.0 if card.unit is None else card.unit)


def accuracy_of(card: GuideCard) -> str:
    """The held-out accuracy with its interval, where the card has them."""
    if card.held_out_accuracy is None:
        return wording.UNKNOWN
    low, high = card.metrics.get("low"), card.metrics.get("high")
    value = f"{card.held_out_accuracy:.1%}"
    if not isinstance(low, int | float) or not isinstance(high, int | float):
        return value
    return wording.INTERVAL.format(value=value, low=f"{low:.1%}", high=f"{high:.1%}")


def compared(a: Version, b: Version) -> str:
    """The cards of two versions side by side."""
    rows = list(zip(wording.FACTS, _facts(a), _facts(b), strict=True))
    return table(wording.COMPARED.format(a=a.name, b=b.name), ("", a.name, b.name), rows)


def _facts(version: Version) -> tuple[str, ...]:
    card = version.card
    pairs, accuracy, unit = _figures(card)
    return (
        card.created_at or wording.UNKNOWN,
        _origin(version),
        pairs,
        accuracy,
        *(_metric(card, name) for name in ("longer_wins", "calibration_error", "reward_length_correlation")),
        unit,
        wording.UNKNOWN if card.beta is None else f"{card.beta:g}",
        (card.hash or wording.UNKNOWN)[:HASH_CHARS],
    )


def _metric(card: GuideCard, name: str) -> str:
    value = card.metrics.get(name)
    return number(value) if isinstance(value, int | float) else wording.UNKNOWN


def advice(version: Version, verdict: Verdict, old: int | None, *, is_active: bool) -> str:
    """What is known before somebody publishes a version; cautions are read out at once."""
    if is_active:
        return status(wording.IS_ACTIVE.format(name=version.name))
    if not verdict.is_known:
        return message(wording.NOT_KNOWN.format(name=version.name))
    against = wording.CHANCE_NAME if old is None else wording.FROM_VERSION.format(number=old)
    words = wording.BETTER if verdict.is_better else wording.NOT_BETTER
    told = words.format(name=version.name, old=against)
    if verdict.worse:
        names = ", ".join(title_of(name) for name in verdict.worse)
        told += " " + wording.WORSE.format(dimensions=names, margin=nats(verdict.margin))
    return status(told) if verdict.may_publish else message(told)


def table(caption: str, headers: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    """A table that scrolls where it is too wide."""
    heads = "".join(f'<th scope="col">{escape(header)}</th>' for header in headers)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return (
        f'<div class="tiller-table guides-table" role="region" tabindex="0" aria-label="{escape(caption)}">'
        f"<table><caption>{escape(caption)}</caption><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>"
    )
