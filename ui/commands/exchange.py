"""``export`` and ``import``: judgements out of the database and into it."""

import argparse
from collections.abc import Iterator
from pathlib import Path

from steering.errors import InputError
from ui.commands.store import ACTOR, STORE, add_filters, add_settings, filter_of, opened
from ui.commands.tables import shown, table

ARCHIVE = "archive"
FORMATS = ("trl", "trl-chat", "arena", "safe-rlhf", "full", ARCHIVE)
KINDS = ("jsonl", "parquet", "csv")
_SELECTING = {
    "study": None,
    "since": None,
    "until": None,
    "group": None,
    "dimension": None,
    "min_reliability": None,
    "min_agreement": None,
    "test_share": 0.0,
    "seed": 0,
    "include_steer": False,
    "kind": KINDS[0],
}
_N_REFUSALS = 10


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the family's parsers."""
    _add_export(commands)
    importing = commands.add_parser(
        "import",
        help="put judgements of others, or an archive, into the database",
        description="A .jsonl or .parquet file of preferences (TRL, Anthropic HH, PKU-SafeRLHF) becomes judgements of "
        "a closed study. The folder of an archive goes into an empty database, equal in every row.",
        allow_abbrev=False,
    )
    importing.add_argument("file", type=Path, help="a .jsonl or .parquet file, or the folder of an archive")
    importing.add_argument("--name", help="of the study, after the word imported; the file's name if left out")
    importing.set_defaults(run=_import)
    add_settings(importing, STORE)


def _add_export(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    export = commands.add_parser(
        "export",
        help="write judgements into a new folder, with a manifest that accounts for every one",
        description="Write judgements into a new folder. trl and trl-chat: preference rows; arena: battles; safe-rlhf: "
        "rows like PKU-SafeRLHF's; full: everything about every judgement; archive: every row of the database, for "
        "`import` into an empty one.",
        allow_abbrev=False,
    )
    export.add_argument("folder", type=Path, help="where to write; it must not exist yet")
    export.add_argument("--format", choices=FORMATS, default="trl-chat", help="default: trl-chat")
    export.add_argument("--kind", choices=KINDS, default=KINDS[0], help="kind of files; default: jsonl")
    add_filters(export)
    which = export.add_argument_group("which studies and annotators")
    which.add_argument("--study", action="append", metavar="NAME", help="of this study; repeat for more")
    which.add_argument("--include-steer", action="store_true", help="judgements of the Steer page, too")
    which.add_argument(
        "--min-reliability", type=float, metavar="SHARE", help="annotators who got this share of gold items right"
    )
    which.add_argument(
        "--min-agreement",
        type=float,
        metavar="SHARE",
        help="comparisons about which this share says the same",
    )
    split = export.add_argument_group("split by prompt")
    split.add_argument("--test-share", type=float, default=0.0, metavar="SHARE", help="of the prompts, for testing")
    split.add_argument("--seed", type=int, default=0, help="which prompts these are; default: 0")
    export.set_defaults(run=_export)
    add_settings(export, STORE)


def _export(arguments: argparse.Namespace) -> Iterator[str]:
    from storage.exchange.export import ExportPlan, FileKind, export_judgements
    from storage.exchange.formats import Format
    from storage.exchange.selection import Selection
    from storage.sql_results import SqlResults
    from storage.sql_studies import SqlStudies
    from ui.studies import study_named

    if arguments.format == ARCHIVE:
        yield from _export_archive(arguments)
        return
    if arguments.study and arguments.include_steer:
        raise InputError("The Steer page is in no study.", hint="Leave out --study or --include-steer.")
    selection = Selection(arguments.min_reliability, arguments.min_agreement, arguments.test_share, arguments.seed)
    plan = ExportPlan(Format(arguments.format), FileKind(arguments.kind), selection)
    with opened(arguments) as database:
        studies = SqlStudies(database)
        ids = tuple(study_named(studies, name).id for name in arguments.study) if arguments.study else None
        wanted = filter_of(arguments, ids, include_steer=arguments.include_steer)
        manifest = export_judgements(SqlResults(database).pairs(wanted), plan, arguments.folder)
    yield f"{shown(str(arguments.folder), 500)}: {manifest.n_used} of {manifest.n_judgements} judgements."
    yield from table(("rows of", "n"), [(name, str(n)) for name, n in manifest.n_rows.items()])
    if manifest.left_out:
        yield from table(("left out", "n"), [(reason, str(n)) for reason, n in manifest.left_out.items()])
    if manifest.n_texts_repaired:
        yield f"{manifest.n_texts_repaired} texts had half a character; it was replaced."
    if manifest.n_cells_defused:
        yield f"{manifest.n_cells_defused} cells that a spreadsheet would run got an apostrophe before them."


def _export_archive(arguments: argparse.Namespace) -> Iterator[str]:
    from storage.exchange.archive import export_archive

    given = [name for name, default in _SELECTING.items() if getattr(arguments, name) != default]
    if given:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise InputError(f"An archive holds everything; it cannot be narrowed by {options}.", hint="Leave that out.")
    with opened(arguments) as database:
        n_rows = export_archive(database, arguments.folder)
    yield f"{shown(str(arguments.folder), 500)}: everything, with names and key hashes; not for publishing."
    yield from table(("table", "rows"), [(name, str(n)) for name, n in n_rows.items()])


def _import(arguments: argparse.Namespace) -> Iterator[str]:
    from storage.exchange.archive import MANIFEST, import_archive
    from storage.exchange.foreign import read_foreign
    from storage.exchange.importing import import_foreign

    if arguments.file.is_dir():
        if arguments.name is not None:
            raise InputError("The studies of an archive have names.", hint="Leave out --name.")
        if not (arguments.file / MANIFEST).is_file():  # before a database is made for it
            raise InputError(
                f"{arguments.file} is not an archive.", hint="Name the folder of `export --format archive`."
            )
        with opened(arguments, make=True) as database:
            n_rows = import_archive(database, arguments.file)
        yield from table(("table", "rows"), [(name, str(n)) for name, n in n_rows.items()])
        return
    file = read_foreign(arguments.file)
    with opened(arguments, make=True) as database:
        report = import_foreign(database, file, arguments.name or arguments.file.stem, ACTOR)
    yield f"Study {shown(report.study)}: {report.n_new} new judgements of {report.n_lines} lines."
    yield f"{report.n_known} were there already, {report.n_repeated} stand in the file more than once."
    if report.refusals:
        yield f"{len(report.refusals)} lines cannot be used:"
        for refusal in report.refusals[:_N_REFUSALS]:
            yield f"  line {refusal.line}: {shown(refusal.reason, 200)}"
        if len(report.refusals) > _N_REFUSALS:
            yield f"  and {len(report.refusals) - _N_REFUSALS} more"
