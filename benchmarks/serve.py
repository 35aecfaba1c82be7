"""Many visitors on the page over HTTP: how long they wait, who is refused, and whether anything is left behind.

    python -m benchmarks.serve --visitors 8 --runs 5
    python -m benchmarks.serve --visitors 8 --runs 25 --stop 0.5 --drop 0.5
    python -m benchmarks.serve --visitors 40 --runs 1 --tokens 400 --apart 0.2 -- --max-slots 8 --queue-size 8

Starts app.py on a free port with a home folder that is thrown away; what stands after -- are its options. Every visitor
opens the page, and when all have, runs prompts side by side with weights of its own, one after the other; some stop an
answer, some go away in the middle of one and come back as a new page.

Percentiles are over all runs: first is until a visitor has the first text, whole until all is there, stopping from the
press of Stop to the end, refusal from the press of Run to where the page says so. When all have left, the engine itself
is asked how many answers it still decodes. The last line is one JSON document. The exit code is 1 where a slot is left
behind or a run failed.
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import torch

from benchmarks.command_line import at_least, between, tell
from benchmarks.hardware import describe
from benchmarks.served import Served, serving
from benchmarks.timing import percentiles
from benchmarks.visitors import Ask, Browser, Cut, Outcome, SitePlan, Visit, read_site
from steering.errors import InputError, LoadError, TillerError

_GRACE_SECONDS = 15.0
_CUT_WITHIN_SECONDS = 0.5
_EARLY_SHARE = 0.25
_SHOWN = (50, 90, 99)
_PROMPTS = (
    "How can I make friends in a town that is new to me?",
    "Tell me how bread is made.",
    "What should I do when I cannot sleep at night?",
    "Write a short story about a fox and a clock.",
)


@dataclass(frozen=True)
class Traffic:
    """How many visitors come, how far apart, how many runs each makes, and which shares are stopped or dropped."""

    n_visitors: int
    n_runs: int
    stop_share: float
    drop_share: float
    n_tokens: int
    seed: int
    apart_seconds: float = 0.0


@dataclass
class Log:
    """What happened: every visit, and the application's readings by when they were taken."""

    visits: list[Visit] = field(default_factory=list)
    readings: dict[str, dict[str, Any]] = field(default_factory=dict)
    seconds: float = 0.0
    settled_seconds: float | None = None


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit code: 0, 2 for bad input, 1 for every other trouble."""
    arguments = _parser().parse_args(argv)
    traffic = Traffic(
        arguments.visitors,
        arguments.runs,
        arguments.stop,
        arguments.drop,
        arguments.tokens,
        arguments.seed,
        arguments.apart,
    )
    try:
        if arguments.stop + arguments.drop > 1:
            raise InputError("--stop and --drop are more than 1 together.", hint="They are shares of all runs.")
        if arguments.url:
            log = asyncio.run(visit(arguments.url.rstrip("/"), traffic))
        else:
            with tempfile.TemporaryDirectory() as home, serving(home, arguments.options) as served:
                log = asyncio.run(visit(served.url, traffic, served))
    except TillerError as error:
        return tell("benchmarks.serve", error)
    report = summarise(log, traffic)
    print_report(report)
    return 0 if report["is_clean"] else 1


async def visit(url: str, traffic: Traffic, served: Served | None = None) -> Log:
    """Let all visitors come and leave.

    Raises:
        InputError: what is at ``url`` is not Tiller's page.
        LoadError: it cannot be reached.
    """
    log = Log()
    try:
        async with httpx.AsyncClient(base_url=url, timeout=60) as client:
            site = read_site((await client.get("/config")).raise_for_status().json())
    except (httpx.HTTPError, ValueError) as error:
        raise LoadError(f"There is no page at {url}: {error}.", hint="Is it running, and open to everybody?") from error

    async def note(when: str) -> None:
        if served is not None:
            log.readings[when] = await asyncio.to_thread(served.reading)

    await _whole_visit(url, site, log, traffic)  # what it takes for its first answer it keeps
    log.visits.clear()
    await note("at start")
    start = time.perf_counter()
    gate = asyncio.Barrier(traffic.n_visitors)
    come = [_visitor(url, site, traffic, number, log, gate) for number in range(traffic.n_visitors)]
    together = asyncio.gather(*come)
    n_all, quarters = traffic.n_visitors * traffic.n_runs, ["after 25 %", "after 50 %", "after 75 %"]
    n_noted = 0
    while not together.done():
        await asyncio.wait({together}, timeout=0.1)
        if n_noted < len(quarters) and len(log.visits) * 4 >= n_all * (n_noted + 1):
            await note(quarters[n_noted])
            n_noted += 1
    await together
    log.seconds = time.perf_counter() - start
    await _settle(log, note)
    return log


async def _settle(log: Log, note: Callable[[str], Any]) -> None:
    """Wait until nothing is decoded any more, and note for how long that took; not longer than the grace."""
    start = time.perf_counter()
    while True:
        await note("at end")
        reading = log.readings.get("at end")
        waited = time.perf_counter() - start
        if reading is None or waited > _GRACE_SECONDS:
            return
        if reading["n_slots"] == 0 and not reading["is_working"]:
            log.settled_seconds = waited
            return
        await asyncio.sleep(0.1)


async def _visitor(url: str, site: SitePlan, traffic: Traffic, number: int, log: Log, gate: asyncio.Barrier) -> None:
    chance = random.Random(traffic.seed * 100_003 + number)
    browser: Browser | None = await _opened(url, site)
    await gate.wait()  # a page is open for a while before anybody presses Run
    await asyncio.sleep(number * traffic.apart_seconds)
    for run in range(traffic.n_runs):
        ask = Ask(
            f"{number}.{run} {chance.choice(_PROMPTS)}",
            tuple(chance.choice((0.5, 1.0, 2.0, 3.0)) for _ in range(8)),
            chance.randrange(2**31),
            traffic.n_tokens,
        )
        cut = _cut(chance, traffic)
        try:
            browser = browser or await _opened(url, site)
            done = await browser.run(ask, cut)
        except httpx.HTTPError as error:
            done = Visit(Outcome.FAILED, words=f"{type(error).__name__}: {error}")
        log.visits.append(done)
        if browser is not None and done.outcome in (Outcome.DROPPED, Outcome.FAILED):
            await browser.close()
            browser = None
    if browser is not None:
        await browser.close()


async def _opened(url: str, site: SitePlan) -> Browser:
    browser = Browser(url, site)
    await browser.open()
    return browser


def _cut(chance: random.Random, traffic: Traffic) -> Cut | None:
    """Whether and when a run is cut short."""
    drawn, seconds, is_early = chance.random(), chance.uniform(0, _CUT_WITHIN_SECONDS), chance.random() < _EARLY_SHARE
    if drawn < traffic.stop_share:
        return Cut(Outcome.STOPPED, seconds, is_early)
    if drawn < traffic.stop_share + traffic.drop_share:
        return Cut(Outcome.DROPPED, seconds, is_early)
    return None


async def _whole_visit(url: str, site: SitePlan, log: Log, traffic: Traffic) -> None:
    alone = Traffic(1, 1, 0.0, 0.0, traffic.n_tokens, traffic.seed)
    await _visitor(url, site, alone, 0, log, asyncio.Barrier(1))


def summarise(log: Log, traffic: Traffic) -> dict[str, Any]:
    """Return the report that is printed; ``n_slots_leaked`` is None where the engine could not be asked."""
    visits = log.visits
    answered = [visit for visit in visits if visit.outcome is Outcome.ANSWERED]
    refused = [visit for visit in visits if visit.outcome is Outcome.REFUSED]
    failed = [visit for visit in visits if visit.outcome is Outcome.FAILED]
    end = log.readings.get("at end")
    is_settled = end is None or log.settled_seconds is not None
    return {
        "benchmark": "serve",
        "command": " ".join(["python -m benchmarks.serve", *sys.argv[1:]]),
        "hardware": describe(torch.device("cuda" if torch.cuda.is_available() else "cpu")),
        "traffic": vars(traffic),
        "seconds": log.seconds,
        "outcomes": dict(Counter(visit.outcome.value for visit in visits)),
        "seconds_to": {
            "first": percentiles([visit.first_seconds for visit in visits], _SHOWN),
            "whole": percentiles([visit.whole_seconds for visit in answered], _SHOWN),
            "stopping": percentiles([visit.stop_seconds for visit in visits], _SHOWN),
            "refusal": percentiles([visit.whole_seconds for visit in refused], _SHOWN),
        },
        "words": dict(Counter(visit.words for visit in [*refused, *failed])),
        "n_slots_leaked": end["n_slots"] if end else None,
        "settled_seconds": log.settled_seconds,
        "readings": log.readings,
        "is_clean": is_settled and not failed,
    }


def print_report(report: dict[str, Any]) -> None:
    """Print hardware, outcomes, percentiles, what was left behind and, last, the report as one line of JSON."""
    for name, value in report["hardware"].items():
        print(f"{name}: {value}")
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in sorted(report["outcomes"].items()))
    print(f"\n{outcomes} in {report['seconds']:.1f} s")
    columns = (*(f"p{per_cent}" for per_cent in _SHOWN), "max")
    print(f"\n{'seconds to':<12}{'n':>6}" + "".join(f"{title:>9}" for title in columns))
    for name, row in report["seconds_to"].items():
        cells = "".join(f"{row[key]:>9.3f}" for key in columns) if row["n"] else ""
        print(f"{name:<12}{row['n']:>6}{cells}")
    print()
    for words, count in report["words"].items():
        print(f"{count} times: {words}")
    for when, reading in report["readings"].items():
        gpu = f", GPU {reading['gpu_bytes'] / 1e6:.0f} MB" if reading["gpu_bytes"] else ""
        print(f"memory {when}: {reading['memory_bytes'] / 1e6:.0f} MB{gpu}")
    leaked = report["n_slots_leaked"]
    print(f"slots leaked: {'not known, the engine was not found' if leaked is None else leaked}", end="")
    settled = report["settled_seconds"]
    print("" if settled is None else f" (idle {settled:.1f} s after the last visitor left)")
    print(json.dumps(report))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="a page that runs already; its slots cannot be seen then")
    parser.add_argument("--visitors", type=at_least(1), default=8, help="how many at once (default: 8)")
    parser.add_argument("--runs", type=at_least(1), default=5, help="how many each makes (default: 5)")
    parser.add_argument("--stop", type=between(0, 1), default=0.2, help="share of runs that are stopped (default: 0.2)")
    parser.add_argument(
        "--drop", type=between(0, 1), default=0.2, help="share of runs in which the tab goes (default: 0.2)"
    )
    parser.add_argument("--tokens", type=at_least(1), default=64, help="most tokens per answer (default: 64)")
    parser.add_argument("--apart", type=between(0, 3600), default=0.0, help="seconds from one to the next (default: 0)")
    parser.add_argument("--seed", type=int, default=0, help="of prompts, weights and cuts (default: 0)")
    parser.add_argument("options", nargs="*", help="after --: options for app.py")
    return parser


if __name__ == "__main__":
    sys.exit(main())
