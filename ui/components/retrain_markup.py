"""HTML of the Guides page's retraining: what can be used, how far it is, and how new compares with old."""

from collections.abc import Mapping, Sequence
from typing import Any

from ui import wording_guides as wording
from ui.components.guides_markup import table
from ui.components.markup import escape, message, note, number, status
from ui.guides.asking import Ask
from ui.guides.assess import NEW, OLD
from ui.guides.gate import UNKNOWN, Gate, Refusal, Said
from ui.guides.runs import UNDER_WAY, RetrainFolder, Stage
from ui.guides.usable import Usable
from ui.wording import title_of
from ui.wording_studies import duration, nats

MAX_ANNOTATORS = 50
MAX_STUDIES = 5


def usable(found: Usable, names: Mapping[str, str]) -> str:
    """How many pairs there are, whether that is enough, what is left out, and what hangs on whom."""
    report = found.report
    told = wording.USABLE.format(
        pairs=report.n_train + report.n_held_out,
        prompts=report.n_prompts,
        train=report.n_train,
        held=report.n_held_out,
        annotators=report.n_annotators,
    )
    words = wording.ENOUGH if found.is_enough else wording.NOT_ENOUGH
    enough = words.format(
        low=f"{found.low:.0%}", high=f"{found.high:.0%}", held=report.n_held_out, needed=found.n_needed
    )
    parts = [status(told), status(enough) if found.is_enough else message(enough)]
    if report.n_merged:
        parts.append(note(wording.MERGED.format(count=report.n_merged)))
    if report.quarantined:
        named = ", ".join(names.get(one, one[:6]) for one in report.quarantined)
        parts.append(message(wording.QUARANTINED.format(names=named)))
    parts.append(_left_out(found.left_out))
    parts.append(note(wording.LENGTHS_LATER))
    return "".join(parts) + leave_one(found, names)


def gate(found: Gate) -> str:
    """Whether a training is published by itself, and by what gate."""
    return status(_gate_words(found))


def _gate_words(found: Gate) -> str:
    if not found.said:
        return wording.GATE_NOTHING
    if found.is_asked_for:
        words = wording.GATE_ONE if len(found.said) == 1 else wording.GATE_ALL
        return _capital(words.format(names=_studies(found.said), margin=nats(found.margin)))
    if UNKNOWN in [one.study_id for one in found.against]:
        return wording.GATE_OFF_UNKNOWN
    against = [one for one in found.against if one.study_id]
    if not against:
        return wording.GATE_OFF_STEER
    return (wording.GATE_OFF_ONE if len(against) == 1 else wording.GATE_OFF_SOME).format(names=_studies(against))


def _studies(said: Sequence[Said]) -> str:
    return _listed([wording.STUDY_NAME.format(name=one.name) if one.study_id else one.name for one in said])


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:MAX_STUDIES])
    more = len(names) - MAX_STUDIES
    return wording.NAMES_MORE.format(names=shown, count=more) if more > 0 else shown


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _left_out(counts: Mapping[str, int]) -> str:
    if not any(counts.values()):
        return note(wording.NOTHING_LEFT_OUT)
    rows = [(wording.REASONS.get(reason, reason), str(count)) for reason, count in sorted(counts.items()) if count]
    return table(wording.LEFT_OUT_TITLE, wording.LEFT_OUT_HEADERS, rows)


def leave_one(found: Usable, names: Mapping[str, str]) -> str:
    """What leaving out each annotator would change."""
    if len(found.without) < 2:
        return note(wording.ONE_ANNOTATOR)
    rows = [
        (
            names.get(one.annotator_id, one.annotator_id[:6]),
            str(one.n_own),
            str(one.n_left),
            str(one.n_turned),
            _share(one.agreement),
            _share(one.agreement_without),
        )
        for one in found.without[:MAX_ANNOTATORS]
    ]
    return note(wording.LEAVE_ONE_INFO) + table(wording.LEAVE_ONE, wording.LEAVE_ONE_HEADERS, rows)


def run(folder: RetrainFolder | None, stage: Stage | None, events: Sequence[dict[str, Any]]) -> str:
    """How far the newest retraining is."""
    if folder is None or stage is None:
        return note(wording.NO_RUN)
    ask = folder.ask
    told, share = _told(stage, folder, ask, events)
    parts = [message(told) if stage in (Stage.FAILED, Stage.KILLED) else status(told)]
    if share is not None:
        parts.insert(
            0, f'<progress value="{share:.3f}" max="1" aria-label="{escape(wording.PROGRESS_NAME)}"></progress>'
        )
    data = next((event for event in reversed(events) if event["event"] == "data"), None)
    if data is not None:
        counts = {"train": data["n_train"], "held": data["n_held_out"], "prompts": data["n_prompts"]}
        parts.append(note(wording.DATA_LINE.format(**counts)))
    if stage is Stage.DONE:
        parts.append(_ending(folder))
    elif stage in UNDER_WAY:
        parts.append(note(_gate_words(folder.gate)))
    return f'<div class="studies-now">{"".join(parts)}</div>'


