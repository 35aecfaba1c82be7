"""HTML of the Studies page; every text of a person passes through `markup.escape` on its way in."""

from collections.abc import Iterable, Mapping, Sequence

from storage.records import is_id
from storage.records_audit import AuditEntry
from ui import wording_studies as wording
from ui.components.markup import escape, message, note, status
from ui.prompt_files import ReadPrompt
from ui.studying.actions import Checked, Deed, Listed, Stage
from ui.studying.writing import Written

MAX_PREVIEW_ROWS = 100
MAX_SHOWN_CHARS = 300
DEEDS = {
    Stage.WRITING: (Deed.STOP,),
    Stage.WAITING: (Deed.STOP,),
    Stage.STOPPED: (Deed.WRITE,),
    Stage.OPEN: (Deed.CLOSE,),
    Stage.CLOSED: (Deed.REOPEN,),
}
TOML = "toml"


def listing(studies: Sequence[Listed], is_private: bool) -> str:
    """Every study with what can be done with it; `studies.js` makes the buttons work."""
    if not studies:
        return note(wording.NO_STUDIES_MAKE if is_private else wording.NO_STUDIES)
    return f'<ul class="studies">{"".join(_study(study, is_private) for study in studies)}</ul>'


def now_writing(written: Written, names: Mapping[str, str]) -> str:
    """What is being written, how far it is, and the time left; empty for nothing.

    It is drawn every second, so it is no status, which would be read out each time.
    """
    if written.study_id is None or written.progress is None:
        return ""
    name, progress = names.get(written.study_id, ""), written.progress
    told = wording.NOW.format(name=name, done=progress.n_done, all=progress.n_all)
    if progress.seconds_left is not None:
        told += wording.LEFT.format(time=wording.duration(progress.seconds_left))
    bar = _bar(progress.n_done, progress.n_all, name)
    return f'<div class="studies-now">{bar}{note(told)}</div>'


def checked(found: Checked, read: Sequence[ReadPrompt]) -> str:
    """How much a study is, and what became of its prompts."""
    size, settings = found.size, found.plan.settings
    words = wording.SIZE.format(
        prompts=size.n_prompts,
        answers=size.n_answers,
        comparisons=size.n_comparisons,
        overlap=settings.overlap,
        judgements=size.n_judgements,
        questions=len(settings.questions),
    )
    n_items = size.n_comparisons * settings.overlap
    asked = wording.SIZE_ASKED.format(asked=size.n_asked, items=n_items) if size.n_asked != n_items else ""
    judging = wording.JUDGING_TIME.format(
        seconds=wording.SECONDS_PER_ITEM, time=wording.duration(size.n_asked * wording.SECONDS_PER_ITEM)
    )
    writing = wording.NO_TIME
    if found.seconds is not None:
        writing = wording.WRITING_TIME.format(time=wording.duration(found.seconds))
    return status(" ".join(filter(None, (words, asked, writing, judging)))) + preview(read)


def preview(read: Sequence[ReadPrompt]) -> str:
    """What became of each line: the first ones, and all that were refused."""
    refused = [one for one in read if one.prompt is None]
    told = wording.READ.format(used=len(read) - len(refused), count=len(read))
    if refused:
        told += " " + wording.REFUSED.format(count=len(refused))
    shown = [one for number, one in enumerate(read) if number < MAX_PREVIEW_ROWS or one.prompt is None]
    if len(shown) < len(read):
        told += " " + wording.MORE_ROWS.format(shown=MAX_PREVIEW_ROWS, count=len(read))
    rows = [(str(one.line), *_understood(one)) for one in shown[: 2 * MAX_PREVIEW_ROWS]]
    return status(told) + _table(wording.PREVIEW, wording.PREVIEW_HEADERS, rows)


def changes(entries: Sequence[AuditEntry], names: Mapping[str, str]) -> str:
    """Who changed what when, newest first."""
    if not entries:
        return note(wording.NO_CHANGES)
    rows = [
        (
            f"{entry.at:%Y-%m-%d %H:%M:%S}",
            _named(entry.actor, names),
            f"{entry.action} {entry.record_kind}",
            _named(entry.record_id, names),
            ", ".join(f"{name} {_named(str(value), names)}" for name, value in entry.details.items()),
        )
        for entry in entries
    ]
    return _table(wording.CHANGES, wording.CHANGES_HEADERS, rows)


def _study(study: Listed, is_private: bool) -> str:
    summary, stage = study.summary, study.stage
    told = wording.STAGES[stage].format(
        there=study.n_there, all=study.n_all, given=summary.n_given, wanted=summary.n_wanted
    )
    parts = [f"<h3>{escape(summary.name)}</h3>", f"<p>{escape(told)}</p>"]
    if stage in (Stage.OPEN, Stage.CLOSED):
        parts.append(_bar(summary.n_given, summary.n_wanted, summary.name))
    elif stage is not Stage.WRITING:
        parts.append(_bar(study.n_there, study.n_all, summary.name))
    if summary.publish.enabled:
        parts.append(note(wording.PUBLISHES.format(margin=wording.nats(summary.publish.margin))))
    if study.failure:
        parts.append(message(study.failure))
    links = [("judge", wording.JUDGE)] if stage is Stage.OPEN else []
    links += [("results", wording.RESULTS)] if stage in (Stage.OPEN, Stage.CLOSED) else []
    acts = [
        f'<a href="{page}?study={escape(summary.id)}" aria-label="{_of(words, summary.name)}">{escape(words)}</a>'
        for page, words in links
    ]
    publishing = Deed.PUBLISH_NOT if summary.publish.enabled else Deed.PUBLISH
    deeds = (*DEEDS[stage], publishing, TOML) if is_private else ()
    acts += [
        f'<button type="button" data-study="{escape(summary.id)}" data-deed="{deed}" '
        f'aria-label="{_of(wording.DEEDS[deed], summary.name)}">{escape(wording.DEEDS[deed])}</button>'
        for deed in deeds
    ]
    made = f"<span>{escape(wording.MADE_ON.format(day=f'{summary.created_at:%Y-%m-%d}'))}</span>"
    return f'<li>{"".join(parts)}<div class="study-deeds">{"".join(acts)}{made}</div></li>'


def _of(words: str, name: str) -> str:
    return escape(wording.DEED_OF.format(deed=words, name=name))


def _bar(done: int, count: int, name: str) -> str:
    label = escape(wording.PROGRESS_OF.format(name=name))
    return f'<progress value="{done}" max="{max(count, 1)}" aria-label="{label}"></progress>'


def _understood(one: ReadPrompt) -> tuple[str, str]:
    if one.prompt is None:
        return "", str(one.refusal)
    text, n_before = one.prompt[-1].content, len(one.prompt) - 1
    short = text if len(text) <= MAX_SHOWN_CHARS else text[:MAX_SHOWN_CHARS] + "…"
    return short, wording.USED_TURNS.format(count=n_before) if n_before else wording.USED


def _named(text: str, names: Mapping[str, str]) -> str:
    """A name where one is known; else the beginning of an id, or the word as it is."""
    return names.get(text) or (text[:8] + "…" if is_id(text) else text)


def _table(caption: str, headers: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    heads = "".join(f'<th scope="col">{escape(header)}</th>' for header in headers)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return (
        f'<div class="tiller-table studies-table" role="region" tabindex="0" aria-label="{escape(caption)}">'
        f"<table><caption>{escape(caption)}</caption><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>"
    )
