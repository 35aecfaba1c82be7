"""Build the embedded model: python -m models.demo.build --data DIR --out DIR

DIR of --data has pretrain.jsonl, pairs_helpfulness.jsonl and pairs_harmlessness.jsonl, or the same with .xz. OUT gets
base/, guides/helpfulness/, guides/harmlessness/ and CARD.md; what is needed to go on after a kill, and the prepared
data, are in OUT/work. The same command goes on where it was stopped, and does nothing when all is done.
"""

import argparse
import logging
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from models.demo.build.build import build
from models.demo.build.settings import SIZES, BuildSettings
from steering.errors import InputError, TillerError

logger = logging.getLogger("models.demo.build")


def main(argv: Sequence[str] | None = None) -> int:
    """Build; returns the exit code: 0, 2 for bad input, 1 for every other trouble."""
    given = list(sys.argv[1:] if argv is None else argv)
    arguments = _parser().parse_args(given)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    try:
        settings = BuildSettings(**vars(arguments))
        card = build(settings, shlex.join(["python", "-m", "models.demo.build", *given]))
    except TillerError as error:
        logger.error("%s", error)
        return 2 if isinstance(error, InputError) else 1
    logger.info("Done; %s says what was made.", card)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m models.demo.build",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--data", required=True, type=Path, help="folder of the data")
    add("--out", required=True, type=Path, help="folder of the build, new or one to go on with")
    add("--size", choices=SIZES, default="small", help="small: two CPU cores, base: a GPU, tiny: a trial (small)")
    add("--device", default="auto", help="auto, cpu or cuda, for the base; guides use a GPU where there is one")
    add("--base", type=Path, help="folder of a base model to take as it is, instead of training one")
    add(
        "--tokens",
        dest="n_tokens",
        type=int,
        default=0,
        help="how many the base reads in training (default: what the size is meant for)",
    )
    add("--seed", type=int, default=0, help="of all that is drawn (default: 0)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