def _told(stage: Stage, folder: RetrainFolder, ask: Ask, events: Sequence[dict[str, Any]]) -> tuple[str, float | None]:
    """In words, and as a share of 1 where it is under way."""
    dimension = title_of(ask.dimension)
    last = events[-1] if events else {"event": ""}
    words = wording.STAGES[stage].format(
        dimension=dimension, version=folder.version, message=_ended(last), step="{step}", steps="{steps}"
    )
    if stage is not Stage.TRAINING:
        return words, 1.0 if stage is Stage.COMPARING else None
    if last["event"] == "stage":
        what = wording.SUB_STAGES.get(last["stage"], last["stage"])
        return wording.SUB_STAGE.format(dimension=dimension, what=what), 1.0
    step = next((event for event in reversed(events) if event["event"] == "step"), None)
    if step is None:
        return wording.PREPARING.format(dimension=dimension), 0.0
    told = words.format(step=step["step"], steps=step["n_steps"])
    left = step.get("seconds_left")
    if isinstance(left, int | float):
        told += wording.TIME_LEFT.format(time=duration(left))
    return told, step["step"] / max(1, step["n_steps"])


def _ended(last: Mapping[str, Any]) -> str:
    return f"{last.get('message', '')} {last.get('hint', '')}".strip()


def _ending(folder: RetrainFolder) -> str:
    decision = folder.decision
    if folder.failure:
        return message(folder.failure)
    if folder.waits_for_decision:
        return note(wording.DECIDING)
    if decision is None:
        return note(wording.NOT_PUBLISHED)
    margin = nats(decision.margin)
    if decision.refusal is None:
        return note(wording.PUBLISHED_ITSELF.format(margin=margin))
    names = decision.names
    if decision.refusal is Refusal.OFF:
        names = tuple(wording.STUDY_NAME.format(name=name) for name in names)
    elif decision.refusal is Refusal.WORSE:
        names = tuple(map(title_of, names))
    words = wording.NOT_PUBLISHED_ITSELF[decision.refusal].format(names=_listed(names), margin=margin)
    return note(f"{words} {wording.PICK_IT}")


def assessed(found: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    """New against old: on held-out pairs, and what answers to fixed prompts are like; empty while it is not known.

    ``metrics`` are those of the new version's card.
    """
    if not found:
        return ""
    return _on_pairs(found, metrics) + _on_prompts(found["prompts"])


def _on_pairs(found: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    pairs = found["pairs"]
    if found["old"] is None:
        before = metrics.get("before", {}).get("accuracy")
        return status(wording.NO_OLD.format(accuracy=_share(metrics.get("accuracy")), before=_share(before)))
    if not pairs["n_pairs"]:
        return note(wording.NO_PAIRS)
    rows = [
        (
            f"{title} ({found[side]})",
            _share(pairs["accuracy"][side]),
            "–".join(_share(end) for end in pairs["interval"][side]),
            str(pairs[f"n_only_{side}"]),
        )
        for side, title in ((OLD, wording.OLD), (NEW, wording.NEW))
    ]
    told = table(wording.ON_PAIRS.format(count=pairs["n_pairs"]), wording.ON_PAIRS_HEADERS, rows)
    return told + note(wording.MCNEMAR.format(p=f"{pairs['p_value']:.2g}"))


def _on_prompts(found: Mapping[str, Any]) -> str:
    lines = {
        "kl_per_token": wording.KL,
        "n_tokens": wording.LENGTH,
        "distinct_1": wording.DISTINCT_1,
        "distinct_2": wording.DISTINCT_2,
    }
    rows = [(words, *(_figure(found[side][name]) for side in (OLD, NEW))) for name, words in lines.items()]
    itself = {OLD: wording.OLD_ITSELF, NEW: wording.NEW_ITSELF}
    for dimension in found[NEW]["rewards"]:
        name = itself.get(dimension) or title_of(dimension)
        rewards = [_figure(found[side]["rewards"].get(dimension)) for side in (OLD, NEW)]
        rows.append((wording.REWARD.format(dimension=name), *rewards))
    caption = wording.ON_PROMPTS.format(count=found["n_prompts"], tokens=found["n_tokens"])
    return table(caption, wording.ON_PROMPTS_HEADERS, rows)


def _figure(value: float | None) -> str:
    return wording.UNKNOWN if value is None else number(value)


def _share(value: float | None) -> str:
    return wording.UNKNOWN if value is None else f"{value:.0%}"
