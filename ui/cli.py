"""Tiller in a terminal: ``python -m ui.cli generate`` answers one prompt; other commands look after judgements."""

import argparse
import io
import json
import logging
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from models.answers import Answer, ComparisonRequest
from models.presets import load_preset
from steering.controls import DEFAULT_PLAUSIBILITY
from steering.errors import BlendError, InputError, PromptError, TillerError
from steering.types import Blend, Message, Role, SamplingSettings
from ui.commands import exchange, guides, results, study, upkeep
from ui.commands.store import HOME, MODELS, add_settings, settings_of
from ui.document import comparison_document
from ui.settings import engine_options

_DEFAULTS = SamplingSettings()
_N_TOP = 5


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0, 2 for bad input, 1 for every other trouble."""
    arguments = _parser().parse_args(argv)
    # libraries report progress and deprecations there; a terminal user asked for an answer
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        for line in arguments.run(arguments):
            print(line, flush=True)
    except TillerError as error:
        print(f"tiller: {error}", file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1
    except KeyboardInterrupt:
        print("tiller: stopped.", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # the reader has gone; Python would complain once more when it closes standard output
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ui.cli", description="Preference steering in a terminal.")
    commands = parser.add_subparsers(dest="command", required=True)
    generate = commands.add_parser(
        "generate",
        help="answer one prompt, unguided and guided",
        description="Answer one prompt unguided and guided, with the same seed. Exit code 0; 2 for bad input, else 1.",
        allow_abbrev=False,
    )
    _add_prompt_options(generate)
    _add_sampling_options(generate)
    output = generate.add_argument_group("output")
    output.add_argument("--json", action="store_true", help="print one JSON document with all needed to replay it")
    output.add_argument(
        "--trace",
        nargs="?",
        type=int,
        const=_N_TOP,
        metavar="N",
        help=f"add every step to the document, with the N likeliest tokens ({_N_TOP} if N is left out); implies --json",
    )
    add_settings(generate, HOME, MODELS)
    generate.set_defaults(run=lambda arguments: [_generate(arguments)])
    for family in (study, results, exchange, guides, upkeep):
        family.add_to(commands)
    return parser


def _add_prompt_options(generate: argparse.ArgumentParser) -> None:
    prompt = generate.add_argument_group("prompt and blend")
    source = prompt.add_mutually_exclusive_group(required=True)
    source.add_argument("--prompt", help="what to ask; - reads it from standard input")
    source.add_argument("--messages", type=Path, metavar="FILE", help='JSON list of {"role": …, "content": …}')
    prompt.add_argument(
        "--weight",
        action="append",
        default=[],
        metavar="DIMENSION=W",
        help="a guide's weight, as on its slider; repeat for more",
    )
    prompt.add_argument(
        "--base-exponent",
        type=float,
        default=1.0,
        help="a_0 of the guided answer; 0 is guides alone (default: %(default)s)",
    )


def _add_sampling_options(generate: argparse.ArgumentParser) -> None:
    sampling = generate.add_argument_group("sampling")
    for name, kind, text in (
        ("temperature", float, "0 is greedy"),
        ("top-k", int, "0 is off"),
        ("top-p", float, "1 is off"),
        ("min-p", float, "0 is off"),
        ("max-new-tokens", int, "most tokens an answer has"),
        ("seed", int, "the same seed replays the same text"),
    ):
        default = getattr(_DEFAULTS, name.replace("-", "_"))
        sampling.add_argument(f"--{name}", type=kind, default=default, help=f"{text} (default: {default})")
    sampling.add_argument("--ignore-eos", action="store_true", help="go on to --max-new-tokens whatever the model says")
    sampling.add_argument(
        "--plausibility",
        type=float,
        metavar="SHARE",
        help="keep tokens with at least this share of the base's top probability; 0 is off; left out, it is "
        f"{DEFAULT_PLAUSIBILITY} where a weight is negative",
    )


def _generate(arguments: argparse.Namespace) -> str:
    n_top = arguments.trace or 0
    request = ComparisonRequest(
        messages=_messages(arguments),
        blends=(Blend(), Blend(_weights(arguments.weight), arguments.base_exponent)),
        sampling=_sampling(arguments),
        n_top=n_top,
    )
    settings = settings_of(arguments)
    preset = load_preset(settings.preset, settings.config)

    # torch and transformers take seconds to import; what was typed is checked before
    from models.versions.starting import load_published

    # one person waits for one comparison, for as long as it takes
    options = replace(engine_options(settings), in_background=False, time_limit_seconds=math.inf)
    versions = load_published(preset, settings.home, device=settings.device, dtype=settings.dtype, options=options)
    engine = versions.engine
    *_, last = engine.compare(request)
    answers = last.answers()
    if not (arguments.json or arguments.trace is not None):
        return "\n\n".join(map(_plain, answers))
    document = comparison_document(
        engine.base, engine.guides, request, last.prompt_token_ids, answers, trace=arguments.trace is not None
    )
    return json.dumps(document, ensure_ascii=False, allow_nan=False)


def _plain(answer: Answer) -> str:
    weights = ", ".join(
        f"{dimension} {answer.blend.weights.get(dimension, 0):g} (exponent {exponent:.2g})"
        for dimension, exponent in answer.exponents.items()
    )
    name = "Unguided" if answer.blend.is_unguided else f"Guided: {weights}"
    facts = f"{len(answer.token_ids)} tokens, {answer.finish_reason}, KL {answer.kl_per_token or 0:.3f} nats per token"
    return f"{name}\n[{facts}]\n{answer.text}"


def _sampling(arguments: argparse.Namespace) -> SamplingSettings:
    return SamplingSettings(
        temperature=arguments.temperature,
        top_k=arguments.top_k,
        top_p=arguments.top_p,
        min_p=arguments.min_p,
        max_new_tokens=arguments.max_new_tokens,
        seed=arguments.seed,
        plausibility=arguments.plausibility,
        stop_at_eos=not arguments.ignore_eos,
    )


def _messages(arguments: argparse.Namespace) -> tuple[Message, ...]:
    if arguments.messages is None:
        return (Message(Role.USER, _standard_input() if arguments.prompt == "-" else arguments.prompt),)
    try:
        entries = json.loads(arguments.messages.read_text(encoding="utf-8"))
        messages = tuple(Message(Role(entry["role"]), entry["content"]) for entry in entries)
        if not all(isinstance(message.content, str) for message in messages):
            raise TypeError("a content is no text")
        return messages
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise PromptError(
            f"The messages in {arguments.messages} cannot be read: {error}.",
            hint='Write a JSON list of {"role": "user" | "assistant" | "system", "content": "…"}.',
        ) from error


def _standard_input() -> str:
    try:
        return sys.stdin.read()
    except UnicodeDecodeError as error:
        raise PromptError(f"Standard input is no text: {error}.", hint="Give it as UTF-8.") from error


def _weights(pairs: Sequence[str]) -> dict[str, float]:
    weights: dict[str, float] = {}
    for pair in pairs:
        dimension, equals, value = pair.partition("=")
        try:
            weight = float(value)
        except ValueError:
            weight = None
        if not (dimension and equals) or weight is None:
            raise BlendError(f"--weight {pair!r} is not DIMENSION=NUMBER.", hint="Write, say, --weight helpfulness=2.")
        if dimension in weights:
            raise BlendError(f"--weight gives {dimension!r} twice.", hint="Give each dimension one weight.")
        weights[dimension] = weight
    return weights


if __name__ == "__main__":
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")  # a document is UTF-8 whatever the terminal is
    sys.exit(main())
