"""``study``: make one from a TOML file and the other way round, have its answers written, list, close, reopen, and
say whether guides trained on it are published by themselves."""

import argparse
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from ui.commands.store import ACTOR, MODELS, STORE, add_settings, opened, settings_of
from ui.commands.tables import shown, table
from ui.settings import engine_options

if TYPE_CHECKING:
    from storage.records_studies import Study
    from ui.studies import GeneratingProgress

_SECONDS_BETWEEN_LINES = 10.0  # of progress in a log file
_SECONDS_BETWEEN_UPDATES = 0.2  # of progress in a terminal


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the family's parsers."""
    study = commands.add_parser("study", help="make, generate, list, close and reopen studies", allow_abbrev=False)
    actions = study.add_subparsers(dest="action", required=True)
    create = actions.add_parser("create", help="make a study from a TOML file (docs/studies.md)", allow_abbrev=False)
    create.add_argument("file", type=Path)
    create.set_defaults(run=_create)
    generate = actions.add_parser(
        "generate",
        help="write a study's answers, then open it for judging",
        description="Write the answers of a study that are missing, then open it for judging. Stop it with Ctrl+C; "
        "called again it goes on where it was.",
        allow_abbrev=False,
    )
    generate.add_argument("name")
    generate.set_defaults(run=_generate)
    listing = actions.add_parser("list", help="every study, newest first", allow_abbrev=False)
    listing.set_defaults(run=_list)
    close = actions.add_parser("close", help="end a study: nobody is given anything more", allow_abbrev=False)
    close.add_argument("name")
    close.set_defaults(run=_close)
    reopen = actions.add_parser("reopen", help="let a closed study be judged again", allow_abbrev=False)
    reopen.add_argument("name")
    reopen.set_defaults(run=_reopen)
    toml = actions.add_parser("toml", help="print the TOML file that makes a study again", allow_abbrev=False)
    toml.add_argument("name")
    toml.set_defaults(run=_toml)
    publishing = actions.add_parser(
        "publishing",
        help="have better guides published by themselves, or not",
        description="Have guides that the page trains on a study's judgements published by themselves once they are "
        "shown to be better, or not any more (docs/retraining.md).",
        allow_abbrev=False,
    )
    publishing.add_argument("name")
    switch = publishing.add_mutually_exclusive_group(required=True)
    switch.add_argument("--on", action="store_true", help="publish a better guide without asking")
    switch.add_argument("--off", action="store_true", help="publish nothing without asking")
    publishing.add_argument(
        "--margin", type=float, help="nats per token by which another dimension's reward may fall (default: as it was)"
    )
    publishing.set_defaults(run=_publishing)
    for parser in (create, generate, listing, close, reopen, toml, publishing):
        add_settings(parser, STORE, *([MODELS] if parser is generate else []))


def _create(arguments: argparse.Namespace) -> Iterator[str]:
    from storage.sql_studies import SqlStudies
    from ui.studies import create_study, n_comparisons
    from ui.study_files import read_study

    plan = read_study(arguments.file)
    with opened(arguments, make=True) as database:
        study = create_study(SqlStudies(database), plan, ACTOR)
    yield f"Study {shown(study.name)}: {n_comparisons(study.settings)} comparisons, {len(plan.gold)} gold items."
    if study.settings.publish.enabled:
        yield _told(study)
    yield f'Next: python -m ui.cli study generate "{shown(study.name)}"'


def _generate(arguments: argparse.Namespace) -> Iterator[str]:
    from models.presets import load_preset
    from storage.sql_studies import SqlStudies
    from ui.studies import generate_answers, study_named

    settings = settings_of(arguments)
    preset = load_preset(settings.preset, settings.config)
    with opened(arguments) as database:
        studies = SqlStudies(database)
        study = study_named(studies, arguments.name)

        # torch and transformers take seconds to import; what was typed is checked before
        from models.versions.starting import load_published

        # one person waits for all of it, for as long as it takes
        options = replace(engine_options(settings), in_background=False, time_limit_seconds=math.inf)
        placement = {"device": settings.device, "dtype": settings.dtype}
        engine = load_published(preset, settings.home, **placement, options=options).engine
        _watch(generate_answers(engine, studies, study.id, ACTOR), sys.stderr)
        state = study_named(studies, arguments.name).state
    yield f"Study {shown(study.name)} is {state.value}; all its answers are there."


def _watch(reports: "Iterator[GeneratingProgress]", stream: TextIO) -> None:
    """Go through the reports: one line that changes in a terminal, a line now and then elsewhere."""
    is_terminal, told_at, told = stream.isatty(), -math.inf, ""
    for report in reports:
        left = "" if report.seconds_left is None else f", about {_duration(report.seconds_left)} left"
        line = f"{report.n_done} of {report.n_all} comparisons{left}"
        now = time.monotonic()
        pause = _SECONDS_BETWEEN_UPDATES if is_terminal else _SECONDS_BETWEEN_LINES
        if line != told and (now - told_at >= pause or report.n_done == report.n_all):
            stream.write(f"\r\x1b[K{line}" if is_terminal else f"{line}\n")
            stream.flush()
            told, told_at = line, now
    if is_terminal and told:
        stream.write("\n")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _list(arguments: argparse.Namespace) -> Iterator[str]:
    from storage.sql_studies import SqlStudies

    with opened(arguments) as database:
        summaries = SqlStudies(database).studies()
    if not summaries:
        yield "There are no studies."
        return
    yield from table(
        ("study", "state", "made", "comparisons", "answers", "of", "publishes"),
        [
            (
                summary.name,
                summary.state.value,
                f"{summary.created_at:%Y-%m-%d}",
                str(summary.n_items),
                str(summary.n_given),
                str(summary.n_wanted),
                "yes" if summary.publish.enabled else "no",
            )
            for summary in summaries
        ],
    )


def _close(arguments: argparse.Namespace) -> Iterator[str]:
    from storage.sql_studies import SqlStudies
    from ui.studies import close_study

    with opened(arguments) as database:
        study = close_study(SqlStudies(database), arguments.name, ACTOR)
    yield f"Study {shown(study.name)} is closed."


def _reopen(arguments: argparse.Namespace) -> Iterator[str]:
    from storage.sql_studies import SqlStudies
    from ui.studies import reopen_study

    with opened(arguments) as database:
        study = reopen_study(SqlStudies(database), arguments.name, ACTOR)
    yield f"Study {shown(study.name)} is open."


def _publishing(arguments: argparse.Namespace) -> Iterator[str]:
    from storage.sql_studies import SqlStudies
    from ui.studies import change_publishing

    with opened(arguments) as database:
        asked = {"enabled": arguments.on, "margin": arguments.margin}
        study = change_publishing(SqlStudies(database), arguments.name, **asked, actor=ACTOR)
    yield _told(study)


def _told(study: "Study") -> str:
    publish = study.settings.publish
    if not publish.enabled:
        return f"Study {shown(study.name)} has nothing published by itself."
    return (
        f"Study {shown(study.name)} has a guide published by itself once it is better on held-out pairs with 95 % "
        f"confidence and no other dimension loses more than {publish.margin:g} nats per token."
    )


def _toml(arguments: argparse.Namespace) -> Iterator[str]:
    from storage.sql_studies import SqlStudies
    from ui.studies import study_named
    from ui.study_documents import stored_plan, toml_of

    with opened(arguments) as database:
        studies = SqlStudies(database)
        plan = stored_plan(studies, studies.study(study_named(studies, arguments.name).id))
    yield toml_of(plan).rstrip("\n")
