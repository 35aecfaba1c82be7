"""Tiller's web application; `python app.py --help` explains its options. Hugging Face Spaces runs this file too."""

import logging
import os
import signal
import sys
from collections.abc import Sequence

from models.presets import load_preset
from steering.errors import InputError, TillerError
from ui.settings import Settings, engine_options, parse_settings

LOGGERS = ("tiller", "steering", "models", "storage", "ui")
logger = logging.getLogger("tiller")


def main(argv: Sequence[str]) -> int:
    """Serve the page until interrupted; returns the exit code: 0, 2 for bad input, 1 for every other trouble."""
    try:
        settings = parse_settings(argv, os.environ)
        configure_logging(settings.log_level)
        serve(settings)
    except TillerError as error:
        print(f"tiller: {error}", file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1
    except KeyboardInterrupt:
        print("tiller: stopped.", file=sys.stderr)
    return 0


def configure_logging(log_level: str) -> None:
    """Log to stderr: Tiller's own messages from `log_level` on, those of libraries from warnings on."""
    level = logging.getLevelNamesMapping()[log_level.upper()]
    logging.basicConfig(level=max(level, logging.WARNING), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for name in LOGGERS:
        logging.getLogger(name).setLevel(level)


def serve(settings: Settings) -> None:
    """Open the database, load the models and serve the page.

    What is quick comes first, so that a mistyped file or a broken database is told at once and not after the heavy
    imports and minutes of loading.

    Raises:
        TillerError: the preset, the database, its snapshots, a model or the page cannot be opened.
    """
    preset = load_preset(settings.preset, settings.config)

    from storage.database import open_database
    from storage.sql_repository import SqlRepository
    from storage.sql_results import SqlResults
    from storage.sql_studies import SqlStudies
    from ui.snapshots import pushing_snapshots
    from ui.visitors import keep_secret

    keep_secret(settings.home, settings.annotator_secret)
    with (
        open_database(settings.database_url) as database,
        pushing_snapshots(database, settings.home, settings.snapshot_repo),
    ):
        logger.info("judgements are kept in %s", database.url)
        from ui.zero_gpu import import_spaces, on_zero_gpu

        spaces = import_spaces() if settings.zero_gpu else None  # changes what CUDA does, so it comes before torch
        from models.versions.starting import load_published
        from ui.page import Backing, launch_page

        options, placement = engine_options(settings), {"device": settings.device, "dtype": settings.dtype}
        versions = load_published(preset, settings.home, **placement, options=options)
        stores = SqlRepository(database), settings, SqlStudies(database), SqlResults(database)
        if spaces is None:
            launch_page(Backing(versions.engine, *stores, versions))
        else:  # whose workers each have guides of their own, which nothing here can replace
            launch_page(Backing(on_zero_gpu(spaces, versions.engine, settings.time_limit), *stores))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a stopped container ends as Ctrl-C does, tidily
    sys.exit(main(sys.argv[1:]))
