"""``results``: what was found in a study, as tables of text or as one JSON document."""

import argparse
import json
from collections.abc import Iterator

from ui.commands.store import STORE, add_filters, add_settings, filter_of, opened


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the family's parser."""
    results = commands.add_parser(
        "results",
        help="win rates, ratings, agreement, reliability and the preferred blend of a study",
        description="Win rates, ratings, agreement, reliability and the preferred blend of a study, with intervals.",
        allow_abbrev=False,
    )
    results.add_argument("study", help="its name")
    results.add_argument("--json", action="store_true", help="print one JSON document instead of tables")
    results.add_argument("--level", type=float, default=0.95, help="of the intervals; default: 0.95")
    results.add_argument(
        "--by-strength",
        action="store_true",
        help="ratings and preferred blend count a slight preference as three quarters of a win",
    )
    add_filters(results)
    results.set_defaults(run=_results)
    add_settings(results, STORE)


def _results(arguments: argparse.Namespace) -> Iterator[str]:
    from storage.analysis.columns import columns_of
    from storage.analysis.ratings import RatingPlan
    from storage.analysis.summary import summarise
    from storage.sql_results import SqlResults
    from storage.sql_studies import SqlStudies
    from ui.commands.figures import results_document, results_lines
    from ui.studies import study_named

    plan = RatingPlan(level=arguments.level, by_strength=arguments.by_strength)
    with opened(arguments) as database:
        study = study_named(SqlStudies(database), arguments.study)
        wanted = filter_of(arguments, (study.id,))
        stored = SqlResults(database)
        found = summarise(columns_of(stored.pairs(wanted, with_texts=False)), plan)
        names = {count.annotator_id: count.display_name for count in stored.annotator_counts(wanted)}
    if arguments.json:
        document = results_document(study, found, names, plan.level)
        yield json.dumps(document, ensure_ascii=False, allow_nan=False)
        return
    yield from results_lines(study, found, names, plan.level)
